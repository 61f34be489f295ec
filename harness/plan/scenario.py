"""Reads a scenario's phases: load, thresholds, timings and faults."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from harness.errors import Problem
from harness.plan import catalogue
from harness.plan.draft import FaultDraft, PhaseDraft, ReplayDraft, ThresholdDraft, TimingDraft
from harness.plan.experiment import experiment_of
from harness.plan.files import Files
from harness.plan.level import level_of
from harness.plan.model import Better, ClientSli, PrometheusSli, Rule, Sli, Threshold, Tier, Timing, Unit
from harness.plan.nodes import At, Fields, nearest, quoted
from harness.plan.promql import loses
from harness.plan.replay import MAX_OFFSET_S, length_s, recording_of
from harness.plan.rules import RuleError, order_problems, rule_of
from harness.plan.service import ServiceFile
from harness.units import show

KEYS = (("service", "title", "phases"), ("audit",))
PHASE_KEYS = (("name",), ("load", "duration", "replay", "ramp", "settle", "judge", "faults", "thresholds", "timings"))
REPLAY_KEYS = (("file",), ("speed",))
THRESHOLD_KEYS = (("sli",), ("target", "warn", "fail", "abort", "each", "min_samples", "severity", "runbook"))
TIMING_KEYS = (("of", "timing"), ("target", "warn", "fail"))
FAULT_KEYS = (("experiment", "at"), ("for", "with"))

SEVERITIES = ("P1", "P2", "P3", "P4")

_LOAD_KEYS = ("load", "duration")  # required where nothing is replayed
_URL = re.compile(r"https?://[^\s/]+\S*")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def phases_of(items: list[At], service: ServiceFile | None, files: Files) -> tuple[PhaseDraft, ...]:
    """The phases in order. Without a service, what depends on it is not looked at."""
    named: Counter[str] = Counter()
    return tuple(phase for item in items if (phase := _phase(item, service, files, named)))


def _phase(at: At, service: ServiceFile | None, files: Files, named: Counter[str]) -> PhaseDraft | None:
    replayed = at.is_mapping() and "replay" in (at.entries() or {})
    required, optional = PHASE_KEYS
    fields = at.fields(required if replayed else required + _LOAD_KEYS, optional)
    if fields is None:
        return None
    streams = service.load.streams if service and service.load else None
    level_at, replay_at = fields.get("load"), fields.get("replay")
    replay = _replay(replay_at, fields, streams, files) if replay_at else None
    whole_s = length_s(replay.recording, replay.speed) if replay else None
    duration_s = fields.positive("duration", Unit.SECONDS, whole_s)
    if duration_s is not None and whole_s is not None and duration_s > whole_s:
        fields.values["duration"].wrong(
            f"{show(duration_s, 's')} is longer than the recording, which plays for {show(whole_s, 's')}; shorten it"
        )
    return PhaseDraft(
        at=at,
        name=fields.text("name"),
        level=level_of(level_at, streams) if level_at else None,
        replay=replay,
        ramp_s=fields.quantity("ramp", Unit.SECONDS, 0.0),
        settle_s=fields.quantity("settle", Unit.SECONDS, 0.0),
        duration_s=duration_s,
        judge=fields.flag("judge", default=True),
        has_thresholds=bool(fields.items("thresholds")),
        thresholds=tuple(draft for item in fields.items("thresholds") for draft in _thresholds(item, service)),
        timings=tuple(draft for item in fields.items("timings") for draft in _timings(item)),
        faults=tuple(fault for item in fields.items("faults") if (fault := _fault(item, service, files, named))),
    )


def _replay(at: At, phase: Fields, streams: tuple[str, ...] | None, files: Files) -> ReplayDraft | None:
    for key in ("load", "ramp", "settle"):
        if key in phase.values:
            phase.values[key].wrong(f"the recording says what arrives when; remove '{key}' or 'replay'")
    fields = at.fields(*REPLAY_KEYS)
    file_at = fields.get("file") if fields else None
    path = files.referred(file_at) if file_at else None
    speed = fields.positive("speed", Unit.COUNT, 1.0) if fields else None
    if file_at is None or path is None or streams is None:
        return None
    place = catalogue.beside(at.path, file_at.text() or "")
    if any(problem.path == place for problem in files.problems):  # said when it was read before
        return None
    recording, wrong = recording_of(files.text(place) or "", streams)
    for line, what in wrong:
        files.problems.append(Problem(place, line, "", what))
    if recording is None or not speed:
        return None
    if length_s(recording, speed) > MAX_OFFSET_S:
        at.wrong(f"plays for longer than {show(MAX_OFFSET_S, 's')} at speed {speed:g}; raise 'speed'")
        return None
    return ReplayDraft(at=at, path=path, speed=speed, recording=recording)


def _thresholds(at: At, service: ServiceFile | None) -> Iterator[ThresholdDraft]:
    fields = at.fields(*THRESHOLD_KEYS)
    name = fields.text("sli") if fields else None
    if fields is None or name is None:
        return
    rules = {tier: fields.values[tier] for tier in Tier if tier in fields.values}
    if not rules:
        at.wrong("no rule; give at least one of target, warn, fail and abort")
    runbook = fields.text("runbook")
    if runbook is not None and not _URL.fullmatch(runbook):
        fields.values["runbook"].wrong(f"{quoted(runbook)} is not an address; write e.g. https://wiki.example/runbook")
    min_samples, severity = fields.whole("min_samples", least=1), fields.choice("severity", SEVERITIES)
    if service is None or "slis" not in service.given:
        return
    if name not in service.slis:
        fields.values["sli"].wrong(
            f"the service '{service.name}' has no SLI {quoted(name)}; {nearest(name, service.slis, allowed='it has')}"
        )
    sli = service.slis.get(name)
    if sli is None:
        return
    each = _each(fields, sli, service)
    for tier, (rule_at, rule) in _rules(rules, sli.unit, sli.better).items():
        threshold = Threshold(
            sli=name,
            tier=tier,
            rule=rule,
            source=rule_at.source,
            each=each,
            min_samples=min_samples,
            severity=severity,
            runbook=runbook,
        )
        yield ThresholdDraft(at=rule_at, sli=sli, threshold=threshold)


def _each(fields: Fields, sli: Sli, service: ServiceFile) -> str | None:
    """What the threshold judges apart; recorded when there is nothing to tell apart."""
    each = fields.text("each")
    if each is None:
        return None
    wrong = None
    if isinstance(sli, PrometheusSli):
        selector = service.prometheus.selector if service.prometheus else ""
        if not _LABEL.fullmatch(each):
            wrong = f"{quoted(each)} is not a label's name; write e.g. zone"
        elif sli.query is not None and loses(sli.query, selector, each):
            wrong = f"the query of '{sli.name}' aggregates the label '{each}' away; write 'by ({each})' in it"
    else:
        wrong = _client_each(each, sli, service)
    if wrong:
        fields.values["each"].wrong(wrong)
    return each


def _client_each(each: str, sli: ClientSli, service: ServiceFile) -> str | None:
    if each not in {"request", "stream"}:
        return f"{quoted(each)} is no part of the load record; use 'request' or 'stream', or an SLI from Prometheus"
    if each == "request" and sli.series is not None:
        return f"'{sli.name}' is of one request already; remove 'each'"
    if each == "stream" and sli.stream is not None:
        return f"'{sli.name}' is of one stream already; remove 'each'"
    if each == "stream" and service.load and service.load.streams == ():
        return f"the service '{service.name}' has no 'load.streams'; remove 'each'"
    return None


def _timings(at: At) -> Iterator[TimingDraft]:
    fields = at.fields(*TIMING_KEYS)
    if fields is None:
        return
    fault, word = fields.text("of"), fields.choice("timing", tuple(Timing))
    rules = {tier: fields.values[tier] for tier in Tier if tier in fields.values}
    if not rules:
        at.wrong("no rule; give at least one of target, warn and fail")
    for tier, (rule_at, rule) in _rules(rules, Unit.SECONDS, Better.LOWER).items():
        if rule.relative_to or rule.for_s or rule.any_s:
            rule_at.wrong(f"'{rule.text}' on a timing can have no 'of', 'for' or 'in any'; write e.g. \"> 30s\"")
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
