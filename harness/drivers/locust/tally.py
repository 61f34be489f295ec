"""
What became of arrivals, counted by second of intended time, stream and series. Plain counting, no clock.

Counting must cost an arrival a microsecond: a value is appended to an array as its bucket's number. Equal numbers are
counted by the master, in C, once a second.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

from harness.drivers.locust.wire import Writer, lanes
from harness.history.histogram import index_of
from harness.history.load import BINS_PER_SECOND
from harness.schedule.load import SECOND_NS

SERIES_MAX = 200  # names of one stream
OTHER = "(other)"  # where requests are counted once SERIES_MAX names are in use

DEADLINE, DROPPED = "deadline", "dropped"

_BIN_NS = SECOND_NS // BINS_PER_SECOND


class Tally:
    """
    Counts settled arrivals until `take` hands them over. Times are nanoseconds since run start.

    Args:
        slow_ns: an ok arrival slower than this counts as bad in the bins.
        limits_us: response times at which slower ones are counted exactly, ascending.

    """

    def __init__(self, slow_ns: int, limits_us: Sequence[int] = ()) -> None:
        self._slow_ns = slow_ns
        self._limits_ns = tuple(limit * 1000 for limit in limits_us)
        self._first_limit_ns = min(self._limits_ns, default=1 << 62)
        self._cells: dict[tuple[int, str, str], _Cell] = {}
        self._names: dict[str, set[str]] = {}

    def ok(self, stream: str, series: str, intended_ns: int, sent_ns: int, end_ns: int) -> None:
        """The arrival was answered as it should."""
        cell = self._cells.get((intended_ns // SECOND_NS, stream, series)) or self._cell(stream, series, intended_ns)
        took_ns = end_ns - intended_ns
        cell.response.append(index_of(took_ns // 1000))
        cell.service.append(index_of((end_ns - sent_ns) // 1000))
        cell.lag.append(index_of((sent_ns - intended_ns) // 1000))
        if took_ns > self._first_limit_ns:
            cell.slower[bisect_left(self._limits_ns, took_ns) - 1] += 1
        bins = cell.bad if took_ns > self._slow_ns else cell.good
        bins[intended_ns % SECOND_NS // _BIN_NS] += 1

    def failed(self, stream: str, series: str, intended_ns: int, sent_ns: int, end_ns: int, error: str) -> None:
        """The arrival was sent and failed, `error` being the class of failure; DEADLINE: it was not answered by it."""
        cell = self._cell(stream, series, intended_ns)
        cell.lag.append(index_of((sent_ns - intended_ns) // 1000))
        cell.failed_response.append(index_of((end_ns - intended_ns) // 1000))
        cell.bad[intended_ns % SECOND_NS // _BIN_NS] += 1
        cell.errors[error] += 1
        if error == DEADLINE:
            cell.timed_out += 1
        else:
            cell.failed += 1

    def dropped(self, stream: str, series: str, intended_ns: int) -> None:
        """The arrival waited for a free user until its deadline, and was never sent."""
        cell = self._cell(stream, series, intended_ns)
        cell.dropped += 1
        cell.errors[DROPPED] += 1
        cell.bad[intended_ns % SECOND_NS // _BIN_NS] += 1

    def lost(self, stream: str, intended_ns: int, why: str) -> None:
        """Nothing was asked of the service for this arrival, by the generator's own fault."""
        cell = self._cell(stream, "", intended_ns)
        cell.lost += 1
        cell.errors[why] += 1

    def step(self, stream: str, series: str, start_ns: int, end_ns: int, error: str | None) -> None:
        """One request of a journey ended, with DEADLINE as `error` when it was cut. See history.load.Steps."""
        cell = self._cell(stream, series, start_ns)
        if cell.steps is None:
            cell.steps = _Steps(len(self._limits_ns))
        cell.steps.count(end_ns - start_ns, error, self._limits_ns)

    def take(self) -> bytes:
        """Everything counted since the last call, as `Collector.add` reads it."""
        cells, self._cells = self._cells, {}
        writer = Writer()
        for (second, stream, series), cell in cells.items():
            cell.write(writer, second, stream, series)
        return writer.data()

    def _cell(self, stream: str, series: str, t_ns: int) -> _Cell:
        names = self._names.setdefault(stream, set())
        if series not in names:
            if len(names) >= SERIES_MAX:
                series = OTHER
            names.add(series)
        key = (t_ns // SECOND_NS, stream, series)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _Cell(len(self._limits_ns))
        return cell


class _Steps:
    """The counts of single requests of journeys."""

    __slots__ = ("errors", "failed", "response", "slower", "timed_out")

    def __init__(self, limits: int) -> None:
        self.failed = self.timed_out = 0
        self.response = array("H")
        self.slower = [0] * limits
        self.errors: Counter[str] = Counter()

    def count(self, took_ns: int, error: str | None, limits_ns: Sequence[int]) -> None:
        if error is None:
            self.response.append(index_of(took_ns // 1000))
            if exceeded := bisect_left(limits_ns, took_ns):
                self.slower[exceeded - 1] += 1
            return
        self.errors[error] += 1
        if error == DEADLINE:
            self.timed_out += 1
        else:
            self.failed += 1

    def write(self, writer: Writer) -> None:
        writer.put(lanes(((len(self.response), self.failed, self.timed_out), _slower(self.slower))))
        writer.buckets(self.response)
        writer.named(self.errors.items())


class _Cell:
    """The counts of one second, stream and series. Arrays hold buckets' numbers."""

    __slots__ = (
        "bad",
        "dropped",
        "errors",
        "failed",
        "failed_response",
        "good",
        "lag",
        "lost",
        "response",
        "service",
        "slower",
        "steps",
        "timed_out",
    )

    def __init__(self, limits: int) -> None:
        self.failed = self.timed_out = self.dropped = self.lost = 0
        self.response, self.service, self.lag, self.failed_response = array("H"), array("H"), array("H"), array("H")
        self.slower = [0] * limits  # how many exceeded this limit and not the next
        self.good, self.bad = [0] * BINS_PER_SECOND, [0] * BINS_PER_SECOND
        self.errors: Counter[str] = Counter()
        self.steps: _Steps | None = None

    def write(self, writer: Writer, second: int, stream: str, series: str) -> None:
        ok = len(self.response)
        sent = ok + self.failed + self.timed_out
        counts = (sent, ok, self.failed, self.timed_out, self.dropped, self.lost)
        writer.head(second, sent + self.dropped + self.lost, steps=self.steps is not None)
        writer.text(stream)
        writer.text(series)
        writer.put(lanes((counts, _slower(self.slower), self.good, self.bad)))
        for values in (self.response, self.service, self.lag, self.failed_response):
            writer.buckets(values)
        writer.named(self.errors.items())
        if self.steps is not None:
            self.steps.write(writer)


def _slower(exceeded: Sequence[int]) -> Sequence[int]:
    """Counts of those that exceeded a limit and not the next, as counts of all that exceeded it."""
    return list(accumulate(reversed(exceeded)))[::-1]
