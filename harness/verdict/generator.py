"""
Whether the generator delivered the load it was to deliver, and was not itself what the record shows.

A breach of `LOAD_CHECKS` in a phase means that nothing the load record says of it is judged, for better or worse.

A stall of a worker's loop makes arrivals late and answers seem slow; it never makes the service look better. So a short
one is not a breach: what was breached only because of its seconds is taken back (`stalls`). How late arrivals are is
held against the tightest latency limit at the 99th percentile, or, in a phase shorter than 40 s, at the one that leaves
out what one such stall makes late.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harness.history.histogram import Histogram
from harness.history.load import WorkerHealth
from harness.plan.model import ClientMeasure, ClientSli, Limits, Phase, Plan, Tier, Unit
from harness.schedule.load import Knot, arrivals_before
from harness.units import show
from harness.verdict.client import US, Recorded, Tally
from harness.verdict.model import Check, Outcome

LOAD_CHECKS = frozenset({"load_delivered", "conservation", "start_lag", "cpu", "clocks_aligned", "loop_stall"})

LAG_MIN_S = 0.005  # lag that no rule is strict enough to notice
LAG_SHARE = 0.05  # of the tightest latency limit
LATE_SHARE = 0.01  # of the arrivals may be later than allowed,
LATE_STALLS = 2.0  # or what so many times the longest stall allowed makes late; a longer stall is a breach by itself
LATE_MAX = 0.05
CPU_S = 10  # seconds over which CPU is averaged

_POISSON_SIGMAS = 5.0  # a Poisson count differs from its mean by more once in a million windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Whole seconds of a run, with what the generator said of them."""

    phase: Phase | None  # that is judged in them
    seconds: range
    tallies: Sequence[Tally]
    lags: Histogram  # of all of them
    health: Sequence[WorkerHealth]
    drained: bool  # else arrivals may lack outcomes


def stretch_of(
    phase: Phase | None,
    seconds: range,
    recorded: Recorded,
    health: Iterable[WorkerHealth],
    *,
    drained: bool,
) -> Stretch:
    """The record of these seconds."""
    own = [one for one in health if one.second in seconds]
    return Stretch(
        phase=phase,
        seconds=seconds,
        tallies=recorded.inside(seconds),
        lags=recorded.lags(seconds),
        health=own,
        drained=drained,
    )


def load_checks(stretch: Stretch, plan: Plan, knots: Sequence[Knot]) -> list[Check]:
    """The checks of one stretch's load record, and of the workers' health where they told it."""
    limits = plan.service.load.limits
    checks = [_delivered(stretch, plan, knots), _conserved(stretch), _lag(stretch, plan)]
    if stretch.health:
        checks += [_stall(stretch, limits), _cpu(stretch, limits)]
    if any(one.clock_s for one in stretch.health):
        checks.append(_clocks(stretch, limits))
    return checks


def stalled(health: Iterable[WorkerHealth], limits: Limits) -> list[WorkerHealth]:
    """The seconds in which a worker's loop stood still for longer than is allowed, the longest first."""
    over = [one for one in health if one.stall_s_max > limits.stall_s]
    return sorted(over, key=lambda one: (-one.stall_s_max, one.second, one.worker))


def stall_text(one: WorkerHealth) -> str:
    """Who stood still when, for how long."""
    return f"{_named(one.worker)} stood still for {show(one.stall_s_max, Unit.SECONDS)} in second {one.second}"


def _named(worker: str) -> str:
    return worker if worker.startswith("worker") else f"worker {worker}"


def _delivered(stretch: Stretch, plan: Plan, knots: Sequence[Knot]) -> Check:
    limits = plan.service.load.limits
    seconds = stretch.seconds
    offered = arrivals_before(knots, max(seconds.stop, seconds.start)) - arrivals_before(knots, seconds.start)
    planned, sent, lost, dropped = (
        sum(getattr(tally, name) for tally in stretch.tallies) for name in ("planned", "sent", "lost", "dropped")
    )
    slack = _POISSON_SIGMAS * math.sqrt(offered) if plan.service.load.arrivals == "poisson" else 0.0
    late = _late(stretch, _lag_limit(stretch, plan))
    wrong = []
    if offered <= 0 or abs(planned - offered) > limits.rate_error * offered + slack + 1:
        wrong.append(f"not planned: {planned} arrivals where the plan offers {offered:.0f}")
    if lost > limits.lost_ratio * planned:
        wrong.append(f"lost: {_share(lost, planned)}, {show(limits.lost_ratio, Unit.RATIO)} allowed")
    if dropped > limits.dropped_ratio * planned:
        allowed = show(limits.dropped_ratio, Unit.RATIO)
        wrong.append(f"dropped, for want of a free user: {_share(dropped, planned)}, {allowed} allowed")
    if abs(sent + dropped + lost - planned) > limits.rate_error * planned:
        wrong.append(f"not sent: {_share(planned - sent - dropped - lost, planned)}")
    text = (
        f"{sent} sent of {planned} planned, {lost} lost, {dropped} dropped, {late} late; the plan offers {offered:.0f}"
    )
    return _check("load_delivered", stretch, "; ".join([*wrong, text]), kept=not wrong)


def _share(count: int, planned: int) -> str:
    return f"{count} arrivals ({show(count / planned, Unit.RATIO)})" if planned else f"{count} arrivals"


