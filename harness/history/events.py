"""
The closed union of things that can happen in a run, one frozen class each.

`t_ns` of an event is monotonic nanoseconds since run start, stamped where the thing happened (a child
process stamps its own; all are on one host and share CLOCK_MONOTONIC). Every action of the harness writes
`...Requested` before and `...Completed`, `...Failed` or `...Unknown` after: a missing completion is evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from harness.history.audit import AuditBody
from harness.history.sightings import (
    CanaryCounted as CanaryCounted,
    CanarySeen as CanarySeen,
    ClusterWarned as ClusterWarned,
    DeploymentSeen as DeploymentSeen,
    EndpointsSeen as EndpointsSeen,
    LeaseSeen as LeaseSeen,
    NodeGone as NodeGone,
    NodeSeen as NodeSeen,
    PodGone as PodGone,
    PodSeen as PodSeen,
    ReplicaSetSeen as ReplicaSetSeen,
    WatchGap as WatchGap,
)


class Status(StrEnum):
    """How execution ended. Says nothing about the service."""

    COMPLETED = "completed"
    ABORTED = "aborted"  # an abort threshold tripped
    INTERRUPTED = "interrupted"  # Ctrl-C or SIGTERM
    CRASHED = "crashed"  # a driver or the harness broke; or the record ends without an end


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The run began; `wall_ns` (Unix time) is the run's only wall-clock anchor, taken at t_ns = 0."""

    kind: ClassVar[str] = "run_started"
    run: str
    wall_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """Execution ended; the last event of an orderly run."""

    kind: ClassVar[str] = "run_ended"
    status: Status
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStarted:
    """The phase's judged interval began (load reached, settled)."""

    kind: ClassVar[str] = "phase_started"
    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEnded:
    """The phase's judged interval ended."""

    kind: ClassVar[str] = "phase_ended"
    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStartRequested:
    """The generator was told to begin; t = 0 of the load profile is the run's t_ns = 0."""

    kind: ClassVar[str] = "load_start_requested"
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStarted:
    """All workers hold the plan and run."""

    kind: ClassVar[str] = "load_started"
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStopRequested:
    """The generator was told to schedule no more arrivals from now on, and to drain."""

    kind: ClassVar[str] = "load_stop_requested"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStopped:
    """Drained. `scheduled_until_ns` is the intended time up to which arrivals were planned."""

    kind: ClassVar[str] = "load_stopped"
    scheduled_until_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFailed:
    """The generator as a whole broke; what it had sent so far is in the load record."""

    kind: ClassVar[str] = "load_failed"
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost:
    """A load worker died; its arrivals from here until the re-striping are counted as lost."""

    kind: ClassVar[str] = "worker_lost"
    worker: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerJoined:
    """A load worker took part from here on: a dead one's replacement, or a remote one that came (back)."""

    kind: ClassVar[str] = "worker_joined"
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetsFrozen:
    """
    Preflight resolved what the fault may touch, before the run.

    Pods by name, UID and (for what replaces them meanwhile) the UIDs of the objects that control them; nodes by name.
    """

    kind: ClassVar[str] = "targets_frozen"
    fault: str
    names: tuple[str, ...]  # of pods, sorted
    uids: tuple[str, ...] = ()  # of the same pods
    owners: tuple[str, ...] = ()  # UIDs, sorted
    nodes: tuple[str, ...] = ()  # sorted


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightChecked:
    """What one check before the run found. A check that forbids the run ends it, so only these two are recorded."""

    kind: ClassVar[str] = "preflight_checked"
    check: str  # e.g. "permissions", "open_paths", "disruption_budget", "reaper"
    ok: bool  # False: a warning
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldLost:
    """The run lost its hold on the cluster (its Lease or dead-man Job is gone, or could not be renewed in time)."""

    kind: ClassVar[str] = "hold_lost"
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultArmed:
    """The fault's undo is on disk and the watchdog has acknowledged it. Nothing is injected before this."""

    kind: ClassVar[str] = "fault_armed"
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectRequested:
    """The experiment's method was told to begin."""

    kind: ClassVar[str] = "inject_requested"
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectCompleted:
    """The experiment's method ended without a failed activity."""

    kind: ClassVar[str] = "inject_completed"
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectFailed:
    """An activity of the method failed, or the child could not run."""

    kind: ClassVar[str] = "inject_failed"
    fault: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityStarted:
    """A Chaos Toolkit activity began its call (stamped in the child)."""

    kind: ClassVar[str] = "activity_started"
    fault: str
    activity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityCompleted:
    """A Chaos Toolkit activity returned; `status` is Chaos Toolkit's own word."""

    kind: ClassVar[str] = "activity_completed"
    fault: str
    activity: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackRequested:
    """The fault's rollbacks were told to begin."""

    kind: ClassVar[str] = "rollback_requested"
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackCompleted:
    """All rollbacks returned without failure."""

    kind: ClassVar[str] = "rollback_completed"
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackFailed:
    """A rollback failed, was cut short, or the child died before playing it."""

    kind: ClassVar[str] = "rollback_failed"
    fault: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryFailed:
    """A query for an SLI in a phase was not answered."""

    kind: ClassVar[str] = "query_failed"
    sli: str
    phase: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRefused:
    """A query for an SLI in a phase was answered, but not with data."""

    kind: ClassVar[str] = "query_refused"
    sli: str
    phase: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryWarned:
    """Prometheus answered with warnings or infos (partial data)."""

    kind: ClassVar[str] = "query_warned"
    sli: str
    phase: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryProbed:
    """What a query of the plan answered before the run began, so that a query which sees nothing is noticed."""

    kind: ClassVar[str] = "query_probed"
    sli: str
    value: float | None  # None where there was no finite number
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AbortTripped:
    """An abort threshold was proven breached; the run stops now."""

    kind: ClassVar[str] = "abort_tripped"
    phase: str
    sli: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """A signal asked the harness to stop."""

    kind: ClassVar[str] = "interrupted"
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverBroke:
    """A driver raised; the run is being brought down."""

    kind: ClassVar[str] = "driver_broke"
    driver: str
    detail: str


Body = (
    RunStarted
    | RunEnded
    | PhaseStarted
    | PhaseEnded
    | LoadStartRequested
    | LoadStarted
    | LoadStopRequested
    | LoadStopped
    | LoadFailed
    | WorkerLost
    | WorkerJoined
    | TargetsFrozen
    | PreflightChecked
    | HoldLost
    | FaultArmed
    | InjectRequested
    | InjectCompleted
    | InjectFailed
    | ActivityStarted
    | ActivityCompleted
    | RollbackRequested
    | RollbackCompleted
    | RollbackFailed
    | CanarySeen
    | CanaryCounted
    | PodSeen
    | PodGone
    | EndpointsSeen
    | NodeSeen
    | NodeGone
    | DeploymentSeen
    | ReplicaSetSeen
    | LeaseSeen
    | ClusterWarned
    | WatchGap
    | QueryFailed
    | QueryRefused
    | QueryWarned
    | QueryProbed
    | AbortTripped
    | AuditBody
    | Interrupted
    | DriverBroke
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the history: `seq` counts from 0 without gaps, in the order written."""

    seq: int
    t_ns: int
    body: Body


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """What a driver reports: a body, and the absolute monotonic clock reading at which it happened."""

    mono_ns: int
    body: Body
