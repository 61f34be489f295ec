"""What Prometheus returned for one SLI in one window, and whether it is enough to say anything at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from harness.history.series import Samples, Series
from harness.plan.model import PrometheusSli, Unit
from harness.units import show
from harness.verdict.model import Reason
from harness.verdict.ruling import NoEvidenceError

COVERAGE_MIN = 0.9
SLICE_SCRAPES = 2  # the metrics source asks templates once per this many scrape intervals, too

_REACH = 0.75  # a scrape vouches for this many scrape intervals around it: a gap of 1.5 intervals is no gap yet
_NAMED_MAX = 2

T = TypeVar("T")
Target = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """What the clients know of the same window: requests sent, and those of them without an ok answer so far."""

    sent: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerWindow:
    """What Prometheus returned for one SLI in [start_s, end_s)."""

    start_s: float
    end_s: float
    scrape_s: float
    series: tuple[Series, ...]
    failures: tuple[str, ...]  # why queries did not return data: nobody answered
    warnings: tuple[str, ...]  # what Prometheus said about answers it gave
    disturbed: frozenset[int]  # seconds in which a fault, or an impact of one, was at work
    facts: frozenset[int] = frozenset()  # seconds in which a fault was at work
    clients: Clients | None = None  # None where the load record is not valid
    refusals: tuple[str, ...] = ()  # the same, where they were answered
    selector: str = ""  # what `$selector` stands for in a template
    _known: dict[Hashable, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def once(self, key: Hashable, work: Callable[[], T]) -> T:
        """What `work` gives, worked out once; several rules look at one window."""
        if key not in self._known:
            self._known[key] = work()
        found: T = self._known[key]
        return found

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

    def is_disturbed(self, lo_s: float, hi_s: float) -> bool:
        """Whether a fault was at work in [lo_s, hi_s)."""
        return any(second in self.disturbed for second in range(math.floor(lo_s), math.ceil(hi_s)))


def target_of(series: Series) -> Target:
    """The scraped process that a series comes from."""
    return series.label("job"), series.label("instance")


def server_groups(window: ServerWindow, sli: PrometheusSli, label: str) -> dict[str, ServerWindow]:
    """
    The SLI's window once per value of a label, in order of the values; for a threshold with `each`.

    A value that only a target has counts too: a zone whose counters are gone is a group of its own, about which nothing
    is known. Targets without the label vouch for every group that has series of theirs. Raises NoEvidenceError where
    no series has the label.
    """
    own = [one for one in window.series if one.role != "up"]
    ups = window.of("up")
    names = sorted({value for one in (*own, *ups) if (value := one.label(label)) is not None})
    if not names and not window.failures and not window.refusals:
        seen = sorted({name for one in own for name, _ in one.labels} - {"__name__", "le"})
        had = f"they have {', '.join(seen)}" if seen else "they have no labels"
        detail = f"no series of {sli.name} has a label '{label}'; {had}"
        if sli.query is not None:
            detail += f"; keep it in the query, as in max by ({label}) (...)"
        raise NoEvidenceError(Reason.UNKNOWN_GROUPS, detail)
    found = {}
    for name in names:
        inside = [one for one in own if one.label(label) == name]
        theirs = {target_of(one) for one in inside}
        scraped = [
            one
            for one in ups
            if one.label(label) == name or (one.label(label) is None and _vouches(target_of(one), theirs))
        ]
        found[name] = replace(window, series=(*inside, *scraped))
    return found


def _vouches(target: Target, theirs: set[Target]) -> bool:
    """An aggregate names no target, so that every target counts."""
    return target in theirs or (None, None) in theirs or not theirs


def checked_coverage(window: ServerWindow) -> float:
    """The share of the window that was scraped; raises NoEvidenceError where that, or an answer, is not enough."""
    if window.failures:
        raise NoEvidenceError(Reason.SOURCE_UNREACHABLE, window.failures[0])
    if window.refusals:
        raise NoEvidenceError(Reason.QUERY_REFUSED, window.refusals[0])
    warnings = [text for text in window.warnings if not text.startswith("PromQL info")]
    if warnings:
        raise NoEvidenceError(Reason.PARTIAL_DATA, f"Prometheus warned: {warnings[0]}")
    ups = window.of("up")
    if not ups:
        detail = "Prometheus had no target of the service in the window; is it scraped, does `selector` match it?"
        raise NoEvidenceError(Reason.NO_TARGET, detail)
    if not any(1.0 in one.samples.values for one in ups):
        each = "the only target was" if len(ups) == 1 else f"all {len(ups)} targets were"
        detail = f"{each} down in the whole window: no scrape succeeded ({_named(ups)})"
        raise NoEvidenceError(Reason.TARGET_DOWN, detail)
    seen, detail = _coverage(window, ups)
    if seen < COVERAGE_MIN:
        raise NoEvidenceError(Reason.GAP, f"{detail}; {COVERAGE_MIN:.0%} is needed")
    return seen


def coverage(window: ServerWindow) -> float:
    """
    The share of what should have been scraped that was, 0-1: the lesser of two.

    Of the window: when at least one target was being scraped, so that a Prometheus that was away is noticed. Of the
    targets: the time in which each was scraped over the time in which it existed, all together. What a fault takes
    down costs nothing: where a fault was at work, only the former counts.
    """
    return _coverage(window, window.of("up"))[0]


def _coverage(window: ServerWindow, ups: tuple[Series, ...]) -> tuple[float, str]:
    length_s = window.end_s - window.start_s
    if length_s <= 0:
        return 0.0, "the window is empty"
    of_window = _united(window, ups) / length_s
    spans = [_existence(window, one.samples) for one in ups]
    covered = [min(_covered_s(window, one.samples, *span), _length(span)) for one, span in zip(ups, spans, strict=True)]
    expected = [
        _length(span) - _excused_s(window, one.samples, span, _length(span) - seen)
        for one, span, seen in zip(ups, spans, covered, strict=True)
    ]
    whole = math.fsum(expected)
    of_targets = math.fsum(covered) / whole if whole > 0 else 1.0
    if of_window <= of_targets:
        detail = f"a target was being scraped in {show(of_window, Unit.RATIO)} of the window"
        return _rounded(of_window), detail
    short = [one for one, seen, due in zip(ups, covered, expected, strict=True) if seen < COVERAGE_MIN * due]
    detail = f"targets were scraped in {show(of_targets, Unit.RATIO)} of the time ({_named(short)} less than the rest)"
    return _rounded(of_targets), detail


def _rounded(share: float) -> float:
    """A sum of many scrapes: 0.9999999999 is all of it."""
    return min(round(share, 6), 1.0)


def _length(span: tuple[float, float]) -> float:
    return span[1] - span[0]


def _united(window: ServerWindow, ups: tuple[Series, ...]) -> float:
    """For how long at least one target was being scraped, seconds."""
    length_s = window.end_s - window.start_s
    for one in ups:
        if _covered_s(window, one.samples, window.start_s, window.end_s) >= length_s - window.scrape_s:
            return length_s
    times = sorted({t_s for one in ups for t_s, value in one.samples if value == 1})
    return _reached(times, _REACH * window.scrape_s, window.start_s, window.end_s)


def _covered_s(window: ServerWindow, samples: Samples, lo_s: float, hi_s: float) -> float:
    """For how long of [lo_s, hi_s) the target was being scraped, seconds."""
    times, reach = samples.times, _REACH * window.scrape_s
    without_gap = len(times) > 0 and samples.longest_gap_s <= 2 * reach
    if without_gap and samples.values.count(1.0) == len(times):  # mostly
        return max(min(times[-1] + reach, hi_s) - max(times[0] - reach, lo_s), 0.0)
    return _reached((t_s for t_s, value in samples if value == 1), reach, lo_s, hi_s)


def _reached(times: Iterable[float], reach: float, lo_s: float, hi_s: float) -> float:
    found, until = 0.0, lo_s
    for t_s in times:
        lo, hi = max(t_s - reach, until), min(t_s + reach, hi_s)
        if hi > lo:
            found, until = found + hi - lo, hi
    return found


def _existence(window: ServerWindow, samples: Samples) -> tuple[float, float]:
    """From when to when Prometheus had the target: the window, unless it came or went well inside."""
    edge = 2 * _REACH * window.scrape_s
    if not len(samples):
        return window.start_s, window.start_s
    first_s, last_s = samples.times[0], samples.times[-1]
    lo_s = window.start_s if first_s <= window.start_s + edge else first_s
    hi_s = window.end_s if last_s >= window.end_s - edge else last_s
    return lo_s, max(lo_s, hi_s)


def _excused_s(window: ServerWindow, samples: Samples, span: tuple[float, float], missed_s: float) -> float:
    """How much of what was missed of a target lies where a fault was at work, seconds."""
    if missed_s <= 1e-9 or not window.disturbed:
        return 0.0
    found = 0.0
    for second in window.disturbed:
        lo_s, hi_s = max(float(second), span[0]), min(second + 1.0, span[1])
        if hi_s > lo_s:
            found += hi_s - lo_s - _covered_s(window, samples, lo_s, hi_s)
    return min(found, missed_s)


def _named(series: Iterable[Series]) -> str:
    """Some of the targets, by name."""
    names = [one.label("pod") or one.label("instance") or "unnamed" for one in series]
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return ", ".join(sorted(names)[:_NAMED_MAX]) + more
