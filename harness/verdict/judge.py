"""
The verdict of a run: the rules on the whole record. The live abort guard (`guard`) applies them to the phase in force.

Both are pure. `judge` never raises: what cannot be judged is inconclusive, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from harness.history.run import Run
from harness.history.views import FaultWindow, fault_windows, status_of
from harness.schedule.load import knots_of
from harness.verdict import validity
from harness.verdict.agreement import agreement_checks
from harness.verdict.audit import audit_evidence, audited
from harness.verdict.case import Case
from harness.verdict.client import Recorded, tallies, whole_seconds
from harness.verdict.conditions import checks_of, delivered, limited_by
from harness.verdict.explain import ending, headline, summary
from harness.verdict.findings import findings_of
from harness.verdict.guard import Tripped, tripped
from harness.verdict.impact import Surroundings, impacts_of
from harness.verdict.milestones import milestones_of
from harness.verdict.model import Finding, Outcome, Verdict
from harness.verdict.outcomes import outcomes_of
from harness.verdict.phases import phase_result, phase_verdict, run_verdict
from harness.verdict.stalls import stall_checks, without_stalls
from harness.verdict.timing import Observed, timings_of
from harness.verdict.trust import distrusted
from harness.verdict.window import Window, disturbed_seconds, hold_s, record_end_s, windows_of

__all__ = ["Tripped", "judge", "tripped"]


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


def _verdict(run: Run) -> Verdict:
    status = status_of(run.events)
    windows, faults = windows_of(run), fault_windows(run.plan, run.events)
    knots = knots_of(run.plan)
    recorded = Recorded(tallies(run.frames))
    checks = checks_of(run, windows, faults, recorded, knots)
    limited = limited_by(checks)
    outcomes, around = outcomes_of(run.frames), _surroundings(run, windows, faults)
    impacts = tuple(impact for each in outcomes for impact in impacts_of(each, around, faults))
    held_s, end_s = hold_s(run.plan), record_end_s(run)
    disturbed = disturbed_seconds(faults, impacts, held_s, end_s)
    case = Case(run, windows, knots, disturbed, limited, disturbed_seconds(faults, (), held_s, end_s))
    checks += tuple(agreement_checks(case))
    findings = without_stalls(
        run.plan, windows, run.health, _findings(case), lambda lost: _findings_without(case, lost)
    )
    checks = stall_checks(checks, findings)
    unhealthy = validity.unhealthy_before(run.plan, windows, faults, findings)
    checks += tuple(validity.baseline_checks(run.plan, faults, unhealthy))
    findings = validity.attributable(run.plan, findings, unhealthy)
    trusted = delivered(run, windows, recorded, knots, limited)
    timings = timings_of(
        Observed(
            plan=run.plan,
            events=run.events,
            windows=faults,
            outcomes=outcomes,
            impacts=impacts,
            hold_s=held_s,
            end_s=end_s,
            distrusted=distrusted(run.plan, faults, impacts, trusted, end_s),
            unhealthy=unhealthy,
        )
    )
    audit = audited(run.plan, run.events, faults)
    verdicts = [phase_verdict(window, findings, timings, checks) for window in windows]
    verdict = Verdict(
        run=run.name,
        scenario=run.plan.scenario,
        status=status,
        verdict=run_verdict(status, [*verdicts, *audit_evidence(audit)], findings, timings, checks),
        restored=validity.restored(faults),
        headline="",
        phases=tuple(
            phase_result(case, window, said, recorded) for window, said in zip(windows, verdicts, strict=True)
        ),
        findings=findings,
        timings=timings,
        impacts=impacts,
        milestones=milestones_of(run.events, faults),
        audit=audit,
        validity=checks,
    )
    how = ending(run.events)
    return replace(verdict, headline=headline(verdict, how), summary=summary(verdict, run.plan, how))


def _findings(case: Case) -> tuple[Finding, ...]:
    judged = (window for window in case.windows if window.phase.judge)
    return tuple(
        finding
        for window in judged
        for threshold in window.phase.thresholds
        for finding in findings_of(case, window, threshold)
    )


def _findings_without(case: Case, seconds: frozenset[int]) -> tuple[Finding, ...]:
    """The findings from a load record without these seconds."""
    rest = tuple(frame for frame in case.run.frames if frame.second not in seconds)
    return _findings(
        Case(replace(case.run, frames=rest), case.windows, case.knots, case.disturbed, case.limited, case.facts)
    )


def _surroundings(run: Run, windows: Sequence[Window], faults: Sequence[FaultWindow]) -> Surroundings:
    first_fault_s = min(
        (known.requested_ns / 1e9 for known in faults if known.requested_ns is not None), default=math.inf
    )
    calm = frozenset(
        second
        for window in windows
        if window.entered and window.phase.judge
        for second in whole_seconds(window.start_s, min(window.end_s, first_fault_s))
    )
    load = run.plan.service.load
    return Surroundings(calm=calm, limit_s=min(load.slow_s, load.deadline_s), hold_s=hold_s(run.plan))
