"""
Timings: how long after a fault what happened, each an interval or right-censored.

All stamps are of one monotonic clock. A fault came into force somewhere in an interval, an impact's ends lie in
intervals, and a difference of two intervals is the widest one their ends allow. What did not come to an end, or did so
too late for the hold to be seen in the load record, is censored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.history.events import Event
from harness.history.views import FaultWindow
from harness.plan.model import Fault, Plan, Source, Tier, Timing, TimingRule
from harness.verdict.attribution import fault_on
from harness.verdict.clocked import Clocked, nothing
from harness.verdict.model import Impact, Outcome, Reason, TimingFinding
from harness.verdict.outcomes import Outcomes
from harness.verdict.platform import detection, redundancy
from harness.verdict.ruling import holds
from harness.verdict.suffered import Suffered, clocked_by_clients

_ZERO = (Reason.NO_IMPACT, Reason.ALREADY_GONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What timings are read from."""

    plan: Plan
    events: tuple[Event, ...]
    windows: tuple[FaultWindow, ...]
    outcomes: tuple[Outcomes, ...]  # of all arrivals, and of each stream
    impacts: tuple[Impact, ...]
    hold_s: float
    end_s: float  # of the record
    distrusted: Mapping[str, str]  # fault -> why the load record between it and the end of its impacts is not judged
    unhealthy: Mapping[str, str]  # fault -> how the service was not well before it


def timings_of(seen: Observed) -> tuple[TimingFinding, ...]:
    """For each fault in plan order: every rule's finding, and the timings nobody asked for if it was injected."""
    findings: list[TimingFinding] = []
    for fault, window in zip(seen.plan.faults, seen.windows, strict=True):
        rules = [rule for phase in seen.plan.phases for rule in phase.timings if rule.fault == fault.name]
        for timing in Timing:
            asked = [rule for rule in rules if rule.timing is timing]
            if asked or window.requested_ns is not None:
                findings += _findings(seen, fault, window, timing, asked)
    return tuple(findings)


def _findings(
    seen: Observed, fault: Fault, window: FaultWindow, timing: Timing, rules: Sequence[TimingRule]
) -> list[TimingFinding]:
    try:
        clocked = _clocked(seen, fault, window, timing)
    except Exception as error:  # a fault in judging must not cost the verdict; it is shown, and decides nothing
        clocked = nothing(Reason.CHECK_RAISED, f"{type(error).__name__}: {error}")
    return [_finding(seen, fault, timing, clocked, rule) for rule in rules or (None,)]


def _clocked(seen: Observed, fault: Fault, window: FaultWindow, timing: Timing) -> Clocked:
    on = fault_on(window)
    if on is None:
        return nothing(Reason.NOT_RUN, f"fault {fault.name} was not confirmed: {window.failed or window.evidence}")
    if timing is Timing.DETECTION:
        return detection(seen.events, window, on, seen.end_s)
    if timing is Timing.REDUNDANCY:
        return redundancy(seen.events, window, seen.windows, on, seen.end_s)
    if fault.name in seen.distrusted:
        return nothing(Reason.GENERATOR_LIMITED, seen.distrusted[fault.name])
    suffered = Suffered(
        outcomes=seen.outcomes,
        impacts=seen.impacts,
        faults=seen.windows,
        window=window,
        on=on,
        hold_s=seen.hold_s,
        end_s=seen.end_s,
    )
    return clocked_by_clients(suffered, timing)


def _finding(seen: Observed, fault: Fault, timing: Timing, clocked: Clocked, rule: TimingRule | None) -> TimingFinding:
    outcome, reason, source, tier = _judged(clocked, rule)
    detail = clocked.detail
    if outcome in (Outcome.PASS, Outcome.WARN) and fault.name in seen.unhealthy:
        outcome, reason = Outcome.INCONCLUSIVE, Reason.BASELINE_UNHEALTHY
        detail = f"{detail}; {seen.unhealthy[fault.name]}"
    return TimingFinding(
        fault=fault.name,
        timing=timing,
        value_s=clocked.value_s,
        lo_s=clocked.lo_s,
        hi_s=clocked.hi_s,
        censored=clocked.censored,
        outcome=outcome,
        reason=reason,
        rule=rule.rule.text if rule else None,
        detail=detail,
        source=source,
        tier=tier,
    )


def _judged(clocked: Clocked, rule: TimingRule | None) -> tuple[Outcome | None, Reason, Source | None, Tier | None]:
    """A rule decides with the bounds: what all of them allow is proven, what some of them allow is open."""
    if rule is None:
        return None, clocked.reason, None, None
    outcome, reason = Outcome.INCONCLUSIVE, clocked.reason
    if clocked.lo_s is not None:
        hi_s = float("inf") if clocked.hi_s is None else clocked.hi_s
        limit = rule.rule.quantity
        decided = holds((clocked.lo_s, hi_s), rule.rule, (limit, limit))
        if decided is None:
            reason = clocked.reason if clocked.censored else Reason.UNDECIDED
        elif decided == (rule.tier is Tier.TARGET):
            outcome = Outcome.PASS
            reason = clocked.reason if clocked.reason in _ZERO else Reason.WITHIN
        else:
            outcome = Outcome.FAIL if rule.tier in (Tier.FAIL, Tier.ABORT) else Outcome.WARN
            reason = Reason.EXCEEDED
    return outcome, reason, rule.source, rule.tier
