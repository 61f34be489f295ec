"""
Two runs figure by figure, the usual spread of the runs before them, and since when a figure is not what it was. Pure.

Compares verdict documents (verdict.json), which is all that is left of many runs, and needs nothing judged again.
Nothing here changes a verdict: runs differ for many reasons, a proven difference from last week's run included.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any

from harness.errors import RecordError
from harness.plan.model import Better, Tier, Unit

LEAST_CHANGE = 0.05  # smaller ones are not worth a word, proven or not
LEAST_RUNS = 5  # of which a spread can be told
SPREADS = 3.0  # how many robust standard deviations are usual
STEP_P = 0.001  # of a step in a figure's history (research on run histories: 1e-3 for triage)

_MAD_TO_SD = 1.4826  # of a normal distribution
_PERCENTILES = ("p50", "p95", "p99")

Key = tuple[str, str]  # (phase or fault, figure)


class Change(StrEnum):
    """What became of a figure."""

    WORSE = "worse"
    UNCLEAR = "unclear"  # changed, but not beyond what is uncertain or usual
    BETTER = "better"
    SAME = "same"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of one run. `lo` and `hi` bound it where its uncertainty is known; `hi` is infinite when censored."""

    value: float
    lo: float | None
    hi: float | None
    unit: Unit
    better: Better


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Where a figure usually lies: the median of earlier passing runs, three robust standard deviations either way."""

    lo: float
    hi: float
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A figure's history has two levels: one before run `since`, another from it on (Pettitt's test, 1979)."""

    since: str
    before: float
    after: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure in both runs; `ratio` is after / before - 1, None where that is no number."""

    where: str
    name: str
    before: Figure
    after: Figure
    ratio: float | None
    band: Band | None
    step: Step | None
    change: Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All that two runs have in common, what makes them hard to compare, and what only one of them has."""

    before: str  # run names
    after: str
    verdicts: tuple[str, str]
    rows: tuple[Row, ...]  # worse first
    notes: tuple[str, ...]
    history: int  # how many earlier passing runs the bands rest on

    @property
    def worse(self) -> bool:
        """Whether any figure is proven worse."""
        return any(row.change is Change.WORSE for row in self.rows)


