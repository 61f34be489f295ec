"""The master's books: who owes which arrivals, what has been settled, and what died with a worker. Pure."""

from __future__ import annotations

from collections import Counter

from harness.drivers.locust.stripes import Itinerary, Leg
from harness.history.load import LoadFrame
from harness.schedule.load import SECOND_NS, Arrivals


class Accounts:
    """
    Planned and lost arrivals of a run, by second of intended time.

    `planned` of a second is reported once, when the second is over; what a late message let through is added. `lost`
    are planned arrivals that nobody will ever settle: those a dead worker owed, and all while no worker is left.
    """

    def __init__(self, arrivals: Arrivals, workers: int, end_ns: int) -> None:
        self._arrivals = arrivals
        self._end_ns = end_ns
        self._itineraries = {index: Itinerary((Leg(0, index, workers),), end_ns) for index in range(workers)}
        self._alive = list(range(workers))
        self._settled: dict[int, Counter[int]] = {index: Counter() for index in range(workers)}
        self._extra: dict[int, Counter[int]] = {index: Counter() for index in range(workers)}
        self._reported_ns = 0  # planned arrivals are reported up to here
        self._orphaned_ns: int | None = None  # from here on nobody runs any arrival
        self._epoch_ns = 0

    @property
    def alive(self) -> tuple[int, ...]:
        """Workers not known to be dead."""
        return tuple(self._alive)

    @property
    def until_ns(self) -> int:
        """Where planning ends: the profile's end, or where the load was stopped."""
        return self._end_ns

    def settle(self, worker: int, counts: dict[int, int]) -> None:
        """A worker reported that many arrivals as settled, by second."""
        self._settled[worker].update(counts)

    def exceed(self, worker: int, counts: dict[int, int]) -> tuple[LoadFrame, ...]:
        """A worker had already begun that many arrivals when a change of plan reached it: planned after all."""
        self._extra[worker].update(counts)
        return tuple(LoadFrame(second=second, series="", planned=n) for second, n in sorted(counts.items()))

    def restripe(self, dead: int, from_ns: int) -> dict[int, Leg]:
        """Take a dead worker out from `from_ns` on, or when its predecessor went if later; the survivors' new legs."""
        self._alive.remove(dead)
        self._epoch_ns = max(self._epoch_ns, from_ns)
        self._itineraries[dead] = self._itineraries[dead].stopped(self._epoch_ns)
        legs = {worker: Leg(self._epoch_ns, index, len(self._alive)) for index, worker in enumerate(self._alive)}
        for worker, leg in legs.items():
            self._itineraries[worker] = self._itineraries[worker].with_leg(leg)
        if not self._alive:
            self._orphaned_ns = self._epoch_ns
        return legs

    def stop(self, until_ns: int) -> int:
        """Plan nothing from `until_ns` on; returns where planning really ends."""
        self._end_ns = min(self._end_ns, max(until_ns, 0))
        self._itineraries = {worker: plan.stopped(self._end_ns) for worker, plan in self._itineraries.items()}
        return self._end_ns

    def lost_with(self, dead: int) -> tuple[LoadFrame, ...]:
        """What a dead worker owed and never settled. Call once, when all its reports are in."""
        frames = []
        # Late messages can have let through arrivals beyond the end.
        for second in range(max(-(-self._end_ns // SECOND_NS), *(late + 1 for late in self._extra[dead]), 0)):
            owed = self._itineraries[dead].count(self._arrivals, second * SECOND_NS, (second + 1) * SECOND_NS)
            lost = owed + self._extra[dead][second] - self._settled[dead][second]
            if lost:
                frames.append(LoadFrame(second=second, series="", lost=lost))
        return tuple(frames)

    def close(self, now_ns: int) -> tuple[LoadFrame, ...]:
        """The accounting of all seconds that were over at `now_ns` and are not reported yet; the last may be a part."""
        frames = []
        while self._reported_ns < self._end_ns:
            end_ns = min((self._reported_ns // SECOND_NS + 1) * SECOND_NS, self._end_ns)
            if end_ns > now_ns:
                break
            planned = self._arrivals.before(end_ns) - self._arrivals.before(self._reported_ns)
            lost = 0
            if self._orphaned_ns is not None and self._orphaned_ns < end_ns:
                orphaned_ns = max(self._orphaned_ns, self._reported_ns)
                lost = self._arrivals.before(end_ns) - self._arrivals.before(orphaned_ns)
            frames.append(LoadFrame(second=self._reported_ns // SECOND_NS, series="", planned=planned, lost=lost))
            self._reported_ns = end_ns
        return tuple(frames)
