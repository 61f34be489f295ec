"""
Run and verdict as rows to show: grouping, order and words, the same for every form of report.

Nothing is judged here; what a row says was decided by the verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from harness.history.events import InjectRequested
from harness.history.load import FailedRequest, WorkerHealth
from harness.history.run import Run
from harness.plan.model import Tier, TimingRule
from harness.report import words
from harness.verdict.model import Check, Finding, Impact, Outcome, PhaseResult, Reason, TimingFinding, Verdict

TIERS = (Tier.ABORT, Tier.FAIL, Tier.WARN, Tier.TARGET)
FAILURES_PER_CLASS = 5  # of the recorded sample, in a report


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One tier's rule of an SLI, and how it came out."""

    tier: str
    rule: str
    outcome: Outcome
    reason: Reason

    @property
    def text(self) -> str:
        """The rule with its tier: "fail > 500ms"."""
        return f"{self.tier} {self.rule}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRow:
    """All rules on one SLI in one phase: the worst outcome, and the finding that decides it."""

    phase: str
    sli: str  # with its group, where each was judged apart: "latency_p95 [zone-a]"
    outcome: Outcome
    value: str
    interval: str
    worst: str  # the worst stretch and when it was; empty where the whole phase is all there is
    margin: str  # how far from the deciding limit
    limits: tuple[Limit, ...]  # most serious first
    decided_by: str  # the deciding rule with its tier; all rules that were kept when it passed
    detail: str
    reason: Reason
    evidence: str
    severity: str  # of the deciding rule, "" without
    runbook: str
    source: str  # path:line of the deciding rule


def rule_rows(verdict: Verdict) -> tuple[RuleRow, ...]:
    """One row per phase, SLI and group; breached first, then in the order of the plan."""
    groups: dict[tuple[str, str, str | None], list[Finding]] = {}
    for finding in verdict.findings:
        groups.setdefault((finding.phase, finding.sli, finding.group), []).append(finding)
    rows = [_rule_row(group) for group in groups.values()]
    return tuple(sorted(rows, key=lambda row: words.SEVERITY[row.outcome]))


def _rule_row(group: list[Finding]) -> RuleRow:
    """A `target` is informative: it decides only where there is nothing else."""
    group = sorted(group, key=lambda finding: TIERS.index(finding.tier))
    binding = [finding for finding in group if finding.tier is not Tier.TARGET] or group
    decisive = min(binding, key=lambda finding: words.SEVERITY[finding.outcome])
    if decisive.outcome is Outcome.PASS:
        decisive = next((finding for finding in binding if finding.tier is Tier.FAIL), decisive)
    limits = tuple(Limit(tier=f.tier.value, rule=f.rule, outcome=f.outcome, reason=f.reason) for f in group)
    kept = [limit.text for limit in limits if limit.tier != Tier.TARGET.value] or [limit.text for limit in limits]
    breached = f"{decisive.tier.value} {decisive.rule}"
    return RuleRow(
        phase=decisive.phase,
        sli=words.named(decisive),
        outcome=decisive.outcome,
        value=words.value(decisive),
        interval=words.interval(decisive),
        worst=words.worst(decisive),
        margin=words.margin(decisive),
        limits=limits,
        decided_by=" · ".join(kept) if decisive.outcome is Outcome.PASS else breached,
        detail=decisive.detail,
        reason=decisive.reason,
        evidence=_evidence(decisive),
        severity=decisive.severity or "",
        runbook=decisive.runbook or "",
        source=str(decisive.source),
    )


