"""
Folds over a run's history: when phases really ran, and what is known of each fault. Pure.

All of them take the events in the order written and work on any prefix of a history. Stamps come from several
processes, so a later event may carry an earlier time; each fold looks at events once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from harness.history.effects import Effect, Interval, Played, World, effect_of, made_by
from harness.history.events import (
    ActivityStarted,
    Body,
    CanarySeen,
    Event,
    FaultArmed,
    InjectCompleted,
    InjectFailed,
    InjectRequested,
    PhaseEnded,
    PhaseStarted,
    PodGone,
    PodSeen,
    ReplicaSetSeen,
    RollbackCompleted,
    RollbackFailed,
    RollbackRequested,
    RunEnded,
    Status,
    TargetsFrozen,
)
from harness.plan.model import Fault, Observe, Phase, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultWindow:
    """
    What the history proves of one planned fault; nanoseconds since run start, None where it did not happen.

    `confirmed` and `gone` are intervals: the effect came into force, and was seen to have ended, somewhere in [lo, hi].
    Where one look shows the end (all pods are ready again), both bounds are when that was seen.
    """

    fault: str
    armed: bool
    requested_ns: int | None
    injected_ns: int | None  # the method ended without failure
    failed: str | None  # why the injection failed
    rollback_requested_ns: int | None
    rollback_ns: int | None  # all rollbacks returned
    rollback_failed: str | None
    confirmed: Interval | None
    gone: Interval | None
    evidence: str  # one sentence: what `confirmed` and `gone` rest on, or what is missing


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseWindow:
    """When a phase's judged interval really ran: None where it was never entered, or did not end."""

    phase: Phase
    start_ns: int | None
    end_ns: int | None


def fault_windows(plan: Plan, events: Iterable[Event]) -> tuple[FaultWindow, ...]:
    """
    One window per planned fault, in plan order.

    PODS_REPLACED is confirmed by the deletion of a pod that was ready when injection was requested and is among the
    fault's targets: those frozen, and what replaced them since. It came into force when that pod first left service.
    One pod confirms one fault: of several that may have deleted it, the one that began to act first and has none yet.
    It is gone when as many pods are ready as at the request, or as at that of an earlier fault which was not gone
    then; until its rollbacks have returned, losing pods again takes that back.

    ZONE_CUT is confirmed when a canary with one end in the zone fails, over new connections and over one that was open,
    while none with both ends inside does; a failing canary inside, before the cut is gone, takes that back (the zone is
    broken, not cut off). It is gone when, after rollback was requested, every canary succeeds.

    The other kinds are in `effects`. None came into force before the first activity that acts; a later one need not be
    what did it.
    """
    fold = _Fold(plan)
    for event in events:
        fold.see(event.t_ns, event.body)
    return tuple(known.window() for known in fold.known.values())


class Targets:
    """
    The pods that each fault may touch: those frozen before the run, and the pods that replaced them since.

    A pod first seen after a fault was requested replaces a target when the same object controls both, or ReplicaSets of
    one Deployment do; where its controller is not known, when their names differ in the last part only.
    """

    def __init__(self) -> None:
        self._acting = False  # a fault was requested
        self._frozen: dict[str, frozenset[str]] = {}
        self._makers: dict[str, frozenset[str]] = {}  # UIDs of controllers, else what names begin with
        self._seen: set[str] = set()
        self._new: dict[str, str] = {}  # pod -> its maker
        self._replica_sets: dict[str, ReplicaSetSeen] = {}  # by UID

    def see(self, body: Body) -> None:
        """Take in one more event."""
        if isinstance(body, TargetsFrozen):
            self._frozen[body.fault] = frozenset(body.names)
            self._makers[body.fault] = frozenset(body.owners or map(_maker, body.names))
        elif isinstance(body, PodSeen) and body.pod not in self._seen:
            self._seen.add(body.pod)
            if self._acting:
                self._new[body.pod] = body.owner
        elif isinstance(body, ReplicaSetSeen):
            self._replica_sets[body.uid] = body
        elif isinstance(body, InjectRequested):
            self._acting = True

    def has(self, fault: str, pod: str) -> bool:
        """Whether the fault may touch the pod of this name."""
        if pod in self._frozen.get(fault, ()):
            return True
        owner, makers = self._new.get(pod), self._makers.get(fault, frozenset())
        return owner is not None and (_maker(pod) in makers or made_by(owner, makers, self._replica_sets))


