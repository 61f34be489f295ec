"""
SLIs read from Prometheus: what its raw samples say about one window.

Counters are differenced here, sample by sample inside the window; rate() is not used, because its extrapolation reaches
across the window's ends. What was not scraped is unknown, never zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from harness.history.series import Series
from harness.plan.model import PrometheusSli, Rule, Unit
from harness.units import show
from harness.verdict.interval import Second, design_effect, share_interval
from harness.verdict.model import Reason
from harness.verdict.ruling import Bounds, Measured, NoEvidenceError, Ruling, holds, sustained

COVERAGE_MIN = 0.9
SLICE_SCRAPES = 2  # the metrics source asks templates once per this many scrape intervals, too

_REACH = 0.75  # a scrape vouches for this many scrape intervals around it: a gap of 1.5 intervals is no gap yet


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerWindow:
    """What Prometheus returned for one SLI in [start_s, end_s)."""

    start_s: float
    end_s: float
    scrape_s: float
    series: tuple[Series, ...]
    failures: tuple[str, ...]  # why queries did not return data
    warnings: tuple[str, ...]  # what Prometheus said about answers it gave
    disturbed: frozenset[int]  # seconds in which a fault was at work

    def of(self, role: str) -> tuple[Series, ...]:
        """The series of one role."""
        return tuple(one for one in self.series if one.role == role)

    @property
    def slice_s(self) -> float:
        """Length of a slice; slices are disjoint and aligned to the window's start."""
        return SLICE_SCRAPES * self.scrape_s

    @property
    def slices(self) -> int:
        """How many whole slices the window has."""
        return math.floor((self.end_s - self.start_s) / self.slice_s + 1e-6)

    def slice_at(self, t_s: float) -> int:
        """The slice that `t_s` falls into; the last may be the remainder behind the whole ones."""
        return math.floor((t_s - self.start_s) / self.slice_s + 1e-6)


@dataclass(frozen=True, slots=True)
class _Increase:
    """By how much the bad and the total counters rose, and when they were read, per slice."""

    bad: tuple[float, ...]
    total: tuple[float, ...]


def coverage(window: ServerWindow) -> float:
    """The share of the window in which at least one target was being scraped successfully; a dead pod costs nothing."""
    reach = _REACH * window.scrape_s
    covered, until = 0.0, window.start_s
    for t_s in sorted({t_s for one in window.of("up") for t_s, value in one.samples if value == 1}):
        lo, hi = max(t_s - reach, until), min(t_s + reach, window.end_s)
        if hi > lo:
            covered, until = covered + hi - lo, hi
    share = covered / (window.end_s - window.start_s) if window.end_s > window.start_s else 0.0
    return min(round(share, 6), 1.0)  # a sum of many scrapes: 0.9999999999 is all of the window


def server_measured(window: ServerWindow, sli: PrometheusSli) -> Measured:
    """The SLI's value over the window; raises NoEvidenceError when the samples do not give one."""
    seen = _checked_coverage(window)
    if sli.query is not None:
        value = _value(window)
        return Measured(value=value, lo=value, hi=value, samples=1, coverage=seen)
    increase = _increases(window, sli)
    bad, total = sum(increase.bad), sum(increase.total)
    if total <= 0:
        raise NoEvidenceError(Reason.NO_SAMPLES, "the total counter did not rise in the window: nothing was served")
    bad = min(bad, total)
    slices = [
        Second(round(n), min(round(k), round(n)), _disturbed(window, index))
        for index, (k, n) in enumerate(zip(increase.bad, increase.total, strict=True))
    ]
    lo, hi = share_interval((bad, bad), total, effect=design_effect(slices))
    return Measured(value=bad / total, lo=lo, hi=hi, samples=round(total), coverage=seen)


def server_ruling(window: ServerWindow, sli: PrometheusSli, rule: Rule, limit: Bounds, measured: Measured) -> Ruling:
    """Whether the rule's proposition holds for the window; `measured` is the SLI's value over it."""
    if rule.for_s is not None:
        values = _value_slices(window) if sli.query is not None else _ratio_slices(window, sli)
        slices = [None if value is None else holds((value, value), rule, limit) for value in values]
        needed = max(1, math.ceil(rule.for_s / window.slice_s - 1e-6))
        length = show(window.slice_s, Unit.SECONDS)
        note = f"{slices.count(True)} of {len(slices)} slices of {length} {rule.op} the limit"
        note += f", {slices.count(None)} unknown" if None in slices else ""
        return Ruling(holds=sustained(slices, needed), reason=Reason.GAP, note=note)
    assert measured.lo is not None and measured.hi is not None  # noqa: PT018 - only a latency may have no bound
    return Ruling(holds=holds((measured.lo, measured.hi), rule, limit), reason=Reason.UNDECIDED)


