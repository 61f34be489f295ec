"""
Timings: how long after a fault what happened, each an interval or right-censored.

All stamps are of one monotonic clock. A fault came into force somewhere in an interval, an impact's ends lie in
intervals, and a difference of two intervals is the widest one their ends allow. What did not come to an end, or did so
too late for the hold to be seen in the load record, is censored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harness.history.events import Body, EndpointsSeen, Event, PodGone, PodSeen, TargetsFrozen
from harness.history.load import BINS_PER_SECOND
from harness.history.views import FaultWindow, ready_pods
from harness.plan.model import Fault, Plan, Source, Tier, Timing, TimingRule, Unit
from harness.units import show
from harness.verdict.impact import fault_on
from harness.verdict.model import Impact, Outcome, Reason, TimingFinding
from harness.verdict.ruling import holds
from harness.verdict.segment import Row

_ZERO = (Reason.NO_IMPACT, Reason.ALREADY_GONE)

Span = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocked:
    """One timing: value with bounds; censored when only the lower bound is known; no value where nothing is known."""

    value_s: float | None
    lo_s: float | None
    hi_s: float | None
    reason: Reason
    detail: str

    @property
    def censored(self) -> bool:
        """Its end was not seen."""
        return self.reason is Reason.CENSORED


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What timings are read from."""

    plan: Plan
    events: tuple[Event, ...]
    windows: tuple[FaultWindow, ...]
    row: Row  # outcomes of all arrivals
    impacts: tuple[Impact, ...]
    hold_s: float
    end_s: float  # of the record
    load_valid: frozenset[str]  # phases whose load record may be judged

    def bad_within(self, lo_s: float, hi_s: float) -> int:
        """Bad arrivals intended between two instants, in whole bins."""
        within = range(int(lo_s * BINS_PER_SECOND), int(hi_s * BINS_PER_SECOND) + 1)
        return sum(bad for number, bad in zip(self.row.bins, self.row.bad, strict=True) if number in within)

    def held_since(self, t_s: float) -> bool:
        """Whether arrivals were recorded for as long as the hold after an instant."""
        last_s = (self.row.bins[-1] + 1) / BINS_PER_SECOND if self.row.bins else 0.0
        return last_s - t_s >= self.hold_s


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
        clocked = _nothing(Reason.CHECK_RAISED, f"{type(error).__name__}: {error}")
    if not rules:
        return [_finding(fault, timing, clocked, None)]
    return [_finding(fault, timing, clocked, rule) for rule in rules]


def _finding(fault: Fault, timing: Timing, clocked: Clocked, rule: TimingRule | None) -> TimingFinding:
    outcome, reason, source, tier = _judged(clocked, rule)
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
        detail=clocked.detail,
        source=source,
        tier=tier,
    )


def _judged(clocked: Clocked, rule: TimingRule | None) -> tuple[Outcome | None, Reason, Source | None, Tier | None]:
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


def _clocked(seen: Observed, fault: Fault, window: FaultWindow, timing: Timing) -> Clocked:
    on = fault_on(window)
    if on is None:
        return _nothing(Reason.NOT_RUN, f"fault {fault.name} was not confirmed: {window.failed or window.evidence}")
    if timing is Timing.DETECTION:
        return _detection(seen, window, on)
    if timing is Timing.REDUNDANCY:
        return _redundancy(seen, window, on)
    if fault.phase not in seen.load_valid:
        return _nothing(Reason.GENERATOR_LIMITED, f"the load of phase {fault.phase} is not valid")
    return _from_load(seen, window, on, timing)


def _from_load(seen: Observed, window: FaultWindow, on: Span, timing: Timing) -> Clocked:
    """The timings that need the load record: what clients saw of the fault."""
    own = [impact for impact in seen.impacts if impact.fault == window.fault]
    if timing is Timing.ROLLBACK:
        return _rollback(seen, own, window)
    if timing is Timing.FAILOVER:
        own = [impact for impact in own if window.gone is None or impact.start_s < window.gone[1] / 1e9]
    if not own:
        return _no_impact(seen, window, on)
    if timing is Timing.FAILOVER:
        return _failover(own[0], window, on)
    return _recovery(own) if timing is Timing.RECOVERY else _downtime(own)


