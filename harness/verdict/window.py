"""The intervals that are judged, and which of their seconds belong to a fault."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.history.events import (
    AbortTripped,
    DriverBroke,
    Event,
    Interrupted,
    LoadFailed,
    LoadStopRequested,
    RunEnded,
)
from harness.history.run import Run
from harness.history.views import FaultWindow, phase_windows
from harness.plan.model import Phase, Plan
from harness.verdict.impact import HOLD_S
from harness.verdict.model import Impact

_PUNCTUAL_S = 0.25  # a boundary passed within this much of the plan is the plan's: arrivals follow the plan exactly

_STOPS = (LoadStopRequested, Interrupted, AbortTripped, LoadFailed, DriverBroke, RunEnded)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A phase's judged interval [start_s, end_s) as it really ran; the plan's where it was never entered."""

    phase: Phase
    start_s: float
    end_s: float
    entered: bool
    finished: bool


def windows_of(run: Run) -> tuple[Window, ...]:
    """One window per phase, in plan order. A phase that was cut short ends where the run began to stop."""
    found = []
    for passed in phase_windows(run.plan, run.events):
        phase = passed.phase
        if passed.start_ns is None:
            found.append(Window(phase=phase, start_s=phase.start_s, end_s=phase.end_s, entered=False, finished=False))
            continue
        start_s = _snapped(passed.start_ns / 1e9, phase.start_s)
        end_s = _snapped(_end_s(run, passed.start_ns) if passed.end_ns is None else passed.end_ns / 1e9, phase.end_s)
        end_s = max(min(end_s, phase.end_s), start_s)
        finished = passed.end_ns is not None and end_s == phase.end_s
        found.append(Window(phase=phase, start_s=start_s, end_s=end_s, entered=True, finished=finished))
    return tuple(found)


def hold_s(plan: Plan) -> float:
    """How long the service must be good again for an impact to be over; a rehearsal's is shorter, as all in it is."""
    return HOLD_S * min(plan.time_scale, 1.0)


def record_end_s(run: Run) -> float:
    """The last instant of which the record says anything; 0 for an empty one."""
    events_s = max((event.t_ns / 1e9 for event in run.events), default=0.0)
    return max(events_s, max((frame.second + 1.0 for frame in run.frames), default=0.0))


def disturbed_seconds(
    windows: Sequence[FaultWindow], impacts: Iterable[Impact], held_s: float, end_s: float
) -> frozenset[int]:
    """Seconds from each injection until its effect and its impacts were over and held, to the record's end at most."""
    spans = [(impact.start_lo_s, impact.end_hi_s) for impact in impacts if impact.fault is not None]
    spans += [
        (window.requested_ns / 1e9, window.gone[1] / 1e9 if window.gone else end_s)
        for window in windows
        if window.requested_ns is not None
    ]
    found: set[int] = set()
    for lo, hi in spans:
        found.update(range(math.floor(lo), math.ceil(min(hi + held_s, max(end_s, lo)))))
    return frozenset(found)


def _snapped(t_s: float, planned_s: float) -> float:
    return planned_s if abs(t_s - planned_s) <= _PUNCTUAL_S else t_s


def _end_s(run: Run, start_ns: int) -> float:
    stopped = _first_stop(run.events, start_ns)
    return record_end_s(run) if stopped is None else stopped / 1e9


def _first_stop(events: Iterable[Event], after_ns: int) -> int | None:
    stops = (event.t_ns for event in events if isinstance(event.body, _STOPS) and event.t_ns >= after_ns)
    return min(stops, default=None)
