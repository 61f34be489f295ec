"""
By how much counters rose inside a window: raw samples differenced, resets, births and deaths of series included.

rate() and increase() are not used, because their extrapolation reaches across the window's ends. What happened between
the last scrape of a process and its end is in no sample; it is bounded by how fast the counter rose just before.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness.history.series import Samples, Series
from harness.verdict.scraped import ServerWindow, Target, target_of

GAP_SCRAPES = 3  # a counter not read for longer than this leaves the slices in between unknown

_LAST_STEPS = 3  # what a dying process served after its last scrape is taken from this many before it
_EDGE_SCRAPES = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rise:
    """
    By how much several counters rose together.

    `slices` are as many slices of the window as asked for, and what is left behind them; a rise is booked where it was
    seen. `unknown` are the slices in which a counter that went on was not read for longer than GAP_SCRAPES.
    `unseen` is how much more at most happened after the last scrapes of processes that ended, `ended` how many series
    ended or began anew; `doubtful` is what may have been counted before the window just as well as in it.
    """

    slices: tuple[float, ...]
    total: float
    unknown: frozenset[int]
    unseen: float
    doubtful: float
    ended: int


@dataclass(frozen=True, slots=True)
class _One:
    slices: Sequence[float]
    total: float = 0.0
    gaps: tuple[tuple[float, float], ...] = ()
    unseen: float = 0.0
    doubtful: float = 0.0
    ended: bool = False


class Scrapes:
    """When the targets of a window were scraped, and how that went; what births and deaths are read from."""

    def __init__(self, window: ServerWindow) -> None:
        self._scrape_s = window.scrape_s
        self._of: dict[Target, list[Samples]] = {}
        for one in window.of("up"):
            self._of.setdefault(target_of(one), []).append(one.samples)

    def before(self, target: Target, t_s: float) -> bool | None:
        """Whether the target's last scrape before `t_s` succeeded; None when it had none, or none is known."""
        last: tuple[float, float] | None = None
        for samples in self._of.get(target, ()):
            at = bisect_left(samples.times, t_s)
            if at and (last is None or samples[at - 1] > last):
                last = samples[at - 1]
        return None if last is None else last[1] == 1

    def any_before(self, t_s: float) -> bool:
        """Whether Prometheus was scraping any target of the service just before `t_s`."""
        for all_of_it in self._of.values():
            for samples in all_of_it:
                at = bisect_left(samples.times, t_s)
                if at and samples.values[at - 1] == 1 and samples.times[at - 1] >= t_s - 2 * self._scrape_s:
                    return True
        return not self._of

    def listed_until(self, target: Target) -> float:
        """When Prometheus last tried the target; -inf when that is not known."""
        ends = [samples.times[-1] for samples in self._of.get(target, ()) if len(samples)]
        return max(ends, default=-math.inf)


def rise_of(window: ServerWindow, series: Sequence[Series], slice_s: float) -> Rise:
    """
    The sum of the counters' rises inside the window, in all and per slice of `slice_s` seconds.

    Sums are exactly rounded, so that the order of the series is of no consequence.
    """
    scrapes = Scrapes(window)
    count = math.floor((window.end_s - window.start_s) / slice_s + 1e-6)
    edges = [window.start_s + index * slice_s for index in range(1, count + 1)]
    ones = [_rise_of_one(window, scrapes, one, edges) for one in series]
    unknown: set[int] = set()
    for lo_s, hi_s in (gap for one in ones for gap in one.gaps):
        first = math.floor((lo_s - window.start_s) / slice_s + 1e-6)
        unknown.update(range(max(first, 0), math.floor((hi_s - window.start_s) / slice_s + 1e-6) + 1))
    return Rise(
        slices=tuple(map(math.fsum, zip(*(one.slices for one in ones), strict=True))) or (0.0,) * (count + 1),
        total=math.fsum(one.total for one in ones),
        unknown=frozenset(unknown),
        unseen=math.fsum(one.unseen for one in ones),
        doubtful=math.fsum(one.doubtful for one in ones),
        ended=sum(one.ended for one in ones),
    )


