"""Rules across the fields of a scenario: what each value says is fine by itself, but not beside the others."""

from __future__ import annotations

from harness.plan.decide import decidable
from harness.plan.draft import FaultDraft, PhaseDraft, TimingDraft
from harness.plan.level import of_baseline, per_s
from harness.plan.model import Load, PrometheusSli, Tier
from harness.plan.nodes import At, nearest
from harness.plan.service import ServiceFile
from harness.units import show

_Key = tuple[str, Tier, str | None, str]


def check(phases_at: At, phases: tuple[PhaseDraft, ...], service: ServiceFile | None, load: Load | None) -> None:
    """Record every problem that lies between the fields; `load` is the service's, its baseline settled."""
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
        _once(phase)
        if service is not None:
            _answerable(phase, service)
            for draft in phase.thresholds:
                decidable(draft, phase, service, load)
    _comparable(phases, load)


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
    if phase.judge and phase.level and phase.level.zero:
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


def _once(phase: PhaseDraft) -> None:
    seen: set[_Key] = set()
    for draft in phase.thresholds:
        rule = draft.threshold
        key = (rule.sli, rule.tier, rule.each, rule.rule.text)
        if key in seen:
            draft.at.wrong(f"the phase has '{rule.sli}' with {rule.tier} '{rule.rule.text}' twice; remove one")
        seen.add(key)


def _answerable(phase: PhaseDraft, service: ServiceFile) -> None:
    """A rule on Prometheus needs one."""
    for draft in phase.thresholds:
        if isinstance(draft.sli, PrometheusSli) and "prometheus" not in service.given:
            draft.at.wrong(
                f"'{draft.sli.name}' comes from Prometheus, which the service '{service.name}' lacks; "
                "give it 'prometheus' or remove the rule"
            )


def _comparable(phases: tuple[PhaseDraft, ...], load: Load | None) -> None:
    """A rule `of baseline` needs what the verdict takes as the baseline: a judged phase at 100 % without a fault."""
    if any(phase.judge is not False and not phase.faults and _at_baseline(phase, load) for phase in phases):
        return
    for draft in (draft for phase in phases for draft in phase.thresholds):
        if draft.threshold.rule.relative_to == "baseline":
            draft.at.wrong(
                f"'{draft.threshold.rule.text}' has nothing to compare with; add a judged phase at 100% without faults"
            )


def _at_baseline(phase: PhaseDraft, load: Load | None) -> bool:
    """Whether the phase's load is 100 %, as far as is known."""
    if phase.replay:
        return False
    return phase.level is None or load is None or of_baseline(per_s(phase.level, load), load.baseline_per_s) == 1.0
