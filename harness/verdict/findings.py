"""Findings: one per threshold of a judged phase and group. This room's one place where rules are applied."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.plan.model import Better, ClientMeasure, ClientSli, Sli, Threshold, Tier, Unit
from harness.units import show
from harness.verdict.case import Case, sli_of
from harness.verdict.client import whole_seconds
from harness.verdict.deciding import Asked, client_ruling, worst_first
from harness.verdict.groups import Group, groups_of
from harness.verdict.model import Finding, Outcome, Reason
from harness.verdict.relative import Baseline, compared, compared_text, limit_of
from harness.verdict.ruling import Bounds, Measured, NoEvidenceError, Ruling
from harness.verdict.server import server_ruling
from harness.verdict.window import Window


@dataclass(slots=True)
class _Seen:
    """What is known of a threshold and group, as far as judging it has come."""

    unit: Unit = Unit.RATIO
    better: Better = Better.LOWER
    measured: Measured | None = None
    ruling: Ruling | None = None
    limit: Bounds | None = None
    worst: tuple[float | None, float | None] = (None, None)


def findings_of(case: Case, window: Window, threshold: Threshold) -> tuple[Finding, ...]:
    """The outcomes of one threshold, one per group, in order of their names; never raises, never nothing."""
    try:
        sli = sli_of(case.run.plan, threshold.sli)
        _entered(window)
        groups = groups_of(case, window, sli, threshold.each)
    except Exception as error:  # a fault in judging must not cost the verdict; it is shown, and decides nothing
        return (_finding(window, threshold, None, _Seen(), _undecided(error)),)
    return tuple(_finding_of(case, window, threshold, group) for group in groups)


def _finding_of(case: Case, window: Window, threshold: Threshold, group: Group) -> Finding:
    seen = _Seen(group.sli.unit, group.sli.better)
    try:
        said = _judged(case, window, threshold, group, seen)
    except Exception as error:  # as above
        said = _undecided(error)
    return _finding(window, threshold, group, seen, said)


_Said = tuple[Outcome, Reason, str]


def _undecided(error: Exception) -> _Said:
    if isinstance(error, NoEvidenceError):
        return Outcome.INCONCLUSIVE, error.reason, error.detail
    return Outcome.INCONCLUSIVE, Reason.CHECK_RAISED, f"{type(error).__name__}: {error}"


def _entered(window: Window) -> None:
    if not window.entered:
        raise NoEvidenceError(Reason.NOT_RUN, f"phase {window.phase.name} was never entered")
    if not window.finished and not whole_seconds(window.start_s, window.end_s):
        raise NoEvidenceError(Reason.NOT_RUN, f"not a whole second of phase {window.phase.name} was run")


def _judged(case: Case, window: Window, threshold: Threshold, group: Group, seen: _Seen) -> _Said:
    measured = seen.measured = case.measured(window, group.sli, group.member)
    if threshold.min_samples is not None and measured.samples < threshold.min_samples:
        detail = f"{measured.text(seen.unit)}; {measured.samples} samples, {threshold.min_samples} are wanted"
        raise NoEvidenceError(Reason.TOO_FEW_SAMPLES, detail)
    ruling = seen.ruling = _ruling(case, window, group, threshold, seen)
    if isinstance(group.sli, ClientSli):
        value, at_s = worst_first(case.client(window, group.sli), group.sli, ruling)
        seen.worst = (value, at_s)
    else:
        seen.worst = (ruling.worst, ruling.worst_s)
    outcome, reason = _outcome(threshold.tier, ruling)
    detail = "; ".join(filter(None, (measured.text(seen.unit), ruling.note, group.note)))
    if not window.finished and reason is not Reason.EXCEEDED:
        ran = show(window.end_s - window.start_s, Unit.SECONDS)
        return Outcome.INCONCLUSIVE, Reason.NOT_RUN, f"only {ran} of the phase were run; so far {detail}"
    if reason is Reason.UNDECIDED or (reason is Reason.TOO_FEW_SAMPLES and ruling.missing):
        detail = "; ".join(filter(None, (detail, ruling.missing)))
    return outcome, reason, detail


def _ruling(case: Case, window: Window, group: Group, threshold: Threshold, seen: _Seen) -> Ruling:
    rule, sli = threshold.rule, group.sli
    assert seen.measured is not None
    asked = _asked(case, window, group, threshold)
    seen.limit = asked.limit
    if isinstance(sli, ClientSli):
        return client_ruling(case.client(window, sli), sli, asked, seen.measured)
    if asked.baseline is not None and rule.for_s is None and rule.any_s is None:
        note = compared_text(seen.measured, asked.baseline, sli.unit)
        decided = compared(seen.measured, rule, asked.baseline, sli.better)
        return Ruling(holds=decided, reason=Reason.UNDECIDED, note=note)
    return server_ruling(case.server(window, sli, group.member), sli, rule, asked.limit, seen.measured)


def _asked(case: Case, window: Window, group: Group, threshold: Threshold) -> Asked:
    """What the value is compared with, in the SLI's unit; raises NoEvidenceError when the baseline gives nothing."""
    rule, sli = threshold.rule, group.sli
    if rule.relative_to is None:
        return Asked(rule=rule, limit=(rule.quantity, rule.quantity))
    if rule.relative_to == "offered":
        offered = case.offered(sli.stream if isinstance(sli, ClientSli) else None)
        per_s = offered.within(window.start_s, window.end_s) / max(window.end_s - window.start_s, 1e-9)
        return Asked(rule=rule, limit=(rule.quantity * per_s,) * 2, per_second=rule.quantity)
    base = case.compared_with(window, sli, group.member)
    if rule.for_s is not None or rule.any_s is not None:
        base = _per_stretch(base, sli, window, rule.any_s or 1.0)
    return Asked(rule=rule, limit=limit_of(rule, base.value, sli.better), baseline=base)


