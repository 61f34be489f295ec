"""
The run as values over one time axis: what the hero chart draws and its read-out says.

A run longer than a thousand seconds is shown in equal steps of several seconds; histograms are merged, not averaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.history.events import Event
from harness.history.histogram import Histogram
from harness.history.load import LoadFrame
from harness.history.run import Run
from harness.history.views import FaultWindow, fault_windows, phase_windows, ready_pods
from harness.plan.model import ClientMeasure, ClientSli, Phase, Plan, Tier
from harness.schedule.load import knots_of
from harness.verdict.model import Impact, Outcome, Verdict

POINTS_MAX = 1_000
NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the axis, [t_s, t_s + length). None: nothing was recorded, or too little to say."""

    t_s: float
    ok_per_s: float | None
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    error_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One phase as it was planned: its approach (ramp and settling, judged by nobody) and its judged interval."""

    name: str
    level: float
    outcome: Outcome | None
    judged: bool
    begin_s: float
    start_s: float
    end_s: float
    entered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitLine:
    """A limit that holds over one phase's judged interval, in the unit of its panel."""

    tier: Tier
    start_s: float
    end_s: float
    limit: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultBar:
    """A fault from injection until its effect was gone. Open at the end: never seen gone."""

    name: str
    from_s: float
    on_s: float | None  # came into force: the middle of the interval in which it did
    rollback_s: float | None
    gone_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Everything on the one time axis [0, end_s)."""

    end_s: float
    step_s: int
    steps: tuple[Step, ...]
    offered: tuple[tuple[float, float], ...]  # corners (t_s, per_s) of the planned rate
    pods: tuple[tuple[float, int], ...]  # ready pods from t_s on; the last one is where the history ends
    bands: tuple[Band, ...]
    faults: tuple[FaultBar, ...]
    impacts: tuple[Impact, ...]
    latency_limits: tuple[LimitLine, ...]
    error_limits: tuple[LimitLine, ...]


def timeline(run: Run, verdict: Verdict) -> Timeline:
    """The run on its time axis. Its end is the plan's, or later when the record goes on (draining, recovering)."""
    end_s = _end_s(run, verdict)
    step_s = max(1, math.ceil(end_s / POINTS_MAX))
    return Timeline(
        end_s=end_s,
        step_s=step_s,
        steps=_steps(run, end_s, step_s),
        offered=tuple((knot.t_s, knot.per_s) for knot in knots_of(run.plan)),
        pods=_pods(run.events),
        bands=_bands(run, verdict),
        faults=tuple(bar for window in fault_windows(run.plan, run.events) if (bar := _bar(window))),
        impacts=tuple(sorted(verdict.impacts, key=lambda impact: impact.start_s)),
        latency_limits=_limits(run.plan, ClientMeasure.LATENCY),
        error_limits=_limits(run.plan, ClientMeasure.ERROR_RATIO),
    )


def _end_s(run: Run, verdict: Verdict) -> float:
    seen = [run.plan.end_s, *(impact.end_s for impact in verdict.impacts)]
    seen += [bar.gone_s for window in fault_windows(run.plan, run.events) if (bar := _bar(window)) and bar.gone_s]
    return float(math.ceil(max(seen)))


def _steps(run: Run, end_s: float, step_s: int) -> tuple[Step, ...]:
    """A step is a gap when the record holds no frame of it at all; the one in which the plan ends is a shorter one."""
    by_step: dict[int, list[LoadFrame]] = {}
    for frame in run.frames:
        by_step.setdefault(frame.second // step_s, []).append(frame)
    starts = range(0, math.ceil(end_s), step_s)
    planned = (min(run.plan.end_s - t_s, step_s) for t_s in starts)
    return tuple(
        _step(by_step.get(t_s // step_s, []), t_s, length_s if length_s > 0 else step_s)
        for t_s, length_s in zip(starts, planned, strict=True)
    )


def _step(frames: list[LoadFrame], t_s: int, length_s: float) -> Step:
    if not frames:
        return Step(t_s=t_s, ok_per_s=None, p50_s=None, p95_s=None, p99_s=None, error_ratio=None)
    ok = sum(frame.ok for frame in frames)
    bad = sum(frame.failed + frame.timed_out + frame.dropped for frame in frames)
    response = Histogram.merged(frame.response for frame in frames)
    p50, p95, p99 = (sum(response.quantile(q)) / 2e6 if response.counts else None for q in (0.5, 0.95, 0.99))
    ratio = bad / (ok + bad) if ok + bad else None
    return Step(t_s=t_s, ok_per_s=ok / length_s, p50_s=p50, p95_s=p95, p99_s=p99, error_ratio=ratio)


def _pods(events: Sequence[Event]) -> tuple[tuple[float, int], ...]:
    """The ready pods; what became of them after the history's end nobody knows."""
    seen = {t_ns / NS: ready for t_ns, ready in ready_pods(events)}
    if not seen:
        return ()
    return (*seen.items(), (max(event.t_ns for event in events) / NS, seen[max(seen)]))


def _bands(run: Run, verdict: Verdict) -> tuple[Band, ...]:
    outcomes = {result.name: result.verdict for result in verdict.phases}
    entered = {window.phase.name for window in phase_windows(run.plan, run.events) if window.start_ns is not None}
    return tuple(
        Band(
            name=phase.name,
            level=phase.load_level,
            outcome=outcomes.get(phase.name),
            judged=phase.judge,
            begin_s=phase.begin_s,
            start_s=phase.start_s,
            end_s=phase.end_s,
            entered=phase.name in entered,
        )
        for phase in run.plan.phases
    )


def _bar(window: FaultWindow) -> FaultBar | None:
    """None for a fault that was never injected."""
    if window.requested_ns is None:
        return None
    return FaultBar(
        name=window.fault,
        from_s=window.requested_ns / NS,
        on_s=sum(window.confirmed) / 2 / NS if window.confirmed else None,
        rollback_s=window.rollback_requested_ns / NS if window.rollback_requested_ns is not None else None,
        gone_s=window.gone[1] / NS if window.gone else None,
    )


def _limits(plan: Plan, measure: ClientMeasure) -> tuple[LimitLine, ...]:
    """The absolute warn and fail limits of the phases' rules on the client SLIs of one measure."""
    names = {sli.name for sli in plan.service.slis if isinstance(sli, ClientSli) and sli.measure is measure}
    return tuple(line for phase in plan.phases for line in _limits_of(phase, names))


def _limits_of(phase: Phase, names: set[str]) -> list[LimitLine]:
    return [
        LimitLine(
            tier=threshold.tier,
            start_s=phase.start_s,
            end_s=phase.end_s,
            limit=threshold.rule.quantity,
            text=f"{threshold.sli} {threshold.tier.value} {threshold.rule.text}",
        )
        for threshold in phase.thresholds
        if threshold.sli in names and threshold.tier in {Tier.WARN, Tier.FAIL} and threshold.rule.relative_to is None
    ]
