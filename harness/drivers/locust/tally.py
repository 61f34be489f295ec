"""What became of arrivals, counted by second of intended time and request name. Plain counting, no clock."""

from __future__ import annotations

from collections import Counter

from harness.history.histogram import Histogram
from harness.history.load import BINS_PER_SECOND, LoadFrame
from harness.schedule.load import SECOND_NS

SERIES_MAX = 200
OTHER = "(other)"  # where requests are counted once SERIES_MAX names are in use

_BIN_NS = SECOND_NS // BINS_PER_SECOND


class Tally:
    """Counts settled arrivals until `take` hands them over. Times are nanoseconds since run start."""

    def __init__(self, slow_ns: int) -> None:
        self._slow_ns = slow_ns
        self._cells: dict[tuple[int, str], _Cell] = {}
        self._names: set[str] = set()

    def ok(self, series: str, intended_ns: int, sent_ns: int, end_ns: int) -> None:
        """The arrival was answered as it should."""
        cell = self._sent(series, intended_ns, sent_ns)
        cell.ok += 1
        cell.response.record((end_ns - intended_ns) // 1000)
        cell.service.record((end_ns - sent_ns) // 1000)
        bins = cell.bad if end_ns - intended_ns > self._slow_ns else cell.good
        bins[intended_ns % SECOND_NS // _BIN_NS] += 1

    def failed(self, series: str, intended_ns: int, sent_ns: int, error: str) -> None:
        """The arrival was sent and failed, `error` being the class of failure."""
        cell = self._sent(series, intended_ns, sent_ns)
        cell.failed += 1
        cell.fail(intended_ns, error)

    def timed_out(self, series: str, intended_ns: int, sent_ns: int) -> None:
        """The arrival was sent and not answered by its deadline."""
        cell = self._sent(series, intended_ns, sent_ns)
        cell.timed_out += 1
        cell.fail(intended_ns, "timeout")

    def dropped(self, series: str, intended_ns: int) -> None:
        """The arrival waited for a free user until its deadline, and was never sent."""
        cell = self._cell(series, intended_ns)
        cell.dropped += 1
        cell.fail(intended_ns, "dropped")

    def lost(self, intended_ns: int, why: str) -> None:
        """The arrival's task broke before it asked anything of the service."""
        cell = self._cell("", intended_ns)
        cell.lost += 1
        cell.errors[why] += 1

    def take(self) -> tuple[LoadFrame, ...]:
        """Everything counted since the last call."""
        cells, self._cells = self._cells, {}
        return tuple(cell.frame(second, series) for (second, series), cell in cells.items())

    def _sent(self, series: str, intended_ns: int, sent_ns: int) -> _Cell:
        cell = self._cell(series, intended_ns)
        cell.sent += 1
        cell.lag.record((sent_ns - intended_ns) // 1000)
        return cell

    def _cell(self, series: str, intended_ns: int) -> _Cell:
        if series not in self._names:
            if len(self._names) >= SERIES_MAX:
                series = OTHER
            self._names.add(series)
        key = (intended_ns // SECOND_NS, series)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _Cell()
        return cell


class _Cell:
    """The counts of one second and series; a LoadFrame in the making."""

    __slots__ = (
        "bad",
        "dropped",
        "errors",
        "failed",
        "good",
        "lag",
        "lost",
        "ok",
        "response",
        "sent",
        "service",
        "timed_out",
    )

    def __init__(self) -> None:
        self.sent = self.ok = self.failed = self.timed_out = self.dropped = self.lost = 0
        self.response, self.service, self.lag = Histogram(), Histogram(), Histogram()
        self.good, self.bad = [0] * BINS_PER_SECOND, [0] * BINS_PER_SECOND
        self.errors: Counter[str] = Counter()

    def fail(self, intended_ns: int, error: str) -> None:
        self.errors[error] += 1
        self.bad[intended_ns % SECOND_NS // _BIN_NS] += 1

    def frame(self, second: int, series: str) -> LoadFrame:
        return LoadFrame(
            second=second,
            series=series,
            sent=self.sent,
            ok=self.ok,
            failed=self.failed,
            timed_out=self.timed_out,
            dropped=self.dropped,
            lost=self.lost,
            response=self.response,
            service=self.service,
            lag=self.lag,
            good_bins=tuple(self.good) if any(self.good) else (),
            bad_bins=tuple(self.bad) if any(self.bad) else (),
            errors=tuple(sorted(self.errors.items())),
        )