def _per_stretch(base: Baseline, sli: Sli, window: Window, length_s: float) -> Baseline:
    """A count of the baseline for a stretch instead of the phase."""
    if not (isinstance(sli, ClientSli) and sli.measure is ClientMeasure.FAILURES):
        return base
    part, one = length_s / (window.end_s - window.start_s), base.value
    ends = [None if end is None else end * part for end in (one.value, one.lo, one.hi)]
    return replace(base, value=replace(one, value=ends[0], lo=ends[1], hi=ends[2]))


def _outcome(tier: Tier, ruling: Ruling) -> tuple[Outcome, Reason]:
    """At target tier a rule says what is wanted, at the others what is a breach; a missed target is a warning."""
    if ruling.holds is None:
        return Outcome.INCONCLUSIVE, ruling.reason
    if ruling.holds == (tier is Tier.TARGET):
        return Outcome.PASS, Reason.WITHIN
    return (Outcome.FAIL if tier in (Tier.FAIL, Tier.ABORT) else Outcome.WARN), Reason.EXCEEDED


def _margin(seen: _Seen) -> float | None:
    """How far the value is from the limit, as a share of the limit; None where one of them is not a number."""
    if seen.ruling is None:
        return None
    if seen.ruling.margin is not None:
        return seen.ruling.margin
    compared_value = seen.ruling.value or seen.measured
    if compared_value is None or compared_value.value is None or seen.limit is None or not seen.limit[0]:
        return None
    limit = sum(seen.limit) / 2
    return (limit - compared_value.value if seen.better is Better.LOWER else compared_value.value - limit) / limit


def _finding(window: Window, threshold: Threshold, group: Group | None, seen: _Seen, said: _Said) -> Finding:
    measured = seen.measured
    return Finding(
        phase=window.phase.name,
        sli=threshold.sli,
        tier=threshold.tier,
        rule=threshold.rule.text,
        outcome=said[0],
        reason=said[1],
        detail=said[2],
        value=measured.value if measured else None,
        lo=measured.lo if measured else None,
        hi=measured.hi if measured else None,
        unit=seen.unit,
        samples=measured.samples if measured else 0,
        coverage=measured.coverage if measured else None,
        source=threshold.source,
        group=group.name if group else None,
        worst=seen.worst[0],
        worst_s=seen.worst[1],
        margin=_margin(seen),
        severity=threshold.severity,
        runbook=threshold.runbook,
    )
