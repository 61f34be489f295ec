"""
The verdict of a run, and the live abort guard: the same rules on the whole record and on the phase in force.

Both are pure. `judge` never raises: what cannot be judged is inconclusive, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.history.events import Event, LoadStopped, PhaseEnded, PhaseStarted, RunEnded, Status
from harness.history.run import Run
from harness.history.views import FaultWindow, fault_windows, status_of
from harness.plan.model import ClientSli, Phase, Plan, Threshold, Tier, Unit
from harness.schedule.load import Knot, arrivals_before, knots_of
from harness.units import show
from harness.verdict import validity
from harness.verdict.agreement import agreement_checks
from harness.verdict.client import US, ClientWindow, Tally, client_ruling, merged_histogram, tallies, whole_seconds
from harness.verdict.findings import Case, finding_of, offered_by, sli_of
from harness.verdict.impact import Surroundings, impacts_of, row_of
from harness.verdict.merge import decided, evidence, worst
from harness.verdict.model import (
    Check,
    Finding,
    LoadCounts,
    Outcome,
    PhaseResult,
    ResponseTimes,
    TimingFinding,
    Verdict,
)
from harness.verdict.timing import Observed, timings_of
from harness.verdict.window import Window, disturbed_seconds, hold_s, record_end_s, windows_of

GUARD_CONFIDENCE = 0.998  # the guard looks every second; at 90 % it would stop healthy runs

_PER_QUANTILE = 10  # arrivals beyond a quantile, for the figure to be worth showing


@dataclass(frozen=True, slots=True, kw_only=True)
class Tripped:
    """An abort threshold that is proven breached."""

    phase: str
    sli: str
    rule: str


def judge(run: Run) -> Verdict:
    """
    The verdict of a recorded run: equal runs give equal verdicts. Never raises.

    Works on any prefix of a run; what did not happen, or was not seen, is inconclusive.
    """
    try:
        return _verdict(run)
    except Exception as error:  # a fault in judging must not cost the run; nothing is judged, and the reason shown
        return Verdict(
            run=run.name,
            scenario=run.plan.scenario,
            status=status_of(run.events),
            verdict=Outcome.INCONCLUSIVE,
            restored=False,
            headline=f"judging raised {type(error).__name__}: {error}",
            phases=(),
            findings=(),
            timings=(),
            impacts=(),
            validity=(),
        )


def tripped(run: Run, t_s: float) -> Tripped | None:
    """
    The first abort threshold of the phase in force that is proven breached `t_s` seconds into the run.

    `run` is the run so far; of its frames only those of the current phase are looked at. Seconds that are over count,
    and in them an arrival without an outcome may still turn out either way. Rules on Prometheus, and those relative
    to the baseline, cannot be decided live and never trip.
    """
    phase = _phase_in_force(run)
    rules = [threshold for threshold in phase.thresholds if threshold.tier is Tier.ABORT] if phase else []
    if phase is None or not rules:
        return None
    knots = knots_of(run.plan)
    whole = whole_seconds(phase.start_s, min(t_s, phase.end_s))
    recent = range(max(whole.start, whole.stop - _look_back(run.plan, rules)), whole.stop) if whole else whole
    found = tallies(frame for frame in run.frames if frame.second in recent)
    for threshold in rules:
        sli = sli_of(run.plan, threshold.sli)
        if isinstance(sli, ClientSli) and threshold.rule.relative_to != "baseline":
            own = found if sli.series is None else tallies((f for f in run.frames if f.second in recent), sli.series)
            window = ClientWindow(recent, tuple(own.values()), offered_by(knots), None, GUARD_CONFIDENCE)
            if window.tallies and _breached(window, sli, threshold):
                return Tripped(phase=phase.name, sli=sli.name, rule=threshold.rule.text)
    return None


def _breached(window: ClientWindow, sli: ClientSli, threshold: Threshold) -> bool:
    rule = threshold.rule
    limit = rule.quantity * (window.offered_per_s if rule.relative_to == "offered" else 1.0)
    return client_ruling(window, sli, rule, (limit, limit)).holds is True


def _look_back(plan: Plan, rules: Sequence[Threshold]) -> int:
    """How many seconds the rules need: all when one has no `for`, else until the oldest outcome has settled."""
    lengths = [threshold.rule.for_s for threshold in rules]
    longest = max((length for length in lengths if length is not None), default=0.0)
    unbounded = any(length is None for length in lengths)
    return 10**9 if unbounded else math.ceil(longest + plan.service.load.deadline_s) + 2


def _phase_in_force(run: Run) -> Phase | None:
    for event in reversed(run.events):
        if isinstance(event.body, PhaseEnded):
            return None
        if isinstance(event.body, PhaseStarted):
            name = event.body.phase
            return next((phase for phase in run.plan.phases if phase.name == name), None)
    return None


def _verdict(run: Run) -> Verdict:
    status = status_of(run.events)
    windows, faults = windows_of(run), fault_windows(run.plan, run.events)
    knots = knots_of(run.plan)
    by_second = tallies(run.frames)
    checks = _checks(run, windows, faults, by_second, knots)
    limited = {
        check.phase: check
        for check in reversed(checks)
        if check.phase is not None and check.check in validity.LOAD_CHECKS and check.outcome is not Outcome.PASS
    }
    row = row_of(run.frames)
    impacts = impacts_of(row, _surroundings(run, windows, faults, by_second), faults)
    end_s = record_end_s(run)
    disturbed = disturbed_seconds(faults, impacts, hold_s(run.plan), end_s)
    case = Case(run, windows, knots, disturbed, limited)
    checks += tuple(agreement_checks(case))
    findings = tuple(
        finding_of(case, window, threshold)
        for window in windows
        if window.phase.judge
        for threshold in window.phase.thresholds
    )
    valid = frozenset(window.phase.name for window in windows if window.phase.name not in limited)
    timings = timings_of(
        Observed(
            plan=run.plan,
            events=run.events,
            windows=faults,
            row=row,
            impacts=impacts,
            hold_s=hold_s(run.plan),
            end_s=end_s,
            load_valid=valid,
        )
    )
    phases = tuple(_phase(window, knots, by_second, findings, timings, checks) for window in windows)
    verdict = Verdict(
        run=run.name,
        scenario=run.plan.scenario,
        status=status,
        verdict=_overall(status, phases, findings, timings, checks),
        restored=validity.restored(faults),
        headline="",
        phases=phases,
        findings=findings,
        timings=timings,
        impacts=impacts,
        validity=checks,
    )
    return replace(verdict, headline=_headline(verdict, _ending(run.events)))


def _checks(
    run: Run,
    windows: Sequence[Window],
    faults: Sequence[FaultWindow],
    by_second: dict[int, Tally],
    knots: Sequence[Knot],
) -> tuple[Check, ...]:
    drained = any(isinstance(event.body, LoadStopped) for event in run.events)
    checks = [validity.status_check(status_of(run.events))]
    faulty = {fault.phase for fault in run.plan.faults}
    for window in windows:
        if window.phase.judge:
            checks.append(validity.phase_check(window))
        if window.entered and (window.phase.judge or window.phase.name in faulty):
            inside = [by_second[s] for s in whole_seconds(window.start_s, window.end_s) if s in by_second]
            checks += validity.load_checks(window, run.plan, knots, inside, drained=drained)
            checks += validity.health_checks(window, run.health)
    for fault, known in zip(run.plan.faults, faults, strict=True):
        checks += validity.fault_checks(fault, known, run.events)
    return tuple(checks)


def _surroundings(
    run: Run, windows: Sequence[Window], faults: Sequence[FaultWindow], by_second: dict[int, Tally]
) -> Surroundings:
    first_fault_s = min(
        (known.requested_ns / 1e9 for known in faults if known.requested_ns is not None), default=math.inf
    )
    calm = frozenset(
        second
        for window in windows
        if window.entered and window.phase.judge
        for second in whole_seconds(window.start_s, min(window.end_s, first_fault_s))
    )
    responses = merged_histogram(one for second in calm if second in by_second for one in by_second[second].responses)
    lags = merged_histogram(one for tally in by_second.values() for one in tally.lags)
    return Surroundings(
        calm=calm,
        response_p95_s=responses.quantile(0.95)[1] / US if responses.total else 0.0,
        lag_p99_s=lags.quantile(0.99)[1] / US if lags.total else 0.0,
        hold_s=hold_s(run.plan),
    )


def _phase(
    window: Window,
    knots: Sequence[Knot],
    by_second: dict[int, Tally],
    findings: Sequence[Finding],
    timings: Sequence[TimingFinding],
    checks: Sequence[Check],
) -> PhaseResult:
    seconds = whole_seconds(window.start_s, window.end_s) if window.entered else range(0)
    inside = [by_second[second] for second in seconds if second in by_second]
    length_s = window.end_s - window.start_s
    offered = arrivals_before(knots, window.end_s) - arrivals_before(knots, window.start_s)
    responses = merged_histogram(one for tally in inside for one in tally.responses)
    lags = merged_histogram(one for tally in inside for one in tally.lags)

    def quantile(q: float) -> float | None:
        enough = responses.total * (1 - q) >= _PER_QUANTILE
        return sum(responses.quantile(q)) / 2 / US if enough else None

    return PhaseResult(
        name=window.phase.name,
        verdict=_phase_verdict(window, findings, timings, checks) if window.phase.judge else None,
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
    )


def _phase_verdict(
    window: Window, findings: Sequence[Finding], timings: Sequence[TimingFinding], checks: Sequence[Check]
) -> Outcome:
    name = window.phase.name
    own = [finding for finding in findings if finding.phase == name]
    sources = {rule.source for rule in window.phase.timings}
    timed = [timing for timing in timings if timing.source is not None and timing.source in sources]
    return worst(evidence(own) + evidence(timed) + _open(checks, name) + _undecided(own))


def _overall(
    status: Status,
    phases: Sequence[PhaseResult],
    findings: Sequence[Finding],
    timings: Sequence[TimingFinding],
    checks: Sequence[Check],
) -> Outcome:
    if status is Status.ABORTED:
        return Outcome.FAIL
    of_phases = [phase.verdict for phase in phases if phase.verdict is not None]
    whole_run = [check.outcome for check in checks if check.outcome is Outcome.INCONCLUSIVE]
    return worst([*of_phases, *evidence(findings), *evidence(timings), *whole_run])


def _open(checks: Sequence[Check], phase: str) -> list[Outcome]:
    return [Outcome.INCONCLUSIVE for check in checks if check.phase == phase and check.outcome is Outcome.INCONCLUSIVE]


def _undecided(findings: Sequence[Finding]) -> list[Outcome]:
    """A judged phase in which no threshold was decided proves nothing."""
    return [] if decided(findings) else [Outcome.INCONCLUSIVE]


def _ending(events: Sequence[Event]) -> str:
    """What the run's last event says about how it ended."""
    return next(
        (event.body.detail for event in reversed(events) if isinstance(event.body, RunEnded)), "no end recorded"
    )


