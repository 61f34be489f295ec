"""
Intervals of a share of bad events: Clopper-Pearson, with an effective sample size where events come in bursts.

Arrivals of one second share their fate (one dead pod is a burst), so the plain binomial interval of a phase is far too
narrow. The design effect says how much: variance of the share as estimated from batches of seconds, over the variance
independent arrivals would have. Both ends are Clopper-Pearson's on counts divided by it (Korn and Graubard, 1998),
which is exact for few independent events and has about its nominal coverage for few bursts.

No batch length is chosen. Every length from one second to a sixth of the phase gives an interval, and the widest
counts: what a longer batch shows beyond a shorter one is correlation. A length picked from the data would be picked too
short by chance, and would let additional bad arrivals improve a bound.

Two things keep the bounds from improving when arrivals get worse. A record with fewer bad arrivals that proves a limit
broken proves it for the real one, too, so the lower bound is the best that any levelling of the worst batches gives; a
record with more that proves it kept likewise, so the upper bound is the best that raising the best batches gives.
And seconds that are known not to be noise count in full, without variation between them: those in which a fault was at
work, and, for the lower end, those of a black-out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise
from typing import NamedTuple

from harness.verdict.special import beta_quantile, student_quantile

CONFIDENCE = 0.90  # two-sided: each tier is decided with at most 5 % error on its side

BLACKOUT_SHARE = 0.9  # of a second's arrivals bad: the service was away
BLACKOUT_ARRIVALS = 20  # that a black-out must have seen
TAUS_MIN = 30  # correlation times that a phase must be long for its intervals to hold

_MIN_BATCHES = 6
_MAX_BATCHES = 512  # an hour is looked at in batches of seven seconds or more: the shortest would be the narrowest
_LEVELS = 8  # steps in which levelling is tried
_WORST = 5  # batches that are levelled one by one
_NOTABLE = 3.0  # design effect above which its correlation time is worth estimating


class Second(NamedTuple):
    """
    Arrivals of one second: all that are judged, and the bad ones.

    `disturbed` seconds belong to a known fault. What happens in them is what the fault did, once, not the noise of
    a stationary process; they say nothing about how much calm seconds vary.
    """

    total: float
    bad: float
    disturbed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A share with its two-sided interval; `effect` is its design effect, 1 or more."""

    value: float
    lo: float
    hi: float
    effect: float
    tau_s: float  # correlation time of the bad share, in seconds (or slices); 0 where nothing shows one


