"""
Where in a row of good and bad counts the share of bad ones was raised: a likelihood estimator of segments.

A segment with a share q of bad arrivals against a background share p0 has the log-likelihood ratio
sum(bad) log(q/p0) + sum(good) log((1-q)/(1-p0)). The segment that maximises it is found by Kadane's scan, q by
iteration from several starts (a single start gets stuck in tiny segments when q is small).

Weights are whole multiples of 2^-20: sums of them are exact, so the order of adding never matters. Scans are folds of
the standard library over the bins with bad arrivals; only where some start finds half a segment is looked at closely.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress, groupby, repeat
from operator import add, mul, neg, sub

LLR_MIN = 18.0  # below it a segment is noise: no false one in 4,500 simulated runs without faults
EDGE_DROP = 3.5  # an edge may lie wherever the ratio is at most this much smaller: 94 % or more of true edges

_STARTS = (0.95, 0.5, 0.2, 0.06)
_ROUNDS = 5
_UNIT = 1 << 20  # of a log-likelihood
_HINT = 12.0  # a start may miss the best share by this much of the ratio
_HOPELESS = EDGE_DROP + LLR_MIN  # an edge this much worse cannot become likely again further on


@dataclass(frozen=True, slots=True)
class Second:
    """The arrivals of one whole second: good, bad, and how many of the bad ones got no ok answer at all."""

    number: int
    good: int
    bad: int
    failed: int


@dataclass(frozen=True, slots=True)
class Row:
    """Bins in time order, only those with arrivals: number of the bin, good and bad arrivals in it. And per second."""

    bins: Sequence[int]
    good: Sequence[int]
    bad: Sequence[int]
    seconds: Sequence[Second] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """
    The bins `first` to `last` (indexes into the row, inclusive), both with bad arrivals; `share` of all is bad.

    `ratio` is its log-likelihood ratio.
    """

    first: int
    last: int
    share: float
    ratio: float


@dataclass(frozen=True, slots=True)
class _BadBins:
    """The bins with bad arrivals: index into the row, bad, good, and good arrivals since the bad bin before."""

    index: Sequence[int]
    bad: Sequence[int]
    good: Sequence[int]
    good_before: Sequence[int]


@dataclass(frozen=True, slots=True)
class _Weights:
    """What one bad and one good arrival add to the log-likelihood ratio, in units."""

    bad: int
    good: int


@dataclass(frozen=True, slots=True)
class _Best:
    """The likeliest segment of a range of bad bins: its first and last of them, its share, and its ratio in units."""

    first: int
    last: int
    share: float
    ratio: int


class Search:
    """A row made ready to be searched for segments."""

    __slots__ = ("_bad_bins", "_row")

    def __init__(self, row: Row) -> None:
        self._row = row
        self._bad_bins = _bad_bins(row)

    def segments(self, background: float, hold_bins: int) -> list[Segment]:
        """
        All segments with a raised share of bad arrivals, in order of time.

        A good stretch inside a segment splits it when it lasts `hold_bins` and is itself proven (as likely as a segment
        must be); so two black-outs with service in between are two.
        """
        return _segments(self._row, self._bad_bins, background, hold_bins)


def edge_candidates(row: Row, segment: Segment, background: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """The earliest and latest bin (indexes into the row) that may be the segment's first, and that may be its last."""
    weights = _weights(segment.share, background)
    first, last, end = segment.first, segment.last, len(row.bins)
    return (
        (
            first - _reach(row, weights, range(first - 1, -1, -1), 1),
            first + _reach(row, weights, range(first, last), -1),
        ),
        (
            last - _reach(row, weights, range(last, first, -1), -1),
            last + _reach(row, weights, range(last + 1, end), 1),
        ),
    )


def _segments(row: Row, bad_bins: _BadBins, background: float, hold_bins: int) -> list[Segment]:
    found: list[Segment] = []
    waiting = _zones(row, bad_bins, background, hold_bins)  # half-open ranges of bad bins still to be searched
    while waiting:
        lo, hi = waiting.pop()
        best = _best(bad_bins, lo, hi, background) if hi > lo else None
        if best is None:
            continue
        split = _good_stretch(row, bad_bins, best, background, hold_bins)
        if split:
            waiting += [(best.first, split[0]), split, (split[1], best.last + 1)]
        else:
            index = bad_bins.index
            found.append(Segment(index[best.first], index[best.last], best.share, best.ratio / _UNIT))
        waiting += [(lo, best.first), (best.last + 1, hi)]
    return sorted(found, key=lambda segment: segment.first)


def _reach(row: Row, weights: _Weights, way: Iterable[int], sign: int) -> int:
    """How many bins along `way` the edge may move at a cost of at most EDGE_DROP."""
    reached, total = 0, 0
    for steps, index in enumerate(way, start=1):
        total += sign * (row.bad[index] * weights.bad + row.good[index] * weights.good)
        if total >= -EDGE_DROP * _UNIT:
            reached = steps
        if total < -_HOPELESS * _UNIT:
            break
    return reached


def _bad_bins(row: Row) -> _BadBins:
    index = list(compress(range(len(row.bins)), row.bad))
    before = list(accumulate(row.good, initial=0))  # good arrivals before each bin
    starts = [before[i] for i in index]
    ends = [0, *(before[i + 1] for i in index[:-1])]
    good = [row.good[i] for i in index]
    return _BadBins(index, [row.bad[i] for i in index], good, list(map(sub, starts, ends)))


