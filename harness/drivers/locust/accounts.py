"""The master's books: who owes which arrivals, what has been settled, and what was lost with a worker. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache

from harness.drivers.locust.stripes import Itinerary, Leg
from harness.history.load import LoadFrame
from harness.schedule.load import SECOND_NS, Arrivals

Counts = Mapping[tuple[str, int], int]  # stream and second -> arrivals

_NOBODY = -1  # runs all arrivals, and settles none, while there is no worker
_IDLE = (0, 0)


class Accounts:
    """
    Planned and lost arrivals of a run, by stream and second of intended time.

    `planned` of a second is reported once, when the second is over; what a late message let through is added. `lost`
    are planned arrivals that nobody will ever settle: those a worker that is gone owed, and all while none is there.
    Workers are numbers; one that comes back has a new number.
    """

    def __init__(self, streams: Mapping[str, Arrivals], end_ns: int) -> None:
        # Asked again for every worker.
        self._before = {stream: lru_cache(maxsize=256)(arrivals.before) for stream, arrivals in streams.items()}
        self._end_ns = end_ns
        self._itineraries = {_NOBODY: Itinerary((Leg(0, 0, 1),), end_ns)}
        self._alive: dict[int, None] = {}  # in the order of their stripes
        self._settled: dict[int, Counter[tuple[str, int]]] = {}
        self._extra: dict[int, Counter[tuple[str, int]]] = {}
        self._closed_ns = 0  # planned arrivals are reported up to here
        self._forgotten = 0  # seconds of which nothing is known to be open
        self._epoch_ns = 0

    @property
    def alive(self) -> tuple[int, ...]:
        """Workers that take part."""
        return tuple(self._alive)

    @property
    def until_ns(self) -> int:
        """Where planning ends: the profile's end, or where the load was stopped."""
        return self._end_ns

    def takes_part(self, worker: int) -> bool:
        """Whether the worker is one of `alive`."""
        return worker in self._alive

    def itinerary(self, worker: int) -> Itinerary:
        """What a worker is to run."""
        return self._itineraries[worker]

    def settle(self, worker: int, counts: Counts) -> None:
        """A worker reported that many arrivals as settled."""
        self._settled[worker].update(counts)

    def exceed(self, worker: int, counts: Counts) -> tuple[LoadFrame, ...]:
        """A worker had already begun that many arrivals when a change of plan reached it: planned after all."""
        self._extra[worker].update(counts)
        return tuple(
            LoadFrame(second=second, stream=stream, series="", planned=n)
            for (stream, second), n in sorted(counts.items())
        )

    def join(self, workers: Iterable[int], from_ns: int) -> None:
        """Workers take part from `from_ns` on, or from when the stripes were last cut if that is later."""
        for worker in workers:
            self._alive[worker] = None
            self._itineraries[worker] = Itinerary((Leg(0, *_IDLE),), self._end_ns)
            self._settled[worker], self._extra[worker] = Counter(), Counter()
        self._restripe(from_ns)

    def leave(self, worker: int, from_ns: int) -> None:
        """A worker runs nothing from `from_ns` on, or from when the stripes were last cut if that is later."""
        del self._alive[worker]
        self._restripe(from_ns)
        self._itineraries[worker] = self._itineraries[worker].with_leg(Leg(self._epoch_ns, *_IDLE))

    def stop(self, until_ns: int) -> int:
        """Plan nothing from `until_ns` on; returns where planning really ends."""
        self._end_ns = min(self._end_ns, max(until_ns, 0))
        self._itineraries = {worker: plan.stopped(self._end_ns) for worker, plan in self._itineraries.items()}
        return self._end_ns

    def lost_with(self, worker: int) -> tuple[LoadFrame, ...]:
        """What a worker that left owed and never settled. Call once, when all its reports are in."""
        settled, extra = self._settled.pop(worker), self._extra.pop(worker)
        # Late messages can have let through arrivals beyond the end.
        seconds = range(self._forgotten, max(-(-self._end_ns // SECOND_NS), *(late + 1 for _, late in extra), 0))
        frames = []
        for second in seconds:
            for stream in self._before:
                key = (stream, second)
                lost = self._owed(worker, stream, second) + extra[key] - settled[key]
                if lost:
                    frames.append(LoadFrame(second=second, stream=stream, series="", lost=lost))
        del self._itineraries[worker]
        return tuple(frames)

    def close(self, now_ns: int) -> tuple[LoadFrame, ...]:
        """The accounting of all seconds that were over at `now_ns` and are not reported yet; the last may be a part."""
        frames: list[LoadFrame] = []
        while self._closed_ns < self._end_ns:
            end_ns = min((self._closed_ns // SECOND_NS + 1) * SECOND_NS, self._end_ns)
            if end_ns > now_ns:
                break
            frames += self._closing(self._closed_ns, end_ns)
            self._closed_ns = end_ns
        return tuple(frames)

    def forget(self, before_ns: int) -> None:
        """Drop the books of seconds before `before_ns` that are settled, so that they do not grow with the run."""
        while (self._forgotten + 1) * SECOND_NS <= min(before_ns, self._closed_ns):
            second = self._forgotten
            for worker in self._settled:
                for stream in self._before:
                    key = (stream, second)
                    if self._owed(worker, stream, second) + self._extra[worker][key] != self._settled[worker][key]:
                        return  # open: it is looked at again, or is lost with the worker
            for counts in (*self._settled.values(), *self._extra.values()):
                for stream in self._before:
                    counts.pop((stream, second), None)
            self._forgotten += 1

    def _restripe(self, from_ns: int) -> None:
        self._epoch_ns = max(self._epoch_ns, from_ns)
        for index, worker in enumerate(self._alive):
            leg = Leg(self._epoch_ns, index, len(self._alive))
            self._itineraries[worker] = self._itineraries[worker].with_leg(leg)
        orphaned = Leg(self._epoch_ns, *(_IDLE if self._alive else (0, 1)))
        self._itineraries[_NOBODY] = self._itineraries[_NOBODY].with_leg(orphaned)

    def _closing(self, start_ns: int, end_ns: int) -> list[LoadFrame]:
        frames = []
        for stream, before in self._before.items():
            planned = before(end_ns) - before(start_ns)
            lost = self._itineraries[_NOBODY].count(before, start_ns, end_ns)
            second = start_ns // SECOND_NS
            frames.append(LoadFrame(second=second, stream=stream, series="", planned=planned, lost=lost))
        return frames

    def _owed(self, worker: int, stream: str, second: int) -> int:
        """How many arrivals of the second the worker was to run."""
        start_ns, end_ns = second * SECOND_NS, (second + 1) * SECOND_NS
        return self._itineraries[worker].count(self._before[stream], start_ns, end_ns)
