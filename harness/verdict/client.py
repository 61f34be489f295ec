"""
The load record as SLIs are read from it: what became of the arrivals intended in a window.

Everything is counted per whole second of intended time. An arrival whose outcome is not known (yet) counts as good in
the lower and as bad in the upper bound. A quantile is never compared: `p95 > T` is decided as "the share slower than T
is above 5 %", and failures, timeouts and dropped arrivals are slower than anything.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from harness.history.histogram import Histogram
from harness.history.load import LoadFrame, Slower, Steps
from harness.plan.model import ClientMeasure, ClientSli
from harness.schedule.load import Knot
from harness.verdict.interval import Estimate, Second, ratio_estimate
from harness.verdict.ruling import Bounds

US = 1_000_000
STRETCHES_MAX = 128  # of a window, where histograms are needed: merging them is what judging an hour costs


@dataclass(slots=True)
class Tally:
    """All frames of one second added up."""

    second: int
    planned: int = 0
    sent: int = 0
    ok: int = 0
    failed: int = 0
    timed_out: int = 0
    dropped: int = 0
    lost: int = 0
    responses: list[Histogram] = field(default_factory=list)  # not merged: most rules need one count of each
    slower: list[Slower] = field(default_factory=list)  # of the same
    lags: list[Histogram] = field(default_factory=list)

    def add(self, frame: LoadFrame) -> None:
        """Count one more frame of this second."""
        self.planned += frame.planned
        self.sent += frame.sent
        self.ok += frame.ok
        self.failed += frame.failed
        self.timed_out += frame.timed_out
        self.dropped += frame.dropped
        self.lost += frame.lost
        self._respond(frame.response, frame.slower)
        if frame.lag:
            self.lags.append(frame.lag)

    def add_steps(self, steps: Steps) -> None:
        """Count requests inside journeys like arrivals: what is true of a request name is both together."""
        self.sent += steps.ok + steps.failed + steps.timed_out
        self.ok += steps.ok
        self.failed += steps.failed
        self.timed_out += steps.timed_out
        self._respond(steps.response, steps.slower)

    def _respond(self, response: Histogram, slower: Slower) -> None:
        if response:
            self.responses.append(response)
            self.slower.append(slower)

    @property
    def bad(self) -> int:
        """Arrivals that did not get an ok answer."""
        return self.failed + self.timed_out + self.dropped

    @property
    def settled(self) -> int:
        """Arrivals with an outcome."""
        return self.ok + self.bad

    @property
    def unknown(self) -> int:
        """Arrivals that were planned, not lost, and have no outcome."""
        begun = max(self.planned, self.sent + self.dropped + self.lost)
        return max(begun - self.lost - self.ok - self.bad, 0)

    def errors(self) -> Count:
        """Arrivals that were not answered well."""
        return Count(self.second, self.settled + self.unknown, self.bad, self.bad + self.unknown)

    def slow(self, limit_s: Bounds) -> Count:
        """
        Arrivals slower than a limit known within bounds, and those not answered well.

        Exact where the engine counted at the limit; else the width of the histogram's bucket is between the bounds.
        """
        surely = possibly = 0
        exact_us = round(limit_s[0] * US) if limit_s[0] == limit_s[1] else None
        for response, counted in zip(self.responses, self.slower, strict=True):
            known = next((n for limit_us, n in counted if limit_us == exact_us), None)
            if known is not None:
                surely, possibly = surely + known, possibly + known
            else:
                surely += response.count_above(limit_s[1] * US)[0]
                possibly += response.count_above(limit_s[0] * US)[1]
        errors = self.errors()
        return Count(self.second, errors.total, errors.least + surely, errors.most + possibly)


@dataclass(frozen=True, slots=True)
class Count:
    """One second's arrivals, and the least and the most of them that may be bad."""

    second: int
    total: int
    least: int
    most: int


def tallies(frames: Iterable[LoadFrame], series: str | None = None, stream: str | None = None) -> dict[int, Tally]:
    """Second -> tally, of one request name, of one stream, or of all of them, in order of time."""
    found: dict[int, Tally] = {}
    for frame in frames:
        if (series is None or frame.series == series) and (stream is None or frame.stream == stream):
            tally = found.get(frame.second)
            if tally is None:
                tally = found[frame.second] = Tally(frame.second)
            tally.add(frame)
            if series is not None and frame.steps is not None:
                tally.add_steps(frame.steps)
    return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Recorded:
    """The load record of all arrivals by second, with what is costly to add up kept."""

    tallies: dict[int, Tally]
    _lags: dict[range, Histogram] = field(default_factory=dict)

    def inside(self, seconds: range) -> list[Tally]:
        """The tallies of those seconds that have any."""
        return [self.tallies[second] for second in seconds if second in self.tallies]

    def lags(self, seconds: range) -> Histogram:
        """Start lags of all arrivals sent in these seconds."""
        if seconds not in self._lags:
            self._lags[seconds] = merged_histogram(lag for tally in self.inside(seconds) for lag in tally.lags)
        return self._lags[seconds]


