"""
The protocols between the conductor and the world: small, consumer-owned, each with a shipped fake in `fake.py`.

Drivers never block the conductor for long: actions return at once, what comes of them is polled. All stamps are
CLOCK_MONOTONIC nanoseconds (`time.monotonic_ns()`), which all processes of one host share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.history.events import Stamped
from harness.history.load import LoadFrame, WorkerHealth
from harness.history.series import Series
from harness.plan.model import Fault, Phase


class Clock(Protocol):
    """Where the conductor gets time from, and how it waits."""

    def mono_ns(self) -> int:
        """CLOCK_MONOTONIC, nanoseconds."""

    def wall_ns(self) -> int:
        """Unix time, nanoseconds."""

    def wait(self, until_mono_ns: int, fds: Sequence[int]) -> None:
        """Return at `until_mono_ns`, or earlier when one of `fds` is readable or a signal came."""


class Driver(Protocol):
    """What every driver can do."""

    def fds(self) -> Sequence[int]:
        """File descriptors that become readable when `poll` would return something."""

    def poll(self) -> Sequence[Stamped]:
        """What happened since the last call, in order. Raises DriverError when the driver is broken for good."""

    def close(self) -> None:
        """End every process and thread the driver started. Idempotent; safe at any moment."""


@dataclass(frozen=True, slots=True)
class LoadBatch:
    """Load frames and worker health that arrived since the last call."""

    frames: tuple[LoadFrame, ...]
    health: tuple[WorkerHealth, ...]


class LoadDriver(Driver, Protocol):
    """Generates arrivals according to the plan it was built with."""

    def prepare(self) -> int:
        """Start the engine; returns how many workers are ready. Blocks, at most 30 s; raises DriverError."""

    def start(self, t0_mono_ns: int) -> None:
        """Begin: t = 0 of the load profile is `t0_mono_ns` (now or a little later). LoadStarted will be polled."""

    def stop(self) -> None:
        """Plan no more arrivals from now, drain to the deadline. LoadStopped will be polled after the last frame."""

    def take(self) -> LoadBatch:
        """Frames and health received since the last call."""


class FaultDriver(Driver, Protocol):
    """Plays experiments, one child process per fault."""

    def preflight(self) -> Sequence[Stamped]:
        """
        Check every planned fault against the cluster and freeze its targets (TargetsFrozen, one per fault).

        Raises PlanError when a selector matches nothing or a cap is exceeded, DriverError when the cluster does
        not answer. Starts what observation needs (canaries), so that it is ready before load starts.
        """

    def inject(self, fault: Fault) -> None:
        """Arm, then play the method. FaultArmed, InjectCompleted or InjectFailed will be polled."""

    def rollback(self, fault: Fault) -> None:
        """Play the rollbacks now, cutting a running method short. RollbackCompleted or RollbackFailed is polled."""


class MetricsSource(Driver, Protocol):
    """Fetches the raw samples that the plan's Prometheus SLIs need."""

    def preflight(self) -> None:
        """Raise DriverError when the source does not answer."""

    def fetch(self, phase: Phase, start_s: float, end_s: float, t0_wall_ns: int) -> None:
        """Ask for the series of `phase` over [start_s, end_s) since run start; QueryFailed, QueryWarned are polled."""

    def pending(self) -> int:
        """How many fetches have been asked for and not been answered."""

    def take(self) -> Sequence[Series]:
        """Series received since the last call."""


class ClusterObserver(Driver, Protocol):
    """
    Watches pods and endpoints of the plan's cluster.

    PodSeen, PodGone, EndpointsSeen, WatchGap and CanarySeen are polled; clock readings inside them are absolute.
    """

    def preflight(self) -> Sequence[Stamped]:
        """List once and begin to watch; returns the pods and endpoints that are there. Raises DriverError."""
