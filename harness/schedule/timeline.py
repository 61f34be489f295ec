"""The plan as rows of text for a person: when, what, load, rate, and what is judged or touched."""

from __future__ import annotations

from collections.abc import Iterator

from harness.plan.model import Audit, Fault, Phase, Plan
from harness.schedule.load import arrivals_before, arrivals_of, knots_of, stream_names
from harness.units import show

Row = tuple[str, str, str, str, str]  # when, what, load level, offered rate, details
_Block = tuple[float, int, list[Row]]  # at_s, rank among what happens at that instant, rows


def timeline(plan: Plan) -> str:
    """
    The whole run, one row per thing that happens, in order of time; rows without a time go on with the one above.

    Times are since run start. Rates are offered arrivals per second.
    """
    header: Row = ("when", "what", "load", "rate", "details")
    table = [header, *rows(plan)]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    return "\n".join(_line(row, widths) for row in table)


def rows(plan: Plan) -> tuple[Row, ...]:
    """The rows of `timeline`, without their header. What ends in an instant comes before what begins."""
    blocks = [*_phase_blocks(plan), *(block for fault in plan.faults for block in _fault_blocks(fault))]
    if plan.audit:
        blocks.append((0.0, 0, _audit_rows(plan.audit)))
    blocks.append((plan.end_s, 3, [(show(plan.end_s, "s"), "end", "", "", f"{_planned(plan)} arrivals planned")]))
    return tuple(row for _, _, block in sorted(blocks, key=lambda block: block[:2]) for row in block)


def _planned(plan: Plan) -> str:
    """How many arrivals there are. Poisson arrivals are not drawn for it."""
    if plan.service.load.arrivals == "poisson":
        return f"about {arrivals_before(knots_of(plan), plan.end_s):.0f}"
    return str(sum(arrivals_of(plan, name).total for name in stream_names(plan)))


def _phase_blocks(plan: Plan) -> Iterator[_Block]:
    baseline_per_s, level = plan.service.load.baseline_per_s, 0.0
    for phase in plan.phases:
        before = (show(level, "ratio"), show(level * baseline_per_s, "/s"))
        level = phase.load_level
        after = (show(level, "ratio"), show(level * baseline_per_s, "/s"))
        if phase.ramp_s:
            spans = (f"{before[0]} to {after[0]}", f"{before[1]} to {after[1]}")
            yield phase.begin_s, 1, [(show(phase.begin_s, "s"), f"ramp for {show(phase.ramp_s, 's')}", *spans, "")]
        if phase.settle_s:
            settle_s = phase.begin_s + phase.ramp_s
            yield settle_s, 1, [(show(settle_s, "s"), f"settle for {show(phase.settle_s, 's')}", *after, "")]
        what = f"phase {phase.name} for {show(phase.end_s - phase.start_s, 's')}"
        first, *more = [*_load(plan, phase), *_judged(phase)]
        begin: Row = (show(phase.start_s, "s"), what, *after, first)
        yield phase.start_s, 1, [begin, *(("", "", "", "", detail) for detail in more)]


def _load(plan: Plan, phase: Phase) -> Iterator[str]:
    """What is special about the phase's load: a recording, or streams with levels of their own."""
    if phase.replay:
        speed = "" if phase.replay.speed == 1 else f" at {phase.replay.speed:g} times its speed"
        most = show(max(phase.replay.counts, default=0), "count")
        yield f"replays {phase.replay.path}{speed}, at most {most} arrivals in a second"
    for stream, level in zip(plan.service.load.streams, phase.levels, strict=False):
        yield f"stream {stream.name}: {show(level, 'ratio')}, {show(level * stream.baseline_per_s, '/s')}"


def _judged(phase: Phase) -> list[str]:
    """One line per SLI and timing, with its rules."""
    lines: dict[str, list[str]] = {}
    for threshold in phase.thresholds:
        name = f"{threshold.sli} of each {threshold.each}" if threshold.each else threshold.sli
        lines.setdefault(name, []).append(f"{threshold.tier} {threshold.rule.text}")
    for timing in phase.timings:
        lines.setdefault(f"{timing.timing} of {timing.fault}", []).append(f"{timing.tier} {timing.rule.text}")
    return [f"{name}: {', '.join(rules)}" for name, rules in lines.items()] or ["not judged"]


def _fault_blocks(fault: Fault) -> Iterator[_Block]:
    experiment = fault.experiment
    zone = f", zone {experiment.zone}" if experiment.zone else ""
    most = f", at most {experiment.max_targets}" if experiment.max_targets else ""
    pods = f"pods {experiment.selector} in namespace {experiment.namespace}{zone}{most}"
    rollback_rank = 0 if fault.until_s > fault.at_s else 2
    yield fault.at_s, 2, [(show(fault.at_s, "s"), f"inject {fault.name}", "", "", pods)]
    yield fault.until_s, rollback_rank, [(show(fault.until_s, "s"), f"roll back {fault.name}", "", "", "")]


def _audit_rows(audit: Audit) -> list[Row]:
    """That the audit writes from the start on, and its rules; it reads back after the end."""
    told = f"{audit.writers} writers, {show(audit.rate_per_s, '/s')} to {audit.url}, read back after the end"
    rules = [f"{rule.count}: {rule.tier} {rule.rule.text}" for rule in audit.rules]
    return [(show(0.0, "s"), "data-loss audit", "", "", told), *(("", "", "", "", rule) for rule in rules)]


def _line(row: Row, widths: list[int]) -> str:
    when, *rest = row
    cells = [when.rjust(widths[0]), *(cell.ljust(width) for cell, width in zip(rest[:-1], widths[1:], strict=True))]
    return "  ".join([*cells, rest[-1]]).rstrip()