def _recovery(own: Sequence[Impact]) -> Clocked:
    """From the impact's beginning to the instant from which the service was kept; of several impacts the longest."""
    spans = [
        _between((impact.start_s, impact.end_s), _starts(impact), _ends(impact), censored=impact.censored)
        for impact in own
    ]
    longest = max(spans, key=lambda span: (span.censored, span.lo_s or 0.0))
    return longest if len(own) == 1 else _noted(longest, f"the longest of {len(own)} impacts")


def _failover(first: Impact, window: FaultWindow, on: Span) -> Clocked:
    """From the fault to the end of its first impact, while the fault was still on."""
    if window.gone is not None and first.end_s >= window.gone[0] / 1e9:
        waited = _since((window.gone[0] / 1e9, window.gone[1] / 1e9), on)
        return _censored(waited.lo_s or 0.0, "the service was not restored while the fault was on")
    middle = (on[0] + on[1]) / 2
    return _between((middle, first.end_s), on, _ends(first), censored=first.censored)


def _rollback(seen: Observed, own: Sequence[Impact], window: FaultWindow) -> Clocked:
    """From the rollback's request until the fault's effect was gone and none of its impacts was on any more."""
    if window.rollback_requested_ns is None:
        return _nothing(Reason.NOT_RUN, f"the rollback of {window.fault} was never asked for")
    asked_s = window.rollback_requested_ns / 1e9
    if window.gone is None or window.rollback_failed is not None:
        return _censored(max(seen.end_s - asked_s, 0.0), f"not seen gone: {window.rollback_failed or window.evidence}")
    gone = (window.gone[0] / 1e9, window.gone[1] / 1e9)
    over_s = max([gone[1], *(impact.end_hi_s for impact in own)])
    since = (max(gone[0], asked_s), max(gone[1], asked_s))
    over = (max([since[0], *(impact.end_lo_s for impact in own)]), max(over_s, asked_s))
    if any(impact.censored for impact in own) or not seen.held_since(over_s):
        return _censored(over[0] - asked_s, "the service was not seen kept for long enough after it")
    if over_s <= asked_s:
        detail = f"all was over {show(asked_s - over_s, Unit.SECONDS)} before the rollback was asked for"
        return Clocked(value_s=0.0, lo_s=0.0, hi_s=0.0, reason=Reason.ALREADY_GONE, detail=detail)
    value_s = max([sum(since) / 2, *(impact.end_s for impact in own)])
    return _between((asked_s, value_s), (asked_s, asked_s), over, censored=False)


def _downtime(own: Sequence[Impact]) -> Clocked:
    value = sum(impact.downtime_s for impact in own)
    early = ((impact.start_s - impact.start_lo_s, impact.end_hi_s - impact.end_s, impact.severity) for impact in own)
    late = ((impact.start_hi_s - impact.start_s, impact.end_s - impact.end_lo_s, impact.severity) for impact in own)
    more, less = (sum(share * (start + end) for start, end, share in side) for side in (early, late))
    lo = max(value - less, 0.0)
    if any(impact.censored for impact in own):
        return _censored(lo, "the service was still degraded when the record ended")
    return Clocked(value_s=value, lo_s=lo, hi_s=value + more, reason=Reason.WITHIN, detail=_impacts_text(own))


def _detection(seen: Observed, window: FaultWindow, on: Span) -> Clocked:
    """From the fault to the platform's first reaction: fewer endpoints in service, or a target not ready or gone."""
    noticed = _first_reaction(seen.events, window)
    if noticed is None:
        until_s = window.gone[0] / 1e9 if window.gone else seen.end_s
        return _censored(max(until_s - on[1], 0.0), "no endpoint left service while the fault was on")
    return _since((noticed / 1e9, noticed / 1e9), on)


