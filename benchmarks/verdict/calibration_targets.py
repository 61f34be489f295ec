"""What the calibration must show: each target with what was measured, and whether it is met."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from calibration_cells import Counted

SLACK = 2.0  # standard errors that chance may add to a share that just meets its target


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One target: the worst of what was measured, what is allowed, and from how many runs that is known."""

    what: str
    measured: str
    target: str
    where: str  # the worst cell
    met: bool


def standard_error(share: float, runs: int) -> float:
    """Of a share seen in so many runs, where `share` is the true one."""
    return math.sqrt(share * (1 - share) / runs) if runs else 0.0


def at_most(what: str, seen: Iterable[tuple[str, int, int]], allowed: float) -> Line:
    """The largest share of (name, how many, of how many) must not be above `allowed`."""
    name, hits, runs = max(seen, key=lambda one: one[1] / one[2] if one[2] else 1.0)
    share = hits / runs if runs else 1.0
    return Line(
        what=what,
        measured=f"{share:.1%}",
        target=f"<= {allowed:.0%}",
        where=f"{name} ({hits}/{runs})",
        met=share <= allowed + SLACK * standard_error(allowed, runs),
    )


def within(what: str, seen: Iterable[tuple[str, int, int]], low: float, high: float) -> Line:
    """Every share must lie in [low, high]; shown is the one that is furthest from the middle."""
    middle = (low + high) / 2
    name, hits, runs = max(seen, key=lambda one: abs(one[1] / one[2] - middle) if one[2] else 1.0)
    share = hits / runs if runs else 0.0
    return Line(
        what=what,
        measured=f"{share:.1%}",
        target=f"{low:.0%} to {high:.0%}",
        where=f"{name} ({hits}/{runs})",
        met=low - SLACK * standard_error(low, runs) <= share <= high + SLACK * standard_error(high, runs),
    )


def none_of(what: str, seen: Iterable[tuple[str, int, int]]) -> Line:
    """Not one of any."""
    every = list(seen)
    name, hits, runs = max(every, key=lambda one: one[1])
    total = sum(one[2] for one in every)
    return Line(
        what=what,
        measured=str(sum(one[1] for one in every)),
        target="0",
        where=f"{name} ({hits}/{runs})" if hits else f"of {total} runs",
        met=hits == 0,
    )


def all_of(what: str, seen: Iterable[tuple[str, int, int]]) -> Line:
    """Every single one."""
    missing = none_of(what, [(name, runs - hits, runs) for name, hits, runs in seen])
    share = "100%" if missing.met else f"all but {missing.measured}"
    return Line(what=what, measured=share, target="100%", where=missing.where, met=missing.met)


def seconds_at_most(what: str, seen: Iterable[tuple[str, float]], allowed_s: float) -> Line:
    """The longest of (name, seconds) must not be above `allowed_s`."""
    name, longest = max(seen, key=lambda one: one[1])
    return Line(
        what=what, measured=f"{longest:g} s", target=f"<= {allowed_s:g} s", where=name, met=longest <= allowed_s
    )


def grid_lines(counted: Sequence[Counted]) -> Iterator[Line]:
    """The targets of the grid, for every SLI and law apart; of the cells that can decide anything."""
    groups: dict[str, list[Counted]] = {}
    for one in counted:
        if one.cell.decidable:
            groups.setdefault(f"{one.cell.sli}, {one.cell.traffic.law} {one.cell.traffic.effect:g}", []).append(one)
    for name, group in groups.items():
        for what, of, chosen, allowed in _WRONG:
            seen = [(one.cell.name, of(one), one.runs) for one in group if chosen(one.cell.ratio)]
            if seen:
                yield at_most(f"{name}: {what}", seen, allowed)
        covered = [(one.cell.name, one.covered, one.intervals) for one in group if one.intervals]
        if covered:
            yield at_most(
                f"{name}: intervals that miss the truth", [(cell, n - hit, n) for cell, hit, n in covered], 0.15
            )
    yield from _coverage_lines(counted)
    clear = [one for one in counted if one.cell.traffic.effect == 1 and one.cell.traffic.arrivals >= 12_000]
    for ratio in (0.5, 1.5, 2.0):
        seen = [(one.cell.name, one.inconclusive, one.runs) for one in clear if one.cell.ratio == ratio]
        if seen:
            yield at_most(f"independent, 12,000 arrivals or more: undecided at {ratio:g} x the limit", seen, 0.2)