def _maker(pod: str) -> str:
    return pod.rpartition("-")[0]


def phase_windows(plan: Plan, events: Iterable[Event]) -> tuple[PhaseWindow, ...]:
    """One window per planned phase, in plan order."""
    starts: dict[str, int] = {}
    ends: dict[str, int] = {}
    for event in events:
        if isinstance(event.body, PhaseStarted):
            starts.setdefault(event.body.phase, event.t_ns)
        elif isinstance(event.body, PhaseEnded):
            ends.setdefault(event.body.phase, event.t_ns)
    return tuple(
        PhaseWindow(phase=phase, start_ns=starts.get(phase.name), end_ns=ends.get(phase.name)) for phase in plan.phases
    )


def ready_pods(events: Iterable[Event]) -> tuple[tuple[int, int], ...]:
    """The number of ready pods as a step function: (t_ns, count) at every change, beginning with the first pod seen."""
    ready: set[str] = set()
    steps: list[tuple[int, int]] = []
    for event in events:
        if isinstance(event.body, PodSeen | PodGone):
            _update(ready, event.body)
            if not steps or steps[-1][1] != len(ready):
                steps.append((event.t_ns, len(ready)))
    return tuple(steps)


def status_of(events: Iterable[Event]) -> Status:
    """How execution ended; CRASHED when the history has no RunEnded."""
    status = Status.CRASHED
    for event in events:
        if isinstance(event.body, RunEnded):
            status = event.body.status
    return status


def _update(ready: set[str], body: PodSeen | PodGone) -> None:
    """A pod that is on its way out counts as gone from service, whatever its readiness still says."""
    if isinstance(body, PodSeen) and body.ready and not body.terminating:
        ready.add(body.uid)
    else:
        ready.discard(body.uid)


def _probes(fault: Fault) -> frozenset[str]:
    """The names of the experiment's activities that only look."""
    document = json.loads(fault.experiment.document)
    hypothesis = document.get("steady-state-hypothesis") or {}
    activities = [*hypothesis.get("probes", ()), *document.get("method", ())]
    return frozenset(activity["name"] for activity in activities if activity.get("type") == "probe")


@dataclass(slots=True, kw_only=True)
class _Known(Played):
    """What is known of one fault so far."""

    fault: Fault
    effect: Effect | None  # of the kinds that are not folded here
    armed: bool = False
    injected_ns: int | None = None
    failed: str | None = None
    targets: TargetsFrozen | None = None
    rollback_failed: str | None = None
    confirmed: Interval | None = None
    gone: Interval | None = None
    ready_before: frozenset[str] = frozenset()  # UIDs ready when injection was requested
    wanted: int = 0  # so many ready pods are all of them
    left: dict[str, Interval] = field(default_factory=dict)  # UID of a target -> when it left service
    deleted: str | None = None  # UID of the pod that confirms it
    settled: bool = False  # what happens to pods from here on is not this fault's doing
    evidence: str = ""
    passing: str = ""  # what still passed a cut when something else no longer did

    def window(self) -> FaultWindow:
        if self.effect is not None:
            self.confirmed, self.gone, self.evidence = self.effect.confirmed, self.effect.gone, self.effect.evidence
        return FaultWindow(
            fault=self.fault.name,
            armed=self.armed,
            requested_ns=self.requested_ns,
            injected_ns=self.injected_ns,
            failed=self.failed,
            rollback_requested_ns=self.rollback_requested_ns,
            rollback_ns=self.rollback_ns,
            rollback_failed=self.rollback_failed,
            confirmed=self.confirmed,
            gone=self.gone,
            evidence=self._evidence(),
        )

    def _evidence(self) -> str:
        if self.requested_ns is None:
            return "never injected"
        if self.effect is not None:
            unseen, still = self.effect.unseen, self.effect.remains
        elif self.replaces:
            unseen, still = "no targeted pod was seen deleted", "still missing pods"
        else:
            unseen, still = "no canary across the cut was seen failing", "the paths are not all proven open again"
        if self.confirmed is None:
            return self.evidence or self.passing or unseen
        return self.evidence + ("" if self.gone else f"; {still}")

    @property
    def acted_ns(self) -> tuple[bool, int]:
        """Sorts faults by when they began to act; those that are not known to have acted come last."""
        return (self.action_ns is None, self.action_ns or self.requested_ns or 0)

    @property
    def replaces(self) -> bool:
        """Whether pods that are replaced are its effect."""
        return self.fault.experiment.observe is Observe.PODS_REPLACED


