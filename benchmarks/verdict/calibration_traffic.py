"""
Synthetic runs with known truth: arrivals that go bad independently, in bursts, or with a load that drifts.

A `Traffic` names a law and the long-run share of bad arrivals; `seconds_of` draws what became of the arrivals of every
second, `run_of` makes a recorded run of them. Same random generator, same run, on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

from harness.history.events import Body, Event, LoadStopped, PhaseEnded, PhaseStarted, RunEnded, RunStarted, Status
from harness.history.histogram import Histogram
from harness.history.load import LoadFrame, WorkerHealth
from harness.history.run import Run
from harness.history.series import Series
from harness.plan.model import (
    Better,
    ClientMeasure,
    ClientSli,
    Load,
    Phase,
    Plan,
    Prometheus,
    PrometheusSli,
    Rule,
    Service,
    Source,
    Threshold,
    Tier,
    Unit,
)

S = 1_000_000_000
HERE = Source(path="calibration", line=1)
LIMIT_S = 0.5  # of latency
FAST_US, SLOW_US = 20_000, 800_000

_BURSTS_PER_CLUSTER = 3.0  # a cluster holds at least this many times its design effect, so that it can have it


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """
    Arrivals of which a share `share` goes bad in the long run.

    `law` is "independent"; "bursts": seconds (or clusters of seconds) draw their share from a beta distribution;
    "drift": the logarithm of the share follows an AR(1) process of correlation time `tau_s`. `effect` is the design
    effect: the variance of the share over that of independent arrivals.
    """

    law: str
    share: float
    effect: float
    rate: int  # arrivals per second
    length_s: int
    tau_s: float = 0.0

    @property
    def arrivals(self) -> int:
        """How many there are in all."""
        return self.rate * self.length_s


def seconds_of(traffic: Traffic, random: Random) -> list[int]:
    """How many of the arrivals of each second are bad."""
    return [binomial(random, traffic.rate, share) for share in _shares(traffic, random)]


def _shares(traffic: Traffic, random: Random) -> Iterator[float]:
    if traffic.law == "independent" or traffic.effect <= 1:
        yield from [traffic.share] * traffic.length_s
    elif traffic.law == "bursts":
        yield from _bursts(traffic, random)
    else:
        yield from _drift(traffic, random)


def _bursts(traffic: Traffic, random: Random) -> Iterator[float]:
    """Beta-binomial clusters: 1 + (size - 1) x rho is the design effect, rho = 1 / (a + b + 1)."""
    length = max(1, math.ceil(_BURSTS_PER_CLUSTER * traffic.effect / traffic.rate))
    rho = min((traffic.effect - 1) / (traffic.rate * length - 1), 0.99)
    weight = 1 / rho - 1
    share = 0.0
    for second in range(traffic.length_s):
        if second % length == 0:
            share = random.betavariate(traffic.share * weight, (1 - traffic.share) * weight)
        yield share


def _drift(traffic: Traffic, random: Random) -> Iterator[float]:
    """Share x exp(X - s^2 / 2), X an AR(1) process of standard deviation s: its mean is `share`."""
    phi = math.exp(-1 / traffic.tau_s)
    s = drift_deviation(traffic.share, traffic.rate, traffic.effect, traffic.tau_s)
    x = random.gauss(0, s)
    for _ in range(traffic.length_s):
        yield min(traffic.share * math.exp(x - s * s / 2), 1.0)
        x = phi * x + math.sqrt(1 - phi * phi) * random.gauss(0, s)


@lru_cache(maxsize=1024)
def drift_deviation(share: float, rate: int, effect: float, tau_s: float) -> float:
    """
    The standard deviation of log share that gives a design effect.

    The autocovariance of a lognormal share at lag k is share^2 (exp(s^2 phi^k) - 1); rate x its sum over all lags,
    over share (1 - share), is what correlation adds to the variance.
    """
    phi = math.exp(-1 / tau_s)
    lags = [phi**k for k in range(1, math.ceil(12 * tau_s) + 1)]

    def added(s: float) -> float:
        total = math.expm1(s * s) + 2 * math.fsum(math.expm1(s * s * lag) for lag in lags)
        return rate * share / (1 - share) * total

    low, high = 0.0, 3.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if added(middle) < effect - 1 else (low, middle)
    return high


def binomial(random: Random, n: int, p: float) -> int:
    """How many of n succeed."""
    if p > 0.5:
        return n - binomial(random, n, 1 - p)
    if n * p > 12:
        return sum(random.random() < p for _ in range(n))
    # Inversion: walk up the distribution function.
    u, k = random.random(), 0
    chance, odds = math.exp(n * math.log1p(-p)), p / (1 - p)
    while u > chance and k < n:
        u -= chance
        k += 1
        chance *= odds * (n - k + 1) / k
    return k


# -- plans and runs ----------------------------------------------------------------------------------------------

ERRORS = ClientSli(
    name="error_ratio",
    measure=ClientMeasure.ERROR_RATIO,
    quantile=None,
    series=None,
    unit=Unit.RATIO,
    better=Better.LOWER,
    source=HERE,
)
LATENCY = ClientSli(
    name="latency_p95",
    measure=ClientMeasure.LATENCY,
    quantile=0.95,
    series=None,
    unit=Unit.SECONDS,
    better=Better.LOWER,
    source=HERE,
)
SERVERS = PrometheusSli(
    name="server_errors",
    query=None,
    bad="bad",
    total="total",
    unit=Unit.RATIO,
    better=Better.LOWER,
    absent_means_zero=True,
    source=HERE,
)
PLAIN = Rule(text="> 1%", op=">", quantity=0.01, relative_to=None, for_s=None)
SLOW = Rule(text="> 500ms", op=">", quantity=LIMIT_S, relative_to=None, for_s=None)
RELATIVE = Rule(text="> 150% of baseline", op=">", quantity=1.5, relative_to="baseline", for_s=None)
OF_BASELINE = "error_ratio of baseline"
BASELINE_SHARE = 0.01
LIMITS = {  # the share that a rule allows
    "error_ratio": 0.01,
    "latency_p95": 0.05,
    "server_errors": 0.01,
    OF_BASELINE: RELATIVE.quantity * BASELINE_SHARE,
}


def plan_of(
    sli: str, traffic: Traffic, *, tier: Tier = Tier.FAIL, rule: Rule | None = None, scrape_s: float = 1.0
) -> Plan:
    """One judged phase with one rule."""
    asked = rule or (SLOW if sli == LATENCY.name else PLAIN)
    phase = Phase(
        name="phase",
        load_level=1.0,
        begin_s=0.0,
        ramp_s=0.0,
        settle_s=0.0,
        start_s=0.0,
        end_s=float(traffic.length_s),
        judge=True,
        thresholds=(Threshold(sli=sli, tier=tier, rule=asked, source=HERE),),
        timings=(),
        source=HERE,
    )
    load = Load(
        baseline_per_s=float(traffic.rate),
        locustfile="/calibration.py",
        arrivals="uniform",
        seed=1,
        deadline_s=2.0,
        slow_s=1.0,
        workers=1,
    )
    prometheus = Prometheus(
        url="http://127.0.0.1:9090",
        headers=(),
        ca_file=None,
        verify=True,
        scrape_interval_s=scrape_s,
        selector="",
        timeout_s=5.0,
    )
    service = Service(
        name="service",
        title="",
        url="",
        load=load,
        cluster=None,
        prometheus=prometheus,
        slis=(ERRORS, LATENCY, SERVERS),
        sandbox=None,
        source=HERE,
    )
    return Plan(
        scenario="calibration",
        title="",
        service=service,
        phases=(phase,),
        faults=(),
        end_s=phase.end_s,
        time_scale=1.0,
        source=HERE,
    )


def compared_plan(traffic: Traffic) -> Plan:
    """A baseline phase as long as the one that is compared with it; the last rule is the one to look at."""
    plan = plan_of(ERRORS.name, traffic, rule=Rule(text="> 99%", op=">", quantity=0.99, relative_to=None, for_s=None))
    (first,) = plan.phases
    end_s = 2 * first.end_s
    asked = Threshold(sli=ERRORS.name, tier=Tier.FAIL, rule=RELATIVE, source=HERE)
    second = replace(first, name="compared", begin_s=first.end_s, start_s=first.end_s, end_s=end_s, thresholds=(asked,))
    return replace(plan, phases=(first, second), end_s=end_s)


def run_of(
    plan: Plan,
    frames: Sequence[LoadFrame],
    series: Sequence[Series] = (),
    health: Sequence[WorkerHealth] = (),
) -> Run:
    """The record of a run that was executed to its end."""
    end_s = plan.end_s
    bodies: list[tuple[float, Body]] = [(0.0, RunStarted(run="calibration/1", wall_ns=0))]
    for phase in plan.phases:
        bodies += [(phase.start_s, PhaseStarted(phase=phase.name)), (phase.end_s, PhaseEnded(phase=phase.name))]
    bodies.append((end_s + 2, LoadStopped(scheduled_until_ns=round(end_s * S))))
    bodies.append((end_s + 2, RunEnded(status=Status.COMPLETED, detail="all phases ran")))
    events = tuple(Event(seq=i, t_ns=round(t_s * S), body=body) for i, (t_s, body) in enumerate(bodies))
    return Run(
        name="calibration/1",
        plan=plan,
        events=events,
        frames=tuple(frames),
        health=tuple(health),
        series=tuple(series),
    )


def frames_of(sli: str, bad: Sequence[int], rate: int) -> list[LoadFrame]:
    """The load record of seconds of which so many arrivals failed, or were slow. Without 10 ms bins."""
    frames: list[LoadFrame] = []
    for second, count in enumerate(bad):
        frames += second_frames(sli, second, count, rate)
    return frames


def second_frames(sli: str, second: int, bad: int, rate: int) -> tuple[LoadFrame, LoadFrame]:
    """What the master and the workers recorded of one second."""
    failed = bad if sli != LATENCY.name else 0
    slow = bad - failed
    return (
        LoadFrame(second=second, series="", planned=rate),
        LoadFrame(
            second=second,
            series="GET /",
            sent=rate,
            ok=rate - failed,
            failed=failed,
            response=response_histogram(rate - bad, slow),
            service=response_histogram(rate - bad, slow),
            lag=lag_histogram(rate),
            slower=((round(LIMIT_S * 1e6), slow),) if slow else (),
        ),
    )


@lru_cache(maxsize=4096)
def response_histogram(fast: int, slow: int) -> Histogram:
    """Responses of ok arrivals, fast and slow."""
    made = Histogram()
    made.record(FAST_US, fast)
    made.record(SLOW_US, slow)
    return made


@lru_cache(maxsize=1024)
def lag_histogram(n: int, us: int = 1_000) -> Histogram:
    """So many arrivals sent this late."""
    made = Histogram()
    made.record(us, n)
    return made
