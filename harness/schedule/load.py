"""
The offered load as a pure function of the plan: rate at an instant, and arrival k's intended time.

The rate is piecewise linear between knots. Its integral counts arrivals, so arrival k's intended time is the
inverse of the integral at arrival k's position: k + 1/2 for uniform arrivals; for Poisson arrivals the (k+1)-th
point of a unit-rate Poisson process, which the inverse turns into one of the wanted rate (time change; Cinlar,
Introduction to Stochastic Processes, 1975, section 4.7). Any process that knows the plan computes the same times.
"""

from __future__ import annotations

import hashlib
import math
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, count, pairwise
from typing import Literal

from harness.plan.model import Plan

Law = Literal["uniform", "poisson"]

SECOND_NS = 1_000_000_000
BINS = 100  # of a second: 10 ms each
_BLOCK = 1024  # Poisson gaps are drawn in blocks of this many


@dataclass(frozen=True, slots=True)
class Knot:
    """A corner of the piecewise-linear rate: at `t_s` the rate is `per_s`."""

    t_s: float
    per_s: float


@dataclass(frozen=True, slots=True)
class _Segment:
    """A stretch between two knots with arrivals in it; `before` is the integral at its start, `after` at its end."""

    start_s: float
    per_s: float
    slope: float  # of the rate, per second squared
    before: float
    after: float
    end_s: float

    def time_at(self, position: float) -> float:
        """Seconds at which the integral reaches `position`, which lies in [before, after)."""
        area = position - self.before
        root = math.sqrt(max(self.per_s * self.per_s + 2 * self.slope * area, 0.0))
        # The usual root of the quadratic, multiplied out so that nothing cancels and slope 0 needs no case.
        return min(self.start_s + 2 * area / (self.per_s + root), self.end_s) if area > 0 else self.start_s


def knots_of(plan: Plan) -> tuple[Knot, ...]:
    """
    The offered rate of the plan, arrivals per second, as corners in time order; a step is two knots at one time.

    A phase ramps linearly from the previous phase's level (from 0 for the first), then holds its own level.
    """
    baseline = plan.service.load.baseline_per_s
    knots = [Knot(0.0, 0.0)]
    for phase in plan.phases:
        per_s = baseline * phase.load_level
        knots += [
            Knot(phase.begin_s, knots[-1].per_s),
            Knot(phase.begin_s + phase.ramp_s, per_s),
            Knot(phase.end_s, per_s),
        ]
    return tuple(knot for i, knot in enumerate(knots) if i == 0 or knot != knots[i - 1])


def rate_at(knots: Sequence[Knot], t_s: float) -> float:
    """Arrivals per second offered at `t_s`; at a step the later rate; 0 outside [first knot, last knot)."""
    i = bisect_right(knots, t_s, key=lambda knot: knot.t_s)
    if i == 0 or i == len(knots):
        return 0.0
    left, right = knots[i - 1], knots[i]
    return left.per_s + (right.per_s - left.per_s) * (t_s - left.t_s) / (right.t_s - left.t_s)


def arrivals_before(knots: Sequence[Knot], t_s: float) -> float:
    """The integral of the rate up to `t_s`: how many arrivals are offered before it, with a fraction."""
    area = 0.0
    for left, right in pairwise(knots):
        if t_s <= left.t_s:
            break
        until = min(t_s, right.t_s)
        if right.t_s > left.t_s:
            slope = (right.per_s - left.per_s) / (right.t_s - left.t_s)
            at_until = right.per_s if until == right.t_s else left.per_s + slope * (until - left.t_s)
            area += (left.per_s + at_until) / 2 * (until - left.t_s)
    return area


def intended_ns(knots: Sequence[Knot], k: int) -> int:
    """Nanoseconds since run start at which uniform arrival `k` (from 0) is intended; IndexError past the last."""
    return Arrivals(knots).at(k)


def arrivals_of(plan: Plan) -> Arrivals:
    """All arrivals of the plan."""
    load = plan.service.load
    return _arrivals(knots_of(plan), load.arrivals, load.seed)


def intended_counts(plan: Plan, second: int) -> tuple[int, ...]:
    """How many arrivals are intended in each of the hundred bins of [second, second + 1)."""
    arrivals = arrivals_of(plan)
    width_ns = SECOND_NS // BINS
    edges = [arrivals.before(second * SECOND_NS + edge * width_ns) for edge in range(BINS + 1)]
    return tuple(right - left for left, right in pairwise(edges))


