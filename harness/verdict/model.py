"""The verdict's values: what `judge` returns and every report shows. `verdict.json` mirrors these."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from harness.history.events import Status
from harness.plan.model import Count, Source, Tier, Timing, Unit


class Outcome(StrEnum):
    """What the evidence says, of a finding, a phase or a run."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Reason(StrEnum):
    """Why a finding came out as it did; a closed set."""

    WITHIN = "within"  # the tier is proven kept
    EXCEEDED = "exceeded"  # the tier is proven breached
    UNDECIDED = "undecided"  # the value's interval straddles the limit
    NO_SAMPLES = "no_samples"
    NO_TARGET = "no_target"  # Prometheus had nothing of the service to scrape
    TARGET_DOWN = "target_down"  # it had, and no scrape succeeded
    NOTHING_SERVED = "nothing_served"  # the counters are there and did not rise
    TOO_FEW_SAMPLES = "too_few_samples"
    GAP = "gap"  # scrape coverage below 90 %, or unknown slices would change the answer
    SOURCE_UNREACHABLE = "source_unreachable"  # Prometheus did not answer, or was not asked before the record broke off
    QUERY_REFUSED = "query_refused"  # what answered gave no data: an error, a page of something else, too much
    PARTIAL_DATA = "partial_data"  # Prometheus warned that its answer is incomplete
    UNDEFINED_VALUE = "undefined_value"  # NaN or infinity
    SEVERAL_SERIES = "several_series"  # a template returned more than one series
    NO_BASELINE = "no_baseline"  # `of baseline` without a judged baseline phase
    GENERATOR_LIMITED = "generator_limited"  # a validity check of the load failed
    NOT_RUN = "not_run"  # the phase was never entered, or not finished
    UNSEEN = "unseen"  # what nobody scraped before a counter was reset or ended would decide
    BUCKET_LIMITED = "bucket_limited"  # no bucket of the histogram has its edge at the limit
    BUCKETS_CHANGED = "buckets_changed"  # a histogram had other buckets in one part of the window than in another
    UNKNOWN_GROUPS = "unknown_groups"  # `each` found nothing to tell apart
    CENSORED = "censored"  # a timing's end was not seen before the run ended
    NO_IMPACT = "no_impact"  # a timing of a fault that degraded nothing: zero
    ALREADY_GONE = "already_gone"  # a rollback asked for when nothing was left to undo: zero
    BASELINE_UNHEALTHY = "baseline_unhealthy"  # the service was not well before the fault: nothing shows what it did
    NOT_READ_BACK = "not_read_back"  # what the data-loss audit wrote was not read back
    CHECK_RAISED = "check_raised"  # judging this raised; the detail says what


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The outcome of one threshold. `value`, `lo`, `hi` are in `unit`; None where there is no number."""

    phase: str
    sli: str
    tier: Tier
    rule: str
    outcome: Outcome
    reason: Reason
    detail: str  # one sentence: why
    value: float | None
    lo: float | None
    hi: float | None
    unit: Unit
    samples: int
    coverage: float | None
    source: Source
    group: str | None = None  # with `each`: which one
    worst: float | None = None  # the SLI's worst value in any stretch (a slice, or the rule's window), in `unit`
    worst_s: float | None = None  # when that stretch began, seconds since run start
    margin: float | None = None  # how far the value is from the limit, as a share of the limit; negative: beyond it
    severity: str | None = None
    runbook: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingFinding:
    """One timing of one fault, an interval or right-censored; `outcome` is None where no rule asks for it."""

    fault: str
    timing: Timing
    value_s: float | None
    lo_s: float | None
    hi_s: float | None
    censored: bool
    outcome: Outcome | None
    reason: Reason
    rule: str | None
    detail: str
    source: Source | None
    tier: Tier | None = None  # of the rule


class Shape(StrEnum):
    """What an impact was like."""

    BLACKOUT = "black-out"  # nearly every arrival was bad
    BROWNOUT = "brown-out"  # a share of them failed
    SLOWOUT = "slow-out"  # they were answered, but too late


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """A maximal interval in which the service was degraded, with bounds on both ends (seconds since run start)."""

    start_s: float
    start_lo_s: float
    start_hi_s: float
    end_s: float
    end_lo_s: float
    end_hi_s: float
    severity: float  # share of bad arrivals inside
    bad: int
    downtime_s: float  # request-weighted
    fault: str | None  # the fault it is related to
    censored: bool  # still bad when the record ends
    stream: str | None = None  # None: of all arrivals; else of this request stream alone
    shape: Shape | None = None
    episodes: int = 1  # how many times it was bad, with proven service in between
    gap_s: float = 0.0  # the longest time between two good arrivals


class Step(StrEnum):
    """What a cluster does about a fault."""

    ENDPOINT_LEFT = "endpoint left service"
    NODE_NOT_READY = "node not ready"
    LEADER_ELECTED = "leader elected"
    POD_READY = "first new pod ready"
    ROLLOUT_OBSERVED = "rollout observed"
    ROLLOUT_STUCK = "rollout stuck"
    ROLLOUT_COMPLETE = "rollout complete"
    NODE_READY = "node ready again"
    ENDPOINTS_BACK = "endpoints back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """One step of the cluster after a fault. Seconds since run start, and since the fault was in force at latest."""

    fault: str
    step: Step
    at_s: float
    after_s: float  # below zero when it was seen before the fault's effect was proven
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """
    A validity check: whether the experiment took place.

    Inconclusive makes what depends on it inconclusive; a warning is only shown.
    """

    check: str  # "load_delivered", "conservation", "start_lag", "fault_confirmed", "fault_gone", "samples_present", ...
    phase: str | None
    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCounts:
    """What became of a phase's planned arrivals."""

    planned: int
    sent: int
    ok: int
    failed: int
    timed_out: int
    dropped: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseTimes:
    """Response time of ok arrivals, seconds; None where there are too few samples for the figure."""

    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseResult:
    """One phase: its verdict, interval, load and response times. `verdict` is None for a phase not judged."""

    name: str
    verdict: Outcome | None
    start_s: float
    end_s: float
    load_level: float
    offered_per_s: float
    load: LoadCounts
    response_s: ResponseTimes
    lag_s_p99: float | None
    health: float | None = None  # the composite health score, 0-1; informative


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFinding:
    """The outcome of one rule of the data-loss audit; `value` is None where nothing was counted."""

    count: Count
    tier: Tier
    rule: str
    outcome: Outcome
    reason: Reason
    value: int | None
    detail: str
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditExample:
    """One id that was lost, duplicated or stale."""

    count: Count
    id: str
    acknowledged_s: float | None  # since run start; None: never
    near: str  # the nearest fault: "0.12s before leader-failover"; empty without faults


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditResult:
    """The data-loss audit. Counts are None where it was not read back; written = acknowledged + unknown + refused."""

    url: str
    acknowledged: int | None = None
    unknown: int | None = None
    refused: int | None = None
    lost: int | None = None
    duplicated: int | None = None
    stale: int | None = None
    examples: tuple[AuditExample, ...] = ()
    findings: tuple[AuditFinding, ...]
    detail: str  # the counts in words, or why there are none


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The whole verdict of a run; a pure function of the recorded run."""

    run: str
    scenario: str
    status: Status
    verdict: Outcome
    restored: bool  # every injected fault proven gone
    headline: str  # one sentence: the decisive reason
    summary: tuple[str, ...] = ()  # the three sentences an on-call engineer would say: load, faults, what decided
    phases: tuple[PhaseResult, ...]
    findings: tuple[Finding, ...]
    timings: tuple[TimingFinding, ...]
    impacts: tuple[Impact, ...]
    milestones: tuple[Milestone, ...] = ()
    audit: AuditResult | None = None
    validity: tuple[Check, ...]
