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


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSli:
    """An SLI read from the load record."""

    name: str
    measure: ClientMeasure
    quantile: float | None  # for LATENCY: 0 < q < 1
    series: str | None  # one request name; None is all of them together
    unit: Unit
    better: Better
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSli:
    """
    An SLI read from Prometheus.

    Either `query` is a PromQL template (`$window` and `$selector` filled in) asked once at the window's
    end and once per slice; or `bad` and `total` are selectors of counters, whose raw samples inside the
    window are differenced by us: sum of increases of `bad` over sum of increases of `total`.
    """

    name: str
    query: str | None
    bad: str | None
    total: str | None
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
    `OP QUANTITY [of offered | of baseline] [for DURATION]`.

    At `target` tier the rule says what is wanted; at the other tiers it says what is a breach.
    """

    text: str  # as written, e.g. "> 1% for 15s"
    op: Literal["<", "<=", ">", ">="]
    quantity: float  # in the SLI's unit; with `relative_to`, a ratio
    relative_to: Literal["offered", "baseline"] | None
    for_s: float | None  # breach must last this long without interruption


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """One rule of one tier on one SLI in one phase."""

    sli: str
    tier: Tier
    rule: Rule
    source: Source


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A Chaos Toolkit file, read and resolved for one fault."""

    name: str
    path: str
    document: str  # canonical JSON of the file with the fault's configuration filled in
    observe: Observe
    selector: str  # label selector of the pods it may touch (its blast radius)
    namespace: str
    zone: str | None  # for ZONE_CUT: the zone cut off
    max_targets: int | None  # cap on pods touched; None: all that the selector matches


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
class Phase:
    """
    A named interval with its own thresholds.

    From `begin_s` the load ramps linearly to `load_level` for `ramp_s`, settles for `settle_s`; the
    phase itself, what is judged, is `[start_s, end_s)` with start_s = begin_s + ramp_s + settle_s.
    """

    name: str
    load_level: float  # 1.5 is 150 % of the baseline rate
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
class Load:
    """How arrivals are made. `baseline_per_s` is 100 %."""

    baseline_per_s: float
    locustfile: str  # absolute path
    arrivals: Literal["uniform", "poisson"]
    seed: int
    deadline_s: float  # an arrival unanswered this long after its intended start has timed out
    slow_s: float  # an ok response slower than this counts as bad when impacts are looked for
    workers: int | None  # None: one per core


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Which Kubernetes cluster and how far a fault may reach."""

    kubeconfig: str | None  # absolute path; None: the sandbox's own
    context: str | None
    namespace: str
    selector: str  # label selector of the service's pods; the blast radius
    deployment: str | None  # watched for readiness
    max_pods: int  # a fault may touch at most this many pods at once


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
class Service:
    """What all scenarios of one service share."""

    name: str
    title: str
    url: str
    load: Load
    cluster: Cluster | None
    prometheus: Prometheus | None
    slis: tuple[Sli, ...]
    sandbox: Literal["good", "bad"] | None  # wants the local sandbox with this version of the demo shop
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
    source: Source