def _coverage_lines(counted: Sequence[Counted]) -> Iterator[Line]:
    """
    Whether intervals are as wide as they say, over all cells of an SLI.

    Pods that come and go take counts with them; an interval that allows for all that may have been lost is a bound, and
    holds the truth more often. Such cells are left out here.
    """
    sums: dict[str, list[int]] = {}
    for one in counted:
        if one.cell.decidable and one.intervals and not (one.cell.scraping and one.cell.scraping.churn):
            both = sums.setdefault(one.cell.sli, [0, 0])
            both[0] += one.covered
            both[1] += one.intervals
    for sli, (covered, intervals) in sums.items():
        yield within(f"{sli}: intervals that hold the truth", [("all laws together", covered, intervals)], 0.85, 0.95)


_Wrong = tuple[str, Callable[[Counted], int], Callable[[float], bool], float]
_WRONG: tuple[_Wrong, ...] = (
    ("passed at 1.5 x the limit or more", lambda one: one.passed, lambda ratio: ratio >= 1.5, 0.01),
    ("passed at the limit", lambda one: one.passed, lambda ratio: ratio == 1.0, 0.10),
    ("failed at 0.8 x the limit or less", lambda one: one.failed, lambda ratio: ratio <= 0.8, 0.01),
    ("failed at the limit", lambda one: one.failed, lambda ratio: ratio == 1.0, 0.10),
)


def confusion(counted: Sequence[Counted]) -> list[str]:
    """Truth against verdict, over all decidable cells, as Markdown."""
    rows = [
        "| true share over the limit | runs | pass | inconclusive | fail |",
        "|---|---|---|---|---|",
    ]
    for ratio in sorted({one.cell.ratio for one in counted}):
        group = [one for one in counted if one.cell.ratio == ratio and one.cell.decidable]
        runs = sum(one.runs for one in group)
        if runs:
            sums = [sum(getattr(one, name) for one in group) for name in ("passed", "inconclusive", "failed")]
            rows.append(f"| {ratio:g} | {runs} | " + " | ".join(f"{count / runs:.1%}" for count in sums) + " |")
    return rows


def beyond(counted: Sequence[Counted]) -> list[str]:
    """Cells that cannot decide: what was said of them, and how many of their runs had not one bad arrival."""
    rows = [
        "| too few bursts to judge by | at 1.5 x: pass | without a bad arrival | at the limit: pass | at 0.8 x: fail |",
        "|---|---|---|---|---|",
    ]
    groups: dict[str, dict[float, Counted]] = {}
    for one in counted:
        if not one.cell.decidable:
            groups.setdefault(one.cell.name.rpartition(" ")[0], {})[one.cell.ratio] = one
    for name, at in groups.items():
        if {0.8, 1.0, 1.5} <= at.keys():
            above, limit, below = at[1.5], at[1.0], at[0.8]
            shares = (
                above.passed / above.runs,
                above.silent / above.runs,
                limit.passed / limit.runs,
                below.failed / below.runs,
            )
            rows.append(f"| {name} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    return rows


def table(lines: Sequence[Line]) -> list[str]:
    """The targets, as Markdown."""
    rows = ["| | target | measured | allowed | worst |", "|---|---|---|---|---|"]
    rows += [
        f"| {'PASS' if line.met else 'FAIL'} | {line.what} | {line.measured} | {line.target} | {line.where} |"
        for line in lines
    ]
    return rows
