"""
Validity: whether the experiment took place: load delivered, generator honest, fault in force and gone again.

A breach of `LOAD_CHECKS` in a phase means that nothing the load record says of it is judged, for better or worse.
Loop stalls and CPU are causes; the harm they can do is measured by start lag and delivered load, so they only warn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from harness.history.events import Event, Status, WatchGap
from harness.history.load import WorkerHealth
from harness.history.views import FaultWindow
from harness.plan.model import ClientMeasure, ClientSli, Fault, Plan, Tier, Unit
from harness.schedule.load import Knot, arrivals_before
from harness.units import show
from harness.verdict.client import US, Tally, merged_histogram
from harness.verdict.model import Check, Outcome
from harness.verdict.window import Window

LOAD_CHECKS = frozenset({"load_delivered", "conservation", "start_lag"})

RATE_ERROR_MAX = 0.02  # arrivals sent may differ from those planned by this share
LOST_MAX = 0.001
LAG_MIN_S = 0.005  # lag that no rule is strict enough to notice
LAG_SHARE = 0.05  # of the tightest latency limit
STALL_S = 0.2
CPU_RATIO = 0.8

_POISSON_SIGMAS = 5.0  # a Poisson count differs from its mean by more once in a million windows


def load_checks(
    window: Window, plan: Plan, knots: Sequence[Knot], tallies: Sequence[Tally], *, drained: bool
) -> list[Check]:
    """The checks of one phase's load record; `tallies` are its whole seconds. Undrained load may lack outcomes."""
    return [
        _delivered(window, plan, knots, tallies),
        _conserved(window, tallies, drained=drained),
        _lag(window, plan, tallies),
    ]


def health_checks(window: Window, health: Iterable[WorkerHealth]) -> list[Check]:
    """Loop stalls and CPU of the workers in one phase; at worst a warning."""
    inside = [item for item in health if window.start_s <= item.second < window.end_s]
    if not inside:
        return []
    stall = max(item.stall_s_max for item in inside)
    cpu = max(_mean([item.cpu_ratio for item in inside if item.worker == worker]) for worker in _workers(inside))
    return [
        _check(
            "loop_stall",
            window,
            Outcome.WARN if stall > STALL_S else Outcome.PASS,
            f"the longest stall was {show(stall, Unit.SECONDS)}; above {show(STALL_S, Unit.SECONDS)} it is suspicious",
        ),
        _check(
            "cpu",
            window,
            Outcome.WARN if cpu > CPU_RATIO else Outcome.PASS,
            f"the busiest worker used {cpu:.0%} of a core; above {CPU_RATIO:.0%} give it more cores or more workers",
        ),
    ]


def phase_check(window: Window) -> Check:
    """Whether a judged phase was entered and finished."""
    if window.finished:
        return _check("phase_finished", window, Outcome.PASS, "ran to its end")
    how = "was cut short" if window.entered else "was never entered"
    return _check("phase_finished", window, Outcome.INCONCLUSIVE, how)


def fault_checks(fault: Fault, window: FaultWindow, events: Iterable[Event]) -> list[Check]:
    """Whether a fault was seen in force and seen gone, and whether the watch could see it all the time."""
    # What was seen of a fault that could not be injected was somebody else's doing.
    confirmed = Outcome.PASS if window.confirmed and window.failed is None else Outcome.INCONCLUSIVE
    checks = [_fault_check("fault_confirmed", fault, confirmed, window.failed or window.evidence)]
    if window.requested_ns is not None:
        gone = window.gone is not None and window.rollback_failed is None
        detail = "its effect was seen gone" if gone else window.rollback_failed or window.evidence
        checks.append(_fault_check("fault_gone", fault, Outcome.PASS if gone else Outcome.INCONCLUSIVE, detail))
        checks += _watch_gaps(fault, window, window.requested_ns, events)
    return checks


def status_check(status: Status) -> Check:
    """Whether the run was executed as planned."""
    outcome = Outcome.PASS if status is Status.COMPLETED else Outcome.INCONCLUSIVE
    return Check(check="run_completed", phase=None, outcome=outcome, detail=f"the run {_STATUS[status]}")


_STATUS = {
    Status.COMPLETED: "was executed to its end",
    Status.ABORTED: "was stopped by an abort threshold",
    Status.INTERRUPTED: "was interrupted",
    Status.CRASHED: "broke off",
}


