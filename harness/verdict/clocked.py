"""One timing as it was clocked: an interval, right-censored, or nothing. And how two instants make one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.verdict.model import Reason

Span = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocked:
    """
    One timing: value with bounds; censored when only the lower bound is known; no value where nothing is known.

    Bounds without a value: it lies between them, and nothing says where.
    """

    value_s: float | None
    lo_s: float | None
    hi_s: float | None
    reason: Reason
    detail: str

    @property
    def censored(self) -> bool:
        """Its end was not seen."""
        return self.reason is Reason.CENSORED


def between(value: Span, start: Span, end: Span) -> Clocked:
    """From an instant within `start` to one within `end`; `value` are the likeliest two."""
    lo, hi = max(end[0] - start[1], 0.0), max(end[1] - start[0], 0.0)
    middle = min(max(value[1] - value[0], lo), hi)
    detail = f"from {value[0]:.3f} s to {value[1]:.3f} s of the run"
    return Clocked(value_s=middle, lo_s=lo, hi_s=hi, reason=Reason.WITHIN, detail=detail)


def since(instant: Span, on: Span) -> Clocked:
    """From the fault's coming into force to an instant."""
    return between(((on[0] + on[1]) / 2, (instant[0] + instant[1]) / 2), on, instant)


def censored(lo_s: float, why: str) -> Clocked:
    """Longer than `lo_s`; its end was not seen."""
    return Clocked(value_s=None, lo_s=max(lo_s, 0.0), hi_s=None, reason=Reason.CENSORED, detail=why)


def untold(hi_s: float, why: str) -> Clocked:
    """Not longer than `hi_s`; it cannot be told apart from something else."""
    return Clocked(value_s=None, lo_s=0.0, hi_s=max(hi_s, 0.0), reason=Reason.UNDECIDED, detail=why)


def zero(reason: Reason, detail: str) -> Clocked:
    """Nothing took any time."""
    return Clocked(value_s=0.0, lo_s=0.0, hi_s=0.0, reason=reason, detail=detail)


def nothing(reason: Reason, detail: str) -> Clocked:
    """Not known at all."""
    return Clocked(value_s=None, lo_s=None, hi_s=None, reason=reason, detail=detail)


def noted(clocked: Clocked, *notes: str) -> Clocked:
    """The same with something more to say; empty notes are left out."""
    said = "; ".join(note for note in (clocked.detail, *notes) if note)
    return replace(clocked, detail=said)


def longest(clocks: Sequence[Clocked]) -> Clocked:
    """
    The longest of several.

    If the end of one was not seen, neither was the end of the longest. Else, of those that may have lasted at least as
    long as the largest lower bound, the one with the narrowest bounds.
    """
    lo_s = max(one.lo_s or 0.0 for one in clocks)
    unseen = [one for one in clocks if one.censored]
    if unseen:
        return replace(max(unseen, key=lambda one: one.lo_s or 0.0), lo_s=lo_s)
    possible = [one for one in clocks if one.hi_s is not None and one.hi_s >= lo_s]
    return min(possible, key=lambda one: (one.hi_s or 0.0) - (one.lo_s or 0.0))
