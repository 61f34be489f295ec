"""
How far a fault may reach: which pods and nodes, how many of them, and which of those it takes.

Under the harness the list is frozen and the caps are set before the run, in the file that LCH_TARGETS names; an
action's own arguments can only narrow them. In plain `chaos run` what the selector matches when the action begins is
the list. A pod that a controller of the list has put in place of another is inside as well; a pod that nothing would
replace is never taken.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from harness.drivers.kubernetes.objects import RUN, Obj, controller_of, labels_of, ready, running, uid_of
from harness.errors import DriverError
from harness.plan.reach import share_of

TARGETS = "LCH_TARGETS"
MAX_SHARE = 0.8  # of a workload, where nothing else is said
MIRROR = "kubernetes.io/config.mirror"  # annotation of a kubelet's own pod, which the API server cannot delete

_FINISHED = ("Succeeded", "Failed")
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """How many of what matches a fault is to take: `count`, or a share of it, rounded up."""

    count: int
    share: float | None = None

    def of(self, available: int) -> int:
        """The number, of so many that are available."""
        return self.count if self.share is None else math.ceil(self.share * available - _ROUNDING)


def asked(count: object, share: object = None) -> Ask:
    """What an action's arguments ask for; a share such as "50%" wins over the count. Raises DriverError."""
    if share not in (None, "", 0):
        part = share_of(share)
        if part is None:
            raise DriverError(f"share '{share}' is not a percentage up to 100%, such as 50%")
        return Ask(count=0, share=part)
    text = str(count)
    if not text.isdecimal() or int(text) < 1:
        raise DriverError(f"count '{count}' is not a whole number from 1 on")
    return Ask(count=int(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Radius:
    """The targets a fault may touch, and how many of them at once."""

    pods: Mapping[str, str]  # name by UID
    owners: frozenset[str]  # UIDs of what controls them: what these make is inside too
    nodes: Mapping[str, str]  # name by UID
    max_pods: int
    max_share: float  # of any one workload's pods; only 1 lets the last ready pod go
    max_nodes: int
    above: Mapping[str, str] = field(default_factory=dict)  # UID of the Deployment by UID of its ReplicaSets

    def following(self, replica_sets: Iterable[Obj]) -> Radius:
        """The same, knowing which ReplicaSets are of one Deployment: those that a later rollout makes are inside."""
        above = {uid_of(one): str(owner["uid"]) for one in replica_sets if (owner := controller_of(one))}
        deployments = self.owners | {above[uid] for uid in self.owners if uid in above}
        successors = {uid for uid, deployment in above.items() if deployment in deployments}
        return replace(self, owners=self.owners | successors, above=above)

    def narrowed(self, max_share: object) -> Radius:
        """The same with a cap that an action's argument sets, where it is the lower one; None: as it is."""
        if max_share in (None, ""):
            return self
        share = share_of(max_share)
        if share is None:
            raise DriverError(f"max_share '{max_share}' is not a percentage up to 100%, such as 50%")
        return replace(self, max_share=min(share, self.max_share))

    def holds(self, pod: Obj) -> bool:
        """Whether the pod is one of the frozen targets, or has been put in place of one."""
        owner = controller_of(pod)
        return uid_of(pod) in self.pods or (owner is not None and owner["uid"] in self.owners)

    def workload(self, pod: Obj) -> str:
        """The UID of the pod's Deployment, else of what controls it, else of the pod itself."""
        owner = controller_of(pod)
        return self.above.get(str(owner["uid"]), str(owner["uid"])) if owner else uid_of(pod)

    def choose(
        self,
        ask: Ask,
        *,
        among: Iterable[Obj],
        everyone: Iterable[Obj],
        draw: Random,
        touched: Mapping[str, int] | None = None,
    ) -> list[Obj]:
        """
        Pods to take, drawn from `among`: ready ones inside, no more than the caps allow; `everyone` is the namespace.

        With `touched` (how many pods were taken before, by workload), those whose successor is not ready yet count, and
        fewer than asked for are taken where only so many are left, possibly none. Without it a count that the caps do
        not allow raises DriverError, naming the cap; a share takes what they allow, at least one.
        """
        matched = list(among)
        able = [pod for pod in matched if self.holds(pod) and serves(pod)]
        rooms, free = self._rooms(everyone, touched or {})
        wanted = ask.of(len(able))
        draw.shuffle(able)
        chosen: list[Obj] = []
        for pod in able:
            workload = self.workload(pod)
            if len(chosen) < min(wanted, free) and rooms[workload] > 0:
                rooms[workload] -= 1
                chosen.append(pod)
        if touched is None and (not chosen or (ask.share is None and len(chosen) < wanted)):
            raise DriverError(self._too_much(wanted, able=len(able), matched=len(matched), allowed=len(chosen)))
        return chosen

    def choose_nodes(self, ask: Ask, among: Sequence[Obj], draw: Random) -> list[Obj]:
        """Nodes to take, drawn from `among`: those inside, no more than the cap allows. Raises DriverError."""
        able = [node for node in among if uid_of(node) in self.nodes]
        wanted = ask.of(len(able))
        if not able or wanted > len(able):
            raise DriverError(
                f"{wanted or 1} nodes are asked for, of {len(among)} that fit {len(able)} are frozen targets"
            )
        if wanted > self.max_nodes:
            raise DriverError(f"{wanted} nodes are asked for, max_nodes allows {self.max_nodes}; take fewer")
        return draw.sample(able, wanted)

    def require(self, pods: Iterable[Obj], *, everyone: Iterable[Obj]) -> None:
        """Raise DriverError unless the pods may be taken together: not too many, nor too many of one workload."""
        hit = [pod for pod in pods if serves(pod)]
        rooms, free = self._rooms(everyone, {})
        if len(hit) > free:
            raise DriverError(f"{len(hit)} pods would be taken, max_pods allows {free}; take fewer")
        for workload, count in Counter(map(self.workload, hit)).items():
            if count > rooms[workload]:
                raise DriverError(
                    f"{count} pods of one workload would be taken, max_share {self.max_share:.0%} allows "
                    f"{rooms[workload]}; take fewer"
                )

    def require_count(self, taken: int, size: int) -> None:
        """Raise DriverError unless so many of a workload's `size` pods may be away at once."""
        if taken > self.max_pods:
            raise DriverError(f"{taken} pods would be taken at once, max_pods allows {self.max_pods}")
        if taken > self.max_share * size + _ROUNDING:
            raise DriverError(f"{taken} of {size} pods would be taken at once, max_share allows {self.max_share:.0%}")

    def _rooms(self, everyone: Iterable[Obj], touched: Mapping[str, int]) -> tuple[dict[str, int], int]:
        """How many more pods may be taken: of each workload, and of all together."""
        members: defaultdict[str, list[Obj]] = defaultdict(list)
        for pod in everyone:
            if not _ended(pod):
                members[self.workload(pod)].append(pod)
        away = 0
        rooms: defaultdict[str, int] = defaultdict(int)
        for workload in members.keys() | touched.keys():
            size, serving = len(members[workload]), sum(map(serves, members[workload]))
            # All that were taken from a workload whose pods are not seen at all are still away.
            missing = min(touched.get(workload, 0), size - serving) if size else touched.get(workload, 0)
            by_share = math.floor(self.max_share * size + _ROUNDING) - missing
            staying = serving if self.max_share >= 1 else serving - 1
            rooms[workload] = max(0, min(by_share, staying, size - 1 if size > 1 else size))
            away += missing
        return rooms, max(0, self.max_pods - away)

    def _too_much(self, wanted: int, *, able: int, matched: int, allowed: int) -> str:
        if able < max(wanted, 1):
            fit = "ready, replaced by a controller, and among the frozen targets"
            return f"{wanted or 1} pods are asked for, {able} of {matched} that match may be taken: {fit}"
        if wanted > self.max_pods:
            return f"{wanted} pods are asked for, max_pods allows {self.max_pods}; take fewer"
        return (
            f"{wanted} pods are asked for, max_share {self.max_share:.0%} of a workload allows {allowed}, and one ready"
            " pod of each has to stay; take fewer"
        )


def serves(pod: Obj) -> bool:
    """Whether the pod is up, is not ours, and would be replaced if it were deleted."""
    annotations = pod["metadata"].get("annotations") or {}
    up = running(pod) and ready(pod)
    return up and controller_of(pod) is not None and MIRROR not in annotations and RUN not in labels_of(pod)


def frozen(environment: Mapping[str, str]) -> Radius | None:
    """The radius in the file that LCH_TARGETS names; None without one. Raises DriverError when it cannot be read."""
    path = environment.get(TARGETS)
    if not path:
        return None
    try:
        said = json.loads(Path(path).read_text(encoding="utf-8"))
        return Radius(
            pods=dict(said["pods"]),
            owners=frozenset(said["owners"]),
            nodes=dict(said["nodes"]),
            max_pods=int(said["max_pods"]),
            max_share=float(said["max_share"]),
            max_nodes=int(said["max_nodes"]),
        )
    except (OSError, KeyError, TypeError, ValueError) as problem:
        raise DriverError(f"{TARGETS}: the targets in '{path}' cannot be read: {problem!r}") from problem


def around(pods: Iterable[Obj], nodes: Iterable[Obj] = ()) -> Radius:
    """The radius that consists of these pods and nodes, with no cap but MAX_SHARE: for an action that has no file."""
    inside = [pod for pod in pods if running(pod)]
    on = {uid_of(node): str(node["metadata"]["name"]) for node in nodes}
    return Radius(
        pods={uid_of(pod): str(pod["metadata"]["name"]) for pod in inside},
        owners=frozenset(str(owner["uid"]) for pod in inside if (owner := controller_of(pod))),
        nodes=on,
        max_pods=len(inside),
        max_share=MAX_SHARE,
        max_nodes=len(on),
    )


def taken_at_once(deployment: Obj) -> int:
    """How many pods a rollout of the deployment may take away before others have taken their place."""
    strategy, size = deployment["spec"].get("strategy") or {}, replicas_of(deployment)
    if strategy.get("type") == "Recreate":
        return size
    rolling = strategy.get("rollingUpdate") or {}
    unavailable = _part(rolling.get("maxUnavailable", "25%"), size)
    # The controller allows one, where nothing may be above nor below the number (deployment/util, ResolveFenceposts).
    return unavailable or (1 if rolling.get("maxSurge", "25%") in (0, "0%") else 0)


def replicas_of(deployment: Obj) -> int:
    """How many pods the deployment is to have."""
    return int(deployment["spec"].get("replicas", 1))


def _part(written: int | str, whole: int) -> int:
    """A number, or a percentage rounded down."""
    return whole * int(written.removesuffix("%")) // 100 if isinstance(written, str) else int(written)


def _ended(pod: Obj) -> bool:
    """Whether the pod is on its way out, or has done its work: no longer one of its workload's."""
    return bool(pod["metadata"].get("deletionTimestamp")) or pod.get("status", {}).get("phase") in _FINISHED
