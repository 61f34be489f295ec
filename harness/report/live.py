"""
What a run shows while it goes on: a view for a terminal, one plain line for a log.

The SLIs here are a glance at the last seconds of the load record, coloured by the phase's limits. They decide nothing;
what is judged, and when a run is aborted, is the verdict's business.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness import units
from harness.history.histogram import Histogram
from harness.history.load import LoadFrame
from harness.history.views import FaultWindow
from harness.plan.model import ClientMeasure, ClientSli, Phase, Plan, Threshold, Tier
from harness.report import words
from harness.report.terminal import STYLE
from harness.schedule.load import knots_of, rate_at
from harness.verdict.model import Outcome

GLANCE_S = 5  # an SLI "now" is over this many seconds
RECENT_S = 24  # what the sparklines show
LAG_S = 2  # the newest seconds are still filling: workers report once a second
SPARKS = "▁▂▃▄▅▆▇█"
BAR = 24
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SliNow:
    """One client SLI over the last seconds; None where nothing is known. `state` is its worst limit crossed now."""

    name: str
    value: float | None
    unit: str
    limits: str
    state: Outcome | None
    recent: tuple[float | None, ...]  # per second, the newest last


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultNow:
    """One planned fault and what is known of it."""

    name: str
    state: str  # "planned", "injecting", "in force", "rolling back", "gone", "failed"
    since_s: float  # run time since when; of a planned one, when it is due


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that the live view shows, at `t_s` since run start."""

    scenario: str
    title: str
    t_s: float
    end_s: float
    phases: tuple[Phase, ...]
    offered_per_s: float  # now, by the plan
    sent_ratio: float | None  # sent / planned over the last seconds
    ok_per_s: float | None
    slis: tuple[SliNow, ...]
    faults: tuple[FaultNow, ...]
    log: tuple[str, ...]  # the newest last
    closing: str | None  # what is being waited for at the end

    @property
    def phase(self) -> Phase:
        """The phase in force; after the plan's end the last one."""
        return next((phase for phase in self.phases if self.t_s < phase.end_s), self.phases[-1])


def snapshot(
    plan: Plan,
    t_s: float,
    *,
    frames: Iterable[LoadFrame],
    faults: Iterable[FaultWindow],
    log: Sequence[str],
    closing: str | None,
) -> Snapshot:
    """The snapshot at `t_s` from the record so far; frames older than 30 s may be left out."""
    newest = int(t_s) - LAG_S
    by_second: dict[int, list[LoadFrame]] = {}
    for frame in frames:
        if newest - RECENT_S < frame.second <= newest:
            by_second.setdefault(frame.second, []).append(frame)
    glance = [frame for second in range(newest - GLANCE_S + 1, newest + 1) for frame in by_second.get(second, ())]
    planned, sent = sum(frame.planned for frame in glance), sum(frame.sent for frame in glance)
    offered = rate_at(knots_of(plan), min(t_s, plan.end_s))
    phase = next((phase for phase in plan.phases if t_s < phase.end_s), plan.phases[-1])
    judged = phase.thresholds if phase.start_s <= t_s < phase.end_s else ()
    seconds = [by_second.get(second, []) for second in range(newest - RECENT_S + 1, newest + 1)]
    return Snapshot(
        scenario=plan.scenario,
        title=plan.title,
        t_s=t_s,
        end_s=plan.end_s,
        phases=plan.phases,
        offered_per_s=offered,
        sent_ratio=sent / planned if planned else None,
        ok_per_s=_throughput(glance, len({frame.second for frame in glance})),
        slis=tuple(
            _sli_now(sli, judged, glance, seconds, offered) for sli in plan.service.slis if isinstance(sli, ClientSli)
        ),
        faults=tuple(_fault_now(window, fault.at_s) for window, fault in zip(faults, plan.faults, strict=False)),
        log=tuple(log),
        closing=closing,
    )


def _sli_now(
    sli: ClientSli,
    judged: Sequence[Threshold],
    glance: list[LoadFrame],
    seconds: Sequence[list[LoadFrame]],
    offered: float,
) -> SliNow:
    measure = partial(_measured, sli)
    value = measure(glance, len({frame.second for frame in glance}))
    rules = [one for one in judged if one.sli == sli.name and one.tier in {Tier.WARN, Tier.FAIL}]
    return SliNow(
        name=sli.name,
        value=value,
        unit=sli.unit.value,
        limits="  ".join(f"{one.tier.value} {one.rule.text}" for one in rules),
        state=_state(value, rules, offered) if rules else None,
        recent=tuple(measure(frames, 1) for frames in seconds),
    )


