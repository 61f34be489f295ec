"""
When an impact began and ended, with bounds.

An arrival certifies something at an instant between its sending and its end: a failure that the service was not there
at some instant of it, a success that it was (science: intervals, not completion times). Arrivals are placed by their
intended time, so everything they certify is later than that, never earlier: bounds are widened to the later side only,
by how late arrivals were sent, and by how long they took.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.history.load import BINS_PER_SECOND
from harness.verdict.outcomes import Outcomes
from harness.verdict.segment import Row, Segment, edge_candidates

_DRAINED = (0.5, 2.0)  # of the expected number: that many arrivals were answered late enough to have waited in a queue
_DRAINED_MIN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Both ends of an impact, seconds since run start, each with the bounds within which it lies."""

    start_s: float
    start_lo_s: float
    start_hi_s: float
    end_s: float
    end_lo_s: float
    end_hi_s: float


def edges_of(
    outcomes: Outcomes, ends: tuple[Segment, Segment], background: float, *, usual_p95_s: float, limit_s: float
) -> Edges:
    """
    The edges of an impact that begins with the first and ends with the last of two segments.

    `usual_p95_s` is the response time in calm seconds, `limit_s` the one from which on an answer counts as bad.
    """
    row = outcomes.row
    first, last = ends
    starts, stops = edge_candidates(row, first, background)[0], edge_candidates(row, last, background)[1]
    start_s, end_s = _edge_before(row, first.first), _edge_after(row, last.last)
    start_lo_s, start_hi_s = _span_before(row, starts[0])[0], _span_before(row, starts[1])[1]
    end_lo_s, end_hi_s = _span_after(row, stops[0])[0], _span_after(row, stops[1])[1]
    # What was in flight when the service broke fails although it was sent before.
    start_hi_s += _lag_near(outcomes, start_s) + usual_p95_s
    end_hi_s += _lag_near(outcomes, end_s) + outcomes.response_s(_around(end_s), 0.95)
    start_s = max(start_s - _spared_s(row, first), start_lo_s, 0.0)
    end_s = min(end_s + _spared_s(row, last), end_hi_s)
    drained_s = limit_s if _drained(outcomes, end_s, last.share, limit_s) else 0.0
    return Edges(
        start_s=start_s,
        start_lo_s=max(min(start_lo_s, start_s), 0.0),
        start_hi_s=max(start_hi_s, start_s),
        end_s=end_s + drained_s,
        end_lo_s=max(min(end_lo_s, end_s), start_s),
        end_hi_s=max(end_hi_s, end_s + drained_s),
    )


def _spared_s(row: Row, segment: Segment) -> float:
    """
    How far beyond its first and last bad arrival a segment is to be expected to reach.

    With a share q bad, (1-q)/q good arrivals come before the first bad one on average (geometric distribution).
    """
    inside = slice(segment.first, segment.last + 1)
    arrivals = sum(row.good[inside]) + sum(row.bad[inside])
    length_s = (row.bins[segment.last] + 1 - row.bins[segment.first]) / BINS_PER_SECOND
    return (1 - segment.share) / segment.share * length_s / arrivals


def _drained(outcomes: Outcomes, end_s: float, share: float, limit_s: float) -> bool:
    """
    Whether requests waited until the impact's end and were then all answered at once, as when a process was frozen.

    Those sent in its last `limit_s` then count as good, because they waited for less: the end seems to be that much
    earlier than it was. Their mark is that waits of up to the limit are spread evenly over the arrivals of that time.
    """
    seconds = range(math.floor(end_s), math.floor(end_s + limit_s) + 1)
    counts = [second for second in outcomes.row.seconds if second.number in seconds]
    if not counts:
        return False
    per_s = sum(second.good + second.bad for second in counts) / len(counts)
    expected = share * per_s * limit_s / 2
    waited = outcomes.between(seconds, limit_s / 2, limit_s)
    return max(_DRAINED_MIN, _DRAINED[0] * expected) <= waited <= _DRAINED[1] * expected


def _lag_near(outcomes: Outcomes, t_s: float) -> float:
    return outcomes.lag_s(_around(t_s), 0.99)


def _around(t_s: float) -> range:
    return range(math.floor(t_s) - 1, math.floor(t_s) + 2)


def middle_after(row: Row, index: int) -> float:
    """Half-way between the centres of two neighbouring bins with arrivals; the outer edge at either end."""
    if index < 0:
        return row.bins[0] / BINS_PER_SECOND
    if index + 1 >= len(row.bins):
        return end_of(row.bins[-1])
    return (row.bins[index] + row.bins[index + 1] + 1) / 2 / BINS_PER_SECOND


def end_of(number: int) -> float:
    """When a bin ends, seconds since run start."""
    return (number + 1) / BINS_PER_SECOND


def _edge_before(row: Row, index: int) -> float:
    """Where the edge before a bad bin is: inside it when it has good arrivals too, else half-way to the bin before."""
    inside = row.good[index] > 0
    return (row.bins[index] + 0.5) / BINS_PER_SECOND if inside else middle_after(row, index - 1)


def _edge_after(row: Row, index: int) -> float:
    inside = row.good[index] > 0
    return (row.bins[index] + 0.5) / BINS_PER_SECOND if inside else middle_after(row, index)


def _span_before(row: Row, index: int) -> tuple[float, float]:
    """From the beginning of the bin before to the end of this one: between them the edge before this bin lies."""
    before = row.bins[max(index - 1, 0)]
    return before / BINS_PER_SECOND, end_of(row.bins[min(index, len(row.bins) - 1)])


def _span_after(row: Row, index: int) -> tuple[float, float]:
    after = row.bins[min(index + 1, len(row.bins) - 1)]
    return row.bins[index] / BINS_PER_SECOND, end_of(after)
