"""
Where in a row of good and bad counts the share of bad ones was raised: a likelihood estimator of segments.

A segment with a share q of bad arrivals against a background share p0 has the log-likelihood ratio
sum(bad) log(q/p0) + sum(good) log((1-q)/(1-p0)). The segment that maximises it is found by Kadane's scan, q by
iteration from several starts (a single start gets stuck in tiny segments when q is small).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LLR_MIN = 18.0  # below it a segment is noise: no false one in 4,500 simulated runs without faults
EDGE_DROP = 3.0  # an edge may lie wherever the ratio is at most this much smaller: 94 % or more of true edges

_STARTS = (0.95, 0.5, 0.2, 0.06)
_ROUNDS = 5
_HOPELESS = EDGE_DROP + LLR_MIN  # an edge this much worse cannot become likely again further on


@dataclass(frozen=True, slots=True)
class Row:
    """Bins in time order, only those with arrivals: number of the bin, good and bad arrivals in it."""

    bins: tuple[int, ...]
    good: tuple[int, ...]
    bad: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """The bins `first` to `last` (indexes into the row, inclusive), both with bad arrivals; `share` of all is bad."""

    first: int
    last: int
    share: float


@dataclass(frozen=True, slots=True)
class _BadBin:
    """A bin with bad arrivals, and how many good ones lie between it and the bad bin before."""

    index: int
    bad: int
    good: int
    good_before: int


@dataclass(frozen=True, slots=True)
class _Weights:
    """What one bad and one good arrival add to the log-likelihood ratio."""

    bad: float
    good: float


def segments(row: Row, background: float, hold_bins: int) -> list[Segment]:
    """
    All segments with a raised share of bad arrivals, in order of time.

    A good stretch inside a segment splits it when it lasts `hold_bins` and is itself proven (as likely as a segment
    must be); so two black-outs with service in between are two.
    """
    bad_bins = _bad_bins(row)
    found: list[Segment] = []
    waiting = [(0, len(bad_bins))]  # half-open ranges of bad bins still to be searched
    while waiting:
        lo, hi = waiting.pop()
        best = _best(bad_bins, lo, hi, background) if hi > lo else None
        if best is None:
            continue
        first, last, share = best
        split = _good_stretch(row, bad_bins, best, background, hold_bins)
        if split:
            waiting += [(first, split[0]), split, (split[1], last + 1)]
        else:
            found.append(Segment(bad_bins[first].index, bad_bins[last].index, share))
        waiting += [(lo, first), (last + 1, hi)]
    return sorted(found, key=lambda segment: segment.first)


def edge_candidates(row: Row, segment: Segment, background: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """The earliest and latest bin (indexes into the row) that may be the segment's first, and that may be its last."""
    weights = _weights(segment.share, background)
    score = [bad * weights.bad + good * weights.good for good, bad in zip(row.good, row.bad, strict=True)]
    first, last = segment.first, segment.last
    return (
        (first - _reach(score, range(first - 1, -1, -1), 1), first + _reach(score, range(first, last), -1)),
        (last - _reach(score, range(last, first, -1), -1), last + _reach(score, range(last + 1, len(score)), 1)),
    )


def _reach(score: Sequence[float], way: Sequence[int], sign: int) -> int:
    """How many bins along `way` the edge may move at a cost of at most EDGE_DROP."""
    reached, total = 0, 0.0
    for steps, index in enumerate(way, start=1):
        total += sign * score[index]
        if total >= -EDGE_DROP:
            reached = steps
        if total < -_HOPELESS:
            break
    return reached


def _bad_bins(row: Row) -> list[_BadBin]:
    found: list[_BadBin] = []
    good_before = 0
    for index, (good, bad) in enumerate(zip(row.good, row.bad, strict=True)):
        if bad:
            found.append(_BadBin(index, bad, good, good_before))
            good_before = 0
        else:
            good_before += good
    return found


def _weights(share: float, background: float) -> _Weights:
    return _Weights(math.log(share / background), math.log((1 - share) / (1 - background)))


def _clamped(share: float, background: float) -> float:
    return min(max(share, 3 * background, 0.02), 0.999)


def _best(bad_bins: Sequence[_BadBin], lo: int, hi: int, background: float) -> tuple[int, int, float] | None:
    """The likeliest segment among bad bins [lo, hi): its first and last bad bin and its share; None below LLR_MIN."""
    best: tuple[float, int, int, float] | None = None
    for start in _STARTS:
        share = _clamped(start, background)
        before = (-1, -1)
        for _ in range(_ROUNDS):
            ratio, first, last = _scan(bad_bins, lo, hi, _weights(share, background))
            if best is None or ratio > best[0]:
                best = (ratio, first, last, share)
            if (first, last) == before:
                break
            before = (first, last)
            share = _clamped(_share(bad_bins, first, last), background)
    return best[1:] if best is not None and best[0] >= LLR_MIN else None


def _scan(bad_bins: Sequence[_BadBin], lo: int, hi: int, weights: _Weights) -> tuple[float, int, int]:
    """Kadane's maximum-sum range over bad bins: (ratio, first, last)."""
    best, best_first, best_last = -math.inf, lo, lo
    running, first = -math.inf, lo
    for position in range(lo, hi):
        bin_ = bad_bins[position]
        running += bin_.good_before * weights.good
        if running < 0:
            running, first = 0.0, position
        running += bin_.bad * weights.bad + bin_.good * weights.good
        if running > best:
            best, best_first, best_last = running, first, position
    return best, best_first, best_last


def _share(bad_bins: Sequence[_BadBin], first: int, last: int) -> float:
    bad = sum(bin_.bad for bin_ in bad_bins[first : last + 1])
    good = sum(bin_.good + bin_.good_before for bin_ in bad_bins[first : last + 1]) - bad_bins[first].good_before
    return bad / (bad + good)


def _good_stretch(
    row: Row, bad_bins: Sequence[_BadBin], best: tuple[int, int, float], background: float, hold_bins: int
) -> tuple[int, int] | None:
    """The likeliest good stretch inside a segment, as the range of bad bins within it; None unless long and proven."""
    first, last, share = best
    weights = _weights(share, background)
    best_ratio, stretch = 0.0, (first, first)
    running, begin = 0.0, first + 1
    for position in range(first + 1, last + 1):
        bin_ = bad_bins[position]
        running -= bin_.good_before * weights.good
        if running > best_ratio:
            best_ratio, stretch = running, (begin, position)
        running -= bin_.bad * weights.bad + bin_.good * weights.good
        if running < 0:
            running, begin = 0.0, position + 1
    length = row.bins[bad_bins[stretch[1]].index] - row.bins[bad_bins[stretch[0] - 1].index] if best_ratio else 0
    return stretch if best_ratio >= LLR_MIN and length >= hold_bins else None