def _measured(sli: ClientSli, frames: Sequence[LoadFrame], seconds: int) -> float | None:
    mine = [frame for frame in frames if _is_of(frame, sli)]
    ok = sum(frame.ok for frame in mine)
    bad = sum(frame.failed + frame.timed_out + frame.dropped for frame in mine)
    if not ok + bad and sli.measure is not ClientMeasure.THROUGHPUT:
        return None
    match sli.measure:
        case ClientMeasure.THROUGHPUT:
            return _throughput(mine, seconds)
        case ClientMeasure.LATENCY:
            return _quantile(mine, sli.quantile or 0.5, bad)
        case ClientMeasure.FAILURES:
            return float(bad)
        case ClientMeasure.ERROR_RATIO:
            return bad / (ok + bad)
        case ClientMeasure.SUCCESS_RATIO:
            return ok / (ok + bad)


def _is_of(frame: LoadFrame, sli: ClientSli) -> bool:
    return sli.series in (None, frame.series) and sli.stream in (None, frame.stream)


def _quantile(frames: Iterable[LoadFrame], quantile: float, bad: int) -> float:
    """Seconds; arrivals that failed count as slower than anything, so infinite when the quantile lies among them."""
    times = Histogram.merged(frame.response for frame in frames)
    of_ok = quantile * (times.total + bad) / times.total if times.total else math.inf
    return sum(times.quantile(of_ok)) / 2e6 if of_ok <= 1 else math.inf


def _throughput(frames: Sequence[LoadFrame], seconds: int) -> float | None:
    return sum(frame.ok for frame in frames) / seconds if frames and seconds else None


def _state(value: float | None, rules: Iterable[Threshold], offered: float) -> Outcome:
    """The worst of the limits crossed right now. A rule relative to the baseline phase is left to the verdict."""
    if value is None:
        return Outcome.INCONCLUSIVE
    crossed = {one.tier for one in rules if _crossed(value, one, offered)}
    return Outcome.FAIL if Tier.FAIL in crossed else Outcome.WARN if Tier.WARN in crossed else Outcome.PASS


def _crossed(value: float, threshold: Threshold, offered: float) -> bool:
    rule = threshold.rule
    if rule.relative_to == "baseline":
        return False
    return OPERATORS[rule.op](value, rule.quantity * (offered if rule.relative_to == "offered" else 1.0))


def _fault_now(window: FaultWindow, due_s: float) -> FaultNow:
    steps = (
        ("planned", round(due_s * 1e9)),
        ("injecting", window.requested_ns),
        ("in force", window.confirmed[0] if window.confirmed else None),
        ("rolling back", window.rollback_requested_ns),
        ("gone", window.gone[1] if window.gone else None),
    )
    state, since_ns = [(name, at_ns) for name, at_ns in steps if at_ns is not None][-1]
    broken = window.rollback_failed or (window.failed if state != "gone" else None)
    return FaultNow(name=window.fault, state="failed" if broken else state, since_s=since_ns / 1e9)


def line(now: Snapshot) -> str:
    """One plain line: time, phase, load, SLIs and faults, each as name=value."""
    phase = now.phase
    parts = [words.instant(int(now.t_s)), f"phase={phase.name}", f"{_stage(phase, now.t_s)}"]
    parts.append(f"offered={words.rate(now.offered_per_s)}")
    if now.sent_ratio is not None:
        parts.append(f"sent={words.share(now.sent_ratio)}")
    parts += [f"{sli.name}={_shown(sli).replace(' ', '-')}{_alarm(sli.state)}" for sli in now.slis]
    parts += [f"{fault.name}={fault.state.replace(' ', '-')}" for fault in now.faults if fault.state != "planned"]
    if now.closing:
        parts.append(f"waiting={now.closing.replace(' ', '-')}")
    return " ".join(parts)


def _alarm(state: Outcome | None) -> str:
    return f"({state.value})" if state in {Outcome.WARN, Outcome.FAIL} else ""


def _stage(phase: Phase, t_s: float) -> str:
    """Where in a phase: "ramp 3/5s", "settle 2/5s", "0:17/0:45"; "over" behind its end."""
    if t_s >= phase.end_s:
        return "over"
    if t_s >= phase.start_s:
        return f"{words.instant(int(t_s - phase.start_s))}/{words.instant(round(phase.end_s - phase.start_s))}"
    since_s = t_s - phase.begin_s
    if since_s < phase.ramp_s:
        return f"ramp {int(since_s)}/{words.duration(phase.ramp_s)}"
    return f"settle {int(since_s - phase.ramp_s)}/{words.duration(phase.settle_s)}"


