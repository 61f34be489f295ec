"""
Verdict cases in a small notation: a run in a few lines, and what its verdict must be.

    # A comment; its first line is the case's sentence.
    service rate=200 deadline=2 scrape=1 time_scale=1
    requests browse checkout                  request names, in turn; without it all are "GET /"
    phase baseline 0..30 load=100%            `unjudged` at the end: not judged. Gaps before a phase are its settling.
    rule baseline error_ratio fail > 1% for 5s            also `in any 5s`, `of baseline floor 1% cap 5%`,
    rule baseline error_ratio fail > 1% each zone min 500     and at the end `each LABEL`, `min SAMPLES`
    fault pod-delete 40..50 stress pods-replaced     or zone-cut (of zone-a)
    timing pod-delete recovery fail > 10s     in the phase of the fault
    audit lost fail > 0                       a rule of the data-loss audit
    load                                      one value per second from 0, as in Prometheus' unit tests:
        failed  0x29 0.02 _ 0x3               `0x29` is 30 times 0, `1+2x3` is 1 3 5 7, `_` is nothing recorded
    outage 40.2..41.4 1.0                     this share of arrivals fails between these instants; `… checkout`: of it
    health                                    what the worker says of itself, one value per second:
        stall 0.002x29 0.5                    rows: cpu, stall, clock
    series server_errors stress bad step=1 instance=a     from the phase's start; also `at=` for another one
        0 1 1 _ 2
    at 40.1 inject_requested pod-delete       any event: kind and its fields in order
    end completed 60                          status and instant; nothing after it happened
    expect run fail
    expect phase baseline pass
    expect baseline error_ratio fail pass within          `server_errors@zone-a` with `each`
    expect timing pod-delete recovery pass within 1.1..1.3
    expect check stress load_delivered inconclusive      or `missing`; `expect told load_delivered …`: its detail
    expect why pod-delete recovery …          a timing's detail
    expect impacts 1
    expect audit lost fail pass within
    expect example 0 lost a7 0.5s before pod-delete

Rows of `load`: failed, timed_out, dropped, lost (shares of the planned arrivals), latency (seconds, of ok ones),
lag (seconds, of all), unseen (share of ok arrivals missing from the record).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import get_args

import plan_values
from plan_values import LOAD, PROMETHEUS, SERVICE, client_sli, plan_of, server_sli

from harness.history import events as ev
from harness.history.histogram import Histogram
from harness.history.load import BINS_PER_SECOND, LoadFrame, WorkerHealth
from harness.history.run import Run
from harness.history.series import Series
from harness.plan.model import (
    Audit,
    AuditRule,
    Better,
    ClientMeasure,
    Count,
    Fault,
    Observe,
    Phase,
    Plan,
    Rule,
    Sli,
    Source,
    Threshold,
    Tier,
    Timing,
    TimingRule,
    Unit,
)
from harness.schedule.load import arrivals_of
from harness.units import quantity, seconds

S = 1_000_000_000
HERE = Source(path="case", line=1)
KINDS = {body.kind: body for body in get_args(ev.Body)}


SLIS: tuple[Sli, ...] = (
    client_sli("error_ratio"),
    client_sli("success_ratio", ClientMeasure.SUCCESS_RATIO, better=Better.HIGHER),
    client_sli("latency_p95", ClientMeasure.LATENCY, 0.95),
    client_sli("throughput", ClientMeasure.THROUGHPUT, unit=Unit.PER_SECOND, better=Better.HIGHER),
    server_sli("server_errors", bad="bad", total="total", absent_means_zero=True),
    server_sli("cpu", query="cpu"),
    server_sli("payment_errors", bad="bad", total="total"),
    server_sli("alive", query="sum(up)", unit=Unit.COUNT, better=Better.HIGHER),
    server_sli("server_p95", histogram="request_seconds", quantile=0.95),
    client_sli("failures", ClientMeasure.FAILURES, unit=Unit.COUNT),
)


@dataclass
class Case:
    title: str = ""
    options: dict[str, float] = field(
        default_factory=lambda: {"rate": 200, "deadline": 2, "scrape": 1, "time_scale": 1}
    )
    phases: list[Phase] = field(default_factory=list)
    rules: list[tuple[str, Threshold]] = field(default_factory=list)
    timings: list[TimingRule] = field(default_factory=list)
    audit: list[AuditRule] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    load: dict[str, list[float | None]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=lambda: ["GET /"])
    outages: list[tuple[float, float, float, str | None]] = field(default_factory=list)
    health: dict[str, list[float | None]] = field(default_factory=dict)
    series: list[Series] = field(default_factory=list)
    events: list[tuple[float, ev.Body]] = field(default_factory=list)
    end: tuple[str, float] | None = None
    expected: list[list[str]] = field(default_factory=list)

    def plan(self) -> Plan:
        service = replace(
            SERVICE,
            load=replace(LOAD, baseline_per_s=self.options["rate"], deadline_s=self.options["deadline"]),
            prometheus=replace(PROMETHEUS, scrape_interval_s=self.options["scrape"]),
            slis=SLIS,
        )
        audit = Audit(url="http://store", rate_per_s=20.0, writers=4, rules=tuple(self.audit), source=HERE)
        return plan_of(
            *map(self._phase, self.phases),
            service=service,
            faults=tuple(self.faults),
            time_scale=self.options["time_scale"],
            audit=audit if self.audit else None,
            scenario="case",
            title=self.title,
        )

    def _phase(self, phase: Phase) -> Phase:
        faults = {fault.name for fault in self.faults if fault.phase == phase.name}
        thresholds = tuple(rule for name, rule in self.rules if name == phase.name)
        timings = tuple(rule for rule in self.timings if rule.fault in faults)
        return replace(phase, thresholds=thresholds, timings=timings)

    def run(self) -> Run:
        plan = self.plan()
        status, end_s = self.end or ("completed", plan.end_s + self.options["deadline"])
        return Run(
            name="case/1",
            plan=plan,
            events=self._history(plan, status, end_s),
            frames=tuple(self._frames(plan, end_s)),
            health=tuple(self._health()),
            series=tuple(self.series),
        )

    def _health(self) -> Iterator[WorkerHealth]:
        for second in range(max((len(row) for row in self.health.values()), default=0)):
            said = {name: row[second] for name, row in self.health.items() if second < len(row)}
            yield WorkerHealth(
                second=second,
                worker="w0",
                cpu_ratio=said.get("cpu") or 0.1,
                stall_s_max=said.get("stall") or 0.001,
                clock_s=said.get("clock") or 0.0,
            )

    def _history(self, plan: Plan, status: str, end_s: float) -> tuple[ev.Event, ...]:
        bodies: list[tuple[float, ev.Body]] = [(0.0, ev.RunStarted(run="case/1", wall_ns=0)), *self.events]
        for phase in plan.phases:
            bodies.append((phase.start_s, ev.PhaseStarted(phase=phase.name)))
            bodies.append((phase.end_s, ev.PhaseEnded(phase=phase.name)))
        bodies = sorted((body for body in bodies if body[0] <= end_s), key=lambda body: body[0])
        if status != "crashed":
            bodies.append((end_s, ev.LoadStopped(scheduled_until_ns=round(min(end_s, plan.end_s) * S))))
            bodies.append((end_s, ev.RunEnded(status=ev.Status(status), detail=f"scripted {status}")))
        return tuple(ev.Event(seq=i, t_ns=round(t * S), body=body) for i, (t, body) in enumerate(bodies))

    def _frames(self, plan: Plan, end_s: float) -> Iterator[LoadFrame]:
        arrivals = list(arrivals_of(plan).stripe(0, 1))
        for second in range(int(min(end_s, plan.end_s))):
            times = arrivals[bisect_left(arrivals, second * S) : bisect_left(arrivals, (second + 1) * S)]
            if all(row[second : second + 1] != [None] for row in self.load.values()):
                yield from self._second(second, times)

    def _second(self, second: int, times: list[int]) -> Iterator[LoadFrame]:
        def at(row: str, default: float = 0.0) -> float:
            values = self.load.get(row, [])
            value = values[second] if second < len(values) else None
            return default if value is None else value

        n = len(times)
        kinds = ["ok"] * n
        names = [self.requests[i % len(self.requests)] for i in range(n)]
        for kind in ("failed", "timed_out", "dropped", "lost", "unseen"):
            share = at(kind)
            for i in range(n) if share else ():
                if kinds[i] == "ok" and int((i + 1) * share + 1e-9) > int(i * share + 1e-9):
                    kinds[i] = kind
        for lo, hi, share, name in self.outages:
            hit = [i for i in range(n) if lo <= times[i] / S < hi and name in (None, names[i])]
            for place, i in enumerate(hit) if name else zip(hit, hit, strict=True):
                if int((place + 1) * share + 1e-9) > int(place * share + 1e-9):
                    kinds[i] = "failed"
        yield LoadFrame(second=second, series="", planned=n, lost=kinds.count("lost"))
        for name in self.requests:
            own = [(kind, t_ns) for kind, t_ns, of in zip(kinds, times, names, strict=True) if of == name]
            yield _frame(second, name, own, latency_s=at("latency", 0.02), lag_s=at("lag", 0.001))


def _frame(second: int, name: str, arrivals: list[tuple[str, int]], *, latency_s: float, lag_s: float) -> LoadFrame:
    kinds = [kind for kind, _ in arrivals]
    good, bad = [0] * BINS_PER_SECOND, [0] * BINS_PER_SECOND
    for kind, t_ns in arrivals:
        if kind not in ("lost", "unseen"):
            (good if kind == "ok" else bad)[t_ns % S // 10_000_000] += 1
    response, lag = Histogram(), Histogram()
    sent, ok = len(kinds) - kinds.count("dropped") - kinds.count("lost"), kinds.count("ok")
    response.record(round(latency_s * 1e6), ok)
    lag.record(max(round(lag_s * 1e6), 1), sent)
    return LoadFrame(
        second=second,
        series=name,
        sent=sent,
        ok=ok,
        failed=kinds.count("failed"),
        timed_out=kinds.count("timed_out"),
        dropped=kinds.count("dropped"),
        response=response,
        service=response,
        lag=lag,
        good_bins=tuple(good),
        bad_bins=tuple(bad),
    )


def parse(text: str) -> Case:
    case = Case()
    block: str | None = None
    series: dict[str, str] = {}
    for raw in text.splitlines():
        line = raw.split("#")[0].rstrip()
        if raw.startswith("#") and not case.title:
            case.title = raw[1:].strip()
        if not line.strip():
            continue
        words = line.split()
        if line[0] in " \t":
            if block in ("load", "health"):
                getattr(case, block)[words[0]] = expanded(words[1:])
            else:
                case.series.append(_series(case, series, expanded(words)))
            continue
        block = words[0]
        _line(case, words, series)
    return case


def _line(case: Case, words: list[str], series: dict[str, str]) -> None:  # noqa: C901, PLR0912 - one per kind of line
    match words:
        case ["service", *options]:
            case.options |= {key: float(value) for key, value in (word.split("=") for word in options)}
        case ["phase", name, span, load, *rest]:
            lo, hi = _span(span)
            begin = case.phases[-1].end_s if case.phases else 0.0
            level = quantity(load.removeprefix("load="), "ratio")
            judged = "unjudged" not in rest
            case.phases.append(plan_values.phase(name, begin, hi, level, settle_s=lo - begin, judge=judged))
        case ["rule", phase, sli, tier, *rule]:
            case.rules.append((phase, threshold(sli, tier, " ".join(rule))))
        case ["fault", name, span, phase, observe]:
            at_s, until_s = _span(span)
            zone = "zone-a" if observe == "zone-cut" else None
            made = plan_values.fault(name, at_s, until_s, phase=phase, observe=Observe(observe), zone=zone)
            case.faults.append(made)
        case ["timing", name, timing, tier, *rule]:
            case.timings.append(timing_rule(name, timing, tier, " ".join(rule), len(case.timings) + 100))
        case ["audit", count, tier, *rule]:
            asked = rule_of(" ".join(rule), Unit.COUNT)
            case.audit.append(AuditRule(count=Count(count), tier=Tier(tier), rule=asked, source=HERE))
        case ["load" | "health"]:
            pass
        case ["requests", *names]:
            case.requests = names
        case ["outage", span, share, *name]:
            case.outages.append((*_span(span), float(share), " ".join(name) or None))
        case ["series", sli, phase, role, *labels]:
            series.clear()
            series.update(sli=sli, phase=phase, role=role, **dict(label.split("=") for label in labels))
        case ["at", t_s, kind, *values]:
            case.events.append((float(t_s), body(kind, values)))
        case ["end", status, t_s]:
            case.end = (status, float(t_s))
        case ["expect", *what]:
            case.expected.append(what)
        case _:
            raise ValueError(f"not a line of a case: {' '.join(words)}")


def _series(case: Case, given: dict[str, str], values: list[float | None]) -> Series:
    start_s = next(phase.start_s for phase in case.phases if phase.name == given["phase"])
    first, step = float(given.get("at", start_s)), float(given.get("step", "1"))
    labels = {key: value for key, value in given.items() if key not in ("sli", "phase", "role", "at", "step")}
    return Series(
        sli="" if given["role"] == "up" else given["sli"],
        phase=given["phase"],
        role=given["role"],  # type: ignore[arg-type]
        query=given["role"],
        labels=tuple(sorted(labels.items())),
        samples=tuple((first + i * step, value) for i, value in enumerate(values) if value is not None),
    )


def threshold(sli: str, tier: str, text: str) -> Threshold:
    unit = next((one.unit for one in SLIS if one.name == sli), Unit.RATIO)
    found = re.fullmatch(r"(.+?)(?: each (\S+))?(?: min (\d+))?", text)
    assert found, text
    rule, each, least = found.groups()
    return Threshold(
        sli=sli,
        tier=Tier(tier),
        rule=rule_of(rule, unit),
        source=HERE,
        each=each,
        min_samples=int(least) if least else None,
    )


def timing_rule(name: str, timing: str, tier: str, text: str, line: int) -> TimingRule:
    source = Source(path="case", line=line)
    return TimingRule(
        fault=name, timing=Timing(timing), tier=Tier(tier), rule=rule_of(text, Unit.SECONDS), source=source
    )


def rule_of(text: str, unit: Unit) -> Rule:
    found = re.fullmatch(
        r"([<>]=?) (\S+)(?: of (offered|baseline))?(?: floor (\S+))?(?: cap (\S+))?(?: for (\S+))?(?: in any (\S+))?",
        text,
    )
    assert found, text
    op, amount, relative, floor, cap, for_, any_ = found.groups()
    return Rule(
        text=text,
        op=op,  # type: ignore[arg-type]
        quantity=quantity(amount, "ratio" if relative else unit.value),
        relative_to=relative,  # type: ignore[arg-type]
        for_s=seconds(for_) if for_ else None,
        any_s=seconds(any_) if any_ else None,
        floor=quantity(floor, unit.value) if floor else None,
        cap=quantity(cap, unit.value) if cap else None,
    )


def body(kind: str, values: list[str]) -> ev.Body:
    """
    An event from its fields in order; lists are comma-separated, the last field may have spaces.

    Fields that have a default are left out, or come at the end as NAME=VALUE.
    """
    made = KINDS[kind]
    optional = {one.name for one in fields(made) if one.default is not MISSING}
    given = dict(value.split("=", 1) for value in values if value.split("=", 1)[0] in optional)
    values = [value for value in values if value.split("=", 1)[0] not in optional]
    names = [one.name for one in fields(made) if one.name not in optional]
    *first, last = range(len(names))
    split = {names[i]: values[i] for i in first} | {names[last]: " ".join(values[last:])} | given
    types = {one.name: str(one.type) for one in fields(made)}
    converted: dict[str, object] = {}
    for name, value in split.items():
        if types[name] == "bool":
            converted[name] = value == "yes"
        elif types[name].startswith("float"):
            converted[name] = None if value == "none" else float(value)
        elif types[name] == "int":
            converted[name] = round(float(value) * S) if name.endswith("_ns") else int(value)
        elif name == "examples":  # of the audit: COUNT:ID:SECONDS, …
            parts = (part.split(":") for part in value.split(","))
            converted[name] = tuple((count, id_, round(float(t_s) * S)) for count, id_, t_s in parts)
        elif types[name].startswith("tuple"):
            converted[name] = tuple(value.split(","))
        else:
            converted[name] = value
    return made(**converted)  # type: ignore[no-any-return]


def expanded(words: list[str]) -> list[float | None]:
    """Values in the notation of promtool's unit tests."""
    values: list[float | None] = []
    for word in words:
        found = re.fullmatch(r"(_|-?[\d.]+|NaN|[+-]?Inf)(?:([+-][\d.]+))?(?:x(\d+))?", word)
        assert found, word
        first, slope, times = found.groups()
        count = int(times or 0)
        if first == "_":
            values += [None] * max(count, 1)
        else:
            values += [float(first) + i * float(slope or 0) for i in range(count + 1)]
    return values


def _span(text: str) -> tuple[float, float]:
    lo, hi = text.split("..")
    return float(lo), float(hi)
