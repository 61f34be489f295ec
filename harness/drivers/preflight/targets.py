"""
What a planned fault may touch, decided before the run: pods, what controls them, nodes; or why it must not be played.

Pure: what was read from the cluster, and the plan's caps, in; the frozen list or all problems out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.drivers.faults.radius import Ask, taken_at_once
from harness.drivers.kubernetes.objects import RUN, Obj, controller_of, labels_of, name_of, node_of, selects, uid_of
from harness.drivers.preflight.seen import Seen
from harness.errors import PlanError, Problem
from harness.history.events import TargetsFrozen
from harness.plan.model import Cluster, Experiment, Fault, Observe
from harness.plan.reach import IN_ZONE, ON_DEPLOYMENT, narrows, reaches, share_of

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class _Touched:
    """What one fault may touch, and the most of it that it touches at once."""

    pods: tuple[Obj, ...]
    nodes: tuple[str, ...] = ()
    nodes_at_once: int = 0
    pods_at_once: int
    by_workload: Counter[str]  # pods at once, at worst, by the UID of the workload


def frozen(fault: Fault, faults: Sequence[Fault], seen: Seen, cluster: Cluster) -> TargetsFrozen:
    """
    What one of the plan's `faults` may touch; raises PlanError with every reason why it must not be played.

    A fault on a zone's network touches every running pod of the zone in its namespace, whatever the selector, and one
    on nodes every running pod there that does not belong to its node (a DaemonSet's).
    """
    wrong = list(_forbidden(fault, faults, cluster)) or list(_missing(fault, seen))
    if not wrong:
        touched = _touched(fault.experiment, seen)
        wrong = [*_too_many_nodes(fault, faults, seen, cluster), *_beyond(fault.experiment, touched, seen, cluster)]
    if wrong:
        raise PlanError(tuple(problem(fault, what) for what in wrong))
    return _frozen(fault, touched, seen)


def problem(fault: Fault, what: str) -> Problem:
    """A problem where the fault is written."""
    return Problem(fault.source.path, fault.source.line, f"fault '{fault.name}'", what)


def configuration_of(experiment: Experiment) -> dict[str, Any]:
    """The experiment's configuration, as the fault fills it in."""
    return dict(json.loads(experiment.document).get("configuration") or {})


def _frozen(fault: Fault, touched: _Touched, seen: Seen) -> TargetsFrozen:
    by_name = sorted(touched.pods, key=name_of)
    asked = fault.experiment
    owners = {str(owner["uid"]) for pod in by_name if (owner := controller_of(pod))}
    if asked.observe in ON_DEPLOYMENT and (deployment := seen.deployment(asked.namespace, asked.deployment or "")):
        owners.add(uid_of(deployment))
    return TargetsFrozen(
        fault=fault.name,
        names=tuple(map(name_of, by_name)),
        uids=tuple(map(uid_of, by_name)),
        owners=tuple(sorted(owners)),
        nodes=tuple(sorted(touched.nodes)),
    )


# -- what needs no cluster ------------------------------------------------------------------------------------------


def _forbidden(fault: Fault, faults: Sequence[Fault], cluster: Cluster) -> Iterator[str]:
    """What the service file rules out, said again here so that nothing depends on who made the plan."""
    asked = fault.experiment
    near = [reach for reach in reaches(cluster) if reach.namespace == asked.namespace]
    if not asked.selector.strip():
        yield "its selector is empty, which would match every pod; write one"
    elif not any(narrows(asked.selector, reach.selector) for reach in near):
        yield (
            f"selector '{asked.selector}' in namespace '{asked.namespace}' is outside the service's blast radius; "
            "narrow it, or allow it with cluster.also in the service file"
        )
    zones = _zones_with(fault, faults)
    if len(zones) > 1:
        yield f"zones {' and '.join(sorted(zones))} would be hit at the same time; one at a time, or move a fault"


def _zones_with(fault: Fault, faults: Sequence[Fault]) -> set[str]:
    """The zones that faults on zones are about at some moment of this one, its own included; empty if it is on none."""
    if not _on_zone(fault.experiment):
        return set()
    return {other.experiment.zone or "" for other in faults if _on_zone(other.experiment) and _meet(fault, other)}


def _meet(fault: Fault, other: Fault) -> bool:
    """Whether both are on at some moment; a fault meets itself."""
    return other is fault or (other.at_s < fault.until_s and fault.at_s < other.until_s)


def _on_zone(asked: Experiment) -> bool:
    return asked.zone is not None and (asked.observe in IN_ZONE or asked.observe is Observe.NODES_OUT)


# -- what the cluster lacks -----------------------------------------------------------------------------------------


def _missing(fault: Fault, seen: Seen) -> Iterator[str]:
    asked = fault.experiment
    place = f"namespace '{asked.namespace}'"
    matched = seen.matched(asked.namespace, asked.selector)
    inside = [pod for pod in matched if asked.zone in (None, seen.zone(pod))]
    if not matched:
        remedy = "correct the selector or the namespace, or deploy the service"
        yield f"selector '{asked.selector}' matches no pod in {place}; {remedy}"
    elif (node := configuration_of(asked).get("node")) and node not in set(map(name_of, seen.nodes)):
        yield f"there is no node '{node}'; there are: {', '.join(sorted(map(name_of, seen.nodes)))}"
    elif not inside:
        known = ", ".join(sorted({seen.zone(pod) for pod in matched} - {""})) or "none known"
        yield f"selector '{asked.selector}' matches no pod of zone '{asked.zone}' in {place}; its pods' zones: {known}"
    elif _on_zone(asked) and len(inside) == len(matched):
        remedy = "spread the service over more zones"
        yield f"zone '{asked.zone}' has all {len(matched)} pods in {place}: nothing would be left to serve; {remedy}"
    elif asked.observe in ON_DEPLOYMENT:
        yield from _unfit(asked, matched, seen)


def _unfit(asked: Experiment, matched: Sequence[Obj], seen: Seen) -> Iterator[str]:
    """Why the deployment is not one to roll out or scale."""
    name = asked.deployment or ""
    deployment = seen.deployment(asked.namespace, name)
    if deployment is None:
        known = ", ".join(sorted(map(name_of, seen.deployments.get(asked.namespace, ())))) or "none"
        yield f"there is no deployment '{name}' in namespace '{asked.namespace}'; there are: {known}"
        return
    its = _pods_of(deployment, asked, seen)
    outside = [pod for pod in its if uid_of(pod) not in set(map(uid_of, matched))]
    if outside:
        yield (
            f"pod '{name_of(outside[0])}' of deployment '{name}' is not matched by selector '{asked.selector}'; "
            "name a deployment whose pods are"
        )
    if not its:
        yield f"deployment '{name}' has no running pod in namespace '{asked.namespace}'; start it first"
    if deployment["spec"].get("paused"):
        yield f"deployment '{name}' is paused: a rollout would do nothing; kubectl rollout resume deployment/{name}"


def _pods_of(deployment: Obj, asked: Experiment, seen: Seen) -> tuple[Obj, ...]:
    selector = deployment["spec"]["selector"]
    return tuple(pod for pod in seen.running(asked.namespace) if selects(selector, labels_of(pod)))


# -- what would be touched ------------------------------------------------------------------------------------------


def _touched(asked: Experiment, seen: Seen) -> _Touched:
    matched = seen.matched(asked.namespace, asked.selector)
    inside = tuple(pod for pod in matched if asked.zone in (None, seen.zone(pod)))
    if asked.observe is Observe.NODES_OUT:
        return _on_nodes(asked, inside, seen)
    if asked.observe in IN_ZONE:
        everything = tuple(
            pod
            for pod in seen.running(asked.namespace)
            if seen.zone(pod) == asked.zone and RUN not in labels_of(pod)  # our own canaries
        )
        return _at_once(everything, len(everything), seen)
    if asked.observe in ON_DEPLOYMENT:
        return _of_deployment(asked, seen)
    return _at_once(inside, _asked_for(asked, len(inside)), seen)


def _at_once(pods: tuple[Obj, ...], count: int, seen: Seen) -> _Touched:
    """Any `count` of the pods; at worst as many as possible are of one workload."""
    workloads = Counter(workload for pod in pods if (workload := workload_of(pod, seen)))
    worst = Counter({uid: min(count, size) for uid, size in workloads.items()})
    return _Touched(pods=pods, pods_at_once=count, by_workload=worst)


def _asked_for(asked: Experiment, available: int) -> int:
    """How many of what is available the fault touches at once: its share (rounded up) or count, else all."""
    configuration = configuration_of(asked)
    if configuration.get("lease"):
        return 1  # its holder
    count = available if asked.max_targets is None else asked.max_targets
    return min(Ask(count=count, share=share_of(configuration.get("share"))).of(available), available)


def _on_nodes(asked: Experiment, inside: Sequence[Obj], seen: Seen) -> _Touched:
    """The zone's nodes, the one named, or those with the service's pods; with all of the namespace's pods on them."""
    one = configuration_of(asked).get("node")
    of_zone = {node for node, zone in seen.zones.items() if zone == asked.zone}
    nodes = tuple(sorted({one} if one else of_zone if asked.zone else {node_of(pod) for pod in inside} - {""}))
    count = nodes_at_once(asked, nodes)
    pods = tuple(
        pod
        for pod in seen.running(asked.namespace)
        if node_of(pod) in nodes and RUN not in labels_of(pod) and not of_its_node(pod)
    )
    per_node = Counter(map(node_of, pods))
    by_workload: dict[str, Counter[str]] = {}
    for pod in pods:
        if workload := workload_of(pod, seen):
            by_workload.setdefault(workload, Counter())[node_of(pod)] += 1
    return _Touched(
        pods=pods,
        nodes=nodes,
        nodes_at_once=count,
        pods_at_once=_largest(per_node, count),
        by_workload=Counter({uid: _largest(found, count) for uid, found in by_workload.items()}),
    )


def nodes_at_once(asked: Experiment, nodes: Sequence[str]) -> int:
    """How many of the nodes that it may take a fault takes: all of a zone, else as many as it asks for."""
    return len(nodes) if asked.zone else _asked_for(asked, len(nodes))


def _largest(counts: Counter[str], how_many: int) -> int:
    return sum(count for _, count in counts.most_common(how_many))


def of_its_node(pod: Obj) -> bool:
    """Whether the pod comes and goes with its node: a DaemonSet's, or the kubelet's own."""
    owner = controller_of(pod)
    return owner is not None and owner["kind"] in ("DaemonSet", "Node")


def _of_deployment(asked: Experiment, seen: Seen) -> _Touched:
    """A rollout takes down as many pods at once as its strategy says, a scaling all that are too many."""
    deployment = seen.deployment(asked.namespace, asked.deployment or "")
    assert deployment is not None  # _unfit refused it
    pods = _pods_of(deployment, asked, seen)
    if asked.observe is Observe.SCALED_DOWN:
        return _at_once(pods, max(len(pods) - _replicas_wanted(asked), 0), seen)
    return _at_once(pods, min(taken_at_once(deployment), len(pods)), seen)


def _replicas_wanted(asked: Experiment) -> int:
    """How many replicas a fault that scales leaves: its configuration's `replicas`, else none."""
    replicas = configuration_of(asked).get("replicas")
    return replicas if isinstance(replicas, int) and not isinstance(replicas, bool) else 0


def workload_of(pod: Obj, seen: Seen) -> str | None:
    """The UID of the pod's Deployment, else of what controls it; None for a pod that nothing controls."""
    owner = controller_of(pod)
    if owner is None:
        return None
    for one in seen.replica_sets.get(pod["metadata"].get("namespace", ""), ()):
        if uid_of(one) == owner["uid"] and (above := controller_of(one)):
            return str(above["uid"])
    return str(owner["uid"])


# -- what would be too much -----------------------------------------------------------------------------------------


def _too_many_nodes(fault: Fault, faults: Sequence[Fault], seen: Seen, cluster: Cluster) -> Iterator[str]:
    """Nodes stay out while their fault lasts, so those of faults that meet count together."""
    if fault.experiment.observe is not Observe.NODES_OUT:
        return
    others = [other for other in faults if other is not fault and _meet(fault, other)]
    others = [other for other in others if other.experiment.observe is Observe.NODES_OUT]
    met = [_touched(one.experiment, seen) for one in (fault, *others)]
    certain = {node for one in met if one.nodes_at_once == len(one.nodes) for node in one.nodes}
    count = len(certain) + sum(one.nodes_at_once for one in met if one.nodes_at_once < len(one.nodes))
    if count > cluster.max_nodes:
        names = ", ".join(sorted({node for one in met for node in one.nodes}))
        meanwhile = f" together with {' and '.join(repr(other.name) for other in others)}" if others else ""
        remedy = "take fewer, or raise cluster.max_nodes in the service file"
        yield f"would take out {count} nodes ({names}){meanwhile}, at most {cluster.max_nodes} allowed; {remedy}"


def _beyond(asked: Experiment, touched: _Touched, seen: Seen, cluster: Cluster) -> Iterator[str]:
    if touched.pods_at_once > cluster.max_pods:
        remedy = "touch fewer, or raise cluster.max_pods in the service file"
        yield f"would touch {touched.pods_at_once} pods, at most {cluster.max_pods} allowed; {remedy}"
    if asked.observe is Observe.NODES_OUT and not _others_left(asked, touched, seen):
        yield f"would take out every node that bears the service's pods ({', '.join(touched.nodes)}); take fewer"
    if asked.observe not in IN_ZONE:
        for pod in sorted((pod for pod in touched.pods if controller_of(pod) is None), key=name_of):
            yield f"nothing controls pod '{name_of(pod)}', so nothing would replace it; leave it out of the selector"
    yield from _too_large_a_share(touched, seen, cluster)


def _others_left(asked: Experiment, touched: _Touched, seen: Seen) -> bool:
    """Whether some node with the service's pods stays, whichever of the nodes are taken."""
    bearing = {node_of(pod) for pod in seen.matched(asked.namespace, asked.selector)}
    return len(bearing) > touched.nodes_at_once or bool(bearing - set(touched.nodes))


def _too_large_a_share(touched: _Touched, seen: Seen, cluster: Cluster) -> Iterator[str]:
    everything = [pod for pods in seen.pods.values() for pod in pods if pod in seen.running(_namespace_of(pod))]
    sizes = Counter(workload for pod in everything if (workload := workload_of(pod, seen)))
    for uid, count in sorted(touched.by_workload.items(), key=lambda one: _named(one[0], touched.pods, seen)):
        size = sizes[uid]
        if count > cluster.max_share * size + _ROUNDING:
            yield (
                f"would touch {count} of {size} pods of {_named(uid, touched.pods, seen)} ({count / size:.0%}), "
                f"at most {cluster.max_share:.0%} allowed; touch fewer, or raise cluster.max_share in the service file"
            )


def _namespace_of(pod: Obj) -> str:
    return str(pod["metadata"].get("namespace", ""))


def _named(uid: str, pods: Iterable[Obj], seen: Seen) -> str:
    """The workload as a person knows it: "Deployment 'shop'"."""
    for pod in pods:
        if workload_of(pod, seen) == uid:
            for one in (pod, *seen.replica_sets.get(_namespace_of(pod), ())):
                if (owner := controller_of(one)) and owner["uid"] == uid:
                    return f"{owner['kind']} '{owner['name']}'"
    return uid
