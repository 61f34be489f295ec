"""
Impacts: when the service was degraded, found in the 10 ms outcome counts whether or not a fault was on.

Outcomes are placed by their arrival's intended time, never by when an answer came: in a hang the answers come a whole
timeout later. What an edge is known to is the spacing of arrivals around it and how much the share of bad ones jumps.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import compress, pairwise
from operator import add, sub, truediv

from harness.history.load import BINS_PER_SECOND
from harness.history.views import FaultWindow
from harness.verdict.attribution import causes_of
from harness.verdict.edges import edges_of, end_of
from harness.verdict.model import Impact, Shape
from harness.verdict.noise import design_effect
from harness.verdict.outcomes import Outcomes
from harness.verdict.segment import LLR_MIN, Row, Search, Second, Segment

HOLD_S = 5.0  # how long the service must be good again for an impact to be over
BACKGROUND_MIN = 1e-3  # share of bad arrivals that counts as nothing
BLACK = 0.9  # share of bad arrivals from which on it is a black-out

_BACKGROUND_MAX = 0.3
_PARTS = 8  # the calm seconds are looked at in this many parts
_USUAL_SHARE = 0.1  # what is left of the calm seconds outside impacts must be this much of them to be called usual
_REFINEMENTS = 4  # how often the background is estimated again without the impacts found in it
_SAME = 0.05  # a background that changes by less finds the same
_SHARP = 0.5  # share of bad arrivals from which on a segment is more than a bunch of the usual failures,
_SHARP_EFFECT = 3.0  # and is held against at most this design effect
_SAMPLED = 60  # calm seconds that the usual response time is taken from


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the estimator needs to know besides the counts; seconds."""

    calm: frozenset[int]  # seconds of judged phases before the first fault: they give the background
    limit_s: float  # a response slower than this is bad
    hold_s: float