def _first_reaction(events: Iterable[Event], window: FaultWindow) -> int | None:
    """The first one from the request until the effect was gone: what comes later is not about this fault."""
    assert window.requested_ns is not None  # a confirmed fault was requested
    until_ns = math.inf if window.gone is None else window.gone[1]
    targets: frozenset[str] = frozenset()
    endpoints: dict[str, int] = {}
    for event in events:
        body = event.body
        if isinstance(body, TargetsFrozen) and body.fault == window.fault:
            targets = frozenset(body.names)
        elif isinstance(body, EndpointsSeen):
            fewer = body.ready < endpoints.get(body.service, body.ready)
            endpoints[body.service] = body.ready
            if fewer and window.requested_ns <= event.t_ns <= until_ns:
                return event.t_ns
        elif window.requested_ns <= event.t_ns <= until_ns and _left_service(body, targets):
            return event.t_ns
    return None


def _left_service(body: Body, targets: frozenset[str]) -> bool:
    if isinstance(body, PodSeen):
        return body.pod in targets and (body.terminating or not body.ready)
    return isinstance(body, PodGone) and body.pod in targets


def _redundancy(seen: Observed, window: FaultWindow, on: Span) -> Clocked:
    """From the fault to the instant from which as many pods were ready as before it."""
    assert window.requested_ns is not None  # a confirmed fault was requested
    steps = ready_pods(seen.events)
    before = [count for t_ns, count in steps if t_ns <= window.requested_ns]
    if not before:
        return _nothing(Reason.NO_SAMPLES, "no pod was ever seen")
    after = [(t_ns, count) for t_ns, count in steps if t_ns > window.requested_ns]
    short = [t_ns for t_ns, count in after if count < before[-1]]
    if not short:
        return Clocked(value_s=0.0, lo_s=0.0, hi_s=0.0, reason=Reason.NO_IMPACT, detail="no replica was lost")
    back = next((t_ns for t_ns, count in after if count >= before[-1] and t_ns > short[0]), None)
    if back is None:
        return _censored(max(seen.end_s - on[1], 0.0), "not all replicas came back before the record ended")
    return _since((back / 1e9, back / 1e9), on)


def _between(value: Span, start: Span, end: Span, *, censored: bool) -> Clocked:
    if censored:
        lo = max(end[0] - start[1], 0.0)
        return _censored(lo, "the service was not seen kept for long enough before the record ended")
    lo, hi = max(end[0] - start[1], 0.0), max(end[1] - start[0], 0.0)
    middle = min(max(value[1] - value[0], lo), hi)
    detail = f"from {value[0]:.3f} s to {value[1]:.3f} s of the run"
    return Clocked(value_s=middle, lo_s=lo, hi_s=hi, reason=Reason.WITHIN, detail=detail)


def _since(instant: Span, on: Span) -> Clocked:
    """From the fault's coming into force to an instant."""
    return _between(((on[0] + on[1]) / 2, (instant[0] + instant[1]) / 2), on, instant, censored=False)


def _starts(impact: Impact) -> Span:
    return impact.start_lo_s, impact.start_hi_s


def _ends(impact: Impact) -> Span:
    return impact.end_lo_s, impact.end_hi_s


def _no_impact(seen: Observed, window: FaultWindow, on: Span) -> Clocked:
    """Zero; with the bad arrivals there were, which are too few for an impact."""
    over_s = seen.end_s if window.gone is None else window.gone[1] / 1e9 + seen.hold_s
    bad = seen.bad_within(on[0], over_s)
    few = f": only {bad} bad arrival{'s' if bad > 1 else ''}" if bad else ""
    detail = f"no impact on clients{few}"
    return Clocked(value_s=0.0, lo_s=0.0, hi_s=0.0, reason=Reason.NO_IMPACT, detail=detail)


def _censored(lo_s: float, why: str) -> Clocked:
    return Clocked(value_s=None, lo_s=lo_s, hi_s=None, reason=Reason.CENSORED, detail=why)


def _nothing(reason: Reason, detail: str) -> Clocked:
    return Clocked(value_s=None, lo_s=None, hi_s=None, reason=reason, detail=detail)


def _noted(clocked: Clocked, note: str) -> Clocked:
    return replace(clocked, detail=f"{clocked.detail} ({note})")


def _impacts_text(own: Sequence[Impact]) -> str:
    bad = sum(impact.bad for impact in own)
    return f"{bad} bad arrivals in {len(own)} impact{'s' if len(own) > 1 else ''}"
