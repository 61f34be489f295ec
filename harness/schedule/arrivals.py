"""
Arrivals in closed form: number k's intended time is a function of the rate, the law, the seed and k alone.

The rate is piecewise linear between knots. Its integral counts arrivals, so arrival k's intended time is the
inverse of the integral at arrival k's position: k + 1/2 for uniform arrivals; for Poisson arrivals the (k+1)-th
point of a unit-rate Poisson process, which the inverse turns into one of the wanted rate (time change; Cinlar,
Introduction to Stochastic Processes, 1975, section 4.7). Any process that knows these computes the same times.
"""

from __future__ import annotations

import hashlib
import math
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, islice, pairwise
from typing import Literal, Protocol

Law = Literal["uniform", "poisson"]

SECOND_NS = 1_000_000_000
_BLOCK = 1024  # Poisson gaps are drawn in blocks of this many
_FOREVER_NS = 2**63


@dataclass(frozen=True, slots=True)
class Knot:
    """A corner of the piecewise-linear rate: at `t_s` the rate is `per_s`."""

    t_s: float
    per_s: float


@dataclass(frozen=True, slots=True)
class ReplayPiece:
    """
    Recorded arrivals of one stream that stand in the place of the profile in [start_ns, end_ns).

    `times_ns` are since run start, in order, inside the interval.
    """

    start_ns: int
    end_ns: int
    times_ns: Sequence[int]

    def at(self, k: int) -> int:
        """Intended time of the piece's own arrival k, from 0; IndexError past the last."""
        return self.times_ns[k]

    def before(self, t_ns: int) -> int:
        """How many of the piece's arrivals are intended earlier than `t_ns`."""
        return bisect_left(self.times_ns, t_ns)

    def walk(self, first: int, of: int) -> Iterator[int]:
        """Intended times of the piece's arrivals first, first + of, first + 2 of, ..."""
        return islice(self.times_ns, first, None, of)