class _Fold:
    """The state of the world while a history is read."""

    def __init__(self, plan: Plan) -> None:
        self.known = {fault.name: _Known(fault=fault, effect=effect_of(fault.experiment)) for fault in plan.faults}
        self._world = World()
        self._replacing: list[_Known] = []  # faults of that kind, once requested
        self._cutting: list[_Known] = []
        self._ready: set[str] = set()
        self._targets = Targets()
        self._paths: dict[tuple[str, str], dict[str, CanarySeen]] = {}  # what was last seen of each, by `via`
        self._opened: Interval | None = None  # when the newest path opened

    def see(self, t_ns: int, body: Body) -> None:
        self._world.see(body)
        self._fold(t_ns, body)
        for known in self.known.values():
            if known.effect is not None and known.requested_ns is not None:
                known.effect.see(t_ns, body, self._world, known)

    def _fold(self, t_ns: int, body: Body) -> None:
        match body:
            case PodSeen() | PodGone():
                _update(self._ready, body)
                self._targets.see(body)
                for known in sorted(self._replacing, key=lambda one: one.acted_ns):
                    self._left(known, t_ns, body)
                self._confirm(body)
                for known in self._replacing:
                    self._count(known, t_ns)
            case ReplicaSetSeen():
                self._targets.see(body)
            case CanarySeen():
                self._paths.setdefault((body.from_zone, body.to_zone), {})[body.via] = body
                if body.ok:
                    self._opened = (body.lo_ns, body.hi_ns)
                for known in self._cutting:
                    self._canary(known, body)
            case (
                TargetsFrozen()
                | FaultArmed()
                | InjectRequested()
                | InjectCompleted()
                | InjectFailed()
                | ActivityStarted()
                | RollbackRequested()
                | RollbackCompleted()
                | RollbackFailed()
            ):
                known_or_none = self.known.get(body.fault)
                if known_or_none is not None:
                    self._step(known_or_none, t_ns, body)

    def _step(self, known: _Known, t_ns: int, body: Body) -> None:
        match body:
            case TargetsFrozen():
                known.targets = body
                self._targets.see(body)
            case FaultArmed():
                known.armed = True
            case InjectRequested() if known.requested_ns is None:
                self._targets.see(body)
                self._request(known, t_ns)
            case InjectCompleted():
                known.injected_ns = t_ns
            case InjectFailed(detail=detail):
                known.failed = detail
            case ActivityStarted(activity=name) if known.action_ns is None and known.rollback_requested_ns is None:
                known.action_ns = None if name in _probes(known.fault) else t_ns
            case RollbackRequested() if known.rollback_requested_ns is None:
                known.rollback_requested_ns = t_ns
                if known.confirmed and self._opened:  # else it may be on unseen: what canaries say comes a second late
                    self._all_open(known, self._opened)
            case RollbackCompleted():
                known.rollback_ns = t_ns
                known.rollback_failed = None  # tried again, and done
                known.settled = True
                self._all_open(known, (t_ns, t_ns))
                self._nothing_missing(known, t_ns)
            case RollbackFailed(detail=detail):
                known.rollback_failed = detail

    def _request(self, known: _Known, t_ns: int) -> None:
        known.requested_ns = t_ns
        known.ready_before = frozenset(self._ready)
        known.wanted = len(self._ready)
        if known.effect is not None:
            known.effect.begin(self._world, known.targets)
        elif known.replaces:
            for earlier in self._replacing:
                earlier.settled = earlier.settled or earlier.gone is not None
                if earlier.gone is None:
                    known.wanted = max(known.wanted, earlier.wanted)
            self._replacing.append(known)
        else:
            self._cutting.append(known)

    def _left(self, known: _Known, t_ns: int, body: PodSeen | PodGone) -> None:
        """Note when a target of the fault left service."""
        if body.uid not in self._ready and self._touches(known, body):
            known.left.setdefault(body.uid, known.since(t_ns))

    def _touches(self, known: _Known, body: PodSeen | PodGone) -> bool:
        return body.uid in known.ready_before and self._targets.has(known.fault.name, body.pod)

    def _confirm(self, body: PodSeen | PodGone) -> None:
        """A deleted pod confirms one fault that has none yet."""
        if not isinstance(body, PodGone) or any(known.deleted == body.uid for known in self._replacing):
            return
        may = (known for known in self._replacing if known.deleted is None and self._touches(known, body))
        known = min(may, key=lambda one: one.acted_ns, default=None)
        if known is not None:
            known.deleted, known.confirmed = body.uid, known.left[body.uid]
            known.evidence = f"pod {body.pod} (uid {body.uid}) was deleted"

    def _count(self, known: _Known, t_ns: int) -> None:
        if len(self._ready) < known.wanted:
            if not known.settled:
                known.gone = None
        elif known.gone is None and known.confirmed is not None:
            known.gone = (t_ns, t_ns)

    def _nothing_missing(self, known: _Known, t_ns: int) -> None:
        """A fault that never took a pod away is gone once its rollbacks have returned."""
        enough = 0 < known.wanted <= len(self._ready)
        if known.replaces and known.gone is None and known.requested_ns is not None and enough:
            known.gone = (t_ns, t_ns)

    def _canary(self, known: _Known, body: CanarySeen) -> None:
        zone = known.fault.experiment.zone
        inside = body.from_zone == zone == body.to_zone
        across = (body.from_zone == zone) != (body.to_zone == zone)
        if across and not body.ok and (known.rollback_ns is None or body.lo_ns < known.rollback_ns):
            known.gone = None
        if not body.ok and known.gone is None:
            if across:
                self._cut(known, zone, self._paths[body.from_zone, body.to_zone].values())
            elif inside:
                known.confirmed = None
                known.evidence = f"canary inside {zone} failed: the zone was broken, not cut off"
        if body.ok and known.rollback_requested_ns is not None:
            self._all_open(known, (body.lo_ns, body.hi_ns))

    def _cut(self, known: _Known, zone: str | None, path: Collection[CanarySeen]) -> None:
        """A path across fails; that is the cut unless part of it holds, or the zone does not hold together."""
        if any(seen.ok for seen in path):
            known.passing = "connections that were open before went on, so it was not cut off"
            return
        known.passing = ""
        one = max(path, key=lambda seen: seen.hi_ns)  # from the moment when neither old nor new connections pass
        lo_ns, hi_ns = max(seen.lo_ns for seen in path), one.hi_ns
        broken = any(not seen.ok for seen in self._paths.get((zone or "", zone or ""), {}).values())
        earliest_ns = known.since(hi_ns)[0]  # the instant itself when it was failing before the request
        if earliest_ns < hi_ns and known.confirmed is None and not broken and not known.evidence:
            known.confirmed = (max(lo_ns, earliest_ns), hi_ns)
            known.evidence = f"canary {one.from_zone} -> {one.to_zone} failed, none inside {zone} did"

    def _all_open(self, known: _Known, interval: Interval) -> None:
        cuts = known.fault.experiment.observe is Observe.ZONE_CUT
        lanes = [seen.ok for path in self._paths.values() for seen in path.values()]
        if cuts and known.gone is None and lanes and all(lanes):
            known.gone = interval