class Arrivals:
    """
    Every arrival of a load profile: number k (from 0) is intended at `at(k)` nanoseconds since run start.

    Equal arguments give equal arrivals, in any process. Times never decrease with k and lie in
    [first knot, last knot).
    """

    def __init__(self, knots: Sequence[Knot], law: Law = "uniform", seed: int = 0) -> None:
        self._knots = tuple(knots)
        self._segments = _segments(self._knots)
        self._ends = [segment.after for segment in self._segments]
        self._end_ns = int(self._knots[-1].t_s * SECOND_NS)
        self._area = self._ends[-1] if self._ends else 0.0
        self._positions: _Uniform | _Poisson = _Uniform() if law == "uniform" else _Poisson(seed)

    @property
    def total(self) -> int:
        """How many arrivals there are."""
        return self._positions.rank(self._area)

    def at(self, k: int) -> int:
        """Nanoseconds since run start at which arrival `k` is intended. Raises IndexError when there is no such."""
        position = self._positions.at(k) if k >= 0 else math.inf
        if position >= self._area:
            raise IndexError(f"there is no arrival {k}, only {self.total}")
        segment = self._segments[bisect_right(self._ends, position)]
        return self._ns(segment, position)

    def before(self, t_ns: int) -> int:
        """How many arrivals are intended earlier than `t_ns`: the number of the first that is not."""
        k = self._positions.rank(min(arrivals_before(self._knots, t_ns / SECOND_NS), self._area))
        # The guess from the integral can be off by rounding; the times themselves decide.
        while k > 0 and self.at(k - 1) >= t_ns:
            k -= 1
        while self._positions.at(k) < self._area and self.at(k) < t_ns:
            k += 1
        return k

    def planned_in(self, second: int) -> int:
        """How many arrivals are intended in [second, second + 1)."""
        return self.before((second + 1) * SECOND_NS) - self.before(second * SECOND_NS)

    def planned_of(self, index: int, of: int, start_ns: int, end_ns: int) -> int:
        """How many arrivals k with k = index (mod of) are intended in [start_ns, end_ns)."""
        if end_ns <= start_ns:
            return 0
        first, last = self.before(start_ns), self.before(end_ns)
        return (last - index + of - 1) // of - (first - index + of - 1) // of

    def stripe(self, index: int, of: int, from_ns: int = 0) -> Iterator[int]:
        """Intended times of the arrivals k with k = index (mod of) from `from_ns` on, in order; cheap per step."""
        first = self.before(from_ns)
        first += (index - first) % of
        i = 0
        for k in count(first, of):
            position = self._positions.at(k)
            if position >= self._area:
                return
            while position >= self._ends[i]:
                i += 1
            yield self._ns(self._segments[i], position)

    def _ns(self, segment: _Segment, position: float) -> int:
        # Rounding must not push the very last arrival out of the half-open profile.
        return min(int(segment.time_at(position) * SECOND_NS), self._end_ns - 1)


class _Uniform:
    """Positions k + 1/2: evenly spaced, and never on the edge of a whole number of arrivals."""

    def at(self, k: int) -> float:
        return k + 0.5

    def rank(self, area: float) -> int:
        """How many positions lie below `area`."""
        return max(math.ceil(area - 0.5), 0)


class _Poisson:
    """Positions of a unit-rate Poisson process; block b of gaps is a function of (seed, b) alone."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._starts = [0.0]  # position at which each block begins, as far as asked for yet

    def at(self, k: int) -> float:
        block, offset = divmod(k, _BLOCK)
        self._extend(block)
        return self._starts[block] + _gap_sums(self._seed, block)[offset]

    def rank(self, area: float) -> int:
        """How many positions lie below `area`."""
        while self._starts[-1] < area:
            self._extend(len(self._starts))
        block = max(bisect_left(self._starts, area) - 1, 0)
        start = self._starts[block]
        return block * _BLOCK + bisect_left(_gap_sums(self._seed, block), area, key=lambda gaps: start + gaps)

    def _extend(self, block: int) -> None:
        while len(self._starts) <= block:
            self._starts.append(self._starts[-1] + _gap_sums(self._seed, len(self._starts) - 1)[-1])


@lru_cache(maxsize=8)
def _gap_sums(seed: int, block: int) -> tuple[float, ...]:
    """Running sums of a block's exponential gaps with mean 1, from SHAKE-128 of (seed, block) as 53-bit uniforms."""
    stream = hashlib.shake_128(b"arrivals %d %d" % (seed, block)).digest(8 * _BLOCK)
    uniforms = ((word >> 11) * 2.0**-53 for word in struct.unpack(f"<{_BLOCK}Q", stream))
    return tuple(accumulate(-math.log1p(-uniform) for uniform in uniforms))


@lru_cache(maxsize=8)
def _arrivals(knots: tuple[Knot, ...], law: Law, seed: int) -> Arrivals:
    return Arrivals(knots, law, seed)


def _segments(knots: Sequence[Knot]) -> list[_Segment]:
    segments: list[_Segment] = []
    before = 0.0
    for left, right in pairwise(knots):
        length = right.t_s - left.t_s
        area = (left.per_s + right.per_s) / 2 * length
        if area > 0:
            slope = (right.per_s - left.per_s) / length
            segments.append(_Segment(left.t_s, left.per_s, slope, before, before + area, right.t_s))
            before += area
    return segments
