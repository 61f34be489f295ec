"""
Whether a rule holds of a client SLI: over the whole window, sustained for a while, or in any stretch of some length.

A share is decided by its interval. What is counted (throughput, failures) has none besides the outcomes not known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from harness.plan.model import ClientMeasure, ClientSli, Rule, Unit
from harness.units import show
from harness.verdict.client import ClientWindow, Count, Tally, counts_of, quantile_of
from harness.verdict.explain import missing_arrivals, too_short
from harness.verdict.interval import CONFIDENCE, Estimate, share_interval
from harness.verdict.measuring import exact, worst_of
from harness.verdict.model import Reason
from harness.verdict.relative import Baseline, compared, compared_text
from harness.verdict.ruling import Bounds, Measured, Ruling, holds, longest, sustained

SURE = 1 - 2e-6  # below the minimum sample only a breach that chance makes once in a million counts

_COUNTED = (ClientMeasure.THROUGHPUT, ClientMeasure.FAILURES)
_CANDIDATES = (
    100  # stretches of an `in any` rule that are looked at: if the worst are within the limit, so are the rest
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A rule and what it compares with: `limit` in the SLI's unit; `baseline` where that is relative to one."""

    rule: Rule
    limit: Bounds
    baseline: Baseline | None = None
    per_second: float | None = None  # of offered load, for a rule `of offered`: each slice has its own


def client_ruling(window: ClientWindow, sli: ClientSli, asked: Asked, measured: Measured) -> Ruling:
    """Whether the rule's proposition holds for the window; `measured` is the SLI's value over it."""
    if asked.rule.for_s is not None:
        return _sustained(window, sli, asked)
    if asked.rule.any_s is not None:
        return _anywhere(window, sli, asked, max(1, math.ceil(asked.rule.any_s - 1e-6)))
    if asked.baseline is not None:
        return _relative(sli, asked.rule, asked.baseline, measured)
    if sli.measure in _COUNTED:
        assert measured.lo is not None and measured.hi is not None  # noqa: PT018 - counted
        return Ruling(holds=holds((measured.lo, measured.hi), asked.rule, asked.limit), reason=Reason.UNDECIDED)
    return _whole(window, sli, asked)


def _whole(window: ClientWindow, sli: ClientSli, asked: Asked) -> Ruling:
    allowed, total = _allowed(sli, asked.limit), _total(window)
    found = window.estimate(sli, asked.limit)
    decided = holds(_as_sli(sli, (found.lo, found.hi)), asked.rule, allowed)
    note = _slower_note(sli, asked.limit, found, allowed, total)
    if not provable(total, allowed):
        bad = found.value * total
        bounds = share_interval((bad, bad), total, effect=found.effect, confidence=SURE)
        decided = holds(_as_sli(sli, bounds), asked.rule, allowed)
        missing = missing_arrivals(found, total, _share(sli, allowed), window.length_s)
        return Ruling(holds=decided, reason=Reason.TOO_FEW_SAMPLES, note=note, missing=missing)
    missing = missing_arrivals(found, total, _share(sli, allowed), window.length_s) if decided is None else ""
    if found.tau_s and (short := too_short(found.tau_s, window.length_s)):
        note = f"{note}; {short}" if note else short
    return Ruling(holds=decided, reason=Reason.UNDECIDED, note=note, missing=missing)


def provable(total: float, allowed: Bounds) -> bool:
    """Whether this many arrivals could prove the limit kept if none of them were bad."""
    return share_interval((0, 0), total)[1] <= min(allowed[1], abs(1 - allowed[0]))


def _relative(sli: ClientSli, rule: Rule, base: Baseline, measured: Measured) -> Ruling:
    return Ruling(
        holds=compared(measured, rule, base, sli.better),
        reason=Reason.UNDECIDED,
        note=compared_text(measured, base, sli.unit),
    )


# -- for DURATION ------------------------------------------------------------------------------------------------------


