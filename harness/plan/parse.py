"""From the texts of a scenario, its service and its experiments to a Plan, or to every problem in them."""

from __future__ import annotations

import math
from dataclasses import replace

from harness.errors import PlanError, Problem
from harness.plan import catalogue
from harness.plan.audit import audit_of
from harness.plan.baseline import FindMeasured, settled
from harness.plan.check import check, fault_named
from harness.plan.draft import FaultDraft, PhaseDraft, ReplayDraft
from harness.plan.files import Files, Read
from harness.plan.level import of_baseline, per_s, shares
from harness.plan.model import Fault, Load, Phase, Plan, Replay, Rule, Source, TimingRule
from harness.plan.nodes import At, quoted
from harness.plan.replay import replay_of
from harness.plan.scenario import KEYS, phases_of
from harness.plan.service import ServiceFile, service_of


def _nothing_measured(_service: str) -> None:
    """No run is known."""


def parse(
    path: str, read: Read, *, time_scale: float = 1.0, base: str = "", measured: FindMeasured = _nothing_measured
) -> Plan:
    """
    The plan of the scenario at `path`.

    Raises PlanError with every problem in every file. Paths in messages and sources are as seen from `path`.

    Args:
        path: the scenario file.
        read: the text of a file by path, None when there is none; may raise UnicodeDecodeError or OSError.
        time_scale: multiplies durations, ramps, settling, fault times and `for` windows. What is checked is the
            scenario as written, so that a long one can be rehearsed at a scale that decides nothing.
        base: the folder that relative paths start from, put before the files that drivers open (locustfile,
            kubeconfig, CA file, recordings); give the working folder to make them absolute.
        measured: finds the rate of a service whose file says `baseline: measured`.

    """
    files = Files(read=read, base=base)
    if not 0 < time_scale < math.inf:
        files.problems.append(Problem(path, 1, "time scale", f"'{time_scale:g}' must be more than 0"))
    plan = _plan(path, files, time_scale, measured)
    if plan is None or files.problems:
        raise PlanError(_distinct(files.problems))
    return _scaled(plan, time_scale)


def _scaled(plan: Plan, factor: float) -> Plan:
    """The plan with its durations, offsets and windows multiplied; deadlines and intervals stay, replays are cut."""

    def length(old_s: float | None) -> float | None:
        return None if old_s is None else old_s * factor

    def rule(old: Rule) -> Rule:
        return replace(old, for_s=length(old.for_s), any_s=length(old.any_s))

    phases = tuple(
        replace(
            phase,
            begin_s=phase.begin_s * factor,
            ramp_s=phase.ramp_s * factor,
            settle_s=phase.settle_s * factor,
            start_s=phase.start_s * factor,
            end_s=phase.end_s * factor,
            thresholds=tuple(replace(threshold, rule=rule(threshold.rule)) for threshold in phase.thresholds),
        )
        for phase in plan.phases
    )
    faults = tuple(replace(fault, at_s=fault.at_s * factor, until_s=fault.until_s * factor) for fault in plan.faults)
    return replace(plan, phases=phases, faults=faults, end_s=plan.end_s * factor, time_scale=plan.time_scale * factor)


def _plan(path: str, files: Files, time_scale: float, measured: FindMeasured) -> Plan | None:
    text = files.text(path)
    if text is None:
        files.problems.append(Problem(path, 1, "", "there is no such scenario"))
        return None
    at = files.document(path, text)
    fields = at.fields(*KEYS) if at else None
    if at is None or fields is None:
        return None
    service_at, phases_at, title = fields.get("service"), fields.get("phases"), fields.text("title")
    service = _service(service_at, files) if service_at else None
    audit_at = fields.get("audit")
    audit = audit_of(audit_at, service) if audit_at else None
    drafts: tuple[PhaseDraft, ...] = ()
    load: Load | None = None
    if phases_at:
        before, items = len(files.problems), phases_at.items()
        if not items and len(files.problems) == before:
            phases_at.wrong("is empty; give at least one phase")
        drafts = phases_of(items, service, files)
        load = settled(service, drafts, measured) if service else None
        check(phases_at, drafts, service, load)
        for draft in drafts:
            _fits(draft, time_scale)
    whole = service.with_load(load) if service and load else None
    if files.problems or whole is None or title is None:
        return None
    phases, faults = _timeline(drafts, whole.load, time_scale)
    return Plan(
        scenario=catalogue.name_of(path),
        title=title,
        service=whole,
        phases=phases,
        faults=tuple(sorted(faults, key=lambda fault: fault.at_s)),
        end_s=phases[-1].end_s,
        time_scale=1.0,
        audit=audit,
        source=at.source,
    )


