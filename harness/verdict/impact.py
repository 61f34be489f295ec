"""
Impacts: when the service was degraded, found in the 10 ms outcome counts whether or not a fault was on.

Outcomes are placed by their arrival's intended time, never by when an answer came: in a hang the answers come a whole
timeout later. What an edge is known to is the spacing of arrivals around it and how much the share of bad ones jumps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.history.load import BINS_PER_SECOND, LoadFrame
from harness.history.views import FaultWindow
from harness.verdict.model import Impact
from harness.verdict.segment import Row, Segment, edge_candidates, segments

HOLD_S = 5.0  # how long the service must be good again for an impact to be over
BACKGROUND_MIN = 1e-3  # share of bad arrivals that counts as nothing

_BACKGROUND_MAX = 0.3
_PARTS = 8  # the calm seconds are looked at in this many parts
_USUAL_SHARE = 0.1  # what is left of the calm seconds outside impacts must be this much of them to be called usual
_REFINEMENTS = 4  # how often the background is estimated again without the impacts found in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the estimator needs to know besides the counts; seconds."""

    calm: frozenset[int]  # seconds of judged phases before the first fault: they give the background
    response_p95_s: float  # an arrival this much older than a fault may still be hit by it
    lag_p99_s: float  # how much later than intended arrivals were sent
    hold_s: float


def row_of(frames: Iterable[LoadFrame]) -> Row:
    """The outcome counts of all frames, bin 0 beginning at run start."""
    good: dict[int, int] = {}
    bad: dict[int, int] = {}
    for frame in frames:
        for counts, found in ((frame.good_bins, good), (frame.bad_bins, bad)):
            base = frame.second * BINS_PER_SECOND
            for offset, n in enumerate(counts):
                if n:
                    found[base + offset] = found.get(base + offset, 0) + n
    bins = tuple(sorted(good.keys() | bad.keys()))
    return Row(bins, tuple(good.get(number, 0) for number in bins), tuple(bad.get(number, 0) for number in bins))


def impacts_of(row: Row, around: Surroundings, faults: Sequence[FaultWindow]) -> tuple[Impact, ...]:
    """
    All impacts of a run, in order of time; none when there are no counts.

    An impact ends where a good stretch of at least `hold_s` begins; it is censored when the record ends before that
    much of it was seen. It is related to the fault that was in force, or had been within `hold_s`, when it began.
    """
    if not row.bins:
        return ()
    hold_bins = round(around.hold_s * BINS_PER_SECOND)
    background, found = _found(row, around.calm, hold_bins)
    return tuple(_impact(row, stretch, background, around, faults) for stretch in _merged(row, found, hold_bins))


def fault_on(window: FaultWindow) -> tuple[float, float] | None:
    """When the fault came into force, seconds; None when it was not confirmed, or its injection failed."""
    return (
        None
        if window.confirmed is None or window.failed is not None
        else (window.confirmed[0] / 1e9, window.confirmed[1] / 1e9)
    )


