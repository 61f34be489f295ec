"""
The plan: the complete, validated value of a scenario and its service.

Everything here is frozen. Times are seconds (floats) since the run's start or, where the name says
so, lengths; ratios are 0-1; rates are arrivals per second; intervals are half-open.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Source:
    """Where in the person's files something was written: `scenarios/stress-150.yaml:16`."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Unit(StrEnum):
    """The closed set of units an SLI can have."""

    SECONDS = "s"
    RATIO = "ratio"  # 0-1
    PER_SECOND = "/s"
    BYTES = "B"
    COUNT = "count"


class Better(StrEnum):
    """The direction in which an SLI improves."""

    LOWER = "lower"
    HIGHER = "higher"


class ClientMeasure(StrEnum):
    """What a `client:` SLI takes from the load record. All per planned arrival, timed from its intended start."""

    ERROR_RATIO = "error_ratio"  # (failed + timed out + dropped) / settled arrivals
    SUCCESS_RATIO = "success_ratio"  # 1 - error_ratio
    LATENCY = "latency"  # a quantile of response time; failures and timeouts count as slower than anything
    THROUGHPUT = "throughput"  # ok arrivals per second
    FAILURES = "failures"  # failed + timed out + dropped arrivals, a count; for "not one failed request"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSli:
    """An SLI read from the load record."""

    name: str
    measure: ClientMeasure
    quantile: float | None  # for LATENCY: 0 < q < 1
    series: str | None  # one request name; None is all of them together
    stream: str | None = None  # one request stream; None is all of them together
    unit: Unit
    better: Better
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSli:
    """
    An SLI read from Prometheus.

    One of three kinds. `query` is a PromQL template (`$window` and `$selector` filled in) asked once at the
    window's end and once per slice. `bad` and `total` are selectors of counters, whose raw samples inside the
    window are differenced by us: sum of increases of `bad` over sum of increases of `total`. `histogram` is the
    selector of a histogram (its name without `_bucket`), classic or native; `quantile` of it is decided as the share
    of observations above the limit, at a bucket's edge.
    """

    name: str
    query: str | None
    bad: str | None
    total: str | None
    histogram: str | None = None
    quantile: float | None = None  # for `histogram`: 0 < q < 1
    unit: Unit
    better: Better
    absent_means_zero: bool  # for `bad`: a series that never appeared counts as zero
    source: Source


Sli = ClientSli | PrometheusSli


