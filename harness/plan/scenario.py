"""Reads a scenario's phases: load, thresholds, timings and faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from harness.plan import catalogue
from harness.plan.draft import FaultDraft, PhaseDraft, ThresholdDraft, TimingDraft
from harness.plan.experiment import experiment_of
from harness.plan.files import Files
from harness.plan.model import Better, Rule, Threshold, Tier, Timing, Unit
from harness.plan.nodes import At, nearest, quoted
from harness.plan.rules import RuleError, order_problems, rule_of
from harness.plan.service import ServiceFile

KEYS = (("service", "title", "phases"), ())
PHASE_KEYS = (("name", "load", "duration"), ("ramp", "settle", "judge", "faults", "thresholds", "timings"))
THRESHOLD_KEYS = (("sli",), ("target", "warn", "fail", "abort"))
TIMING_KEYS = (("of", "timing"), ("target", "warn", "fail"))
FAULT_KEYS = (("experiment", "at"), ("for", "with"))


def phases_of(items: list[At], service: ServiceFile | None, files: Files) -> tuple[PhaseDraft, ...]:
    """The phases in order. Without a service, what depends on it is not looked at."""
    named: Counter[str] = Counter()
    return tuple(phase for item in items if (phase := _phase(item, service, files, named)))


def _phase(at: At, service: ServiceFile | None, files: Files, named: Counter[str]) -> PhaseDraft | None:
    fields = at.fields(*PHASE_KEYS)
    if fields is None:
        return None
    return PhaseDraft(
        at=at,
        name=fields.text("name"),
        load_level=fields.quantity("load", Unit.RATIO),
        ramp_s=fields.quantity("ramp", Unit.SECONDS, 0.0),
        settle_s=fields.quantity("settle", Unit.SECONDS, 0.0),
        duration_s=fields.positive("duration", Unit.SECONDS),
        judge=fields.flag("judge", default=True),
        has_thresholds=bool(fields.items("thresholds")),
        thresholds=tuple(draft for item in fields.items("thresholds") for draft in _thresholds(item, service)),
        timings=tuple(draft for item in fields.items("timings") for draft in _timings(item)),
        faults=tuple(fault for item in fields.items("faults") if (fault := _fault(item, service, files, named))),
    )


def _thresholds(at: At, service: ServiceFile | None) -> Iterator[ThresholdDraft]:
    fields = at.fields(*THRESHOLD_KEYS)
    name = fields.text("sli") if fields else None
    if fields is None or name is None:
        return
    rules = {tier: fields.values[tier] for tier in Tier if tier in fields.values}
    if not rules:
        at.wrong("no rule; give at least one of target, warn, fail and abort")
    if service is None or "slis" not in service.given:
        return
    if name not in service.slis:
        fields.values["sli"].wrong(
            f"the service '{service.name}' has no SLI {quoted(name)}; {nearest(name, service.slis, allowed='it has')}"
        )
    sli = service.slis.get(name)
    if sli is None:
        return
    read = _rules(rules, sli.unit, sli.better)
    for tier, (rule_at, rule) in read.items():
        threshold = Threshold(sli=name, tier=tier, rule=rule, source=rule_at.source)
        yield ThresholdDraft(at=rule_at, sli=sli, threshold=threshold)


def _timings(at: At) -> Iterator[TimingDraft]:
    fields = at.fields(*TIMING_KEYS)
    if fields is None:
        return
    fault, word = fields.text("of"), fields.choice("timing", tuple(Timing))
    rules = {tier: fields.values[tier] for tier in Tier if tier in fields.values}
    if not rules:
        at.wrong("no rule; give at least one of target, warn and fail")
    for tier, (rule_at, rule) in _rules(rules, Unit.SECONDS, Better.LOWER).items():
        if rule.relative_to or rule.for_s:
            rule_at.wrong(f"'{rule.text}' on a timing can have no 'of' and no 'for'; write e.g. \"> 30s\"")
        elif fault is not None and word is not None:
            fault_at = fields.values["of"]
            yield TimingDraft(at=rule_at, fault_at=fault_at, fault=fault, timing=Timing(word), tier=tier, rule=rule)


def _rules(written: dict[Tier, At], unit: Unit, better: Better) -> dict[Tier, tuple[At, Rule]]:
    """The rules that could be read, by tier; their order is checked."""
    rules: dict[Tier, tuple[At, Rule]] = {}
    for tier, at in written.items():
        text = at.text()
        try:
            if text is not None:
                rules[tier] = (at, rule_of(text, unit=unit, better=better, tier=tier))
        except RuleError as error:
            at.wrong(str(error))
    for at, what in order_problems(rules, better):
        at.wrong(what)
    return rules


def _fault(at: At, service: ServiceFile | None, files: Files, named: Counter[str]) -> FaultDraft | None:
    fields = at.fields(*FAULT_KEYS)
    written = fields.text("experiment") if fields else None
    if fields is None or written is None:
        return None
    base = catalogue.name_of(written)
    named[base] += 1
    experiment = None
    if service and "cluster" not in service.given:
        at.wrong(f"the service '{service.name}' has no cluster for a fault; give it 'cluster' or remove the fault")
    elif service and service.cluster:
        experiment_at, overrides = fields.values["experiment"], fields.get("with")
        experiment = experiment_of(experiment_at, files, scenario=at.path, overrides=overrides, cluster=service.cluster)
    return FaultDraft(
        at=at,
        name=base if named[base] == 1 else f"{base}-{named[base]}",
        base=base,
        experiment=experiment,
        at_s=fields.quantity("at", Unit.SECONDS),
        for_s=fields.positive("for", Unit.SECONDS),
    )