def _sustained(window: ClientWindow, sli: ClientSli, asked: Asked) -> Ruling:
    assert asked.rule.for_s is not None
    needed = max(1, math.ceil(asked.rule.for_s - 1e-6))
    found = {tally.second: tally for tally in window.tallies}
    slices = [slice_holds(window, found.get(second), sli, asked) for second in window.seconds]
    run = longest([one is True for one in slices])
    note = f"{slices.count(True)} of {len(slices)} seconds {asked.rule.op} the limit"
    note += f", at most {run} in a row" if 1 < run < slices.count(True) else ""
    note += f", {slices.count(None)} unknown" if None in slices else ""
    return Ruling(holds=sustained(slices, needed), reason=Reason.GAP, note=note, margin=1 - run / needed)


def slice_holds(window: ClientWindow, tally: Tally | None, sli: ClientSli, asked: Asked) -> bool | None:
    """Whether the rule holds for one second, taken at its point value; None when unknown outcomes could change it."""
    if tally is None:
        return None
    limit = asked.limit
    if asked.per_second is not None:
        amount = asked.per_second * window.offered(tally.second, tally.second + 1)
        limit = (amount, amount)
    if sli.measure in _COUNTED:
        return holds(exact((tally,), 1, sli.measure), asked.rule, limit)
    (count,) = counts_of((tally,), sli, limit)
    if not count.total:
        return None
    bounds = _as_sli(sli, (count.least / count.total, count.most / count.total))
    return holds(bounds, asked.rule, _allowed(sli, limit))


# -- in any DURATION ---------------------------------------------------------------------------------------------------


def _anywhere(window: ClientWindow, sli: ClientSli, asked: Asked, length: int) -> Ruling:
    """
    Whether the rule's proposition holds of some stretch of so many whole seconds; stretches begin with every second.

    Such a rule is there to find bursts, so that within a stretch arrivals count as independent. That one of many
    stretches is beyond the limit must be surer than of one alone (Bonferroni, over those that do not overlap); that
    none is takes no more than each by itself.
    """
    if length > len(window.seconds):
        return Ruling(holds=None, reason=Reason.TOO_FEW_SAMPLES, note=f"no stretch of {length} s fits into the phase")
    if sli.measure in _COUNTED:
        return _counted_anywhere(window, sli, asked, length)
    stretches = _stretches(window, counts_of(window.tallies, sli, asked.limit), length)
    if not stretches:
        return Ruling(holds=None, reason=Reason.NO_SAMPLES)
    allowed, sure = _allowed(sli, asked.limit), 1 - (1 - CONFIDENCE) * length / len(window.seconds)
    decided = [_stretch_holds(one, sli, asked.rule, allowed, sure) for one in stretches]
    worst = stretches[0]
    value = _as_sli(sli, (worst.least / worst.total,) * 2)[0]
    low, high = _as_sli(sli, share_interval((worst.least, worst.most), worst.total))
    shown = Measured(value=value, lo=low, hi=high, samples=worst.total, coverage=None)
    latency = allowed[0] if sli.measure is ClientMeasure.LATENCY else None
    return Ruling(
        holds=True if True in decided else None if None in decided else False,
        reason=Reason.UNDECIDED if all(provable(one.total, allowed) for one in stretches) else Reason.TOO_FEW_SAMPLES,
        note=f"worst {_length(length)} from {worst.second} s: {shown.text(Unit.RATIO)}" + _limit_note(sli, allowed),
        margin=None if latency is None else 1 - value / latency,
        value=shown,
        worst=value if latency is None else None,
        worst_s=float(worst.second),
    )


def _stretch_holds(one: Count, sli: ClientSli, rule: Rule, allowed: Bounds, sure: float) -> bool | None:
    bad = (one.least, one.most)
    if holds(_as_sli(sli, share_interval(bad, one.total, confidence=sure)), rule, allowed):
        return True
    usual = holds(_as_sli(sli, share_interval(bad, one.total)), rule, allowed)
    return False if usual is False and provable(one.total, allowed) else None


