"""What a verdict says in words: what it would take to decide, the headline, and the three sentences of the summary."""

from __future__ import annotations

from collections.abc import Sequence

from harness.history.events import Event, RunEnded, Status
from harness.plan.model import Plan, Tier, Unit
from harness.units import show
from harness.verdict.interval import TAUS_MIN, Estimate, share_interval
from harness.verdict.merge import evidence, weight
from harness.verdict.model import Check, Finding, Outcome, TimingFinding, Verdict

_MOST = 1000.0  # times as many arrivals; what needs more is called undecidable
_STEPS = 40  # of a bisection


def missing_arrivals(found: Estimate, total: float, allowed: float, length_s: float) -> str:
    """
    What it would take to decide whether a share is within what is allowed, if it and its design effect stay the same.

    In words: `about 4200 more arrivals would decide (21s at this rate)`.
    """
    bad = found.value * total
    kept = found.value <= allowed

    def enough(times: float) -> bool:
        low, high = share_interval((bad * times, bad * times), total * times, effect=found.effect)
        return high <= allowed if kept else low > allowed

    if not enough(_MOST):
        return "too near the limit for any number of arrivals to decide"
    lower, upper = 1.0, _MOST
    for _ in range(_STEPS):
        middle = (lower * upper) ** 0.5
        lower, upper = (lower, middle) if enough(middle) else (middle, upper)
    more = upper - 1
    count, time = show(max(more * total, 1.0), Unit.COUNT), show(max(more * length_s, 1.0), Unit.SECONDS)
    return f"about {count} more arrivals would decide ({time} at this rate)"


def too_short(tau_s: float, length_s: float) -> str:
    """That a phase is too short for its correlation time, in words; empty where it is not (AR(1), T >= 30 tau)."""
    if length_s >= TAUS_MIN * tau_s:
        return ""
    time, needed = show(tau_s, Unit.SECONDS), show(TAUS_MIN * tau_s, Unit.SECONDS)
    return f"deviations last about {time}: the phase is short for that, {needed} would be safe"


# -- the headline ------------------------------------------------------------------------------------------------------


def ending(events: Sequence[Event]) -> str:
    """What the run's last event says about how it ended."""
    return next(
        (event.body.detail for event in reversed(events) if isinstance(event.body, RunEnded)), "no end recorded"
    )


def headline(verdict: Verdict, how: str) -> str:
    """One sentence: the decisive reason; `how` is how the run ended."""
    if verdict.verdict is Outcome.PASS:
        kept = sum(1 for finding in verdict.findings if finding.outcome is Outcome.PASS)
        confirmed = sum(1 for check in verdict.validity if check.check == "fault_confirmed")
        faults = f", {_some(confirmed, 'fault')} confirmed and gone" if confirmed else ""
        audit = f"; {verdict.audit.detail}" if verdict.audit else ""
        return f"{_some(kept, 'threshold')} kept{faults}{audit}"
    if verdict.status is Status.ABORTED:
        return f"aborted: {how}"
    return _decisive(verdict, how)


def _decisive(verdict: Verdict, how: str) -> str:
    """The first finding, timing or check that made the verdict what it is."""
    wanted = verdict.verdict
    if wanted is Outcome.INCONCLUSIVE and verdict.status is not Status.COMPLETED:
        return f"the run was {how}" if verdict.status is Status.INTERRUPTED else f"the run broke off: {how}"
    if wanted is Outcome.INCONCLUSIVE:
        for check in verdict.validity:
            if check.outcome is wanted:
                return _of_check(check)
    for finding in verdict.findings:
        if evidence([finding]) == [wanted]:
            return _of_finding(finding)
    for one in verdict.audit.findings if verdict.audit else ():
        if weight(one.tier, one.outcome) is wanted:
            return f"data-loss audit: {one.count.value} {one.rule} ({one.tier.value}): {one.detail}"
    for timing in verdict.timings:
        if evidence([timing]) == [wanted]:
            rule = f"{timing.timing.value} {timing.rule} ({timing.tier})"
            return f"{timing.fault}: {rule}: {_length(timing)}{timing.detail}"
    undecided = (phase.name for phase in verdict.phases if phase.verdict is Outcome.INCONCLUSIVE)
    return f"no threshold was decided in judged phase {next(undecided, '')}"


