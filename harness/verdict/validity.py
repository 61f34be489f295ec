"""
Validity: whether the experiment took place: phases run to their end, faults in force and gone again, on a service that
was well before, watched without a gap.

Each check has a name, a sentence and an effect: inconclusive makes inconclusive what depends on it, a warning is shown.
What the load generator has to keep is in `generator`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from harness.history.events import Event, HoldLost, PreflightChecked, QueryFailed, RunEnded, Status, WatchGap
from harness.history.views import FaultWindow
from harness.plan.model import Fault, Plan, PrometheusSli, Tier
from harness.verdict.model import Check, Finding, Outcome, Reason
from harness.verdict.window import Window

QUERIES_FAILED_MAX = 0.5  # of a phase's SLIs; where more of them got no answer, it is Prometheus that failed


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


def cluster_checks(events: Iterable[Event]) -> list[Check]:
    """What preflight warned of, and whether the run kept its hold on the cluster to the end."""
    checks = []
    for event in events:
        match event.body:
            case PreflightChecked(check=name, ok=False, detail=detail):
                checks.append(Check(check=f"preflight_{name}", phase=None, outcome=Outcome.WARN, detail=detail))
            case HoldLost(detail=detail):
                checks.append(Check(check="hold_kept", phase=None, outcome=Outcome.INCONCLUSIVE, detail=detail))
    return checks


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


def unhealthy_before(
    plan: Plan, windows: Sequence[Window], faults: Sequence[FaultWindow], findings: Sequence[Finding]
) -> dict[str, str]:
    """
    Fault -> how the service was not well before it, for each injected fault of which that is proven.

    It was not when the last judged phase before the fault's own has a proven breach of a `fail` or `abort` threshold.
    """
    broken: dict[str, Finding] = {}
    for finding in findings:
        if finding.tier in (Tier.FAIL, Tier.ABORT) and finding.outcome is Outcome.FAIL:
            broken.setdefault(finding.phase, finding)
    names = [window.phase.name for window in windows]
    judged = [window.phase.name for window in windows if window.phase.judge and window.entered]
    found = {}
    for fault, known in zip(plan.faults, faults, strict=True):
        before = [name for name in judged if names.index(name) < names.index(fault.phase)]
        if known.requested_ns is not None and before and before[-1] in broken:
            first = broken[before[-1]]
            found[fault.name] = f"the service was not well before it: {first.phase}: {first.sli} {first.rule}"
    return found


def baseline_checks(plan: Plan, faults: Sequence[FaultWindow], unhealthy: Mapping[str, str]) -> list[Check]:
    """Whether the service was well before each fault that was injected."""
    checks = []
    for fault, known in zip(plan.faults, faults, strict=True):
        if known.requested_ns is not None:
            why = unhealthy.get(fault.name)
            outcome = Outcome.INCONCLUSIVE if why else Outcome.PASS
            detail = why or "no threshold of the judged phase before it was breached"
            checks.append(_fault_check("baseline_healthy", fault, outcome, detail))
    return checks


def attributable(plan: Plan, findings: Iterable[Finding], unhealthy: Mapping[str, str]) -> tuple[Finding, ...]:
    """The findings; those of a fault's phase inconclusive, unless proven breached, where it was not well before."""
    phases = {fault.phase: unhealthy[fault.name] for fault in reversed(plan.faults) if fault.name in unhealthy}
    return tuple(
        replace(
            finding,
            outcome=Outcome.INCONCLUSIVE,
            reason=Reason.BASELINE_UNHEALTHY,
            detail=f"{finding.detail}; {phases[finding.phase]}",
        )
        if finding.phase in phases and finding.outcome in (Outcome.PASS, Outcome.WARN)
        else finding
        for finding in findings
    )


def prometheus_checks(plan: Plan, windows: Iterable[Window], events: Sequence[Event]) -> list[Check]:
    """
    Whether Prometheus was there, for each judged phase with a rule on it; a warning at worst.

    Each rule that got no answer is inconclusive by itself; that most got none says that it is not about one query.
    None of a record that broke off: who was asked before is not known.
    """
    if not any(isinstance(event.body, RunEnded) for event in events):
        return []
    served = {sli.name for sli in plan.service.slis if isinstance(sli, PrometheusSli)}
    failed = [event.body for event in events if isinstance(event.body, QueryFailed)]
    checks = []
    for window in windows:
        asked = {rule.sli for rule in window.phase.thresholds} & served
        if not (window.phase.judge and window.entered and asked):
            continue
        silent = [body for body in failed if body.phase == window.phase.name and body.sli in asked]
        names = sorted({body.sli for body in silent})
        dead = len(names) > QUERIES_FAILED_MAX * len(asked)
        text = f"{len(asked) - len(names)} of {len(asked)} SLIs got an answer"
        detail = f"{text}; {names[0]}: {silent[0].detail}" if dead else text
        checks.append(_check("prometheus_alive", window, Outcome.WARN if dead else Outcome.PASS, detail))
    return checks


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