def _checked_coverage(window: ServerWindow) -> float:
    answered = [one for one in window.series if one.role != "up"]
    if window.failures and not answered:
        raise NoEvidenceError(Reason.SOURCE_UNREACHABLE, window.failures[0])
    warnings = [text for text in window.warnings if not text.startswith("PromQL info")]
    if warnings:
        raise NoEvidenceError(Reason.PARTIAL_DATA, f"Prometheus warned: {warnings[0]}")
    if not window.series:
        raise NoEvidenceError(Reason.NO_SAMPLES, "Prometheus returned no series for the window")
    seen = coverage(window)
    if seen < COVERAGE_MIN:
        detail = f"a target was being scraped in {show(seen, Unit.RATIO)} of the window; {COVERAGE_MIN:.0%} is needed"
        raise NoEvidenceError(Reason.GAP, detail)
    return seen


def _value(window: ServerWindow) -> float:
    """The template's only value at the window's end."""
    series = window.of("value")
    if len(series) > 1:
        labels = " and ".join("{" + ", ".join(f'{k}="{v}"' for k, v in one.labels) + "}" for one in series[:2])
        detail = f"the query returned {len(series)} series, such as {labels}; aggregate them"
        raise NoEvidenceError(Reason.SEVERAL_SERIES, detail)
    if not series or not series[0].samples:
        raise NoEvidenceError(Reason.NO_SAMPLES, "the query returned no series; is the target scraped?")
    value = series[0].samples[-1][1]
    if not math.isfinite(value):
        raise NoEvidenceError(Reason.UNDEFINED_VALUE, f"the query returned {value}")
    return value


def _value_slices(window: ServerWindow) -> list[float | None]:
    """The template's value per slice; None where it is missing or not a finite number."""
    series = window.of("slice")
    if len(series) > 1:
        raise NoEvidenceError(
            Reason.SEVERAL_SERIES, f"the query returned {len(series)} series per slice; aggregate them"
        )
    values: list[float | None] = [None] * window.slices
    for t_s, value in series[0].samples if series else ():
        index = round((t_s - window.start_s) / window.slice_s) - 1  # a slice's value is asked for at its end
        if 0 <= index < len(values) and math.isfinite(value):
            values[index] = value
    return values


def _ratio_slices(window: ServerWindow, sli: PrometheusSli) -> list[float | None]:
    """Bad over total per whole slice; None where nothing was counted."""
    increase = _increases(window, sli)
    pairs = zip(increase.bad, increase.total, strict=True)
    return [min(bad / total, 1.0) if total > 0 else None for bad, total in pairs][: window.slices]


def _increases(window: ServerWindow, sli: PrometheusSli) -> _Increase:
    bad, total = window.of("bad"), window.of("total")
    if not total:
        raise NoEvidenceError(Reason.NO_SAMPLES, "no series of the total counter; is the target scraped?")
    if not bad and not sli.absent_means_zero:
        detail = "no series of the bad counter; write `absent: zero` if it appears only with the first bad event"
        raise NoEvidenceError(Reason.NO_SAMPLES, detail)
    return _Increase(_increase(window, bad), _increase(window, total))


def _increase(window: ServerWindow, series: Iterable[Series]) -> tuple[float, ...]:
    """The sum of the series' increases inside the window, per slice in which they were seen."""
    found = [0.0] * (window.slice_at(window.end_s) + 1)
    for one in series:
        for t_s, step in _steps(window, one):
            found[window.slice_at(t_s)] += step
    return tuple(found)


def _steps(window: ServerWindow, series: Series) -> list[tuple[float, float]]:
    """
    (when seen, increase) between neighbouring samples of one counter, for those seen inside the window.

    A fall is a counter reset: what it shows after it was counted since. A series born inside the window counts
    its full first value.
    """
    steps: list[tuple[float, float]] = []
    before: float | None = None
    for t_s, value in series.samples:
        if not math.isfinite(value):
            continue
        if window.start_s <= t_s < window.end_s:
            if before is None:
                before = 0.0 if _born_inside(window, series, t_s) else value
            steps.append((t_s, value - before if value >= before else value))
        before = value if t_s < window.end_s else before
    return steps


def _born_inside(window: ServerWindow, series: Series, first_s: float) -> bool:
    """
    Whether a series first seen at `first_s` began to exist after the window's start.

    Not when that is within the first scrape (it may be older), nor when its target's previous scrape failed.
    """
    if first_s <= window.start_s + window.scrape_s:
        return False
    instance = dict(series.labels).get("instance")
    health = [
        sample
        for one in window.of("up")
        if dict(one.labels).get("instance") == instance
        for sample in one.samples
        if sample[0] < first_s - 0.5 * window.scrape_s
    ]
    return not health or max(health)[1] == 1


def _disturbed(window: ServerWindow, index: int) -> bool:
    lo = window.start_s + index * window.slice_s
    return any(second in window.disturbed for second in range(math.floor(lo), math.ceil(lo + window.slice_s)))