def share_interval(
    bad: tuple[float, float], total: float, *, effect: float = 1.0, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """
    Two-sided interval of a share of bad events, of which there are `total` (above 0).

    `bad` is the least and the most of them that may be bad, equal when every outcome is known; `effect` is the design
    effect, 1 or more; a `confidence` of 0.9 leaves 5 % on each side.
    """
    alpha, n = (1 - confidence) / 2, total / effect
    return _lower(bad[0] / effect, n, alpha), 1 - _lower((total - bad[1]) / effect, n, alpha)


def ratio_estimate(
    least: Sequence[Second], most: Sequence[Second] | None = None, confidence: float = CONFIDENCE
) -> Estimate:
    """
    The share of bad events over consecutive seconds, of which there is at least one event, with its interval.

    `least` counts events of unknown outcome as good, `most` as bad (None: all are known). More bad events never lower
    either end.
    """
    effects = [design_effect(batches, (1,)) for batches in _all_batches(least)]
    low = _worst(with_blackouts(least), _Side(confidence, upper=False))
    high = _worst(least if most is None else most, _Side(confidence, upper=True))
    return Estimate(
        value=sum(second.bad for second in least) / sum(second.total for second in least),
        lo=low,
        hi=max(high, low),
        effect=max(effects),
        tau_s=_correlation_time(effects) * lengths_of(len(least))[0],
    )


def design_effect(seconds: Sequence[Second], lengths: Sequence[int] | None = None) -> float:
    """
    How many times the variance of independent events the share of bad events over these seconds has; 1 or more.

    Calm seconds: the largest of the ratio estimators over batches of `lengths` seconds (None: all lengths); what it
    exceeds 1 by is widened by Student's t for few batches. Disturbed seconds: binomial within each second only.
    """
    total = sum(second.total for second in seconds)
    bad = sum(second.bad for second in seconds)
    if not 0 < bad < total:
        return 1.0
    calm = [second for second in seconds if not second.disturbed]
    fixed = sum(second.bad * (1 - second.bad / second.total) for second in seconds if second.disturbed and second.total)
    calm_total, calm_bad = sum(second.total for second in calm), sum(second.bad for second in calm)
    if 0 < calm_bad < calm_total:
        share = calm_bad / calm_total
        effect = max(_batch_effect(batched(calm, length), share) for length in lengths or lengths_of(len(calm)))
        fixed += effect * calm_bad * (1 - share)
    return min(max(1.0, fixed / (bad * (1 - bad / total))), float(total))


def lengths_of(seconds: int) -> tuple[int, ...]:
    """The batch lengths that a window is looked at with: doubling from the shortest up to a sixth of the window."""
    longest = max(seconds // _MIN_BATCHES, 1)
    found = [-(-seconds // _MAX_BATCHES) or 1]
    while 2 * found[-1] < longest:
        found.append(2 * found[-1])
    return (*found, longest) if found[-1] < longest else tuple(found)


def batched(seconds: Sequence[Second], length: int) -> list[Second]:
    """Neighbouring seconds added up, as many as fit; lengths that do not divide evenly differ by one."""
    if length == 1:
        return list(seconds)
    count = len(seconds) // length
    edges = [index * len(seconds) // count for index in range(count + 1)]
    parts = (seconds[start:end] for start, end in pairwise(edges))
    return [Second(sum(one.total for one in part), sum(one.bad for one in part)) for part in parts]


def with_blackouts(seconds: Sequence[Second]) -> list[Second]:
    """The seconds with those of black-outs disturbed: runs of them in which nearly every arrival was bad."""
    found = list(seconds)
    for dark, run in groupby(range(len(found)), key=lambda index: _dark(found[index])):
        indexes = list(run)
        if dark and sum(found[index].total for index in indexes) >= BLACKOUT_ARRIVALS:
            for index in indexes:
                found[index] = found[index]._replace(disturbed=True)
    return found


def _dark(second: Second) -> bool:
    return second.total > 0 and second.bad >= BLACKOUT_SHARE * second.total


@dataclass(frozen=True, slots=True)
class _Side:
    """One end of an interval."""

    confidence: float
    upper: bool

    def end(self, seconds: Sequence[Second], lengths: Sequence[int]) -> float:
        """The end for a record as it is."""
        total, bad = sum(second.total for second in seconds), sum(second.bad for second in seconds)
        effect = design_effect(seconds, lengths)
        return share_interval((bad, bad), total, effect=effect, confidence=self.confidence)[self.upper]

    def narrower(self, left: float, right: float) -> bool:
        """Whether `left` says more than `right`."""
        return left < right if self.upper else left > right


def _worst(seconds: Sequence[Second], side: _Side) -> float:
    """The end that the least favourable batch length gives."""
    ends = [(side.end(batches, (1,)), batches) for batches in _all_batches(seconds)]
    found: float | None = None
    for end, batches in sorted(ends, key=lambda one: one[0], reverse=side.upper):
        if found is not None and not side.narrower(found, end):
            break  # levelling only makes an end narrower
        best = _levelled(batches, end, side)
        found = best if found is None or side.narrower(found, best) else found
    assert found is not None
    return found


def _levelled(batches: Sequence[Second], end: float, side: _Side) -> float:
    """The narrowest end that levelling the extreme calm batches gives: none, some, or many of them."""
    found = [side.end([_moved(one, share, up=side.upper) for one in batches], (1,)) for share in _levels(batches, side)]
    return min(end, *found) if side.upper else max(end, *found)


def _levels(batches: Sequence[Second], side: _Side) -> set[float]:
    """Shares to level at: up to the mean in steps; or down in steps, and to those of the worst batches."""
    calm = [one for one in batches if one.total and not one.disturbed]
    shares = sorted((one.bad / one.total for one in calm), reverse=True)
    if side.upper:
        top = sum(one.bad for one in calm) / (sum(one.total for one in calm) or 1.0)
    else:
        top = shares[0] if shares else 0.0
    steps = {top * step / _LEVELS for step in range(1, _LEVELS + 1)}
    return steps if side.upper else steps.union(shares[1:_WORST])


def _moved(one: Second, share: float, *, up: bool) -> Second:
    """A calm batch with its share of bad events levelled to `share` if it lies beyond it."""
    if one.disturbed or (one.bad >= share * one.total) == up:
        return one
    return Second(one.total, share * one.total)


def _all_batches(seconds: Sequence[Second]) -> Iterator[list[Second]]:
    """The calm seconds in batches of every length, each with the disturbed ones."""
    calm = [second for second in seconds if not second.disturbed]
    disturbed = [second for second in seconds if second.disturbed]
    for length in lengths_of(len(calm)):
        yield batched(calm, length) + disturbed


def _batch_effect(batches: Sequence[Second], share: float) -> float:
    """Variance between batches (ratio estimator) over what independent events of this share would have."""
    count = len(batches)
    if count < 2:
        return 1.0
    squares = sum((one.bad - share * one.total) ** 2 for one in batches)
    bad = share * sum(one.total for one in batches)
    seen = count / (count - 1) * squares / (bad * (1 - share))
    # However little is known of the variance, there was at least one burst.
    return min(1 + max(seen - 1, 0.0) * widening(count - 1), max(seen, bad, 1.0))


@lru_cache(maxsize=1024)
def widening(freedom: int) -> float:
    """
    (t / z)^2: what estimating the variance from few batches costs.

    A third of the degrees of freedom is not counted: bursts are skewed and batches still a little correlated, so that
    their variance is known less well than that of as many normal ones (calibrated, see benchmarks/verdict).
    """
    p = 1 - (1 - CONFIDENCE) / 2
    counted = max(round(freedom * 2 / 3), 1)
    return (student_quantile(p, counted) / student_quantile(p, 1_000_000)) ** 2


def _correlation_time(effects: Sequence[float]) -> float:
    """
    How long a deviation lasts, in batches of one: a first-order autoregression's correlation time.

    Its variance over long batches exceeds that over single seconds by (1 + phi) / (1 - phi), about twice the time.
    """
    first, most = effects[0] - 1, max(effects) - 1
    return most / first / 2 if most + 1 >= _NOTABLE and first > 0 else 0.0


def _lower(k: float, n: float, alpha: float) -> float:
    """Clopper and Pearson (1934): Beta^-1(alpha; k, n - k + 1); 0 when k is 0."""
    if k <= 0:
        return 0.0
    if k >= n:
        return math.pow(alpha, 1 / n)
    return beta_quantile(alpha, k, n - k + 1)