def _conserved(stretch: Stretch) -> Check:
    for tally in stretch.tallies:
        settled = tally.ok + tally.failed + tally.timed_out
        begun = tally.sent + tally.dropped + tally.lost
        balanced = tally.planned == begun and tally.sent == settled
        open_end = not stretch.drained and tally.planned >= begun and tally.sent >= settled
        if not (balanced or open_end):
            detail = (
                f"second {tally.second}: planned {tally.planned}, sent {tally.sent} + dropped {tally.dropped} + "
                f"lost {tally.lost}; ok {tally.ok} + failed {tally.failed} + timed out {tally.timed_out}"
            )
            return _check("conservation", stretch, detail, kept=False)
    return _check("conservation", stretch, "every planned arrival is accounted for", kept=True)


def _lag(stretch: Stretch, plan: Plan) -> Check:
    allowed_s = _lag_limit(stretch, plan)
    if not stretch.lags:
        return _check("start_lag", stretch, "no arrival was sent", kept=False)
    one_stall = LATE_STALLS * plan.service.load.limits.stall_s / max(len(stretch.seconds), 1)
    q = 1 - max(LATE_SHARE, min(one_stall, LATE_MAX))
    lag_s = stretch.lags.quantile(q)[0] / US
    detail = (
        f"p{100 * q:.3g} {show(lag_s, Unit.SECONDS)} behind the intended start, {show(allowed_s, Unit.SECONDS)} allowed"
    )
    kept = lag_s <= allowed_s
    return _check("start_lag", stretch, detail if kept else f"{detail}{_suspect(stretch)}", kept=kept)


def _suspect(stretch: Stretch) -> str:
    """Which worker it may have been."""
    if not stretch.health:
        return ""
    stuck = max(stretch.health, key=lambda one: one.stall_s_max)
    busy = max(stretch.health, key=lambda one: one.cpu_ratio)
    return (
        f"; {stall_text(stuck)}, and {_named(busy.worker)} used {busy.cpu_ratio:.0%} of a core in second {busy.second}"
    )


def _lag_limit(stretch: Stretch, plan: Plan) -> float:
    """The start lag allowed: the plan's, else what no rule of the phase is strict enough to notice."""
    given = plan.service.load.limits.start_lag_s
    return max(LAG_MIN_S, LAG_SHARE * _tightest(stretch.phase, plan)) if given is None else given


def _tightest(phase: Phase | None, plan: Plan) -> float:
    """The tightest latency that fails the phase; what counts as slow where no threshold is on latency."""
    latencies = {
        sli.name for sli in plan.service.slis if isinstance(sli, ClientSli) and sli.measure is ClientMeasure.LATENCY
    }
    limits = [
        threshold.rule.quantity
        for threshold in (phase.thresholds if phase else ())
        if threshold.sli in latencies and threshold.tier is Tier.FAIL and threshold.rule.relative_to is None
    ]
    return min(limits, default=plan.service.load.slow_s)


def _late(stretch: Stretch, allowed_s: float) -> int:
    return stretch.lags.count_above(allowed_s * US)[0]


def _stall(stretch: Stretch, limits: Limits) -> Check:
    """
    A breach when the generator as a whole (the mean over its workers) stood still for longer than one stall may.

    What is shorter is a warning; what follows from it is decided where the findings are.
    """
    worst = max(stretch.health, key=lambda one: one.stall_s_max)
    allowed = f"{show(limits.stall_s, Unit.SECONDS)} allowed"
    if worst.stall_s_max <= limits.stall_s:
        longest = show(worst.stall_s_max, Unit.SECONDS)
        return _check(
            "loop_stall", stretch, f"the longest stall of a worker's loop was {longest}, {allowed}", kept=True
        )
    workers = len({one.worker for one in stretch.health})
    by_second: dict[int, float] = {}
    for one in stalled(stretch.health, limits):
        by_second[one.second] = by_second.get(one.second, 0.0) + one.stall_s_max / workers
    kept = max(by_second.values()) <= LATE_STALLS * limits.stall_s
    check = _check("loop_stall", stretch, f"{stall_text(worst)}, {allowed}", kept=kept)
    return replace(check, outcome=Outcome.WARN) if kept else check


def _cpu(stretch: Stretch, limits: Limits) -> Check:
    worst: tuple[float, str, int] = (0.0, "", 0)
    for worker in sorted({one.worker for one in stretch.health}):
        used = sorted((one.second, one.cpu_ratio) for one in stretch.health if one.worker == worker)
        for i in range(max(len(used) - CPU_S, 0) + 1):
            part = used[i : i + CPU_S]
            worst = max(worst, (math.fsum(ratio for _, ratio in part) / CPU_S, worker, part[0][0]))
    mean, worker, second = worst
    when = f"{_named(worker)} used {mean:.0%} of a core for {CPU_S} s from second {second}"
    detail = f"{when}, {limits.cpu_ratio:.0%} allowed"
    kept = mean <= limits.cpu_ratio
    return _check("cpu", stretch, detail if kept else f"{detail}: give it more cores or more workers", kept=kept)


def _clocks(stretch: Stretch, limits: Limits) -> Check:
    worst = max(stretch.health, key=lambda one: (one.clock_s, one.worker))
    known = show(worst.clock_s, Unit.SECONDS)
    detail = f"the clock of {_named(worst.worker)} is known to {known}, {show(limits.clock_s, Unit.SECONDS)} allowed"
    return _check("clocks_aligned", stretch, detail, kept=worst.clock_s <= limits.clock_s)


def _check(name: str, stretch: Stretch, detail: str, *, kept: bool) -> Check:
    outcome = Outcome.PASS if kept else Outcome.INCONCLUSIVE
    return Check(check=name, phase=stretch.phase.name if stretch.phase else None, outcome=outcome, detail=detail)
