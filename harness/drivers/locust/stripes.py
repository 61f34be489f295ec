"""Which arrivals a worker runs, also when the stripes were cut anew during the run or the load was stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import chain, repeat, takewhile, zip_longest

from harness.schedule.load import SECOND_NS, Arrivals

Before = Callable[[int], int]  # how many arrivals of a stream are intended earlier than an instant


@dataclass(frozen=True, slots=True)
class Leg:
    """From `from_ns` on, run arrivals k with k = index (mod of) of every stream; none when `of` is 0."""

    from_ns: int
    index: int
    of: int


@dataclass(frozen=True, slots=True)
class Itinerary:
    """The legs of one worker in time order, ending at `until_ns`; a leg lasts until the next begins."""

    legs: tuple[Leg, ...]
    until_ns: int

    def with_leg(self, leg: Leg) -> Itinerary:
        """The itinerary with `leg` from its instant on, whatever was to follow."""
        kept = tuple(old for old in self.legs if old.from_ns < leg.from_ns)
        if kept and (kept[-1].index, kept[-1].of) == (leg.index, leg.of):
            return Itinerary(kept, self.until_ns)
        return Itinerary((*kept, leg), self.until_ns)

    def stopped(self, until_ns: int) -> Itinerary:
        """The itinerary cut off at `until_ns`."""
        return Itinerary(self.legs, min(self.until_ns, until_ns))

    def times(self, streams: Sequence[Arrivals], from_ns: int = 0) -> Iterator[tuple[int, int]]:
        """Intended time and stream of all arrivals of this worker in [from_ns, until_ns), in order of time."""
        walks = [zip(self._times(arrivals, from_ns), repeat(number)) for number, arrivals in enumerate(streams)]
        return walks[0] if len(walks) == 1 else merge(*walks)

    def count(self, before: Before, start_ns: int, end_ns: int) -> int:
        """How many arrivals of one stream `times` has in [start_ns, end_ns), without walking them."""
        total = 0
        for leg, leg_end_ns in self._spans():
            from_ns, until_ns = max(leg.from_ns, start_ns), min(leg_end_ns, end_ns)
            if from_ns < until_ns:
                first, last = before(from_ns), before(until_ns)
                total += (last - leg.index + leg.of - 1) // leg.of - (first - leg.index + leg.of - 1) // leg.of
        return total

    def parts_from(self, other: Itinerary) -> int:
        """The instant from which this itinerary and the other can differ; where both end when they do not."""
        parts_ns = min(self.until_ns, other.until_ns)
        for mine, theirs in zip_longest(self.legs, other.legs):
            if mine != theirs:
                return min(parts_ns, *(leg.from_ns for leg in (mine, theirs) if leg))
        return parts_ns

    def _times(self, arrivals: Arrivals, from_ns: int) -> Iterator[int]:
        return chain.from_iterable(
            _until(arrivals.stripe(leg.index, leg.of, max(leg.from_ns, from_ns)), end_ns)
            for leg, end_ns in self._spans()
            if max(leg.from_ns, from_ns) < end_ns
        )

    def _spans(self) -> Iterator[tuple[Leg, int]]:
        ends = [*(leg.from_ns for leg in self.legs[1:]), self.until_ns]
        for leg, end_ns in zip(self.legs, ends, strict=True):
            if leg.of:
                yield leg, min(end_ns, self.until_ns)


class Course:
    """What a worker has begun of its itinerary, and what remains to be begun when the plan changes."""

    def __init__(self, streams: Sequence[Arrivals], end_ns: int) -> None:
        self._streams = streams
        self._itinerary = Itinerary((Leg(0, 0, 0),), end_ns)
        self._position_ns = 0  # all of the itinerary before this is begun, but for:
        self._owing: set[tuple[int, int]] = set()

    def change(self, new: Itinerary, next_ns: int | None) -> tuple[Counter[tuple[int, int]], Iterator[tuple[int, int]]]:
        """
        Follow a new itinerary; `next_ns` is the first arrival not begun of what was to be begun, None: all is begun.

        First the arrivals, by stream and second, that the worker should not have begun, because the change came too
        late: they were sent, so they count as planned. Then what it is to begin now, time and stream.
        """
        old = self._itinerary
        reached_ns = old.until_ns if next_ns is None else next_ns
        owing = {arrival for arrival in self._owing if arrival[0] >= reached_ns}
        position_ns = max(self._position_ns, reached_ns)
        from_ns = min(position_ns, new.parts_from(old), *(t_ns for t_ns, _ in owing))
        begun = self._early(old, from_ns, position_ns) - owing
        wanted = self._early(new, from_ns, position_ns)
        self._itinerary, self._position_ns, self._owing = new, position_ns, wanted - begun
        exceeded = Counter((stream, t_ns // SECOND_NS) for t_ns, stream in begun - wanted)
        return exceeded, chain(sorted(self._owing), new.times(self._streams, position_ns))

    def _early(self, itinerary: Itinerary, from_ns: int, until_ns: int) -> set[tuple[int, int]]:
        return set(takewhile(lambda arrival: arrival[0] < until_ns, itinerary.times(self._streams, from_ns)))


def _until(times: Iterator[int], end_ns: int) -> Iterator[int]:
    for t_ns in times:
        if t_ns >= end_ns:
            return
        yield t_ns