class Arrivals:
    """
    Every arrival of one stream: number k (from 0) is intended at `at(k)` nanoseconds since run start.

    Equal arguments give equal arrivals, in any process. Times never decrease with k and lie in [first knot, last
    knot). Inside a replay's interval the knots are not looked at: its recorded times are the arrivals.
    """

    def __init__(
        self, knots: Sequence[Knot], law: Law = "uniform", seed: int = 0, replays: Sequence[ReplayPiece] = ()
    ) -> None:
        segments = _segments(knots, replays)
        profile = _Uniform(segments) if law == "uniform" else _Poisson(segments, seed)
        self._blocks = _blocks(profile, replays)
        self._starts_ns = [block.start_ns for block in self._blocks]

    @property
    def total(self) -> int:
        """How many arrivals there are."""
        return self.before(_FOREVER_NS)

    def at(self, k: int) -> int:
        """Nanoseconds since run start at which arrival `k` is intended. Raises IndexError when there is no such."""
        try:
            if k < 0:
                raise IndexError
            block = self._blocks[bisect_right(self._blocks, k, key=lambda block: block.first) - 1]
            return block.source.at(k - block.first + block.skipped)
        except IndexError:
            raise IndexError(f"there is no arrival {k}, only {self.total}") from None

    def before(self, t_ns: int) -> int:
        """How many arrivals are intended earlier than `t_ns`: the number of the first that is not."""
        block = self._blocks[max(bisect_right(self._starts_ns, t_ns) - 1, 0)]
        return block.first - block.skipped + block.source.before(t_ns)

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
        if len(self._blocks) == 1:
            return self._blocks[0].source.walk(first, of)
        return self._walk(first, of)

    def _walk(self, first: int, of: int) -> Iterator[int]:
        ends = [*(block.first for block in self._blocks[1:]), None]
        k = first
        for block, end in zip(self._blocks, ends, strict=True):
            steps = None if end is None else max(-(-(end - k) // of), 0)
            yield from islice(block.source.walk(k - block.first + block.skipped, of), steps)
            k += (steps or 0) * of


class _Source(Protocol):
    """Arrivals with numbers of their own."""

    def at(self, k: int) -> int: ...

    def before(self, t_ns: int) -> int: ...

    def walk(self, first: int, of: int) -> Iterator[int]: ...


@dataclass(frozen=True, slots=True)
class _Block:
    """From `start_ns` on arrivals come from `source`: the stream's number `first` is the source's own `skipped`."""

    start_ns: int
    first: int
    source: _Source
    skipped: int


def _blocks(profile: _Source, replays: Sequence[ReplayPiece]) -> list[_Block]:
    """The profile and the replays in turn. Nothing is counted before the last replay's end that need not be."""
    blocks = [_Block(0, 0, profile, 0)]
    recorded = 0
    for piece in replays:
        own = profile.before(piece.start_ns)
        blocks.append(_Block(piece.start_ns, own + recorded, piece, 0))
        recorded += len(piece.times_ns)
        blocks.append(_Block(piece.end_ns, own + recorded, profile, own))
    return blocks


@dataclass(frozen=True, slots=True)
class _Segment:
    """A stretch between two knots with arrivals in it. Nanoseconds; `before` is the integral at its start."""

    start_ns: float
    last_ns: int  # the latest instant that is still inside
    per_s: float
    slope: float  # of the rate, per second squared
    before: float
    after: float

    def ns_at(self, area: float) -> int:
        """
        When the integral has grown by `area` since the segment's start.

        The usual root of the quadratic, multiplied out so that nothing cancels; rounding must not push the last
        arrival out of the segment.
        """
        if self.slope == 0:
            return min(int(self.start_ns + area * (SECOND_NS / self.per_s)), self.last_ns)
        root = math.sqrt(max(self.per_s * self.per_s + 2 * self.slope * area, 0.0))
        return min(int(self.start_ns + 2e9 * area / (self.per_s + root)), self.last_ns) if area > 0 else self.first_ns

    @property
    def first_ns(self) -> int:
        """The earliest instant inside."""
        return int(self.start_ns)

    def area_at(self, t_ns: int) -> float:
        """The integral from the segment's start to `t_ns`."""
        t_s = (t_ns - self.start_ns) / SECOND_NS
        return (self.per_s + self.slope * t_s / 2) * t_s


class _Profile:
    """What both laws share: an arrival's position on the integral, and back from instants to numbers."""

    def __init__(self, segments: Sequence[_Segment]) -> None:
        self._segments = segments
        self._starts_ns = [segment.start_ns for segment in segments]
        self._ends = [segment.after for segment in segments]
        self._area = self._ends[-1] if self._ends else 0.0

    def position(self, k: int) -> float:
        raise NotImplementedError

    def rank(self, area: float) -> int:
        """How many positions lie below `area`."""
        raise NotImplementedError

    def at(self, k: int) -> int:
        position = self.position(k)
        if position >= self._area:
            raise IndexError
        segment = self._segments[bisect_right(self._ends, position)]
        return segment.ns_at(position - segment.before)

    def before(self, t_ns: int) -> int:
        i = bisect_right(self._starts_ns, t_ns) - 1
        if i < 0:
            return 0
        segment = self._segments[i]
        area = segment.before + segment.area_at(t_ns) if t_ns <= segment.last_ns else segment.after
        k = self.rank(min(area, segment.after))
        # The guess from the integral can be off by rounding; the times themselves decide.
        while k > 0 and self.at(k - 1) >= t_ns:
            k -= 1
        while self.position(k) < self._area and self.at(k) < t_ns:
            k += 1
        return k


class _Uniform(_Profile):
    """Positions k + 1/2: evenly spaced, and never on the edge of a whole number of arrivals."""

    def position(self, k: int) -> float:
        return k + 0.5

    def rank(self, area: float) -> int:
        return max(math.ceil(area - 0.5), 0)

    def walk(self, first: int, of: int) -> Iterator[int]:
        k = first
        for segment in self._segments[bisect_right(self._ends, k + 0.5) :]:
            stop = self.rank(segment.after)
            # All but the segment's last, which alone can feel rounding at the segment's end.
            inner = range(k, stop - 1, of)
            yield from _flat(segment, inner) if segment.slope == 0 else _sloped(segment, inner)
            k += len(inner) * of
            if k < stop:
                yield segment.ns_at(k + 0.5 - segment.before)
                k += of


def _flat(segment: _Segment, numbers: range) -> Iterator[int]:
    """What `ns_at` gives for each number, in a loop with nothing else in it."""
    start_ns, before, step_ns = segment.start_ns, segment.before, SECOND_NS / segment.per_s
    return (int(start_ns + (k + 0.5 - before) * step_ns) for k in numbers)


def _sloped(segment: _Segment, numbers: range) -> Iterator[int]:
    """What `ns_at` gives for each number, in a loop with nothing else in it."""
    if numbers and numbers[0] + 0.5 == segment.before:
        yield segment.first_ns
        numbers = numbers[1:]
    start_ns, before, per_s = segment.start_ns, segment.before, segment.per_s
    square, double, sqrt = per_s * per_s, 2 * segment.slope, math.sqrt
    for k in numbers:
        area = k + 0.5 - before
        yield int(start_ns + 2e9 * area / (per_s + sqrt(square + double * area)))


class _Poisson(_Profile):
    """Positions of a unit-rate Poisson process; block b of gaps is a function of (seed, b) alone."""

    def __init__(self, segments: Sequence[_Segment], seed: int) -> None:
        super().__init__(segments)
        self._seed = seed
        self._starts = [0.0]  # position at which each block begins, as far as asked for yet

    def position(self, k: int) -> float:
        block, offset = divmod(k, _BLOCK)
        self._extend(block)
        return self._starts[block] + _gap_sums(self._seed, block)[offset]

    def rank(self, area: float) -> int:
        while self._starts[-1] < area:
            self._extend(len(self._starts))
        block = max(bisect_left(self._starts, area) - 1, 0)
        start = self._starts[block]
        return block * _BLOCK + bisect_left(_gap_sums(self._seed, block), area, key=lambda gaps: start + gaps)

    def walk(self, first: int, of: int) -> Iterator[int]:
        segments = iter(self._segments)
        segment = next(segments, None)
        for position in self._positions(first, of):
            while segment is not None and position >= segment.after:
                segment = next(segments, None)
            if segment is None:
                return
            yield segment.ns_at(position - segment.before)

    def _positions(self, first: int, of: int) -> Iterator[float]:
        block, offset = divmod(first, _BLOCK)
        while True:
            self._extend(block)
            start, gaps = self._starts[block], _gap_sums(self._seed, block)
            for i in range(offset, _BLOCK, of):
                yield start + gaps[i]
            passed = -(-max(_BLOCK - offset, 0) // of) * of
            block, offset = divmod(block * _BLOCK + offset + passed, _BLOCK)

    def _extend(self, block: int) -> None:
        while len(self._starts) <= block:
            self._starts.append(self._starts[-1] + _block_length(self._seed, len(self._starts) - 1))


@lru_cache(maxsize=64)
def _gap_sums(seed: int, block: int) -> tuple[float, ...]:
    """
    Running sums of a block's exponential gaps with mean 1.

    The gaps' proportions are independent of their sum (Lukacs, 1955), so the sum can be drawn first and by itself:
    whoever begins late in a run need not draw every gap before.
    """
    sums = tuple(accumulate(-math.log1p(-uniform) for uniform in _uniforms(b"arrivals %d %d" % (seed, block), _BLOCK)))
    length = _block_length(seed, block)
    scale = length / sums[-1]
    return (*(gaps * scale for gaps in sums[:-1]), length)


def _block_length(seed: int, block: int) -> float:
    """The sum of a block's gaps: gamma distributed, of shape _BLOCK (Marsaglia and Tsang, 2000)."""
    shape = _BLOCK - 1 / 3
    spread = 1 / math.sqrt(9 * shape)
    attempt = 0
    while True:
        first, second, third = _uniforms(b"length %d %d %d" % (seed, block, attempt), 3)
        normal = math.sqrt(-2 * math.log1p(-first)) * math.cos(2 * math.pi * second)  # Box and Muller, 1958
        cube = (1 + spread * normal) ** 3
        if cube > 0 and math.log1p(-third) < normal * normal / 2 + shape * (1 - cube + math.log(cube)):
            return shape * cube
        attempt += 1


def _uniforms(key: bytes, many: int) -> Iterator[float]:
    """Numbers in [0, 1) that the key alone determines: SHAKE-128 as 53-bit uniforms."""
    words = struct.unpack(f"<{many}Q", hashlib.shake_128(key).digest(8 * many))
    return ((word >> 11) * 2.0**-53 for word in words)


def _segments(knots: Sequence[Knot], replays: Sequence[ReplayPiece]) -> list[_Segment]:
    """The stretches with arrivals in them, without those that a replay stands for."""
    segments: list[_Segment] = []
    before = 0.0
    for left, right in pairwise(knots):
        length_s = right.t_s - left.t_s
        area = (left.per_s + right.per_s) / 2 * length_s
        start_ns = left.t_s * SECOND_NS
        if area <= 0 or any(piece.start_ns - 1 < start_ns < piece.end_ns - 1 for piece in replays):
            continue
        slope = (right.per_s - left.per_s) / length_s
        last_ns = math.ceil(right.t_s * SECOND_NS) - 1
        segments.append(_Segment(start_ns, last_ns, left.per_s, slope, before, before + area))
        before += area
    return segments
