"""A run as recorded: everything a verdict may look at."""

from __future__ import annotations

from dataclasses import dataclass

from harness.history.events import Event
from harness.history.load import FailedRequest, LoadFrame, WorkerHealth
from harness.history.series import Series
from harness.plan.model import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The recorded run: plan, history in written order, load frames, worker health, Prometheus samples."""

    name: str  # "stress-150/20261121-010203-ab12"
    plan: Plan
    events: tuple[Event, ...]
    frames: tuple[LoadFrame, ...]
    health: tuple[WorkerHealth, ...]
    series: tuple[Series, ...]
    failures: tuple[FailedRequest, ...] = ()
