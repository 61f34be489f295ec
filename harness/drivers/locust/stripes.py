"""Which arrivals a worker runs, also when the stripes were cut anew during the run or the load was stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from harness.schedule.load import SECOND_NS, Arrivals


@dataclass(frozen=True, slots=True)
class Leg:
    """From `from_ns` on, run arrivals k with k = index (mod of)."""

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
        return Itinerary((*kept, leg), self.until_ns)

    def stopped(self, until_ns: int) -> Itinerary:
        """The itinerary cut off at `until_ns`."""
        return Itinerary(self.legs, min(self.until_ns, until_ns))

    def times(self, arrivals: Arrivals, from_ns: int = 0) -> Iterator[int]:
        """Intended times of all arrivals of this worker in [from_ns, until_ns), in order."""
        for leg, end_ns in self._spans():
            start_ns = max(leg.from_ns, from_ns)
            if start_ns < end_ns:
                for t_ns in arrivals.stripe(leg.index, leg.of, start_ns):
                    if t_ns >= end_ns:
                        break
                    yield t_ns

    def count(self, arrivals: Arrivals, start_ns: int, end_ns: int) -> int:
        """How many arrivals `times` has in [start_ns, end_ns), without walking them."""
        return sum(
            arrivals.planned_of(leg.index, leg.of, max(leg.from_ns, start_ns), min(leg_end_ns, end_ns))
            for leg, leg_end_ns in self._spans()
        )

    def _spans(self) -> Iterator[tuple[Leg, int]]:
        ends = [*(leg.from_ns for leg in self.legs[1:]), self.until_ns]
        for leg, end_ns in zip(self.legs, ends, strict=True):
            yield leg, min(end_ns, self.until_ns)


def beyond(itinerary: Itinerary, arrivals: Arrivals, from_ns: int, position_ns: int) -> dict[int, int]:
    """
    Arrivals per second that `itinerary` had in [from_ns, position_ns): what a worker had already begun when a
    change of plan from `from_ns` on reached it too late. They were sent, so they count as planned.
    """
    begun: Counter[int] = Counter()
    for t_ns in itinerary.times(arrivals, from_ns):
        if t_ns >= position_ns:
            break
        begun[t_ns // SECOND_NS] += 1
    return dict(begun)
