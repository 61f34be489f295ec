"""The load record as impacts are read from it: outcomes per 10 ms and per second, of all arrivals or of one stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import add

from harness.history.histogram import Histogram
from harness.history.load import BINS_PER_SECOND, LoadFrame
from harness.verdict.segment import Row, Second

US = 1_000_000

_NONE = (0,) * BINS_PER_SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What became of the arrivals of one stream, or of all (stream None); the histograms by second."""

    stream: str | None
    row: Row
    responses: Mapping[int, Sequence[Histogram]]  # of ok arrivals, from intended start
    lags: Mapping[int, Sequence[Histogram]]

    def response_s(self, seconds: Iterable[int], q: float) -> float:
        """The q-quantile of response time of ok arrivals intended in these seconds; 0 without any."""
        return _quantile_s(self.responses, seconds, q)

    def lag_s(self, seconds: Iterable[int], q: float) -> float:
        """The q-quantile of start lag of arrivals intended in these seconds; 0 without any."""
        return _quantile_s(self.lags, seconds, q)

    def between(self, seconds: Iterable[int], lo_s: float, hi_s: float) -> int:
        """How many ok arrivals intended in these seconds took longer than lo_s and not longer than hi_s."""
        found = [one for second in seconds for one in self.responses.get(second, ())]
        slower = sum(one.count_above(lo_s * US)[0] for one in found if one)
        return slower - sum(one.count_above(hi_s * US)[0] for one in found if one)


def outcomes_of(frames: Iterable[LoadFrame]) -> tuple[Outcomes, ...]:
    """Those of all arrivals, then those of each stream by name where there are several."""
    by_stream: dict[str, list[LoadFrame]] = {}
    for frame in frames:
        by_stream.setdefault(frame.stream, []).append(frame)
    every = [frame for own in by_stream.values() for frame in own]
    apart = sorted(by_stream) if len(by_stream) > 1 else []
    return (_outcomes(None, every), *(_outcomes(name, by_stream[name]) for name in apart))


def row_of(frames: Iterable[LoadFrame]) -> Row:
    """The outcome counts of the frames added up, bin 0 beginning at run start."""
    good: dict[int, Sequence[int]] = {}
    bad: dict[int, Sequence[int]] = {}
    failed: dict[int, int] = {}
    for frame in frames:
        _add(good, frame.second, frame.good_bins)
        _add(bad, frame.second, frame.bad_bins)
        failed[frame.second] = failed.get(frame.second, 0) + frame.failed + frame.timed_out + frame.dropped
    return _joined(good, bad, failed)


def _outcomes(stream: str | None, frames: Sequence[LoadFrame]) -> Outcomes:
    responses: dict[int, list[Histogram]] = {}
    lags: dict[int, list[Histogram]] = {}
    for frame in frames:
        responses.setdefault(frame.second, []).append(frame.response)
        lags.setdefault(frame.second, []).append(frame.lag)
    return Outcomes(stream=stream, row=row_of(frames), responses=responses, lags=lags)


def _add(found: dict[int, Sequence[int]], second: int, counts: Sequence[int]) -> None:
    if counts:
        before = found.get(second)
        found[second] = counts if before is None else tuple(map(add, before, counts))


def _joined(good: Mapping[int, Sequence[int]], bad: Mapping[int, Sequence[int]], failed: Mapping[int, int]) -> Row:
    bins: list[int] = []
    goods: list[int] = []
    bads: list[int] = []
    seconds: list[Second] = []
    for second in sorted(good.keys() | bad.keys()):
        well, ill = good.get(second, _NONE), bad.get(second, _NONE)
        arrivals = tuple(map(add, well, ill))
        base = second * BINS_PER_SECOND
        bins += compress(range(base, base + BINS_PER_SECOND), arrivals)
        goods += compress(well, arrivals)
        bads += compress(ill, arrivals)
        seconds.append(Second(second, sum(well), sum(ill), failed[second]))
    return Row(bins, goods, bads, seconds)


def _quantile_s(found: Mapping[int, Sequence[Histogram]], seconds: Iterable[int], q: float) -> float:
    merged = Histogram.merged(one for second in seconds for one in found.get(second, ()))
    return merged.quantile(q)[1] / US if merged else 0.0