class Tier(StrEnum):
    """How serious a threshold is."""

    TARGET = "target"  # informative
    WARN = "warn"
    FAIL = "fail"
    ABORT = "abort"  # stop faults and load now, roll back, verdict fail


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """
    `OP QUANTITY [of offered | of baseline [floor QUANTITY] [cap QUANTITY]] [for DURATION | in any DURATION]`.

    At `target` tier the rule says what is wanted; at the other tiers it says what is a breach. The limit of
    `of baseline` is baseline x quantity, moved away from the baseline to at least `floor` beyond it, and never
    beyond the absolute value `cap`: for an SLI that is better lower min(cap, max(b x q, b + floor)).
    """

    text: str  # as written, e.g. "> 1% for 15s"
    op: Literal["<", "<=", ">", ">="]
    quantity: float  # in the SLI's unit; with `relative_to`, a ratio
    relative_to: Literal["offered", "baseline"] | None
    for_s: float | None  # breach must last this long without interruption
    any_s: float | None = None  # the rule holds of any stretch this long inside the phase, not of the whole
    floor: float | None = None  # with `of baseline`, in the SLI's unit
    cap: float | None = None  # with `of baseline`, in the SLI's unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """
    One rule of one tier on one SLI in one phase.

    `each` judges groups apart, one finding per group: "request" (client SLIs: request names), "stream" (client SLIs),
    or a label of the series that Prometheus returned (e.g. "zone").
    """

    sli: str
    tier: Tier
    rule: Rule
    source: Source
    each: str | None = None
    min_samples: int | None = None  # fewer than this decide nothing
    severity: str | None = None  # "P1" to "P4", shown and passed on
    runbook: str | None = None  # URL, shown and passed on


class Timing(StrEnum):
    """The durations that relate impacts to faults (DESIGN, impacts and timings)."""

    DETECTION = "detection"  # fault on -> the platform noticed (an endpoint left service)
    FAILOVER = "failover"  # fault on -> service restored on what is left, while the fault is still on
    RECOVERY = "recovery"  # impact on -> service kept again, held
    REDUNDANCY = "redundancy"  # fault on -> all replicas ready again
    ROLLBACK = "rollback"  # rollback asked for -> the fault's effect gone and service kept, held
    DOWNTIME = "downtime"  # request-weighted downtime of the fault's impacts


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingRule:
    """A threshold on one timing of one fault; at `warn` and `fail` tier the rule says what is a breach."""

    fault: str
    timing: Timing
    tier: Tier
    rule: Rule
    source: Source


class Observe(StrEnum):
    """How the harness proves that a fault took effect, and that it is gone."""

    PODS_REPLACED = "pods-replaced"  # a targeted pod's UID is gone; gone: as many ready pods as before
    ZONE_CUT = "zone-cut"  # canaries across the cut fail while those inside the zone answer; gone: all answer
    PATHS_DEGRADED = "paths-degraded"  # canaries across are slow or fail in part; gone: they are as those inside
    NODES_OUT = "nodes-out"  # a targeted node takes no pods and has no ready one left; gone: it does, all are back
    ROLLED_OUT = "rolled-out"  # a pod of a new revision is there; gone: the rollout is complete, or undone
    SCALED_DOWN = "scaled-down"  # the deployment has fewer ready pods than before; gone: as many as before


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A Chaos Toolkit file, read and resolved for one fault."""

    name: str
    path: str
    document: str  # canonical JSON of the file with the fault's configuration filled in
    observe: Observe
    selector: str  # label selector of the pods it may touch (its blast radius)
    namespace: str
    zone: str | None  # the zone it is about, where it is about one
    max_targets: int | None  # cap on pods touched; None: all that the selector matches
    deployment: str | None = None  # for ROLLED_OUT and SCALED_DOWN: which one
    slow_s: float | None = None  # for PATHS_DEGRADED: a probe across that takes longer was delayed or lost something
    misses: str = ""  # what the experiment cannot show, in its author's words; for the report


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One planned injection. `at_s` and `until_s` are seconds since run start."""

    name: str  # unique in the plan; the experiment's name, numbered from the second on ("pod-delete-2")
    experiment: Experiment
    at_s: float
    until_s: float  # when its rollback begins
    phase: str
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """
    Recorded arrivals: a text file of offsets in seconds, one a line, optionally with a stream's name after it.

    `counts` are the arrivals in each second of the phase (at `speed`), all streams; the times themselves stay in the
    file, whose content `sha256` pins.
    """

    path: str  # absolute
    sha256: str
    speed: float  # 2.0 plays an hour in half an hour, at twice the rate
    counts: tuple[int, ...]
    stream_counts: tuple[tuple[int, ...], ...] = ()  # the same of each stream, in the order of Load.streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """
    A named interval with its own thresholds.

    From `begin_s` the load ramps linearly to `load_level` for `ramp_s`, settles for `settle_s`; the
    phase itself, what is judged, is `[start_s, end_s)` with start_s = begin_s + ramp_s + settle_s.
    """

    name: str
    load_level: float  # 1.5 is 150 % of the baseline rate, all streams together
    levels: tuple[float, ...] = ()  # of each stream, in the order of Load.streams; empty: all at load_level
    replay: Replay | None = None  # instead of a level: recorded arrivals, from start_s on; no ramp, no settle
    begin_s: float
    ramp_s: float
    settle_s: float
    start_s: float
    end_s: float
    judge: bool
    thresholds: tuple[Threshold, ...]
    timings: tuple[TimingRule, ...]
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A request stream with a rate of its own."""

    name: str
    baseline_per_s: float
    users: tuple[str, ...]  # names of User classes in the locustfile; empty: all
    tags: tuple[str, ...]  # Locust tags of the tasks it runs; empty: all


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the generator itself must keep for its record to be judged; a breach makes client findings inconclusive."""

    start_lag_s: float | None = None  # p99; None: the larger of 5 ms and 5 % of the tightest failing latency limit
    stall_s: float = 0.2  # longest time a worker's event loop did not turn
    cpu_ratio: float = 0.9  # of one core, mean of any ten seconds
    rate_error: float = 0.02  # |sent - planned| / planned
    lost_ratio: float = 0.001
    dropped_ratio: float = 0.001
    clock_s: float = 0.01  # uncertainty of a remote worker's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Load workers on other machines: where the master listens, and how many it waits for."""

    listen: str  # "0.0.0.0:5557"
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How arrivals are made. `baseline_per_s` is 100 %, all streams together."""

    baseline_per_s: float
    baseline_from: str | None = None  # the run whose measured rate this is; None: written in the file
    streams: tuple[Stream, ...] = ()  # empty: one, without a name
    locustfile: str  # absolute path
    arrivals: Literal["uniform", "poisson"]
    seed: int
    deadline_s: float  # an arrival unanswered this long after its intended start has timed out
    slow_s: float  # an ok response slower than this counts as bad when impacts are looked for
    workers: int | None  # on this machine; None: one per core
    remote: Remote | None = None
    connection_age_s: float = 30.0  # a kept connection is closed after about this long, so that new pods get traffic
    limits: Limits = Limits()
    metrics: str | None = None  # "127.0.0.1:9646": where the generator serves its own metrics to Prometheus


IN_CLUSTER = "in-cluster"
"""As a cluster's kubeconfig: none; the service account of the pod that the harness itself runs in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Pods that a fault may touch beside the service's own."""

    namespace: str
    selector: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Which Kubernetes cluster and how far a fault may reach."""

    kubeconfig: str | None  # absolute path, or IN_CLUSTER; None: the sandbox's own
    context: str | None
    namespace: str
    selector: str  # label selector of the service's pods; the blast radius
    deployment: str | None  # watched for readiness
    max_pods: int  # a fault may touch at most this many pods at once
    max_share: float = 0.8  # nor more than this share of any one workload's pods
    max_nodes: int = 0  # a fault may touch at most this many nodes, with everything on them; 0: none
    also: tuple[Reach, ...] = ()  # what else faults may touch: dependencies
    uid: str | None = None  # UID of the namespace kube-system: no other cluster is touched; None: not pinned
    dead_man_s: float = 30.0  # how long the cluster keeps a fault on after it last heard from the harness


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """Where server-side SLIs come from."""

    url: str
    headers: tuple[tuple[str, str], ...]
    ca_file: str | None
    verify: bool
    scrape_interval_s: float
    selector: str  # fills $selector, e.g. 'job="shop"'
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPart:
    """One part of the composite health score: min(1, target / value) for better lower, min(1, value / target) else."""

    sli: str
    weight: float  # all together make 1
    target: float  # in the SLI's unit
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What all scenarios of one service share."""

    name: str
    title: str
    url: str
    load: Load
    cluster: Cluster | None
    prometheus: Prometheus | None
    slis: tuple[Sli, ...]
    health: tuple[HealthPart, ...] = ()  # of the composite health score; empty: none
    sandbox: Literal["good", "bad", "store", "store-lossy"] | None  # wants the local sandbox with this demo
    audit_url: str | None = None  # where a data-loss audit writes, unless the scenario says otherwise
    source: Source


class Count(StrEnum):
    """What the data-loss audit counts, apart from what was acknowledged. Less is better."""

    LOST = "lost"  # acknowledged, and not there at the end
    DUPLICATED = "duplicated"  # there more than once at the end
    STALE = "stale"  # acknowledged, not seen by a read after that, but there at the end
    UNKNOWN = "unknown"  # written without an answer: it may be there or not, and is never lost
    REFUSED = "refused"  # answered, but not with success


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRule:
    """A threshold on one count of the audit; at `warn` and `fail` tier the rule says what is a breach."""

    count: Count
    tier: Tier
    rule: Rule
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The data-loss audit: writes at a rate for as long as the run lasts, and what became of them at the end."""

    url: str
    rate_per_s: float
    writers: int
    rules: tuple[AuditRule, ...]  # at least one of them warns or fails
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole run, decided before it starts."""

    scenario: str
    title: str
    service: Service
    phases: tuple[Phase, ...]  # in time order, at least one judged, gapless from 0 to end_s
    faults: tuple[Fault, ...]  # in time order
    end_s: float
    time_scale: float
    audit: Audit | None = None
    source: Source