def _found(row: Row, calm: frozenset[int], hold_bins: int) -> tuple[float, list[Segment]]:
    """
    The share of bad arrivals that is usual, and the segments above it.

    The usual share is that of calm seconds outside impacts, which are not known before it is. It is first taken from
    the best part of the calm seconds, so that an impact that fills most of them cannot pass for usual. If hardly
    anything is left outside what is found that way, being bad is the usual state.
    """
    inside_calm = [index for index, number in enumerate(row.bins) if number // BINS_PER_SECOND in calm]
    length = -(-len(inside_calm) // _PARTS)
    parts = [inside_calm[start : start + length] for start in range(0, len(inside_calm), max(length, 1))]
    background = min((_background(row, part) for part in parts), default=BACKGROUND_MIN)
    found = segments(row, background, hold_bins)
    for _ in range(_REFINEMENTS):
        impaired = {index for segment in found for index in range(segment.first, segment.last + 1)}
        rest = [index for index in inside_calm if index not in impaired]
        refined = _background(row, rest if len(rest) >= _USUAL_SHARE * len(inside_calm) else inside_calm)
        if refined == background:
            break
        background = refined
        found = segments(row, background, hold_bins)
    return background, found


def _background(row: Row, indexes: Sequence[int]) -> float:
    """The share of bad arrivals in these bins; at least the minimum, and never so high that nothing can stand out."""
    bad = sum(row.bad[index] for index in indexes)
    arrivals = bad + sum(row.good[index] for index in indexes)
    return min(max(bad / arrivals if arrivals else 0.0, BACKGROUND_MIN), _BACKGROUND_MAX)


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
    row: Row, stretch: _Stretch, background: float, around: Surroundings, faults: Sequence[FaultWindow]
) -> Impact:
    starts = edge_candidates(row, stretch.segments[0], background)[0]
    ends = edge_candidates(row, stretch.segments[-1], background)[1]
    start_s, end_s = _edge_before(row, stretch.first), _edge_after(row, stretch.last)
    start_lo_s = _span_before(row, starts[0])[0] - around.lag_p99_s
    # What was in flight when the service broke fails although it was sent before: the truth may be later.
    start_hi_s = _span_before(row, starts[1])[1] + around.lag_p99_s + around.response_p95_s
    end_lo_s = _span_after(row, ends[0])[0] - around.lag_p99_s
    end_hi_s = _span_after(row, ends[1])[1] + around.lag_p99_s
    inside = range(stretch.first, stretch.last + 1)
    bad = sum(row.bad[index] for index in inside)
    return Impact(
        start_s=start_s,
        start_lo_s=max(start_lo_s, 0.0),
        start_hi_s=max(start_hi_s, start_s),
        end_s=end_s,
        end_lo_s=max(min(end_lo_s, end_s), start_s),
        end_hi_s=max(end_hi_s, end_s),
        severity=bad / (bad + sum(row.good[index] for index in inside)),
        bad=bad,
        downtime_s=_downtime(row, inside, background),
        fault=_related(start_s, max(start_hi_s, start_s), faults, around.hold_s),
        censored=_end_of(row.bins[-1]) - _end_of(row.bins[stretch.last]) < around.hold_s,
    )


def _related(start_s: float, start_hi_s: float, faults: Sequence[FaultWindow], hold_s: float) -> str | None:
    """The fault that began last among those in force when the impact began, or that had been within the hold."""
    best: tuple[float, str] | None = None
    for window in faults:
        on = fault_on(window)
        if on is None or start_hi_s < on[0]:
            continue
        over_s = window.gone[1] / 1e9 if window.gone else start_s
        if start_s <= max(over_s, on[1]) + hold_s and (best is None or on[0] >= best[0]):
            best = (on[0], window.fault)
    return best[1] if best else None


def _downtime(row: Row, inside: range, background: float) -> float:
    """
    Request-weighted downtime: each bin's share of bad arrivals above the background, times the time it stands for.

    A bin stands for the time up to half-way to its neighbours with arrivals (Voronoi weights).
    """
    total = 0.0
    for index in inside:
        arrivals = row.good[index] + row.bad[index]
        stands_for = _middle_after(row, index) - _middle_after(row, index - 1)
        total += (row.bad[index] - background * arrivals) / arrivals * stands_for
    return max(total, 0.0)


def _middle_after(row: Row, index: int) -> float:
    """Half-way between the centres of two neighbouring bins with arrivals; the outer edge at either end."""
    if index < 0:
        return row.bins[0] / BINS_PER_SECOND
    if index + 1 >= len(row.bins):
        return _end_of(row.bins[-1])
    return (row.bins[index] + row.bins[index + 1] + 1) / 2 / BINS_PER_SECOND


def _edge_before(row: Row, index: int) -> float:
    """Where the edge before a bad bin is: inside it when it has good arrivals too, else half-way to the bin before."""
    inside = row.good[index] > 0
    return (row.bins[index] + 0.5) / BINS_PER_SECOND if inside else _middle_after(row, index - 1)


def _edge_after(row: Row, index: int) -> float:
    inside = row.good[index] > 0
    return (row.bins[index] + 0.5) / BINS_PER_SECOND if inside else _middle_after(row, index)


def _span_before(row: Row, index: int) -> tuple[float, float]:
    """From the beginning of the bin before to the end of this one: between them the edge before this bin lies."""
    before = row.bins[max(index - 1, 0)]
    return before / BINS_PER_SECOND, _end_of(row.bins[min(index, len(row.bins) - 1)])


def _span_after(row: Row, index: int) -> tuple[float, float]:
    after = row.bins[min(index + 1, len(row.bins) - 1)]
    return row.bins[index] / BINS_PER_SECOND, _end_of(after)


def _end_of(number: int) -> float:
    return (number + 1) / BINS_PER_SECOND
