"""Runs with too few arrivals to prove anything, and the interval of a quantile of real-looking response times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from calibration_traffic import ERRORS, LATENCY, LIMITS, Traffic, frames_of, plan_of, run_of, seconds_of

from harness.history.histogram import Histogram
from harness.history.load import LoadFrame
from harness.verdict.judge import judge
from harness.verdict.model import Outcome

# Not even arrivals that are all good prove a limit p when (1 - p)^n > 5 %: below 299 for 1 %, below 59 for 5 %.
TOO_FEW = {ERRORS.name: (3, 30, 100, 298), LATENCY.name: (3, 30, 58)}

SIGMA = 0.6  # of log response time
MEDIAN_S = 0.05
_Z95 = 1.6448536269514722


@dataclass(frozen=True, slots=True, kw_only=True)
class Few:
    """Phases of fewer arrivals than could prove the limit kept."""

    sli: str
    arrivals: int
    ratio: float  # true share over the limit
    runs: int

    @property
    def name(self) -> str:
        """For people, and for seeds."""
        return f"few {self.sli} n={self.arrivals} x{self.ratio:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """Lognormal response times whose median drifts with the load; their p95 is known."""

    rate: int
    length_s: int
    drift: float  # standard deviation of the logarithm of the median; correlation time is a thirtieth of the phase
    runs: int

    @property
    def name(self) -> str:
        """For people, and for seeds."""
        return f"p95 of {self.rate * self.length_s} lognormal responses, drift {self.drift:.0%}"


def few(runs: int) -> list[Few]:
    """A service without a fault, and one at a quarter of its limit."""
    return [
        Few(sli=sli, arrivals=arrivals, ratio=ratio, runs=runs)
        for sli, numbers in TOO_FEW.items()
        for arrivals in numbers
        for ratio in (0.0, 0.25)
    ]


def few_outcomes(one: Few, seed: int) -> dict[Outcome, int]:
    """How often each verdict came."""
    found = dict.fromkeys(Outcome, 0)
    length_s = 3
    rate = one.arrivals // length_s
    traffic = Traffic(
        law="independent", share=one.ratio * LIMITS[one.sli], effect=1.0, rate=max(rate, 1), length_s=length_s
    )
    for number in range(one.runs):
        random = Random(f"{seed} {one.name} {number}")
        bad = seconds_of(traffic, random)
        found[judge(run_of(plan_of(one.sli, traffic), frames_of(one.sli, bad, traffic.rate))).verdict] += 1
    return found


def quantiles(runs: int) -> list[Quantile]:
    """Without drift and with."""
    return [
        Quantile(rate=rate, length_s=length_s, drift=drift, runs=runs)
        for rate, length_s in ((100, 30), (200, 60))
        for drift in (0.0, 0.1)
    ]


def covered(one: Quantile, seed: int) -> int:
    """How many of the runs' intervals hold the true p95."""
    truth = MEDIAN_S * math.exp(_Z95 * math.hypot(SIGMA, one.drift))
    traffic = Traffic(law="independent", share=0.0, effect=1.0, rate=one.rate, length_s=one.length_s)
    plan = plan_of(LATENCY.name, traffic)
    hits = 0
    for number in range(one.runs):
        random = Random(f"{seed} {one.name} {number}")
        (finding,) = judge(run_of(plan, _frames(one, random))).findings
        hits += finding.lo is not None and finding.hi is not None and finding.lo <= truth <= finding.hi
    return hits


def _frames(one: Quantile, random: Random) -> Sequence[LoadFrame]:
    phi = math.exp(-30 / one.length_s)
    x = random.gauss(0, one.drift)
    frames = frames_of(ERRORS.name, [0] * one.length_s, one.rate)
    found = []
    for frame in frames:
        if frame.series:
            responses = Histogram()
            for _ in range(one.rate):
                responses.record(int(MEDIAN_S * 1e6 * math.exp(random.gauss(x, SIGMA))))
            found.append(replace(frame, response=responses, service=responses))
            x = phi * x + math.sqrt(1 - phi * phi) * random.gauss(0, one.drift)
        else:
            found.append(frame)
    return found