def _rise_of_one(window: ServerWindow, scrapes: Scrapes, series: Series, edges: Sequence[float]) -> _One:
    times, values = _finite(series.samples)
    first, last = bisect_left(times, window.start_s), bisect_left(times, window.end_s)
    if first == last:
        return _One([0.0] * (len(edges) + 1))
    before, doubtful = (values[first - 1], 0.0) if first else _beginning(window, scrapes, series, times, values)
    counted = [before, *values[first:last]]
    cuts = _cuts(times, first, last, edges)
    resets = [] if sorted(counted) == counted else [i for i, (a, b) in enumerate(pairwise(counted), 1) if b < a]
    read = times[max(first - 1, 0) : last]
    tail = _tail(window, scrapes, series, read, counted)
    died = math.fsum(_speed(read[: len(read) - len(counted) + i], counted[:i]) * window.scrape_s for i in resets)
    gaps = _gaps(window, read, values[max(first - 1, 0) : last])
    if resets:
        counted = _without_resets(counted)
    marks = [before, *(counted[cut - first] for cut in cuts), counted[-1]]
    return _One(
        slices=[b - a for a, b in pairwise(marks)],
        total=counted[-1] - before,
        gaps=gaps,
        unseen=tail + died,
        doubtful=doubtful,
        ended=tail > 0 or bool(resets),
    )


def _finite(samples: Samples) -> tuple[array[float], array[float]]:
    """The columns without what is no number."""
    if math.isfinite(sum(samples.values)):
        return samples.times, samples.values
    kept = Samples.of((t_s, value) for t_s, value in samples if math.isfinite(value))
    return kept.times, kept.values


def _cuts(times: array[float], first: int, last: int, edges: Sequence[float]) -> list[int]:
    """For each edge, how many of the samples up to `last` lie before it, at least `first`."""
    found, at = [], first
    for edge in edges:
        at = bisect_left(times, edge, at, last)
        found.append(at)
    return found


def _beginning(
    window: ServerWindow, scrapes: Scrapes, series: Series, times: array[float], values: array[float]
) -> tuple[float, float]:
    """
    What a counter without a sample before the window began with, and how much of its first value is in doubt.

    A counter first seen within the first scrape may be older than the window. Later, it was born inside, at zero, when
    its target was scraped without it just before, or when Prometheus was scraping other targets but not this one. If
    its target's last scrape failed, or Prometheus was scraping nothing, nobody knows.
    """
    first_s, value = times[0], values[0]
    if first_s <= window.start_s + window.scrape_s:
        return value, 0.0
    known = scrapes.before(target_of(series), first_s - 0.5 * window.scrape_s)
    if known is None:
        known = scrapes.any_before(first_s - 0.5 * window.scrape_s)
    return (0.0, 0.0) if known else (value, value)


def _tail(
    window: ServerWindow, scrapes: Scrapes, series: Series, times: array[float], counted: Sequence[float]
) -> float:
    """At most how much a counter that ended inside the window rose after its last sample."""
    last_s = times[-1]
    if last_s >= window.end_s - _EDGE_SCRAPES * window.scrape_s:
        return 0.0
    listed_s = min(scrapes.listed_until(target_of(series)), window.end_s)  # tried in vain, it may have gone on serving
    return _speed(times, counted) * (max(listed_s - last_s, 0.0) + window.scrape_s)


def _speed(times: Sequence[float], counted: Sequence[float]) -> float:
    """The largest rise per second in the last few steps; the last of `times` is when the last of `counted` was read."""
    steps = range(1, min(_LAST_STEPS + 1, len(times)))
    return max(((counted[-k] - counted[-k - 1]) / (times[-k] - times[-k - 1]) for k in steps), default=0.0)


def _without_resets(counted: Sequence[float]) -> list[float]:
    """The counter as if it had gone on at each reset: what it shows after one was counted since."""
    found, offset = [counted[0]], 0.0
    for a, b in pairwise(counted):
        offset += a if b < a else 0.0
        found.append(b + offset)
    return found


def _gaps(window: ServerWindow, times: array[float], values: array[float]) -> tuple[tuple[float, float], ...]:
    """When the counter was not read for long, and went on; one that began anew had ended, and served nothing."""
    longest = GAP_SCRAPES * window.scrape_s + 1e-9
    if len(times) < 2 or times[-1] - times[0] <= longest:
        return ()
    expected = (times[-1] - times[0]) / window.scrape_s
    if len(times) - 1 > expected - GAP_SCRAPES + 1:  # too many samples for a gap that long
        return ()
    return tuple(
        (times[i - 1], times[i])
        for i in range(1, len(times))
        if times[i] - times[i - 1] > longest and values[i] >= values[i - 1]
    )
