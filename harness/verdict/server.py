"""
SLIs read from Prometheus: what its raw samples say about one window.

Counters are differenced here, sample by sample inside the window; rate() is not used, because its extrapolation reaches
across the window's ends. What was not scraped is unknown, never zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.history.series import Series, filled
from harness.plan.model import Better, PrometheusSli, Rule, Unit
from harness.units import show
from harness.verdict.interval import CONFIDENCE, Second, ratio_estimate, share_interval
from harness.verdict.model import Reason
from harness.verdict.ruling import Bounds, Measured, NoEvidenceError, Ruling, holds, longest, sustained
from harness.verdict.scraped import (
    COVERAGE_MIN,
    SLICE_SCRAPES,
    Clients,
    ServerWindow,
    checked_coverage,
    coverage,
    server_groups,
)
from harness.verdict.shares import (
    Shares,
    batch_s,
    bucket_matters,
    estimate_of,
    measured_quantile,
    measured_share,
    shares_of,
)

__all__ = [
    "COVERAGE_MIN",
    "SLICE_SCRAPES",
    "Clients",
    "ServerWindow",
    "coverage",
    "server_groups",
    "server_measured",
    "server_ruling",
]

_CANDIDATES = 16  # stretches of an `in any` rule that are looked at closely: those with the largest share

_Found = tuple[float, float] | None  # bounds of a slice's or a stretch's value; None when it is not known


def server_measured(window: ServerWindow, sli: PrometheusSli) -> Measured:
    """The SLI's value over the window; raises NoEvidenceError when the samples do not give one."""
    seen = checked_coverage(window)
    if sli.query is not None:
        value = _value(window)
        return Measured(value=value, lo=value, hi=value, samples=1, coverage=seen)
    if sli.quantile is not None:
        return measured_quantile(window, sli.quantile, seen)
    return measured_share(window, sli, seen)


def server_ruling(window: ServerWindow, sli: PrometheusSli, rule: Rule, limit: Bounds, measured: Measured) -> Ruling:
    """Whether the rule's proposition holds for the window; `measured` is the SLI's value over it."""
    if rule.for_s is not None:
        return _sustained(window, sli, rule, limit)
    if rule.any_s is not None and sli.query is not None:
        return _template_anywhere(window, sli, rule, limit)
    if rule.any_s is not None:
        return _share_anywhere(window, sli, rule, limit)
    if sli.query is not None:
        assert measured.lo is not None and measured.hi is not None  # noqa: PT018 - a template's value is a number
        worst = _worst(window, _template_slices(window), sli.better, window.slice_s)
        decided = holds((measured.lo, measured.hi), rule, limit)
        return Ruling(holds=decided, reason=Reason.UNDECIDED, worst=worst[0], worst_s=worst[1])
    return _whole(window, sli, rule, limit, measured)


def _whole(window: ServerWindow, sli: PrometheusSli, rule: Rule, limit: Bounds, measured: Measured) -> Ruling:
    slice_s, allowed = batch_s(window), _allowed(sli, limit)
    shares = shares_of(window, sli, limit, slice_s)
    note, worst = shares.note, _worst(window, _of_slices(shares), sli.better, slice_s)
    if sli.quantile is None:
        assert measured.lo is not None and measured.hi is not None  # noqa: PT018 - a share has both
        bounds = (measured.lo, measured.hi)
    else:
        found = estimate_of(window, shares)
        bounds, worst = (found.lo, found.hi), (None, None)
        point = Measured(value=shares.value, lo=found.lo, hi=found.hi, samples=0, coverage=None)
        note = f"share above {show(limit[0], sli.unit)}: {point.text(Unit.RATIO)}, limit {show(allowed[0], Unit.RATIO)}"
        note += f"; {shares.note}" if shares.note else ""
    decided = holds(bounds, rule, allowed)
    reason = Reason.UNDECIDED if _provable(shares.total + shares.unseen, allowed) else Reason.TOO_FEW_SAMPLES
    if decided is None and (shares.unseen or shares.unseen_bad):
        seen = estimate_of(window, replace(shares, unseen=0.0, unseen_bad=0.0))
        if holds((seen.lo, seen.hi), rule, allowed) is not None:
            reason = Reason.UNSEEN
    if decided is None and shares.between is not None:
        ends = bucket_matters(window, shares)
        if any(holds(end, rule, allowed) is not None for end in ends):
            reason, note = Reason.BUCKET_LIMITED, f"{note}; {shares.between}"
    return Ruling(holds=decided, reason=reason, note=note, worst=worst[0], worst_s=worst[1])


