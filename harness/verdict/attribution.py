"""
Which fault an impact belongs to.

The fault that came into force last before it began, of those in force or gone for less than the hold. Where that one
was asked for before an earlier one was seen in force, the two were injected at once, and it belongs to both.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.history.views import FaultWindow
from harness.verdict.model import Impact

Span = tuple[float, float]


def fault_on(window: FaultWindow) -> Span | None:
    """When the fault came into force, seconds; None when it was not confirmed, or its injection failed."""
    if window.confirmed is None or window.failed is not None:
        return None
    return window.confirmed[0] / 1e9, window.confirmed[1] / 1e9


def causes_of(start: Span, faults: Sequence[FaultWindow], hold_s: float) -> tuple[str, ...]:
    """The faults that an impact which began within `start` belongs to, the newest first; none: it has no fault."""
    candidates: list[tuple[Span, FaultWindow]] = []
    for window in faults:
        on = fault_on(window)
        if on is None or start[1] < on[0]:
            continue
        over_s = window.gone[1] / 1e9 if window.gone else start[0]
        if start[0] <= max(over_s, on[1]) + hold_s:
            candidates.append((on, window))
    candidates.sort(key=lambda one: one[0][0], reverse=True)
    if not candidates:
        return ()
    asked_s = (candidates[0][1].requested_ns or 0) / 1e9
    return tuple(window.fault for on, window in candidates if on[1] >= asked_s)


def belongs(impact: Impact, fault: str, faults: Sequence[FaultWindow], hold_s: float) -> bool:
    """Whether the impact is the fault's, alone or together with others."""
    return impact.fault == fault or fault in causes_of((impact.start_s, impact.start_hi_s), faults, hold_s)


def already_on(impacts: Sequence[Impact], on: Span) -> Impact | None:
    """The impact in the midst of which a fault came into force: what the fault added to it cannot be told apart."""
    return next((one for one in impacts if one.start_hi_s < on[0] and (one.censored or one.end_lo_s > on[1])), None)
