"""
The cluster observer as the conductor sees it: a child process that watches, and the pipe its reports come through.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from harness.drivers.piped import Piped
from harness.errors import DriverError
from harness.history.codec import event_of
from harness.history.events import Stamped
from harness.plan.model import Cluster, Fault, Observe, Plan

READY_S = 30.0
READY_WITH_CANARIES_S = 240.0  # two rounds of pods have to start, perhaps pulling an image, and then to find each other
CLOSE_S = 10.0
OUTLIVE_S = 600  # how long after the plan's end a dead-man Job that nobody renews keeps what it owns


class KubernetesObserver:
    """
    Watches the plan's cluster from a child process. A ClusterObserver (harness.drivers.base).

    `run` is the run's name; the child's stderr goes to `log_dir`/observer.log. The stamps inside bodies
    (WatchGap.since_ns, CanarySeen.lo_ns and hi_ns) are absolute monotonic readings, like those around them.
    """

    def __init__(self, plan: Plan, *, run: str, log_dir: Path) -> None:
        self._orders = _orders(plan, run)
        self._log = log_dir / "observer.log"
        self._child: Piped | None = None

    def preflight(self) -> Sequence[Stamped]:
        """Start the child; return once everything has been seen once and canaries answer. Raises DriverError."""
        self._child = child = Piped("harness.drivers.kubernetes.observer", self._log, close_s=CLOSE_S)
        child.tell(self._orders)
        ready_s = READY_WITH_CANARIES_S if self._orders["cut"] else READY_S
        seen: list[Stamped] = []
        for lines in child.until(ready_s):
            ready = False
            for line in lines:
                if line.startswith('{"ready"'):
                    ready = True
                elif line.startswith('{"error"'):
                    self.close()
                    refusal = json.loads(line)
                    raise DriverError(refusal["error"], hint=refusal["hint"])
                else:
                    seen.append(_stamped(line))
            if ready:
                return seen
        what = "ended by itself" if child.gone else f"was not ready within {ready_s:g} s"
        self.close()
        raise DriverError(f"kubernetes: the observer {what}; see {self._log}")

    def fds(self) -> Sequence[int]:
        """The child's stdout."""
        return self._child.fds() if self._child else ()

    def poll(self) -> Sequence[Stamped]:
        """What was seen since the last call. Raises DriverError when the child is gone."""
        child = self._child
        lines = child.lines() if child else []
        if child is not None and child.gone and not lines:
            raise DriverError(f"kubernetes: the observer ended by itself; see {self._log}")
        return tuple(_stamped(line) for line in lines)

    def close(self) -> None:
        """End the child: it deletes its canaries first, for at most CLOSE_S seconds."""
        if self._child is not None:
            self._child.close()


def _orders(plan: Plan, run: str) -> dict[str, object]:
    """What the child is told; see observer.Orders."""
    cluster = plan.service.cluster
    if cluster is None or cluster.kubeconfig is None:
        raise DriverError(f"kubernetes: service '{plan.service.name}' names no kubeconfig; nothing can be observed")
    asked = [fault.experiment for fault in plan.faults]
    own = (cluster.namespace, cluster.selector)
    reaches = {(reach.namespace, reach.selector) for reach in cluster.also}
    reaches |= {(one.namespace, one.selector) for one in asked}
    named = {(cluster.namespace, cluster.deployment), *((one.namespace, one.deployment) for one in asked)}
    slow = [one.slow_s for one in asked if one.observe is Observe.PATHS_DEGRADED and one.slow_s]
    return {
        "kubeconfig": cluster.kubeconfig,
        "context": cluster.context,
        "namespace": cluster.namespace,
        "selector": cluster.selector,
        "others": sorted(reaches - {own}),
        "deployments": sorted((namespace, name) for namespace, name in named if name),
        "faults": bool(plan.faults),
        "cut": _cut(plan),
        "cut_in": _cut_in(plan, cluster),
        "slow_s": min(slow, default=None),
        "run": run,
        "ttl_s": int(plan.end_s) + OUTLIVE_S,
    }


def _across(plan: Plan) -> list[Fault]:
    """The faults that only canaries can prove."""
    return [fault for fault in plan.faults if fault.experiment.observe in (Observe.ZONE_CUT, Observe.PATHS_DEGRADED)]


def _cut(plan: Plan) -> list[str]:
    """The zones that some fault cuts off or degrades."""
    return sorted({fault.experiment.zone for fault in _across(plan) if fault.experiment.zone})


def _cut_in(plan: Plan, cluster: Cluster) -> str:
    """The namespace where they do: canaries stand in one, so DriverError when there are several."""
    across = _across(plan)
    namespaces = sorted({fault.experiment.namespace for fault in across})
    if len(namespaces) > 1:
        what = f"faults cut or degrade zones in the namespaces {', '.join(namespaces)}, canaries watch one"
        raise DriverError(f"kubernetes: {across[-1].source}: {what}; use one namespace")
    return namespaces[0] if namespaces else cluster.namespace


def _stamped(line: str) -> Stamped:
    event = event_of(line)
    return Stamped(mono_ns=event.t_ns, body=event.body)
