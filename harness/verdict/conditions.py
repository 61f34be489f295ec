"""The validity checks of a whole run, put together: execution, load, Prometheus and faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.history.events import LoadStopped
from harness.history.run import Run
from harness.history.views import FaultWindow, status_of
from harness.plan.model import Plan
from harness.schedule.load import Knot
from harness.verdict import validity
from harness.verdict.client import Offered, Recorded, whole_seconds
from harness.verdict.generator import LOAD_CHECKS, load_checks, stretch_of
from harness.verdict.model import Check, Outcome
from harness.verdict.trust import Delivered
from harness.verdict.window import Window


def checks_of(
    run: Run,
    windows: Sequence[Window],
    faults: Sequence[FaultWindow],
    recorded: Recorded,
    knots: Sequence[Knot],
) -> tuple[Check, ...]:
    """All checks that need no finding, in the order in which they are shown."""
    drained = _drained(run)
    checks = [validity.status_check(status_of(run.events))]
    looked_at = _looked_at(run.plan, windows)
    for window in windows:
        if window.phase.judge:
            checks.append(validity.phase_check(window))
        if window.phase.name in looked_at:
            seconds = whole_seconds(window.start_s, window.end_s)
            stretch = stretch_of(window.phase, seconds, recorded, run.health, drained=drained)
            checks += load_checks(stretch, run.plan, knots)
    checks += validity.prometheus_checks(run.plan, windows, run.events)
    checks += validity.cluster_checks(run.events)
    for fault, known in zip(run.plan.faults, faults, strict=True):
        checks += validity.fault_checks(fault, known, run.events)
    return tuple(checks)


def limited_by(checks: Sequence[Check]) -> dict[str, Check]:
    """Phase -> the first check of its load that failed: nothing the load record says of it is judged."""
    return {
        check.phase: check
        for check in reversed(checks)
        if check.phase is not None and check.check in LOAD_CHECKS and check.outcome is Outcome.INCONCLUSIVE
    }


def delivered(
    run: Run,
    windows: Sequence[Window],
    recorded: Recorded,
    knots: Sequence[Knot],
    limited: Mapping[str, Check],
) -> Delivered:
    """What is known of the load, in phases and between them."""
    offered, known = Offered(knots), recorded.tallies.keys()

    def checks_in(seconds: range) -> list[Check]:
        stretch = stretch_of(None, seconds, recorded, run.health, drained=_drained(run))
        return load_checks(stretch, run.plan, knots) if offered.within(seconds.start, seconds.stop) else []

    return Delivered(
        limited=limited,
        checked=_looked_at(run.plan, windows),
        checks_in=checks_in,
        recorded=range(min(known, default=0), max(known, default=0)),  # the last may be there in part
        health=run.health,
    )


def _looked_at(plan: Plan, windows: Sequence[Window]) -> frozenset[str]:
    """The phases whose load is checked: those that are judged, or have a fault, and were entered."""
    faulty = {fault.phase for fault in plan.faults}
    entered = (window.phase for window in windows if window.entered)
    return frozenset(phase.name for phase in entered if phase.judge or phase.name in faulty)


def _drained(run: Run) -> bool:
    return any(isinstance(event.body, LoadStopped) for event in run.events)