def _headline(verdict: Verdict, ending: str) -> str:
    """One sentence: the decisive reason."""
    if verdict.verdict is Outcome.PASS:
        kept = sum(1 for finding in verdict.findings if finding.outcome is Outcome.PASS)
        confirmed = sum(1 for check in verdict.validity if check.check == "fault_confirmed")
        faults = f", {confirmed} fault{'s' if confirmed > 1 else ''} confirmed and gone" if confirmed else ""
        return f"{kept} threshold{'s' if kept != 1 else ''} kept{faults}"
    if verdict.status is Status.ABORTED:
        return f"aborted: {ending}"
    return _decisive(verdict, ending)


def _length(timing: TimingFinding) -> str:
    """How long it took, as far as that is known."""
    if timing.value_s is not None:
        return f"{show(timing.value_s, Unit.SECONDS)}, "
    return "" if timing.lo_s is None else f"more than {show(timing.lo_s, Unit.SECONDS)}, "


def _decisive(verdict: Verdict, ending: str) -> str:
    """The first finding, timing or check that made the verdict what it is."""
    wanted = verdict.verdict
    if wanted is Outcome.INCONCLUSIVE and verdict.status is not Status.COMPLETED:
        how = "was interrupted" if verdict.status is Status.INTERRUPTED else "broke off"
        return f"the run {how}: {ending}"
    if wanted is Outcome.INCONCLUSIVE:
        for check in verdict.validity:
            if check.outcome is wanted:
                where = f"{check.phase}: " if check.phase else ""
                return f"{where}{check.check.replace('_', ' ')} is not proven: {check.detail}"
    for finding in verdict.findings:
        if evidence([finding]) == [wanted]:
            return f"{finding.phase}: {finding.sli} {finding.rule} ({finding.tier.value}): {finding.detail}"
    for timing in verdict.timings:
        if evidence([timing]) == [wanted]:
            rule = f"{timing.timing.value} {timing.rule} ({timing.tier})"
            return f"{timing.fault}: {rule}: {_length(timing)}{timing.detail}"
    undecided = (phase.name for phase in verdict.phases if phase.verdict is Outcome.INCONCLUSIVE)
    return f"no threshold was decided in judged phase {next(undecided, '')}"