def _fits(draft: PhaseDraft, time_scale: float) -> None:
    """A recording can be cut short, but not go on when it is over."""
    if draft.replay and time_scale > 1:
        draft.replay.at.wrong(
            f"a recording cannot be stretched by time scale {time_scale:g}; use 'speed', or 1 or less"
        )


def _service(at: At, files: Files) -> ServiceFile | None:
    name = at.text()
    if name is None:
        return None
    paths = catalogue.service_paths(name, at.path)
    found = files.first(paths)
    if found is None:
        at.wrong(f"no service {quoted(name)}; looked for {' and '.join(paths)}")
        return None
    root = files.document(*found)
    return service_of(root, files) if root else None


def _timeline(drafts: tuple[PhaseDraft, ...], load: Load, time_scale: float) -> tuple[tuple[Phase, ...], list[Fault]]:
    """The phases one after the other from 0, and their faults. Every draft is complete here: no problem was found."""
    phases: list[Phase] = []
    faults: list[Fault] = []
    begin_s = 0.0
    for draft in drafts:
        phase = _phase(draft, begin_s, load, time_scale)
        phases.append(phase)
        faults += [_fault(fault, phase) for fault in draft.faults]
        begin_s = phase.end_s
    return tuple(phases), faults


def _phase(draft: PhaseDraft, begin_s: float, load: Load, time_scale: float) -> Phase:
    assert draft.name is not None and draft.judge is not None  # noqa: PT018
    assert draft.ramp_s is not None and draft.settle_s is not None and draft.duration_s is not None  # noqa: PT018
    replayed_s = draft.duration_s * time_scale  # a rehearsal plays the recording's beginning, at its own rate
    replay = _replay(draft.replay, replayed_s) if draft.replay else None
    start_s = begin_s + draft.ramp_s + draft.settle_s
    return Phase(
        name=draft.name,
        load_level=of_baseline(_rate_per_s(draft, replay, replayed_s, load), load.baseline_per_s),
        levels=shares(draft.level, load) if draft.level else (),
        replay=replay,
        begin_s=begin_s,
        ramp_s=draft.ramp_s,
        settle_s=draft.settle_s,
        start_s=start_s,
        end_s=start_s + draft.duration_s,
        judge=draft.judge,
        thresholds=tuple(threshold.threshold for threshold in draft.thresholds),
        timings=tuple(
            TimingRule(
                fault=fault.name, timing=timing.timing, tier=timing.tier, rule=timing.rule, source=timing.at.source
            )
            for timing in draft.timings
            if (fault := fault_named(timing, draft))
        ),
        source=draft.at.source,
    )


def _replay(draft: ReplayDraft, length_s: float) -> Replay:
    return replay_of(draft.recording, path=draft.path, speed=draft.speed, length_s=length_s)


def _rate_per_s(draft: PhaseDraft, replay: Replay | None, length_s: float, load: Load) -> float:
    """What the phase offers, all streams together; the mean of a replay."""
    if replay:
        return sum(replay.counts) / length_s
    assert draft.level is not None
    return per_s(draft.level, load)


def _fault(draft: FaultDraft, phase: Phase) -> Fault:
    assert draft.experiment is not None and draft.at_s is not None  # noqa: PT018
    at_s = phase.start_s + draft.at_s
    return Fault(
        name=draft.name,
        experiment=draft.experiment,
        at_s=at_s,
        until_s=phase.end_s if draft.for_s is None else min(at_s + draft.for_s, phase.end_s),
        phase=phase.name,
        source=Source(path=draft.at.path, line=draft.at.line),
    )


def _distinct(problems: list[Problem]) -> tuple[Problem, ...]:
    """Each problem once: what several aliases share is said where it is used first."""
    first: dict[tuple[str, int, str, str], Problem] = {}
    for problem in problems:
        inside = problem.where.partition("].")[2]  # the place within its phase
        first.setdefault((problem.path, problem.line, inside, problem.what), problem)
    return tuple(first.values())