def impacts_of(outcomes: Outcomes, around: Surroundings, faults: Sequence[FaultWindow]) -> tuple[Impact, ...]:
    """
    All impacts on these arrivals, in order of time; none when there are no counts.

    An impact ends where a good stretch of at least `hold_s` begins; it is censored when the record ends before that
    much of it was seen. It is related to the fault that was in force, or had been within `hold_s`, when it began.
    """
    row = outcomes.row
    if not row.bins:
        return ()
    hold_bins = round(around.hold_s * BINS_PER_SECOND)
    calm = [second for second in row.seconds if second.number in around.calm] or list(row.seconds)
    background, found = _found(row, calm, hold_bins)
    usual_p95_s = outcomes.response_s([one.number for one in calm[:: len(calm) // _SAMPLED + 1]], 0.95)
    return tuple(
        _impact(outcomes, stretch, background, usual_p95_s, around, faults)
        for stretch in _merged(row, found, hold_bins)
    )


def _found(row: Row, calm: Sequence[Second], hold_bins: int) -> tuple[float, list[Segment]]:
    """
    The share of bad arrivals that is usual, and the segments above it.

    The usual share is that of calm seconds outside impacts, which are not known before it is. It is first taken from
    the best part of the calm seconds, so that an impact that fills most of them cannot pass for usual. If hardly
    anything is left outside what is found that way, being bad is the usual state.
    """
    length = -(-len(calm) // _PARTS)
    background = min(_background(calm[start : start + length]) for start in range(0, len(calm), length))
    search = Search(row)
    found = _standing_out(row, search.segments(background, hold_bins), calm)
    for _ in range(_REFINEMENTS):
        rest = _without(row, calm, found)
        refined = _background(rest if len(rest) >= _USUAL_SHARE * len(calm) else calm)
        if abs(refined - background) <= _SAME * background:
            break
        background = refined
        found = _standing_out(row, search.segments(background, hold_bins), calm)
    return background, found


def _background(seconds: Sequence[Second]) -> float:
    """The share of bad arrivals in these seconds; at least the minimum, never so high that nothing can stand out."""
    bad = sum(second.bad for second in seconds)
    arrivals = bad + sum(second.good for second in seconds)
    return min(max(bad / arrivals if arrivals else 0.0, BACKGROUND_MIN), _BACKGROUND_MAX)


def _standing_out(row: Row, found: Sequence[Segment], calm: Sequence[Second]) -> list[Segment]:
    """
    The segments that are more than the calm seconds' own noise: their ratio is enough for its design effect.

    What is mostly bad is not noise for long, however much the usual failures come in bunches. Of the others each is
    held against the calm seconds without itself, the likeliest first; as soon as one is no more than noise, neither are
    those behind it.
    """
    sharp = [segment for segment in found if segment.share >= _SHARP]
    bunched = min(design_effect(_without(row, calm, sharp)), _SHARP_EFFECT)
    kept = [segment for segment in sharp if segment.ratio >= LLR_MIN * bunched]
    milder = sorted((segment for segment in found if segment.share < _SHARP), key=lambda one: (-one.ratio, one.first))
    for segment in milder:
        if segment.ratio < LLR_MIN * design_effect(_without(row, calm, [*kept, segment])):
            break
        kept.append(segment)
    return sorted(kept, key=lambda one: one.first)


def _without(row: Row, calm: Sequence[Second], found: Collection[Segment]) -> list[Second]:
    """The calm seconds in which no segment lies."""
    taken: set[int] = set()
    for segment in found:
        taken.update(range(row.bins[segment.first] // BINS_PER_SECOND, row.bins[segment.last] // BINS_PER_SECOND + 1))
    return [second for second in calm if second.number not in taken]


@dataclass(frozen=True, slots=True)
class _Stretch:
    """One or more segments with less than the hold between them."""

    segments: tuple[Segment, ...]

    @property
    def first(self) -> int:
        return self.segments[0].first

    @property
    def last(self) -> int:
        return self.segments[-1].last


def _merged(row: Row, found: Sequence[Segment], hold_bins: int) -> list[_Stretch]:
    merged: list[_Stretch] = []
    for segment in found:
        if merged and row.bins[segment.first] - row.bins[merged[-1].last] < hold_bins:
            merged[-1] = _Stretch((*merged[-1].segments, segment))
        else:
            merged.append(_Stretch((segment,)))
    return merged


def _impact(
    outcomes: Outcomes,
    stretch: _Stretch,
    background: float,
    usual_p95_s: float,
    around: Surroundings,
    faults: Sequence[FaultWindow],
) -> Impact:
    row = outcomes.row
    ends = (stretch.segments[0], stretch.segments[-1])
    edges = edges_of(outcomes, ends, background, usual_p95_s=usual_p95_s, limit_s=around.limit_s)
    inside = slice(stretch.first, stretch.last + 1)
    bad, good = sum(row.bad[inside]), sum(row.good[inside])
    causes = causes_of((edges.start_s, edges.start_hi_s), faults, around.hold_s)
    within = Row(row.bins[inside], row.good[inside], row.bad[inside])
    episodes = Search(within).segments(background, 0)
    return Impact(
        start_s=edges.start_s,
        start_lo_s=edges.start_lo_s,
        start_hi_s=edges.start_hi_s,
        end_s=edges.end_s,
        end_lo_s=edges.end_lo_s,
        end_hi_s=edges.end_hi_s,
        severity=bad / (bad + good),
        bad=bad,
        downtime_s=_downtime(row, stretch, background),
        fault=causes[0] if causes else None,
        censored=end_of(row.bins[-1]) - edges.end_s < around.hold_s,
        stream=outcomes.stream,
        shape=_shape(row, stretch, within, episodes),
        episodes=max(len(episodes), 1),
        gap_s=_gap(row, stretch),
    )


def _shape(row: Row, stretch: _Stretch, within: Row, episodes: Sequence[Segment]) -> Shape:
    """Slow-out where most of the bad arrivals got an answer; else by the share of bad ones while it was bad."""
    first, last = (row.bins[index] // BINS_PER_SECOND for index in (stretch.first, stretch.last))
    touched = [second for second in row.seconds if first <= second.number <= last]
    if 2 * sum(second.failed for second in touched) < sum(second.bad for second in touched):
        return Shape.SLOWOUT
    bad = arrivals = 0
    for segment in episodes:
        # The bins at its edges belong to it only in part.
        edge = 1 if segment.last - segment.first > 1 else 0
        inside = slice(segment.first + edge, segment.last + 1 - edge)
        bad += sum(within.bad[inside])
        arrivals += sum(within.bad[inside]) + sum(within.good[inside])
    return Shape.BLACKOUT if bad >= BLACK * arrivals else Shape.BROWNOUT


def _gap(row: Row, stretch: _Stretch) -> float:
    """The longest time between two good arrivals, from the last one before the stretch to the first one after it."""
    around = slice(max(stretch.first - 1, 0), stretch.last + 2)
    good = list(compress(row.bins[around], row.good[around]))
    return max((later - earlier for earlier, later in pairwise(good)), default=0) / BINS_PER_SECOND


def _downtime(row: Row, stretch: _Stretch, background: float) -> float:
    """
    Request-weighted downtime: each bin's share of bad arrivals above the background, times the time it stands for.

    A bin stands for the time up to half-way to its neighbours with arrivals (Voronoi weights).
    """
    first, last = stretch.first, stretch.last
    before = row.bins[first - 1] if first else row.bins[0] - 1
    after = row.bins[last + 1] if last + 1 < len(row.bins) else row.bins[last] + 1
    bins = (before, *row.bins[first : last + 1], after)
    bad, good = row.bad[first : last + 1], row.good[first : last + 1]
    stands_for = map(sub, bins[2:], bins[:-2])  # in half bins
    shares = map(truediv, bad, map(add, bad, good))
    total = math.fsum((share - background) * halves for share, halves in zip(shares, stands_for, strict=True))
    return max(total / (2 * BINS_PER_SECOND), 0.0)