def _of_check(check: Check) -> str:
    where = f"{check.phase}: " if check.phase else ""
    return f"{where}{check.check.replace('_', ' ')} is not proven: {check.detail}"


def _of_finding(finding: Finding) -> str:
    of = f" of {finding.group}" if finding.group is not None else ""
    return f"{finding.phase}: {finding.sli}{of} {finding.rule} ({finding.tier.value}): {finding.detail}"


def _length(timing: TimingFinding) -> str:
    """How long it took, as far as that is known."""
    if timing.value_s is not None:
        return f"{show(timing.value_s, Unit.SECONDS)}, "
    return "" if timing.lo_s is None else f"more than {show(timing.lo_s, Unit.SECONDS)}, "


# -- the summary -------------------------------------------------------------------------------------------------------


def summary(verdict: Verdict, plan: Plan, how: str) -> tuple[str, ...]:
    """The three sentences an on-call engineer would say: the load, what was broken, and what decided."""
    return _load(verdict, plan), _broken(verdict), _decided(verdict, how)


def _load(verdict: Verdict, plan: Plan) -> str:
    judged = [phase for phase in verdict.phases if phase.verdict is not None and phase.load.planned]
    said = [f"{phase.name} at {show(phase.offered_per_s, Unit.PER_SECOND)}" for phase in judged]
    planned = sum(phase.load.planned for phase in judged)
    sent = sum(phase.load.sent for phase in judged)
    delivered = f"{_of(sent, planned)} were sent" if planned else "no arrival was planned"
    title = (
        f"{plan.service.title or plan.service.name} was put under load: {', '.join(said)}" if said else "Nothing ran"
    )
    return f"{title}; {delivered}."


def _of(part: int, whole: int) -> str:
    if part == whole:
        return f"all {whole} planned arrivals"
    return f"{part} ({show(part / whole, Unit.RATIO)}) of {whole} planned arrivals"


def _broken(verdict: Verdict) -> str:
    confirmed = [check for check in verdict.validity if check.check == "fault_confirmed"]
    impacts = _impacts(verdict)
    if not confirmed:
        return f"Nothing was broken on purpose; {impacts}."
    names = ", ".join(check.detail.partition(":")[0] for check in confirmed)
    seen = sum(check.outcome is Outcome.PASS for check in confirmed)
    force = "seen in force" if seen == len(confirmed) else f"{seen} of {len(confirmed)} seen in force"
    gone = "and proven gone" if verdict.restored else "but not proven gone"
    return f"Broken on purpose: {names}, {force} {gone}; {impacts}."


def _impacts(verdict: Verdict) -> str:
    own = [impact for impact in verdict.impacts if impact.stream is None]
    if not own:
        return _throughout(verdict)
    bad = sum(impact.bad for impact in own)
    longest = max(own, key=lambda impact: impact.end_s - impact.start_s)
    time = show(longest.end_s - longest.start_s, Unit.SECONDS)
    kind = f" ({longest.shape.value})" if longest.shape else ""
    lasting = f"more than {time}" if longest.censored else time
    often = f"{len(own)} times, for {lasting} at the longest" if len(own) > 1 else f"for {lasting}"
    return f"clients noticed it {often}{kind}, with {_some(bad, 'bad arrival')}"


def _throughout(verdict: Verdict) -> str:
    """What clients saw where no interval was worse than the rest."""
    loads = [phase.load for phase in verdict.phases if phase.verdict is not None]
    bad, sent = sum(one.failed + one.timed_out + one.dropped for one in loads), sum(one.sent for one in loads)
    if not bad:
        return "clients noticed nothing"
    share = f" ({show(bad / sent, Unit.RATIO)})" if sent else ""
    return f"no interval was worse than the rest, in which {_some(bad, 'arrival')}{share} failed"


def _decided(verdict: Verdict, how: str) -> str:
    said = f"{verdict.verdict.value.capitalize()}: {headline(verdict, how)}"
    nearest = _nearest(verdict.findings) if verdict.verdict is Outcome.PASS else None
    if nearest is None:
        return f"{said}."
    return f"{said}; nearest to its limit was {_of_finding(nearest)}."


def _nearest(findings: Sequence[Finding]) -> Finding | None:
    """The kept threshold with the smallest margin."""
    kept = [one for one in findings if one.tier is not Tier.TARGET and one.margin is not None]
    return min(kept, key=lambda one: one.margin or 0.0, default=None)


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