def _provable(total: float, allowed: Bounds) -> bool:
    """Whether this many events could prove the limit kept if none of them were bad."""
    return share_interval((0, 0), total)[1] <= min(allowed[1], abs(1 - allowed[0]))


def _allowed(sli: PrometheusSli, limit: Bounds) -> Bounds:
    """What a share is compared with: of a histogram 1 - q of the events may lie above the limit."""
    return limit if sli.quantile is None else (1 - sli.quantile, 1 - sli.quantile)


# -- slices -----------------------------------------------------------------------------------------------------------


def _sustained(window: ServerWindow, sli: PrometheusSli, rule: Rule, limit: Bounds) -> Ruling:
    assert rule.for_s is not None
    if sli.query is not None:
        values, allowed = _template_slices(window), limit
    else:
        values = _of_slices(shares_of(window, sli, limit, window.slice_s))[: window.slices]
        allowed = _allowed(sli, limit)
    slices = [None if value is None else holds(value, rule, allowed) for value in values]
    needed = max(1, math.ceil(rule.for_s / window.slice_s - 1e-6))
    run = longest([one is True for one in slices])
    note = f"{slices.count(True)} of {len(slices)} slices of {show(window.slice_s, Unit.SECONDS)} {rule.op} the limit"
    note += f", at most {run} in a row" if 1 < run < slices.count(True) else ""
    note += f", {slices.count(None)} unknown" if None in slices else ""
    worst = (None, None) if sli.quantile is not None else _worst(window, values, sli.better, window.slice_s)
    return Ruling(
        holds=sustained(slices, needed),
        reason=Reason.GAP,
        note=note,
        worst=worst[0],
        worst_s=worst[1],
        margin=1 - run / needed,
    )


def _of_slices(shares: Shares) -> list[_Found]:
    """Bad over total per slice; None where nothing was counted, or too little was seen."""
    rows = enumerate(zip(shares.least, shares.most, shares.totals, strict=True))
    return [
        (min(least / total, 1.0), min(most / total, 1.0)) if total > 0 and index not in shares.unknown else None
        for index, (least, most, total) in rows
    ]


def _worst(
    window: ServerWindow, values: Sequence[_Found], better: Better, step_s: float
) -> tuple[float | None, float | None]:
    """The worst of the values that are known, and when its slice began; the earliest of equals."""
    known = [(value[0], index) for index, value in enumerate(values) if value is not None]
    if not known:
        return None, None
    most = max if better is Better.LOWER else min
    value = most(value for value, _ in known)
    index = next(index for other, index in known if other == value)
    return value, window.start_s + index * step_s


# -- stretches --------------------------------------------------------------------------------------------------------


def _share_anywhere(window: ServerWindow, sli: PrometheusSli, rule: Rule, limit: Bounds) -> Ruling:
    """
    Whether the rule's proposition holds of some stretch of whole slices; stretches begin with every slice.

    As with clients: that one of many is beyond the limit must be surer than of one alone (Bonferroni, over stretches
    that do not overlap); that none is takes no more than each by itself. Looked at closely are the worst ones.
    """
    assert rule.any_s is not None
    shares, allowed = shares_of(window, sli, limit, window.slice_s), _allowed(sli, limit)
    length = max(1, math.ceil(rule.any_s / window.slice_s - 1e-6))
    starts = shares.worst(length, window.slices)
    if not starts:
        return _no_stretch(rule.any_s)
    sure = 1 - (1 - CONFIDENCE) * length / window.slices
    decided: list[bool | None] = []
    for first in starts[:_CANDIDATES]:
        usual, surer = (_stretch(window, shares, first, length, one) for one in (CONFIDENCE, sure))
        broken, kept = holds(surer, rule, allowed), holds(usual, rule, allowed)
        enough = _provable(shares.stretches(first, length)[2], allowed)
        decided.append(None if not enough else True if broken else False if kept is False else None)
    gaps = any(not shares.unknown.isdisjoint(range(first, first + length)) for first in starts)
    least, _, total = shares.stretches(starts[0], length)
    at_s = window.start_s + starts[0] * window.slice_s
    low, high = _stretch(window, shares, starts[0], length, CONFIDENCE)
    value = Measured(value=least / total, lo=low, hi=high, samples=round(total), coverage=None)
    note = f"worst {show(rule.any_s, Unit.SECONDS)} from {at_s:g} s: {value.text(Unit.RATIO)}"
    note += "" if sli.quantile is None else f" above {show(limit[0], sli.unit)}, limit {show(allowed[0], Unit.RATIO)}"
    return Ruling(
        holds=True if True in decided else None if gaps or None in decided else False,
        reason=Reason.GAP if gaps else Reason.UNDECIDED,
        note=note,
        value=value if sli.quantile is None else None,
        worst=value.value if sli.quantile is None else None,
        worst_s=at_s,
    )


