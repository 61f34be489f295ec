"""
What shows that a fault took effect, and that the effect is gone, for the kinds of faults whose effect is one object's
own: nodes, rollouts, scales, and paths that are slow. Pods that are replaced and zones that are cut off, where one
sighting may speak of several faults, are folded in `views`.

An effect reads the history one event at a time. `confirmed` and `gone` are intervals, nanoseconds since run start: the
effect came into force, and was seen to have ended, somewhere in [lo, hi]; None until it is proven.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from harness.history.events import (
    Body,
    CanaryCounted,
    DeploymentSeen,
    NodeGone,
    NodeSeen,
    PodGone,
    PodSeen,
    ReplicaSetSeen,
    RollbackCompleted,
    TargetsFrozen,
)
from harness.plan.model import Experiment, Observe

Interval = tuple[int, int]

BAD_MIN = 5  # probes that were bad before paths count as degraded
SHARE_MIN = 0.05  # of the probes across
TIMES_MIN = 3.0  # as large as the share on paths that the fault leaves alone
CLEAN_MIN = 30  # probes across in a row, none bad, before paths count as whole again


@dataclass(slots=True, kw_only=True)
class Played:
    """How far a fault has been played; nanoseconds since run start."""

    requested_ns: int | None = None
    action_ns: int | None = None  # when the first of its activities that act (and not only probe) began
    rollback_requested_ns: int | None = None
    rollback_ns: int | None = None

    def since(self, t_ns: int) -> Interval:
        """When something seen at t_ns may have begun: not before the request, nor before the first action."""
        begun = [mark for mark in (self.requested_ns, self.action_ns) if mark is not None and mark <= t_ns]
        return (max(begun, default=t_ns), t_ns)


@dataclass(slots=True)
class World:
    """The cluster as last seen."""

    pods: dict[str, PodSeen] = field(default_factory=dict)  # by UID
    nodes: dict[str, NodeSeen] = field(default_factory=dict)
    deployments: dict[str, DeploymentSeen] = field(default_factory=dict)
    replica_sets: dict[str, ReplicaSetSeen] = field(default_factory=dict)  # by UID

    def see(self, body: Body) -> None:
        """Take in one more event."""
        match body:
            case PodSeen():
                self.pods[body.uid] = body
            case PodGone():
                self.pods.pop(body.uid, None)
            case NodeSeen():
                self.nodes[body.node] = body
            case NodeGone():
                self.nodes.pop(body.node, None)
            case DeploymentSeen():
                self.deployments[body.deployment] = body
            case ReplicaSetSeen():
                self.replica_sets[body.uid] = body

    def ready(self) -> dict[str, PodSeen]:
        """The pods in service, by UID; one that is on its way out is not, whatever its readiness still says."""
        return {uid: pod for uid, pod in self.pods.items() if pod.ready and not pod.terminating}


def made_by(owner: str, makers: Collection[str], replica_sets: Mapping[str, ReplicaSetSeen]) -> bool:
    """
    Whether the controller is one of the makers, or another ReplicaSet of the same Deployment: a later rollout's.

    All by UID; `replica_sets` are those seen.
    """
    own = replica_sets.get(owner)
    return owner in makers or (
        own is not None
        and any(maker in replica_sets and replica_sets[maker].deployment == own.deployment for maker in makers)
    )


class Effect(Protocol):
    """What is known of one fault's effect. `begin` comes once, at the request; then every event, in order."""

    confirmed: Interval | None
    gone: Interval | None
    evidence: str  # what `confirmed` rests on; empty before
    unseen: str  # what was to be seen and was not
    remains: str  # what is still to be seen when it is not gone

    def begin(self, world: World, targets: TargetsFrozen | None) -> None:
        """The injection was requested; `targets` are what it may touch."""

    def see(self, t_ns: int, body: Body, world: World, played: Played) -> None:
        """One more event, which `world` and `played` know already."""


def effect_of(experiment: Experiment) -> Effect | None:
    """What proves this experiment's effect; None for the kinds that are folded together."""
    match experiment.observe:
        case Observe.NODES_OUT:
            return NodesOut(whole_zone=experiment.zone is not None)
        case Observe.ROLLED_OUT:
            rolls_back = bool(json.loads(experiment.document).get("rollbacks"))
            return RolledOut(deployment=experiment.deployment or "", rolls_back=rolls_back)
        case Observe.SCALED_DOWN:
            return ScaledDown(deployment=experiment.deployment or "")
        case Observe.PATHS_DEGRADED:
            return PathsDegraded(zone=experiment.zone or "")
    return None