def restored(windows: Iterable[FaultWindow]) -> bool:
    """Whether every fault that was injected is proven gone."""
    injected = (window for window in windows if window.requested_ns is not None)
    return all(window.gone is not None and window.rollback_failed is None for window in injected)


def _delivered(window: Window, plan: Plan, knots: Sequence[Knot], tallies: Sequence[Tally]) -> Check:
    first, last = math.ceil(window.start_s - 1e-6), math.floor(window.end_s + 1e-6)
    offered = arrivals_before(knots, max(last, first)) - arrivals_before(knots, first)
    planned = sum(tally.planned for tally in tallies)
    sent = sum(tally.sent for tally in tallies)
    lost = sum(tally.lost for tally in tallies)
    slack = _POISSON_SIGMAS * math.sqrt(offered) if plan.service.load.arrivals == "poisson" else 0.0
    text = f"{sent} sent of {planned} planned, {lost} lost; the plan offers {offered:.0f}"
    kept = (
        offered > 0
        and abs(planned - offered) <= RATE_ERROR_MAX * offered + slack + 1
        and abs(sent - planned) <= RATE_ERROR_MAX * planned
        and lost <= LOST_MAX * planned
    )
    return _check("load_delivered", window, Outcome.PASS if kept else Outcome.INCONCLUSIVE, text)


def _conserved(window: Window, tallies: Sequence[Tally], *, drained: bool) -> Check:
    for tally in tallies:
        settled = tally.ok + tally.failed + tally.timed_out
        begun = tally.sent + tally.dropped + tally.lost
        balanced = tally.planned == begun and tally.sent == settled
        open_end = not drained and tally.planned >= begun and tally.sent >= settled
        if not (balanced or open_end):
            detail = (
                f"second {tally.second}: planned {tally.planned}, sent {tally.sent} + dropped {tally.dropped} + "
                f"lost {tally.lost}; ok {tally.ok} + failed {tally.failed} + timed out {tally.timed_out}"
            )
            return _check("conservation", window, Outcome.INCONCLUSIVE, detail)
    return _check("conservation", window, Outcome.PASS, "every planned arrival is accounted for")


def _lag(window: Window, plan: Plan, tallies: Sequence[Tally]) -> Check:
    allowed = max(LAG_MIN_S, LAG_SHARE * _tightest(window, plan))
    lags = merged_histogram(lag for tally in tallies for lag in tally.lags)
    if not lags.total:
        return _check("start_lag", window, Outcome.INCONCLUSIVE, "no arrival was sent")
    lag_s = lags.quantile(0.99)[0] / US
    detail = f"p99 {show(lag_s, Unit.SECONDS)} behind the intended start, {show(allowed, Unit.SECONDS)} allowed"
    return _check("start_lag", window, Outcome.PASS if lag_s <= allowed else Outcome.INCONCLUSIVE, detail)


def _tightest(window: Window, plan: Plan) -> float:
    """The tightest latency that fails the phase; what counts as slow where no threshold is on latency."""
    latencies = {
        sli.name for sli in plan.service.slis if isinstance(sli, ClientSli) and sli.measure is ClientMeasure.LATENCY
    }
    limits = [
        threshold.rule.quantity
        for threshold in window.phase.thresholds
        if threshold.sli in latencies and threshold.tier is Tier.FAIL and threshold.rule.relative_to is None
    ]
    return min(limits, default=plan.service.load.slow_s)


def _watch_gaps(fault: Fault, window: FaultWindow, requested_ns: int, events: Iterable[Event]) -> list[Check]:
    gaps = [
        (event.body.since_ns, event.t_ns, event.body.detail)
        for event in events
        if isinstance(event.body, WatchGap)
        and event.t_ns >= requested_ns
        and (window.gone is None or event.body.since_ns <= window.gone[1])
    ]
    if not gaps:
        return []
    since_ns, until_ns, why = gaps[0]
    detail = f"the watch was blind from {since_ns / 1e9:.3f} s to {until_ns / 1e9:.3f} s: {why}"
    return [_fault_check("watch_gap", fault, Outcome.INCONCLUSIVE, detail)]


def _check(name: str, window: Window, outcome: Outcome, detail: str) -> Check:
    return Check(check=name, phase=window.phase.name, outcome=outcome, detail=detail)


def _fault_check(name: str, fault: Fault, outcome: Outcome, detail: str) -> Check:
    return Check(check=name, phase=fault.phase, outcome=outcome, detail=f"{fault.name}: {detail}")


def _workers(health: Iterable[WorkerHealth]) -> list[str]:
    return sorted({item.worker for item in health})


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
