"""
SLIs read from the load record: what became of the arrivals intended in a window.

Everything is counted per whole second of intended time. An arrival whose outcome is not known (yet) counts as good in
the lower and as bad in the upper bound. A quantile is never compared: `p95 > T` is decided as "the share slower than T
is above 5 %", and failures, timeouts and dropped arrivals are slower than anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from harness.history.histogram import Histogram
from harness.history.load import LoadFrame
from harness.plan.model import ClientMeasure, ClientSli, Rule, Unit
from harness.units import show
from harness.verdict.interval import CONFIDENCE, Second, design_effect, share_interval
from harness.verdict.model import Reason
from harness.verdict.ruling import Bounds, Measured, NoEvidenceError, Ruling, holds, sustained

US = 1_000_000


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
        self.responses.append(frame.response)
        self.lags.append(frame.lag)

    @property
    def bad(self) -> int:
        """Arrivals that did not get an ok answer."""
        return self.failed + self.timed_out + self.dropped

    @property
    def unknown(self) -> int:
        """Arrivals that were planned, not lost, and have no outcome."""
        begun = max(self.planned, self.sent + self.dropped + self.lost)
        return max(begun - self.lost - self.ok - self.bad, 0)


def tallies(frames: Iterable[LoadFrame], series: str | None = None) -> dict[int, Tally]:
    """Second -> tally, of one request name or of all of them, in order of time."""
    found: dict[int, Tally] = {}
    for frame in frames:
        if series is None or frame.series == series:
            tally = found.get(frame.second)
            if tally is None:
                tally = found[frame.second] = Tally(frame.second)
            tally.add(frame)
    return dict(sorted(found.items()))


def whole_seconds(start_s: float, end_s: float) -> range:
    """The seconds that lie wholly in [start_s, end_s)."""
    first = math.ceil(start_s - 1e-6)
    return range(first, max(first, math.floor(end_s + 1e-6)))


@dataclass(frozen=True, slots=True)
class ClientWindow:
    """The load record of one window."""

    seconds: range
    tallies: tuple[Tally, ...]  # of those seconds that have any
    offered: Callable[[int], float]  # second -> arrivals the plan asks for in it
    disturbed: frozenset[int] | None  # seconds in which a fault was at work; None: take the window as it went
    confidence: float = CONFIDENCE

    @property
    def offered_per_s(self) -> float:
        """Mean rate the plan asks for."""
        return sum(self.offered(second) for second in self.seconds) / max(len(self.seconds), 1)


@dataclass(frozen=True, slots=True)
class _Count:
    """One second's arrivals, and the least and most of them that may be bad."""

    second: int
    total: int
    bad: tuple[int, int]


def client_measured(window: ClientWindow, sli: ClientSli) -> Measured:
    """The SLI's value over the window with its interval; raises NoEvidenceError when no arrival has an outcome."""
    settled = sum(tally.ok + tally.bad for tally in window.tallies)
    if not settled:
        where = f" of '{sli.series}'" if sli.series else ""
        raise NoEvidenceError(Reason.NO_SAMPLES, f"no arrival{where} with a known outcome in the window")
    coverage = len(window.tallies) / len(window.seconds)
    match sli.measure:
        case ClientMeasure.THROUGHPUT:
            value, bounds = _throughput(window.tallies, len(window.seconds))
        case ClientMeasure.LATENCY:
            return _latency(window, _quantile(sli), coverage)
        case ClientMeasure.ERROR_RATIO:
            value, bounds = _share(window, [_errors(tally) for tally in window.tallies])
        case ClientMeasure.SUCCESS_RATIO:
            value, bounds = _mirrored(*_share(window, [_errors(tally) for tally in window.tallies]))
    return Measured(value=value, lo=bounds[0], hi=bounds[1], samples=settled, coverage=coverage)


def client_ruling(window: ClientWindow, sli: ClientSli, rule: Rule, limit: Bounds) -> Ruling:
    """
    Whether the rule's proposition holds for the window.

    `limit` is what the value is compared with, in the SLI's unit; a rule `of offered` with a `for` takes each
    slice's own offered load instead.
    """
    if rule.for_s is not None:
        return _sustained_ruling(window, sli, rule, limit)
    if sli.measure is ClientMeasure.THROUGHPUT:
        bounds = _throughput(window.tallies, max(len(window.seconds), 1))[1]
        return Ruling(holds=holds(bounds, rule, limit), reason=Reason.UNDECIDED)
    latency = sli.measure is ClientMeasure.LATENCY
    counts = [_slower(tally, limit) if latency else _errors(tally) for tally in window.tallies]
    total = sum(count.total for count in counts)
    if not total:
        return Ruling(holds=None, reason=Reason.NO_SAMPLES)
    share, bounds = _share(window, counts)
    note, allowed = "", limit
    if latency:
        allowed = (1 - _quantile(sli), 1 - _quantile(sli))
        slower = Measured(value=share, lo=bounds[0], hi=bounds[1], samples=total, coverage=None).text(Unit.RATIO)
        note = f"share slower than {show(limit[0], Unit.SECONDS)}: {slower}, limit {show(allowed[0], Unit.RATIO)}"
    elif sli.measure is ClientMeasure.SUCCESS_RATIO:
        share, bounds = _mirrored(share, bounds)
    decided = holds(bounds, rule, allowed)
    provable = share_interval((0, 0), total, confidence=window.confidence)[1] <= min(allowed[1], abs(1 - allowed[0]))
    return Ruling(holds=decided, reason=Reason.UNDECIDED if provable else Reason.TOO_FEW_SAMPLES, note=note)