@dataclass(slots=True, kw_only=True)
class NodesOut:
    """
    Nodes are out when they take no pods (not ready, cordoned, or with a taint they did not have) and no target is ready
    there: every node of a whole zone, else any. Gone: all are as before, and as many pods are ready as before.
    """

    whole_zone: bool
    confirmed: Interval | None = None
    gone: Interval | None = None
    evidence: str = ""
    unseen: str = "no targeted node was seen without ready pods and closed to new ones"
    remains: str = "not all nodes and pods are back"
    _targets: TargetsFrozen | None = None
    _before: dict[str, NodeSeen] = field(default_factory=dict)
    _pods: dict[str, PodSeen] = field(default_factory=dict)  # those of the targets in service on these nodes, by UID
    _wanted: int = 0
    _left: Interval | None = None  # when the first of them left service

    def begin(self, world: World, targets: TargetsFrozen | None) -> None:
        """See Effect."""
        self._targets = targets
        self._before = {name: world.nodes[name] for name in (targets.nodes if targets else ()) if name in world.nodes}
        self._wanted = len(world.ready())
        there = {uid: pod for uid, pod in world.ready().items() if pod.node in self._before}
        self._pods = {uid: pod for uid, pod in there.items() if self._may(pod, world)}

    def see(self, t_ns: int, body: Body, world: World, played: Played) -> None:
        """See Effect."""
        if not isinstance(body, PodSeen | PodGone | NodeSeen | NodeGone | RollbackCompleted):
            return
        ready = world.ready()
        if self._left is None and any(uid not in ready for uid in self._pods):
            self._left = played.since(t_ns)
        if self.confirmed is None and played.rollback_ns is None:
            self._confirm(world, ready)
        elif played.rollback_requested_ns is not None:
            back = all(self._as_before(name, world) for name in self._before) and len(ready) >= self._wanted
            self.gone = (self.gone or (t_ns, t_ns)) if back else None

    def _confirm(self, world: World, ready: dict[str, PodSeen]) -> None:
        served = {pod.node for pod in self._pods.values()}
        still = {pod.node for pod in ready.values() if self._may(pod, world)}
        out = [name for name in self._before if name not in still and not self._as_before(name, world)]
        enough = len(out) == len(self._before) if self.whole_zone else True
        if enough and served & set(out) and self._left is not None:
            self.confirmed = self._left
            self.evidence = f"{', '.join(sorted(out))} took no pods and had no ready one"

    def _may(self, pod: PodSeen, world: World) -> bool:
        """Whether the pod is one of the targets, or made by what made one."""
        known = self._targets
        return known is not None and (pod.pod in known.names or made_by(pod.owner, known.owners, world.replica_sets))

    def _as_before(self, name: str, world: World) -> bool:
        node, before = world.nodes.get(name), self._before[name]
        if node is None:
            return False
        open_again = node.ready >= before.ready and node.schedulable >= before.schedulable
        return open_again and set(node.taints) <= set(before.taints)


@dataclass(slots=True, kw_only=True)
class RolledOut:
    """
    A rollout is on once there is a pod of a revision that had none. Gone: it is complete, no pod of an old revision is
    left; or, when the experiment rolls back, none of the new one and as many of the old are ready as before.
    """

    deployment: str
    rolls_back: bool
    confirmed: Interval | None = None
    gone: Interval | None = None
    evidence: str = ""
    unseen: str = "no pod of a new revision was seen"
    remains: str = "the rollout is not complete"
    _old: frozenset[str] = frozenset()  # UIDs of the ReplicaSets that had pods
    _wanted: int = 0  # ready pods of these

    def begin(self, world: World, targets: TargetsFrozen | None) -> None:  # noqa: ARG002
        """See Effect."""
        owners = {pod.owner for pod in world.pods.values()}
        mine = {uid for uid, one in world.replica_sets.items() if one.deployment == self.deployment}
        self._old = frozenset(mine & owners)
        self._wanted = sum(pod.owner in self._old for pod in world.ready().values())

    def see(self, t_ns: int, body: Body, world: World, played: Played) -> None:
        """See Effect."""
        if not isinstance(body, PodSeen | PodGone | DeploymentSeen | ReplicaSetSeen | RollbackCompleted):
            return
        mine = {uid for uid, one in world.replica_sets.items() if one.deployment == self.deployment}
        new = sorted(pod.pod for pod in world.pods.values() if pod.owner in mine - self._old)
        if self.confirmed is None and new and played.rollback_ns is None:
            self.confirmed = played.since(t_ns)
            self.evidence = f"pod {new[0]} is of a new revision of {self.deployment}"
        elif not self.rolls_back:
            self._gone_if(self.confirmed is not None and self._complete(world, without=self._old), t_ns)
        elif played.rollback_requested_ns is not None:
            self._gone_if(self._complete(world, without=mine - self._old), t_ns)

    def _gone_if(self, over: bool, t_ns: int) -> None:  # noqa: FBT001
        self.gone = (self.gone or (t_ns, t_ns)) if over else None

    def _complete(self, world: World, *, without: frozenset[str] | set[str]) -> bool:
        """Whether the deployment is of one revision again, with no pod left of the ReplicaSets `without`."""
        seen = world.deployments.get(self.deployment)
        if seen is None or seen.observed < seen.generation:
            return False
        whole = seen.wanted == seen.replicas == seen.updated and seen.available >= seen.wanted
        return whole and seen.ready >= self._wanted and all(pod.owner not in without for pod in world.pods.values())