def _evidence(finding: Finding) -> str:
    samples = words.plural(finding.samples, "sample")
    return samples if finding.coverage is None else f"{samples}, coverage {words.share(finding.coverage)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingRow:
    """One timing of one fault, with all rules on it; `outcome` is None where no rule asks for it."""

    fault: str
    timing: str
    outcome: Outcome | None
    value: str  # with its uncertainty
    rule: str
    detail: str
    source: str
    finding: TimingFinding
    limits: tuple[tuple[Tier, float], ...]  # seconds

    @property
    def note(self) -> str:
        """Why the value is what it is, where that is not plain to see: it is zero, not known, or not as wanted."""
        return "" if self.finding.reason is Reason.WITHIN else self.detail


def timing_rows(run: Run, verdict: Verdict) -> tuple[TimingRow, ...]:
    """One row per fault and timing, the worst outcome of its rules; in the order of the verdict."""
    groups: dict[tuple[str, str], list[TimingFinding]] = {}
    for finding in verdict.timings:
        groups.setdefault((finding.fault, finding.timing.value), []).append(finding)
    asked = [rule for phase in run.plan.phases for rule in phase.timings]
    return tuple(_timing_row(group, asked) for group in groups.values())


def _timing_row(group: list[TimingFinding], asked: list[TimingRule]) -> TimingRow:
    group = sorted(group, key=lambda found: TIERS.index(found.tier) if found.tier else len(TIERS))
    decisive = min(group, key=lambda found: words.SEVERITY[found.outcome] if found.outcome else len(words.SEVERITY))
    told = group if decisive.outcome is Outcome.PASS else [decisive]
    mine = [rule for rule in asked if (rule.fault, rule.timing) == (decisive.fault, decisive.timing)]
    return TimingRow(
        fault=decisive.fault,
        timing=decisive.timing.value,
        outcome=decisive.outcome,
        value=words.timing(decisive),
        rule=" · ".join(f"{found.tier.value} {found.rule}" for found in told if found.tier),
        detail=decisive.detail,
        source=str(decisive.source) if decisive.source else "",
        finding=decisive,
        limits=tuple((rule.tier, rule.rule.quantity) for rule in mine),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpactRow:
    """One impact, numbered from 1 in time order."""

    number: int
    start: str
    end: str
    length: str
    severity: str
    bad: str
    downtime: str
    fault: str
    kind: str  # its shape, and the stream where it is one's alone
    impact: Impact


def impact_rows(verdict: Verdict) -> tuple[ImpactRow, ...]:
    """The impacts in time order."""
    return tuple(
        ImpactRow(
            number=number,
            start=words.instant(one.start_s) + _bounds(one.start_s, one.start_lo_s, one.start_hi_s),
            end="not seen"
            if one.censored
            else words.instant(one.end_s) + _bounds(one.end_s, one.end_lo_s, one.end_hi_s),
            length=("> " if one.censored else "") + words.duration(one.end_s - one.start_s),
            severity=words.share(one.severity),
            bad=words.count(one.bad),
            downtime=words.duration(one.downtime_s),
            fault=one.fault or "none",
            kind=" of ".join(filter(None, (one.shape and one.shape.value, one.stream))),
            impact=one,
        )
        for number, one in enumerate(sorted(verdict.impacts, key=lambda one: one.start_s), start=1)
    )


def _bounds(at_s: float, lo_s: float, hi_s: float) -> str:
    return "" if lo_s == hi_s else f" ±{words.duration(max(at_s - lo_s, hi_s - at_s))}"


def check_rows(verdict: Verdict) -> tuple[Check, ...]:
    """The validity checks, those that did not pass first."""
    return tuple(sorted(verdict.validity, key=lambda check: words.SEVERITY[check.outcome]))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRow:
    """One phase's load: what became of its arrivals, and how fast the ok ones were."""

    result: PhaseResult
    level: str
    offered: str
    unaccounted: int  # planned - sent - dropped - lost: 0 unless the record is torn
    open: int  # sent - ok - failed - timed out: in flight when the record ended
    response: tuple[str, ...]  # p50, p95, p99, max
    lag: str
    health: str  # the composite health score, "" where the service has none


def load_rows(verdict: Verdict) -> tuple[LoadRow, ...]:
    """One row per phase, in time order."""
    return tuple(_load_row(result) for result in verdict.phases)


def _load_row(result: PhaseResult) -> LoadRow:
    load, times = result.load, result.response_s
    return LoadRow(
        result=result,
        level=words.share(result.load_level),
        offered=words.rate(result.offered_per_s),
        unaccounted=load.planned - load.sent - load.dropped - load.lost,
        open=load.sent - load.ok - load.failed - load.timed_out,
        response=tuple("-" if t is None else words.duration(t) for t in (times.p50, times.p95, times.p99, times.max)),
        lag="-" if result.lag_s_p99 is None else words.duration(result.lag_s_p99),
        health="" if result.health is None else words.share(result.health),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """One load worker's health over the run."""

    worker: str
    cpu_max: str
    cpu_mean: str
    stall_max: str
    in_flight_max: str
    clock: str  # the largest uncertainty of its clock


def worker_rows(run: Run) -> tuple[WorkerRow, ...]:
    """One row per worker, by name."""
    by_worker: dict[str, list[WorkerHealth]] = {}
    for one in run.health:
        by_worker.setdefault(one.worker, []).append(one)
    return tuple(
        WorkerRow(
            worker=worker,
            cpu_max=words.share(max(one.cpu_ratio for one in seen)),
            cpu_mean=words.share(sum(one.cpu_ratio for one in seen) / len(seen)),
            stall_max=words.duration(max(one.stall_s_max for one in seen)),
            in_flight_max=words.count(max(one.in_flight for one in seen)),
            clock=words.duration(max(one.clock_s for one in seen)),
        )
        for worker, seen in sorted(by_worker.items())
    )


def error_rows(run: Run) -> tuple[tuple[str, int], ...]:
    """Error classes with their counts over the run, most frequent first."""
    seen: Counter[str] = Counter()
    for frame in run.frames:
        seen.update(dict(frame.errors))
    return tuple(sorted(seen.items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRow:
    """One failed request of the sample."""

    at: str
    request: str  # its name, with its stream where there are several
    error: str
    peer: str
    response: str
    detail: str


def failure_rows(run: Run) -> tuple[FailureRow, ...]:
    """The first failed requests of each error class in the sample, in time order."""
    taken: Counter[str] = Counter()
    chosen: list[FailedRequest] = []
    for one in sorted(run.failures, key=lambda failed: (failed.t_ns, failed.error, failed.series)):
        taken[one.error] += 1
        if taken[one.error] <= FAILURES_PER_CLASS:
            chosen.append(one)
    return tuple(
        FailureRow(
            at=words.instant(one.t_ns / 1e9),
            request=f"{one.stream}: {one.series}" if one.stream else one.series,
            error=one.error,
            peer=one.peer or "-",
            response=words.duration(one.response_s),
            detail=one.detail,
        )
        for one in chosen
    )


def untested_rows(run: Run) -> tuple[tuple[str, str], ...]:
    """(experiment, what it cannot show), once for each experiment that was injected and says so."""
    injected = {event.body.fault for event in run.events if isinstance(event.body, InjectRequested)}
    played = (fault.experiment for fault in run.plan.faults if fault.name in injected)
    return tuple({one.name: one.misses for one in played if one.misses}.items())


def log_rows(run: Run) -> tuple[tuple[str, str], ...]:
    """(time, sentence) of every event that says something to a person, in written order."""
    said = ((event, words.sentence(event.body)) for event in run.events)
    return tuple((words.instant(event.t_ns / 1e9), sentence) for event, sentence in said if sentence)


def tally(outcomes: Iterable[Outcome]) -> str:
    """How many of each, worst first: "1 fail, 2 warn, 7 pass"."""
    seen = Counter(outcomes)
    return ", ".join(f"{seen[outcome]} {outcome.value}" for outcome in words.SEVERITY if seen[outcome])