def view(now: Snapshot) -> RenderableType:
    """The whole view, a dozen lines or so."""
    head = Text.assemble((now.scenario, "bold"), f"  {now.title}  ", (f"{_clock(now)}", "dim"))
    safe = "Ctrl-C is safe: faults are rolled back first."
    tail = Text(f"waiting for {now.closing}" if now.closing else safe, style="yellow" if now.closing else "dim")
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_row("phase", _phases(now))
    grid.add_row("load", _load(now))
    if now.slis:
        grid.add_row("SLIs", _slis(now.slis))
    if now.faults:
        grid.add_row("faults", Group(*(_fault(fault, now.t_s) for fault in now.faults)))
    if now.log:
        grid.add_row("log", Text("\n".join(now.log[-6:]), style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(head, grid, tail)


def _clock(now: Snapshot) -> str:
    return f"{words.instant(int(now.t_s))} of {words.instant(round(now.end_s))}"


def _phases(now: Snapshot) -> Text:
    """All phases in order; the one in force with a bar of how much of it is over."""
    text = Text()
    for phase in now.phases:
        if now.t_s >= phase.end_s:
            text.append(f"{phase.name} {words.share(phase.load_level)} done  ", style="dim")
        elif now.t_s < phase.begin_s:
            text.append(f"{phase.name} {words.share(phase.load_level)}  ", style="dim")
        else:
            done = round(BAR * (now.t_s - phase.begin_s) / (phase.end_s - phase.begin_s))
            text.append(f"{phase.name} {words.share(phase.load_level)} ", style="bold")
            text.append("█" * done, style="cyan").append("░" * (BAR - done), style="dim")
            text.append(f" {_stage(phase, now.t_s)}  ")
    return text


def _load(now: Snapshot) -> Text:
    text = Text(f"offered {words.rate(now.offered_per_s)}")
    if now.sent_ratio is not None:
        late = now.sent_ratio < 0.99
        text.append(f"   sent {words.share(now.sent_ratio)} of planned", style="red" if late else "")
    if now.ok_per_s is not None:
        text.append(f"   ok {words.rate(now.ok_per_s)}")
    return text


def _slis(slis: Sequence[SliNow]) -> Table:
    """One line per SLI. A narrow terminal costs the limits' text, in the last column, and nothing else."""
    lines = [_sli_cells(sli) for sli in slis]
    table = Table.grid(padding=(0, 2, 0, 0))
    for column in list(zip(*lines, strict=True))[:-1]:
        table.add_column(no_wrap=True, min_width=max(cell.cell_len for cell in column))
    table.add_column(no_wrap=True, overflow="ellipsis")
    for cells in lines:
        table.add_row(*cells)
    return table


def _sli_cells(sli: SliNow) -> tuple[Text, ...]:
    style = STYLE[sli.state] if sli.state else "dim"
    sign = f"{words.symbol(sli.state)} {sli.state.value if sli.state else ''}".rstrip()
    recent = Text(sparkline(sli.recent), style="cyan")
    return Text(sli.name), Text(_shown(sli), style), Text(sign, style), recent, Text(sli.limits, "dim")


def _shown(sli: SliNow) -> str:
    if sli.value is None:
        return "unknown"
    return units.show(sli.value, sli.unit) if math.isfinite(sli.value) else "no ok answer"


def _fault(fault: FaultNow, t_s: float) -> Text:
    style = {"in force": "magenta", "failed": "bold red", "gone": "green"}.get(fault.state, "")
    when = (
        f"at {words.instant(round(fault.since_s, 2))}"
        if fault.state == "planned"
        else (f"since {words.instant(fault.since_s)} ({words.duration(max(0, int(t_s - fault.since_s)))})")
    )
    return Text.assemble(f"{fault.name}  ", (fault.state, style), f" {when}")


def sparkline(values: Sequence[float | None]) -> str:
    """Each value as one of eight heights between zero and the largest; a space where nothing is known."""
    most = max((value for value in values if value is not None and math.isfinite(value)), default=0.0)
    return "".join(_spark(value, most) for value in values)


def _spark(value: float | None, most: float) -> str:
    if value is None:
        return " "
    if not math.isfinite(value):
        return SPARKS[-1]
    return SPARKS[min(7, int(8 * value / most))] if most > 0 else SPARKS[0]