@dataclass(slots=True, kw_only=True)
class ScaledDown:
    """A deployment is scaled down once it wants fewer pods, and fewer are ready. Gone: both as before."""

    deployment: str
    confirmed: Interval | None = None
    gone: Interval | None = None
    evidence: str = ""
    unseen: str = "the deployment was not seen scaled down, with fewer ready pods"
    remains: str = "not all of the deployment's pods are back"
    _wanted: int = 0
    _ready: int = 0

    def begin(self, world: World, targets: TargetsFrozen | None) -> None:  # noqa: ARG002
        """See Effect."""
        seen = world.deployments.get(self.deployment)
        self._wanted, self._ready = (seen.wanted, seen.ready) if seen else (0, 0)

    def see(self, t_ns: int, body: Body, world: World, played: Played) -> None:
        """See Effect."""
        seen = world.deployments.get(self.deployment)
        if not isinstance(body, DeploymentSeen | RollbackCompleted) or seen is None:
            return
        fewer = seen.wanted < self._wanted and seen.ready < self._ready
        if self.confirmed is None and fewer and played.rollback_ns is None:
            self.confirmed = played.since(t_ns)
            self.evidence = f"{self.deployment} had {seen.ready} of {self._ready} pods ready"
        elif played.rollback_requested_ns is not None:
            back = seen.wanted >= self._wanted and seen.ready >= self._ready
            self.gone = (self.gone or (t_ns, t_ns)) if back else None


@dataclass(slots=True, kw_only=True)
class PathsDegraded:
    """
    Paths are degraded when probes with one end in the zone are slow or fail more often than others do.

    At least BAD_MIN of them, SHARE_MIN of all across, and TIMES_MIN times the share elsewhere. Gone: CLEAN_MIN probes
    across in a row are well, after the rollback was requested.
    """

    zone: str
    confirmed: Interval | None = None
    gone: Interval | None = None
    evidence: str = ""
    unseen: str = "probes across the zone's border were not slower than others"
    remains: str = "the paths are not all proven well again"
    _across: list[int] = field(default_factory=lambda: [0, 0])  # bad, sent
    _elsewhere: list[int] = field(default_factory=lambda: [0, 0])
    _first: Interval | None = None  # the first bad second across
    _clean: int = 0  # probes across since the last bad one
    _clean_since: Interval | None = None
    _last_bad_ns: int = 0

    def begin(self, world: World, targets: TargetsFrozen | None) -> None:
        """See Effect."""

    def see(self, t_ns: int, body: Body, world: World, played: Played) -> None:  # noqa: ARG002
        """See Effect."""
        if not isinstance(body, CanaryCounted) or played.requested_ns is None:
            return
        bad, across = body.failed + body.slow, (body.from_zone == self.zone) != (body.to_zone == self.zone)
        if played.rollback_requested_ns is not None:
            self._recover(body, played.rollback_requested_ns, bad=bad, across=across)
        elif body.lo_ns >= played.requested_ns:
            counts = self._across if across else self._elsewhere
            counts[0] += bad
            counts[1] += body.sent
            if across and bad and self._first is None:
                self._first = (max(body.lo_ns, played.since(body.hi_ns)[0]), body.hi_ns)
            self._confirm()

    def _confirm(self) -> None:
        bad, sent = self._across
        share = bad / max(sent, 1)
        others = self._elsewhere[0] / max(self._elsewhere[1], 1)
        if self.confirmed is None and bad >= BAD_MIN and share >= SHARE_MIN and share >= TIMES_MIN * others:
            self.confirmed = self._first
            self.evidence = f"{share:.0%} of the probes across the border of {self.zone} were slow or failed"

    def _recover(self, body: CanaryCounted, asked_ns: int, *, bad: int, across: bool) -> None:
        if not across or body.lo_ns < asked_ns or self.gone is not None:
            return
        if bad:
            self._clean, self._clean_since, self._last_bad_ns = 0, None, body.lo_ns
            return
        self._clean += body.sent
        self._clean_since = self._clean_since or (max(asked_ns, self._last_bad_ns), body.hi_ns)
        if self._clean >= CLEAN_MIN:
            self.gone = self._clean_since
