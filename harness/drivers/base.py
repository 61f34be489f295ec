"""
The protocols between the conductor and the world: small, consumer-owned, each with a shipped fake in `fake.py`.

Drivers never block the conductor for long: actions return at once, what comes of them is polled. All stamps are
CLOCK_MONOTONIC nanoseconds (`time.monotonic_ns()`), which all processes of one host share.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from harness.history.events import Stamped
from harness.history.load import FailedRequest, LoadFrame, WorkerHealth
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
    """Load frames, worker health and sampled failures that arrived since the last call."""

    frames: tuple[LoadFrame, ...]
    health: tuple[WorkerHealth, ...]
    failures: tuple[FailedRequest, ...] = ()


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

    def preflight(self) -> Sequence[Stamped]:
        """
        Run every query once; returns what they answered (QueryProbed).

        Raises DriverError when the source does not answer, PlanError when a query cannot give what a rule needs.
        """

    def fetch(self, phase: Phase, start_s: float, end_s: float, t0_wall_ns: int) -> None:
        """Ask for the series of `phase` over [start_s, end_s) since run start; what went wrong is polled as events."""

    def pending(self) -> int:
        """How many fetches have been asked for and not been answered."""

    def take(self) -> Sequence[Series]:
        """Series received since the last call."""


class ClusterObserver(Driver, Protocol):
    """
    Watches what the plan is about of its cluster: pods, endpoints, nodes, rollouts, leases, warnings, canaries.

    What it sees, and WatchGap for when it saw nothing, is polled; clock readings inside events are absolute.
    """

    def preflight(self) -> Sequence[Stamped]:
        """List once and begin to watch; returns all that is there. Raises DriverError."""


class AuditDriver(Driver, Protocol):
    """Writes to the service while the run lasts, and reads everything back at the end."""

    def preflight(self) -> Sequence[Stamped]:
        """Show that the service keeps the audit's contract. Blocks, at most 30 s; raises DriverError."""

    def start(self, t0_mono_ns: int) -> None:
        """Write from `t0_mono_ns` on. AuditStarted is polled."""

    def read_back(self) -> None:
        """Write no more and read back. AuditCompleted or AuditFailed is polled once, within a bounded time."""


class Exporter(Protocol):
    """Serves what the generator does to Prometheus while the run lasts. It listens from the moment it is made."""

    address: str  # "127.0.0.1:9646", as seen from this machine

    def note(self, stamped: Stamped) -> None:
        """Take note of what happened: RunStarted is t = 0, RunEnded the end."""

    def count(self, batch: LoadBatch) -> None:
        """Add frames and health."""

    def scrapes(self) -> tuple[int, int]:
        """How often it was scraped so far, and how often since the run ended."""

    def close(self) -> None:
        """Stop listening. Idempotent."""


class SignalSource(Protocol):
    """Where interruptions come from."""

    def fds(self) -> Sequence[int]:
        """Descriptors that become readable when a signal came."""

    def poll(self) -> Sequence[Stamped]:
        """The signals that came since the last call."""

    def raising(self) -> AbstractContextManager[None]:
        """While entered, a signal raises StoppedError instead; one that came before, at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drivers:
    """The world as the conductor sees it. What the plan does not need is None."""

    load: LoadDriver
    faults: FaultDriver | None
    metrics: MetricsSource | None
    cluster: ClusterObserver | None
    exporter: Exporter | None = None
    audit: AuditDriver | None = None

    def all(self) -> tuple[tuple[str, Driver], ...]:
        """The drivers there are, by name, in the order in which they are polled."""
        named = (
            *(("cluster", self.cluster), ("faults", self.faults), ("load", self.load), ("metrics", self.metrics)),
            ("audit", self.audit),
        )
        return tuple((name, driver) for name, driver in named if driver is not None)

    def close(self) -> None:
        """End everything every driver started."""
        for _, driver in self.all():
            driver.close()
        if self.exporter:
            self.exporter.close()