def _stretch(window: ServerWindow, shares: Shares, first: int, length: int, confidence: float) -> Bounds:
    """The interval of the share of bad events in so many slices."""
    inside = range(first, first + length)
    least = [Second(shares.totals[i], min(shares.least[i], shares.totals[i])) for i in inside]
    most = [Second(shares.totals[i], min(shares.most[i], shares.totals[i])) for i in inside]
    lo_s, hi_s = window.start_s + first * window.slice_s, window.start_s + (first + length) * window.slice_s
    if window.is_disturbed(lo_s, hi_s):
        least = [one._replace(disturbed=True) for one in least]
    found = ratio_estimate(least, most, confidence)
    return found.lo, found.hi


def _template_anywhere(window: ServerWindow, sli: PrometheusSli, rule: Rule, limit: Bounds) -> Ruling:
    """Whether the rule holds of some stretch; the template was asked over every one that begins with a slice."""
    assert rule.any_s is not None
    assert sli.query is not None
    values = _template_stretches(window, sli.query, rule.any_s)
    if not values:
        return _no_stretch(rule.any_s)
    decided = [None if value is None else holds(value, rule, limit) for value in values]
    length = show(rule.any_s, Unit.SECONDS)
    note = f"{decided.count(True)} of {len(decided)} stretches of {length} {rule.op} the limit"
    note += f", {decided.count(None)} unknown" if None in decided else ""
    worst = _worst(window, values, sli.better, window.slice_s)
    return Ruling(
        holds=True if True in decided else None if None in decided else False,
        reason=Reason.GAP,
        note=note,
        worst=worst[0],
        worst_s=worst[1],
    )


def _no_stretch(any_s: float) -> Ruling:
    note = f"no stretch of {show(any_s, Unit.SECONDS)} with anything counted fits into the window"
    return Ruling(holds=None, reason=Reason.TOO_FEW_SAMPLES, note=note)


# -- templates --------------------------------------------------------------------------------------------------------


def _value(window: ServerWindow) -> float:
    """The template's only value at the window's end."""
    values = [value for _, value in _only(window.of("value"), "")]
    if not values:
        raise NoEvidenceError(Reason.NO_SAMPLES, "the query returned no series; does its metric exist?")
    if not math.isfinite(values[-1]):
        raise NoEvidenceError(Reason.UNDEFINED_VALUE, f"the query returned {values[-1]}")
    return values[-1]


def _template_slices(window: ServerWindow) -> list[_Found]:
    """The template's value per slice; None where it is missing or not a finite number."""
    values: list[_Found] = [None] * window.slices
    for t_s, value in _only(window.of("slice"), " per slice"):
        index = round((t_s - window.start_s) / window.slice_s) - 1  # a slice's value is asked for at its end
        if 0 <= index < len(values) and math.isfinite(value):
            values[index] = (value, value)
    return values


def _template_stretches(window: ServerWindow, query: str, any_s: float) -> list[_Found]:
    """The template's value over every stretch; raises NoEvidenceError where no such stretches are in the record."""
    asked = filled(query, window.selector, round(any_s * 1000))
    count = math.floor((window.end_s - window.start_s - any_s) / window.slice_s + 1e-6) + 1
    values: list[_Found] = [None] * max(count, 0)
    found = tuple(one for one in window.of("stretch") if one.query == asked)
    if not found and values:
        detail = f"the record has no values over stretches of {show(any_s, Unit.SECONDS)}; only a new run can have them"
        raise NoEvidenceError(Reason.NO_SAMPLES, detail)
    for t_s, value in _only(found, " per stretch"):
        index = round((t_s - window.start_s - any_s) / window.slice_s)
        if 0 <= index < len(values) and math.isfinite(value):
            values[index] = (value, value)
    return values


def _only(series: Sequence[Series], per: str) -> Iterator[tuple[float, float]]:
    """The samples of the one series there may be."""
    if len(series) > 1:
        shown = sorted("{" + ", ".join(f'{k}="{v}"' for k, v in one.labels) + "}" for one in series)
        labels = " and ".join(shown[:2])
        said = f"the query returned {len(series)} series{per}, such as {labels}"
        raise NoEvidenceError(Reason.SEVERAL_SERIES, f"{said}; aggregate them, or judge each of a label")
    return iter(series[0].samples if series else ())
