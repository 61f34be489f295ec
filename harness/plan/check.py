"""Rules across the fields of a scenario: what each value says is fine by itself, but not beside the others."""

from __future__ import annotations

import math
from collections.abc import Callable

from harness.plan.draft import FaultDraft, PhaseDraft, ThresholdDraft, TimingDraft
from harness.plan.model import ClientMeasure, ClientSli, PrometheusSli, Tier
from harness.plan.nodes import At, nearest
from harness.plan.service import ServiceFile
from harness.units import show

SCRAPES_PER_PHASE = 4
"""A phase shorter than this many scrape intervals holds too few samples to say anything of a server-side SLI."""

ALPHA = 0.05
"""Chance allowed of calling a limit kept that is not; the rule of three is this at no bad arrival at all."""


def check(phases_at: At, phases: tuple[PhaseDraft, ...], service: ServiceFile | None) -> None:
    """Record every problem that lies between the fields."""
    if phases and not any(phase.judge is not False for phase in phases):
        phases_at.wrong("no phase is judged, so the run could prove nothing; remove 'judge: false' from one")
    _unique_names(phases)
    for phase in phases:
        _judging(phase)
        for fault in phase.faults:
            _inside(fault, phase)
        for timing in phase.timings:
            if fault_named(timing, phase) is None:
                known = [fault.name for fault in phase.faults]
                said = nearest(timing.fault, known, allowed="it has") if known else "it has no faults"
                timing.fault_at.wrong(f"the phase has no fault '{timing.fault}'; {said}")
        for draft in phase.thresholds:
            _possible(draft, phase, service)
    _comparable(phases)


def fault_named(timing: TimingDraft, phase: PhaseDraft) -> FaultDraft | None:
    """The fault of the phase that a timing rule is of: by its name, or by its experiment's where there is one only."""
    for fault in phase.faults:
        if fault.name == timing.fault:
            return fault
    same = [fault for fault in phase.faults if fault.base == timing.fault]
    return same[0] if len(same) == 1 else None


def _unique_names(phases: tuple[PhaseDraft, ...]) -> None:
    first: dict[str, int] = {}
    for phase in phases:
        if phase.name in first:
            phase.at.wrong(f"the name '{phase.name}' is taken by the phase on line {first[phase.name]}; give another")
        elif phase.name is not None:
            first[phase.name] = phase.at.line


def _judging(phase: PhaseDraft) -> None:
    if phase.judge is False and phase.has_thresholds:
        phase.at.wrong("'judge: false', yet it has thresholds that nobody would look at; remove one of the two")
    if phase.judge and not phase.has_thresholds:
        phase.at.wrong("a judged phase needs a threshold; give 'thresholds', or write 'judge: false'")
    if phase.judge and phase.thresholds and all(draft.threshold.tier is Tier.TARGET for draft in phase.thresholds):
        phase.at.wrong("targets only inform, so nothing would decide the phase; give a warn or fail rule")
    if phase.judge and phase.load_level == 0:
        phase.at.wrong("a judged phase needs load above '0%'; raise it, or write 'judge: false'")


def _inside(fault: FaultDraft, phase: PhaseDraft) -> None:
    if fault.at_s is None or phase.duration_s is None:
        return
    length = show(phase.duration_s, "s")
    if fault.at_s >= phase.duration_s:
        fault.at.wrong(f"at {show(fault.at_s, 's')} lies outside its phase, which lasts {length}; move it inside")
    elif fault.at_s + (fault.for_s or 0.0) > phase.duration_s + 1e-9:
        end = show(fault.at_s + (fault.for_s or 0.0), "s")
        fault.at.wrong(f"ends {end} into its phase, which lasts {length}; shorten it, or the phase's end undoes it")


def _possible(draft: ThresholdDraft, phase: PhaseDraft, service: ServiceFile | None) -> None:
    """Whether the threshold can be decided at all in this phase."""
    if service is None:
        return
    if isinstance(draft.sli, PrometheusSli) and "prometheus" not in service.given:
        draft.at.wrong(
            f"'{draft.sli.name}' comes from Prometheus, which the service '{service.name}' lacks; "
            "give it 'prometheus' or remove the rule"
        )
    if phase.duration_s is None:
        return
    rule = draft.threshold.rule
    if rule.for_s is not None and rule.for_s >= phase.duration_s:
        draft.at.wrong(
            f"'{rule.text}' can never be breached in a phase of {show(phase.duration_s, 's')}; shorten the 'for'"
        )
    if isinstance(draft.sli, PrometheusSli) and service.prometheus:
        least_s = SCRAPES_PER_PHASE * service.prometheus.scrape_interval_s
        if phase.duration_s < least_s:
            draft.at.wrong(
                f"a phase of {show(phase.duration_s, 's')} is too short for '{draft.sli.name}', scraped every "
                f"{show(service.prometheus.scrape_interval_s, 's')}; make it at least {show(least_s, 's')}"
            )
    if service.load and phase.load_level:
        planned = service.load.baseline_per_s * phase.load_level * phase.duration_s
        _decidable(draft, planned)


def _decidable(draft: ThresholdDraft, planned: float) -> None:
    """
    Whether the phase plans enough arrivals to prove an error ratio kept even if none of them fails.

    Exact form of the rule of three (Hanley and Lippman-Hand 1983): with no failure in n arrivals the ratio is
    proven below p at level alpha when (1 - p)^n <= alpha.
    """
    limit, rule = _error_limit(draft), draft.threshold.rule
    if limit is None or limit >= 1:
        return
    if limit == 0:
        draft.at.wrong(f"'{rule.text}' can never be proven kept, whatever the load; allow some errors, e.g. 0.1%")
        return
    needed = math.ceil(math.log(ALPHA) / math.log1p(-limit))
    if planned < needed:
        draft.at.wrong(
            f"'{rule.text}' cannot be decided by the {planned:.0f} arrivals that the phase plans; "
            f"it needs {needed}: lengthen the phase, raise the load or loosen the limit"
        )


def _error_limit(draft: ThresholdDraft) -> float | None:
    """The share of errors at which a whole-phase `fail` rule on client-side errors is breached."""
    rule = draft.threshold.rule
    measures: dict[ClientMeasure, Callable[[float], float]] = {
        ClientMeasure.ERROR_RATIO: lambda quantity: quantity,
        ClientMeasure.SUCCESS_RATIO: lambda quantity: 1 - quantity,
    }
    if draft.threshold.tier is not Tier.FAIL or rule.for_s is not None or rule.relative_to is not None:
        return None
    if not isinstance(draft.sli, ClientSli) or draft.sli.measure not in measures:
        return None
    return measures[draft.sli.measure](rule.quantity)


def _comparable(phases: tuple[PhaseDraft, ...]) -> None:
    """A rule `of baseline` needs what the verdict takes as the baseline: a judged phase at 100 % without a fault."""
    if any(phase.judge is not False and phase.load_level in {1.0, None} and not phase.faults for phase in phases):
        return
    for draft in (draft for phase in phases for draft in phase.thresholds):
        if draft.threshold.rule.relative_to == "baseline":
            draft.at.wrong(
                f"'{draft.threshold.rule.text}' has nothing to compare with; add a judged phase at 100% without faults"
            )
