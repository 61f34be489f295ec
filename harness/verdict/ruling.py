"""What every kind of SLI has in common: values with bounds, rules that hold, do not hold, or are not decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from harness.plan.model import Rule, Unit
from harness.units import show
from harness.verdict.model import Reason

Bounds = tuple[float, float]


class NoEvidenceError(Exception):
    """There is nothing a rule could be decided on; carries the reason and a sentence for people."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """An SLI's value in a window, in its unit; None where there is no finite number."""

    value: float | None
    lo: float | None
    hi: float | None
    samples: int
    coverage: float | None  # share of the window that was seen

    def text(self, unit: Unit) -> str:
        """The value and its bounds for people: `1.2% (1% to 1.4%)`."""
        shown = "beyond measure" if self.value is None else show(self.value, unit)
        if self.lo == self.hi == self.value:
            return shown
        low = "?" if self.lo is None else show(self.lo, unit)
        high = "no bound" if self.hi is None else show(self.hi, unit)
        return f"{shown} ({low} to {high})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Whether a rule's proposition holds: proven true, proven false, or None for the reason given."""

    holds: bool | None
    reason: Reason  # why it is not decided
    note: str = ""  # what it rests on besides the value
    worst: float | None = None  # the worst value in any stretch, in the SLI's unit
    worst_s: float | None = None  # when that stretch began, seconds since run start
    margin: float | None = None  # how far from the limit, as a share of it; None: as the value says
    value: Measured | None = None  # what was compared, where that is not the SLI's value over the window
    missing: str = ""  # what it would take to decide, where that is known


def holds(value: Bounds, rule: Rule, limit: Bounds) -> bool | None:
    """Whether `value OP limit` is true for all, for none (False), or for some only (None) of what the bounds allow."""
    lo, hi = value
    match rule.op:
        case ">":
            return True if lo > limit[1] else False if hi <= limit[0] else None
        case ">=":
            return True if lo >= limit[1] else False if hi < limit[0] else None
        case "<":
            return True if hi < limit[0] else False if lo >= limit[1] else None
        case "<=":
            return True if hi <= limit[0] else False if lo > limit[1] else None


def sustained(slices: Sequence[bool | None], needed: int) -> bool | None:
    """
    Whether some uninterrupted run of true slices is at least `needed` long.

    Evaluated with every unknown slice as false and as true; None when the answers differ (Kleene, 1938).
    """
    surely = longest([slice_ is True for slice_ in slices]) >= needed
    possibly = longest([slice_ is not False for slice_ in slices]) >= needed
    return surely if surely == possibly else None


def longest(slices: Sequence[bool]) -> int:
    """The length of the longest uninterrupted run of true slices."""
    return max((len(list(run)) for value, run in groupby(slices) if value), default=0)