def _sustained_ruling(window: ClientWindow, sli: ClientSli, rule: Rule, limit: Bounds) -> Ruling:
    assert rule.for_s is not None
    needed = max(1, math.ceil(rule.for_s - 1e-6))
    found = {tally.second: tally for tally in window.tallies}
    slices = [_slice(window, found.get(second), sli, rule, limit) for second in window.seconds]
    note = f"{slices.count(True)} of {len(slices)} seconds {rule.op} the limit"
    note += f", {slices.count(None)} unknown" if None in slices else ""
    return Ruling(holds=sustained(slices, needed), reason=Reason.GAP, note=note)


def _slice(window: ClientWindow, tally: Tally | None, sli: ClientSli, rule: Rule, limit: Bounds) -> bool | None:
    """Whether the rule holds for one second, taken at its point value; None when unknown outcomes could change it."""
    if tally is None:
        return None
    if rule.relative_to == "offered":
        limit = (rule.quantity * window.offered(tally.second), rule.quantity * window.offered(tally.second))
    if sli.measure is ClientMeasure.THROUGHPUT:
        return holds(_throughput((tally,), 1)[1], rule, limit)
    latency = sli.measure is ClientMeasure.LATENCY
    count = _slower(tally, limit) if latency else _errors(tally)
    if not count.total:
        return None
    bounds = (count.bad[0] / count.total, count.bad[1] / count.total)
    if latency:
        allowed = 1 - _quantile(sli)
        return holds(bounds, rule, (allowed, allowed))
    return holds(bounds if sli.measure is ClientMeasure.ERROR_RATIO else (1 - bounds[1], 1 - bounds[0]), rule, limit)


def _errors(tally: Tally) -> _Count:
    return _Count(tally.second, tally.ok + tally.bad + tally.unknown, (tally.bad, tally.bad + tally.unknown))


def _slower(tally: Tally, limit_s: Bounds) -> _Count:
    """Arrivals slower than a limit known within bounds; histogram buckets add their width."""
    slow = [response for response in tally.responses if (response.max or 0) > limit_s[0] * US]  # mostly none: cheap
    surely = sum(response.count_above(limit_s[1] * US)[0] for response in slow)
    possibly = sum(response.count_above(limit_s[0] * US)[1] for response in slow)
    errors = _errors(tally)
    return _Count(tally.second, errors.total, (errors.bad[0] + surely, errors.bad[1] + possibly))


def _share(window: ClientWindow, counts: Sequence[_Count]) -> tuple[float, Bounds]:
    """The share of bad arrivals (unknown ones taken as good) and its interval."""
    total = sum(count.total for count in counts)
    bad = (sum(count.bad[0] for count in counts), sum(count.bad[1] for count in counts))
    effect = _effect(window, counts)
    return bad[0] / total, share_interval(bad, total, effect=effect, confidence=window.confidence)


def _effect(window: ClientWindow, counts: Sequence[_Count]) -> float:
    if window.disturbed is None:
        return 1.0
    seconds = [Second(count.total, count.bad[0], count.second in window.disturbed) for count in counts]
    return design_effect(seconds, window.confidence)


def _mirrored(value: float, bounds: Bounds) -> tuple[float, Bounds]:
    return 1 - value, (1 - bounds[1], 1 - bounds[0])


def _throughput(tallies_: Sequence[Tally], seconds: int) -> tuple[float, Bounds]:
    """Ok answers per second: counted, so without sampling error."""
    ok = sum(tally.ok for tally in tallies_)
    return ok / seconds, (ok / seconds, (ok + sum(tally.unknown for tally in tallies_)) / seconds)


def _latency(window: ClientWindow, q: float, coverage: float) -> Measured:
    """
    The q-quantile of response time over all arrivals, bad ones beyond any time, with a confidence interval.

    The interval is the quantiles at the ends of the interval of a share 1 - q of this many arrivals (order
    statistics with the design effect of being slower than the value).
    """
    merged = merged_histogram(response for tally in window.tallies for response in tally.responses)
    counts = [_errors(tally) for tally in window.tallies]
    total = sum(count.total for count in counts)
    settled = sum(tally.ok + tally.bad for tally in window.tallies)
    value_us = _quantile_us(merged, q * settled)
    if value_us is not None:
        limit = (value_us[0] / US, value_us[1] / US)
        counts = [_slower(tally, limit) for tally in window.tallies]
    slower = (1 - q) * total
    low, high = share_interval((slower, slower), total, effect=_effect(window, counts), confidence=window.confidence)
    lowest, highest = _quantile_us(merged, (1 - high) * total), _quantile_us(merged, (1 - low) * total)
    return Measured(
        value=None if value_us is None else sum(value_us) / 2 / US,
        lo=None if lowest is None else lowest[0] / US,
        hi=None if highest is None else highest[1] / US,
        samples=settled,
        coverage=coverage,
    )


def merged_histogram(histograms: Iterable[Histogram]) -> Histogram:
    """All of them as one."""
    counts: dict[int, int] = {}
    for histogram in histograms:
        for index, n in histogram.counts.items():
            counts[index] = counts.get(index, 0) + n
    return Histogram(counts)


def _quantile_us(histogram: Histogram, rank: float) -> tuple[int, int] | None:
    """The bucket that holds the arrival of this rank; None when that arrival had no ok answer."""
    total = histogram.total
    return histogram.quantile(rank / total) if total and rank <= total * (1 + 1e-12) else None


def _quantile(sli: ClientSli) -> float:
    assert sli.quantile is not None
    return sli.quantile
