"""What is said of each phase besides its findings: load, response times, the health score, and its verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.history.events import Status
from harness.plan.model import Better, HealthPart
from harness.verdict.case import Case, sli_of
from harness.verdict.client import US, Recorded
from harness.verdict.merge import decided, evidence, worst
from harness.verdict.model import Check, Finding, LoadCounts, Outcome, PhaseResult, ResponseTimes, TimingFinding
from harness.verdict.ruling import NoEvidenceError
from harness.verdict.window import Window

_PER_QUANTILE = 10  # arrivals beyond a quantile, for the figure to be worth showing


def phase_result(case: Case, window: Window, outcome: Outcome | None, recorded: Recorded) -> PhaseResult:
    """One phase: its verdict, interval, load and response times."""
    record = case.record(window)
    inside = record.tallies
    length_s = window.end_s - window.start_s
    offered = case.offered().within(window.start_s, window.end_s)
    responses = record.responses()
    lags = recorded.lags(record.seconds)

    def quantile(q: float) -> float | None:
        enough = responses.total * (1 - q) >= _PER_QUANTILE
        return sum(responses.quantile(q)) / 2 / US if enough else None

    return PhaseResult(
        name=window.phase.name,
        verdict=outcome,
        start_s=window.start_s,
        end_s=window.end_s,
        load_level=window.phase.load_level,
        offered_per_s=offered / length_s if length_s > 0 else 0.0,
        load=LoadCounts(
            planned=sum(tally.planned for tally in inside),
            sent=sum(tally.sent for tally in inside),
            ok=sum(tally.ok for tally in inside),
            failed=sum(tally.failed for tally in inside),
            timed_out=sum(tally.timed_out for tally in inside),
            dropped=sum(tally.dropped for tally in inside),
            lost=sum(tally.lost for tally in inside),
        ),
        response_s=ResponseTimes(
            p50=quantile(0.5),
            p95=quantile(0.95),
            p99=quantile(0.99),
            max=None if responses.max is None else responses.max / US,
        ),
        lag_s_p99=lags.quantile(0.99)[0] / US if lags.total else None,
        health=_health(case, window),
    )


def _health(case: Case, window: Window) -> float | None:
    """
    The composite health score: the weighted mean of how far each part is at its target, 1 at most.

    None where the service has none, or one of its SLIs has no value in the phase.
    """
    parts = case.run.plan.service.health
    if not parts or not window.entered:
        return None
    try:
        scores = [part.weight * _score(case, window, part) for part in parts]
    except (NoEvidenceError, LookupError):
        return None
    return math.fsum(scores) / math.fsum(part.weight for part in parts)


def _score(case: Case, window: Window, part: HealthPart) -> float:
    sli = sli_of(case.run.plan, part.sli)
    value = case.measured(window, sli).value
    if value is None:  # a latency beyond measure
        return 0.0
    actual, wanted = (part.target, value) if sli.better is Better.LOWER else (value, part.target)
    return min(1.0, actual / wanted) if wanted > 0 else 1.0


def phase_verdict(
    window: Window, findings: Sequence[Finding], timings: Sequence[TimingFinding], checks: Sequence[Check]
) -> Outcome | None:
    """What the evidence says of a phase; None when it is not judged."""
    if not window.phase.judge:
        return None
    name = window.phase.name
    own = [finding for finding in findings if finding.phase == name]
    sources = {rule.source for rule in window.phase.timings}
    timed = [timing for timing in timings if timing.source is not None and timing.source in sources]
    return worst(evidence(own) + evidence(timed) + _open(checks, name) + _undecided(own))


def run_verdict(
    status: Status,
    of_phases: Sequence[Outcome | None],
    findings: Sequence[Finding],
    timings: Sequence[TimingFinding],
    checks: Sequence[Check],
) -> Outcome:
    """What the evidence says of the run; an aborted one has failed."""
    if status is Status.ABORTED:
        return Outcome.FAIL
    judged = [outcome for outcome in of_phases if outcome is not None]
    whole_run = [check.outcome for check in checks if check.outcome is Outcome.INCONCLUSIVE]
    return worst([*judged, *evidence(findings), *evidence(timings), *whole_run])


def _open(checks: Sequence[Check], phase: str) -> list[Outcome]:
    return [Outcome.INCONCLUSIVE for check in checks if check.phase == phase and check.outcome is Outcome.INCONCLUSIVE]


def _undecided(findings: Sequence[Finding]) -> list[Outcome]:
    """A judged phase in which no threshold was decided proves nothing."""
    return [] if decided(findings) else [Outcome.INCONCLUSIVE]