def whole_seconds(start_s: float, end_s: float) -> range:
    """The seconds that lie wholly in [start_s, end_s)."""
    first = math.ceil(start_s - 1e-6)
    return range(first, max(first, math.floor(end_s + 1e-6)))


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some neighbouring seconds together."""

    second: int  # the first
    responses: Histogram
    settled: int
    errors: int
    total: int


class Offered:
    """The arrivals that a plan offers up to any instant: the integral of its rate, looked up in its corners."""

    def __init__(self, knots: Sequence[Knot]) -> None:
        self._knots = tuple(knots)
        self._times = [knot.t_s for knot in self._knots]
        areas = ((b.t_s - a.t_s) * (a.per_s + b.per_s) / 2 for a, b in pairwise(self._knots))
        self._before = list(accumulate(areas, initial=0.0))

    def before(self, t_s: float) -> float:
        """Arrivals offered before `t_s`."""
        index = bisect_right(self._times, t_s) - 1
        if index < 0:
            return 0.0
        if index + 1 >= len(self._knots):
            return self._before[-1]
        left, right = self._knots[index], self._knots[index + 1]
        passed = t_s - left.t_s
        slope = (right.per_s - left.per_s) / (right.t_s - left.t_s)
        return self._before[index] + passed * (left.per_s + slope * passed / 2)

    def within(self, start_s: float, end_s: float) -> float:
        """Arrivals offered in [start_s, end_s)."""
        return self.before(end_s) - self.before(start_s)


@dataclass(slots=True)
class ClientWindow:
    """The load record of one window, of all arrivals or of those an SLI is about, with what is asked of it often."""

    seconds: range
    tallies: tuple[Tally, ...]  # of those seconds that have any
    offered: Callable[[float, float], float]  # arrivals the plan asks for between two instants
    facts: frozenset[int] = frozenset()  # seconds in which a fault was at work, whatever its effect
    impacts: frozenset[int] = frozenset()  # those, and seconds of impacts that a fault had
    _estimates: dict[tuple[bool, Bounds], Estimate] = field(default_factory=dict)
    _stretches: tuple[Stretch, ...] | None = None
    _responses: Histogram | None = None

    @property
    def length_s(self) -> int:
        """How many seconds it has, 1 at least."""
        return max(len(self.seconds), 1)

    @property
    def offered_per_s(self) -> float:
        """Mean rate the plan asks for."""
        return self.offered(self.seconds.start, self.seconds.stop) / self.length_s

    @property
    def settled(self) -> int:
        """Arrivals with an outcome."""
        return sum(tally.settled for tally in self.tallies)

    def estimate(self, sli: ClientSli, limit: Bounds) -> Estimate:
        """The share of bad arrivals, for a latency of those slower than the limit; there must be an arrival."""
        latency = sli.measure is ClientMeasure.LATENCY
        key = (latency, limit if latency else (0.0, 0.0))
        if key not in self._estimates:
            counts = counts_of(self.tallies, sli, limit)
            self._estimates[key] = ratio_estimate(self.least(counts), self.most(counts))
        return self._estimates[key]

    def least(self, counts: Sequence[Count]) -> list[Second]:
        """The counts with unknown outcomes as good; what a fault did is a fact."""
        return [Second(one.total, one.least, one.second in self.impacts) for one in counts]

    def most(self, counts: Sequence[Count]) -> list[Second]:
        """
        The counts with unknown outcomes as bad.

        Here a fact is only what happened while the fault was on: otherwise a longer impact would be less noise, and
        more bad arrivals could prove that a limit is kept.
        """
        return [Second(one.total, one.most, one.second in self.facts) for one in counts]

    def responses(self) -> Histogram:
        """Response times of all ok arrivals."""
        if self._responses is None:
            self._responses = merged_histogram(stretch.responses for stretch in self.stretches())
        return self._responses

    def stretches(self) -> tuple[Stretch, ...]:
        """The window in at most 128 stretches of as many seconds each, with their responses merged."""
        if self._stretches is None:
            length = -(-self.length_s // STRETCHES_MAX)
            parts: dict[int, list[Tally]] = {}
            for tally in self.tallies:
                parts.setdefault((tally.second - self.seconds.start) // length, []).append(tally)
            self._stretches = tuple(_stretch(part) for part in parts.values())
        return self._stretches


def _stretch(tallies_: Sequence[Tally]) -> Stretch:
    responses = [response for tally in tallies_ for response in tally.responses]
    return Stretch(
        second=tallies_[0].second,
        responses=responses[0] if len(responses) == 1 else Histogram.merged(responses),
        settled=sum(tally.settled for tally in tallies_),
        errors=sum(tally.bad for tally in tallies_),
        total=sum(tally.settled + tally.unknown for tally in tallies_),
    )


def counts_of(tallies_: Iterable[Tally], sli: ClientSli, limit: Bounds) -> list[Count]:
    """What is bad in each second: slower than the limit for a latency, else not answered well."""
    if sli.measure is ClientMeasure.LATENCY:
        return [tally.slow(limit) for tally in tallies_]
    return [tally.errors() for tally in tallies_]


def merged_histogram(histograms: Iterable[Histogram]) -> Histogram:
    """All of them as one."""
    return Histogram.merged(histograms)


def quantile_of(sli: ClientSli) -> float:
    """The quantile of a latency."""
    assert sli.quantile is not None
    return sli.quantile