def compare(before: Mapping[str, Any], after: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> Comparison:
    """
    Two verdict documents compared; `history` are those of earlier passing runs of the same scenario, oldest first.

    A change is proven when the intervals of both runs, and the usual band where there is one, do not touch.
    A figure without interval and without band can be `same` or `unclear` only. Raises RecordError when a document
    is not a verdict.
    """
    try:
        old, new, earlier = figures_of(before), figures_of(after), [(run["run"], figures_of(run)) for run in history]
        rows = [_row(key, old[key], new[key], earlier, after["run"]) for key in new if key in old]
        return Comparison(
            before=before["run"],
            after=after["run"],
            verdicts=(before["verdict"], after["verdict"]),
            rows=tuple(sorted(rows, key=lambda row: list(Change).index(row.change))),
            notes=tuple(_notes(before, after, old.keys(), new.keys())),
            history=len(history),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"not a verdict document of this format: {error!r}") from error


def figures_of(document: Mapping[str, Any]) -> dict[Key, Figure]:
    """Every figure of a verdict document: SLIs of judged phases, response times, timings of faults."""
    found: dict[Key, Figure] = {}
    for finding in document["findings"]:
        group = finding.get("group")
        key = (finding["phase"], finding["sli"] if group is None else f"{finding['sli']} [{group}]")
        if finding["value"] is not None and key not in found:
            found[key] = Figure(
                value=finding["value"],
                lo=finding["lo"],
                hi=finding["hi"],
                unit=Unit(finding["unit"]),
                better=_direction(finding["tier"], finding["rule"]),
            )
    for phase in document["phases"]:
        for name in _PERCENTILES:
            value = phase["response_s"][name]
            if value is not None and phase["verdict"] is not None:
                found[phase["name"], f"response {name}"] = _seconds(value, None, None)
    for timing in document["timings"]:
        least = timing["value_s"] if timing["value_s"] is not None else timing["lo_s"]
        if least is not None:
            hi = math.inf if timing["censored"] else timing["hi_s"]
            found[timing["fault"], timing["timing"]] = _seconds(least, timing["lo_s"], hi)
    return found


def _seconds(value: float, lo: float | None, hi: float | None) -> Figure:
    return Figure(value=value, lo=lo, hi=hi, unit=Unit.SECONDS, better=Better.LOWER)


def _direction(tier: str, rule: str) -> Better:
    """A target says what is wanted, every other tier what is a breach."""
    less = rule.startswith("<")
    return Better.LOWER if less == (tier == Tier.TARGET.value) else Better.HIGHER


def _row(key: Key, before: Figure, after: Figure, earlier: Sequence[tuple[str, Mapping[Key, Figure]]], run: str) -> Row:
    past = [(name, figures[key].value) for name, figures in earlier if key in figures]
    band = band_of([value for _, value in past])
    ratio = after.value / before.value - 1 if before.value and math.isfinite(after.value) else None
    return Row(
        where=key[0],
        name=key[1],
        before=before,
        after=after,
        ratio=ratio,
        band=band,
        step=step_of([*past, (run, after.value)]),
        change=_change(before, after, band),
    )


def _change(before: Figure, after: Figure, band: Band | None) -> Change:
    if abs(after.value - before.value) < LEAST_CHANGE * abs(before.value) or after.value == before.value:
        return Change.SAME
    usual = [figure for figure in (before.value, before.lo, before.hi) if figure is not None]
    usual += [band.lo, band.hi] if band else []
    lo = after.value if after.lo is None else after.lo
    hi = after.value if after.hi is None else after.hi
    known = band is not None or (before.lo is not None and after.lo is not None)
    if not known or not (lo > max(usual) or hi < min(usual)):
        return Change.UNCLEAR
    return Change.WORSE if (lo > max(usual)) == (after.better is Better.LOWER) else Change.BETTER


def band_of(values: Sequence[float]) -> Band | None:
    """The usual band of these values; None when they are too few to tell."""
    if len(values) < LEAST_RUNS:
        return None
    middle = median(values)
    spread = SPREADS * _MAD_TO_SD * median(abs(value - middle) for value in values)
    return Band(lo=middle - spread, hi=middle + spread, runs=len(values))


def step_of(history: Sequence[tuple[str, float]]) -> Step | None:
    """
    The most likely step in a figure's history (run, value), oldest first; None where there is none worth a word.

    Pettitt's rank statistic K with its p-value 2 exp(-6 K^2 / (n^3 + n^2)) (Pettitt, Applied Statistics 28(2), 1979).
    It takes some two dozen runs before the p-value can get below STEP_P.
    """
    values = [value for _, value in history]
    n = len(values)
    best, at, running = 0, 0, 0
    for t in range(n - 1):
        running += sum((values[t] < other) - (values[t] > other) for other in values)
        if abs(running) > best:
            best, at = abs(running), t + 1
    p = min(2 * math.exp(-6 * best**2 / (n**3 + n**2)), 1.0) if n else 1.0
    if p > STEP_P:
        return None
    before, after = median(values[:at]), median(values[at:])
    if abs(after - before) < LEAST_CHANGE * abs(before):
        return None
    return Step(since=history[at][0], before=before, after=after, p=p)


def _notes(
    before: Mapping[str, Any], after: Mapping[str, Any], old: Iterable[Key], new: Iterable[Key]
) -> Iterable[str]:
    """What a reader must know before believing the rows."""
    if before["scenario"] != after["scenario"]:
        yield f"different scenarios: {before['scenario']} and {after['scenario']}"
    for document in (before, after):
        if document["verdict"] == "inconclusive":
            yield f"{document['run']} is inconclusive: {document['headline']}"
    offered = {phase["name"]: phase["offered_per_s"] for phase in before["phases"]}
    for phase in after["phases"]:
        was = offered.get(phase["name"])
        if was is not None and abs(phase["offered_per_s"] - was) > 0.02 * was:
            yield f"{phase['name']}: offered {was:g}/s before, {phase['offered_per_s']:g}/s after"
    for run, only in ((before["run"], set(old) - set(new)), (after["run"], set(new) - set(old))):
        if only:
            yield f"only in {run}: " + ", ".join(f"{where} {name}" for where, name in sorted(only))