def _stretches(window: ClientWindow, counts: Sequence[Count], length: int) -> list[Count]:
    """The stretches of so many seconds, as counts of their first; the worst first, and of many only the worst."""
    found = {one.second: one for one in counts}
    empty = Count(0, 0, 0, 0)
    rows = [found.get(second, empty) for second in window.seconds]
    sums = [
        list(accumulate(row, initial=0))
        for row in zip(*((one.total, one.least, one.most) for one in rows), strict=True)
    ]
    made = [
        Count(window.seconds.start + at, *(row[at + length] - row[at] for row in sums))
        for at in range(len(rows) - length + 1)
    ]
    made = sorted((one for one in made if one.total), key=lambda one: (-one.least / one.total, one.second))
    return made[:_CANDIDATES] if all(one.least == one.most for one in made) else made


def _counted_anywhere(window: ClientWindow, sli: ClientSli, asked: Asked, length: int) -> Ruling:
    found = {tally.second: tally for tally in window.tallies}
    seconds = window.seconds
    values: list[tuple[Bounds, Bounds]] = []
    for start in range(seconds.start, seconds.stop - length + 1):
        inside = [found[second] for second in range(start, start + length) if second in found]
        limit = asked.limit
        if asked.per_second is not None:
            amount = asked.per_second * window.offered(start, start + length) / length
            limit = (amount, amount)
        values.append((exact(inside, length, sli.measure), limit))
    decided = [holds(bounds, asked.rule, limit) for bounds, limit in values]
    index = _furthest(asked.rule, values)
    low, high = values[index][0]
    worst = Measured(value=low, lo=low, hi=high, samples=0, coverage=None)
    at = seconds.start + index
    return Ruling(
        holds=True if True in decided else None if None in decided else False,
        reason=Reason.UNDECIDED,
        note=f"worst {_length(length)} from {at} s: {worst.text(sli.unit)}",
        value=worst,
        worst=low,
        worst_s=float(at),
    )


def _furthest(rule: Rule, values: Sequence[tuple[Bounds, Bounds]]) -> int:
    """Which value lies furthest in the rule's direction, as a share of its limit."""
    sign = 1 if rule.op in (">", ">=") else -1
    beyond = [sign * (value[0] - limit[0]) / (limit[0] or 1.0) for value, limit in values]
    return beyond.index(max(beyond))


# -- shares ------------------------------------------------------------------------------------------------------------


def _allowed(sli: ClientSli, limit: Bounds) -> Bounds:
    """What the share is compared with: for a latency 1 - q of the arrivals may be slower than the limit."""
    return (1 - quantile_of(sli),) * 2 if sli.measure is ClientMeasure.LATENCY else limit


def _share(sli: ClientSli, allowed: Bounds) -> float:
    return 1 - allowed[0] if sli.measure is ClientMeasure.SUCCESS_RATIO else allowed[0]


def _as_sli(sli: ClientSli, bad: Bounds) -> Bounds:
    return (1 - bad[1], 1 - bad[0]) if sli.measure is ClientMeasure.SUCCESS_RATIO else bad


def _total(window: ClientWindow) -> int:
    return sum(tally.settled + tally.unknown for tally in window.tallies)


def _slower_note(sli: ClientSli, limit: Bounds, found: Estimate, allowed: Bounds, total: int) -> str:
    if sli.measure is not ClientMeasure.LATENCY:
        return ""
    share = Measured(value=found.value, lo=found.lo, hi=found.hi, samples=total, coverage=None)
    return f"share slower than {show(limit[0], Unit.SECONDS)}: {share.text(Unit.RATIO)}" + _limit_note(sli, allowed)


def _limit_note(sli: ClientSli, allowed: Bounds) -> str:
    return f", limit {show(allowed[0], Unit.RATIO)}" if sli.measure is ClientMeasure.LATENCY else ""


def _length(seconds: int) -> str:
    return show(float(seconds), Unit.SECONDS)


def worst_first(window: ClientWindow, sli: ClientSli, ruling: Ruling) -> Iterator[float | None]:
    """The worst value and when it was: of the rule's own stretches, else of any second."""
    if ruling.worst_s is not None:
        yield from (ruling.worst, ruling.worst_s)
        return
    yield from worst_of(window, sli) or (None, None)