def _weights(share: float, background: float) -> _Weights:
    return _Weights(
        round(math.log(share / background) * _UNIT), round(math.log((1 - share) / (1 - background)) * _UNIT)
    )


def _clamped(share: float, background: float) -> float:
    return min(max(share, 3 * background, 0.02), 0.999)


def _zones(row: Row, bad_bins: _BadBins, background: float, hold_bins: int) -> list[tuple[int, int]]:
    """The ranges of bad bins in which there may be segments: wherever some start's sum rises, and the hold around."""
    number = [row.bins[index] for index in bad_bins.index]
    hot: list[tuple[int, int]] = []
    for start in _STARTS:
        for first, last in _rises(bad_bins, _weights(_clamped(start, background), background)):
            hot.append((number[first] - hold_bins, number[last] + hold_bins))
    zones: list[tuple[int, int]] = []
    for lo, hi in sorted(hot):
        if zones and lo <= zones[-1][1]:
            zones[-1] = (zones[-1][0], max(zones[-1][1], hi))
        else:
            zones.append((lo, hi))
    return [(bisect_left(number, lo), bisect_left(number, hi + 1)) for lo, hi in zones]


def _rises(bad_bins: _BadBins, weights: _Weights) -> list[tuple[int, int]]:
    """
    Where the sum rises by the hint: from the bad bin after its low to the one at its peak.

    It falls so slowly after a peak that later rises may not show; they are looked for from the peak on.
    """
    found = []
    waiting = [(0, len(bad_bins.index))]
    while waiting:
        lo, hi = waiting.pop()
        sums = _Sums(bad_bins, lo, hi, weights)
        high = [position for position, rise in enumerate(sums.rise) if rise >= _HINT * _UNIT]
        for lowest, group in groupby(high, key=sums.lowest.__getitem__):
            positions = list(group)
            peak = max(positions, key=sums.rise.__getitem__)
            found.append((lo + bisect_left(sums.lowest, -lowest, key=neg), lo + peak))
            if peak < positions[-1]:
                waiting.append((lo + peak + 1, lo + positions[-1] + 1))
    return found


class _Sums:
    """
    Running sums of weights over the bad bins [lo, hi), the good arrivals between them included (not before the first).

    `lowest` is the lowest the sum was before a bin up to here, `rise` how far it is above that after this bin.
    """

    __slots__ = ("before", "lowest", "rise")

    def __init__(self, bad_bins: _BadBins, lo: int, hi: int, weights: _Weights) -> None:
        own = list(_weighed(bad_bins.bad[lo:hi], bad_bins.good[lo:hi], weights))
        gaps = map(mul, bad_bins.good_before[lo:hi], repeat(weights.good))
        after = list(accumulate(map(add, gaps, own)))
        self.before = list(map(sub, after, own))
        self.lowest = list(accumulate(self.before, min))
        self.rise = list(map(sub, after, self.lowest))


def _weighed(bad: Sequence[int], good: Sequence[int], weights: _Weights) -> Iterable[int]:
    return map(add, map(mul, bad, repeat(weights.bad)), map(mul, good, repeat(weights.good)))


def _best(bad_bins: _BadBins, lo: int, hi: int, background: float) -> _Best | None:
    """The likeliest segment among bad bins [lo, hi); None below LLR_MIN."""
    best: _Best | None = None
    for start in _STARTS:
        share = _clamped(start, background)
        before = (-1, -1)
        for _ in range(_ROUNDS):
            sums = _Sums(bad_bins, lo, hi, _weights(share, background))
            ratio = max(sums.rise)
            last = sums.rise.index(ratio)
            first = bisect_left(sums.lowest, -sums.lowest[last], key=neg)
            if best is None or ratio > best.ratio:
                best = _Best(lo + first, lo + last, share, ratio)
            if (first, last) == before:
                break
            before = (first, last)
            share = _clamped(_share(bad_bins, lo + first, lo + last), background)
    return best if best is not None and best.ratio >= LLR_MIN * _UNIT else None


def _share(bad_bins: _BadBins, first: int, last: int) -> float:
    bad = sum(bad_bins.bad[first : last + 1])
    good = sum(bad_bins.good[first : last + 1]) + sum(bad_bins.good_before[first + 1 : last + 1])
    return bad / (bad + good)


def _good_stretch(
    row: Row, bad_bins: _BadBins, best: _Best, background: float, hold_bins: int
) -> tuple[int, int] | None:
    """The likeliest good stretch inside a segment, as the range of bad bins within it; None unless long and proven."""
    weights = _weights(best.share, background)
    most, stretch = 0, (best.first, best.first)
    running, begin = 0, best.first + 1
    for position in range(best.first + 1, best.last + 1):
        running -= bad_bins.good_before[position] * weights.good
        if running > most:
            most, stretch = running, (begin, position)
        running -= bad_bins.bad[position] * weights.bad + bad_bins.good[position] * weights.good
        if running < 0:
            running, begin = 0, position + 1
    if most < LLR_MIN * _UNIT:
        return None
    length = row.bins[bad_bins.index[stretch[1]]] - row.bins[bad_bins.index[stretch[0] - 1]]
    return stretch if length >= hold_bins else None
