"""
Comparing with the baseline: whether the value is beyond so many times what it was there.

Both sides have an interval. That of `value - factor x baseline` follows from the two by adding the squares of the
distances to their ends (MOVER; Zou, Huang and Zhang, 2009), which needs no ratio, so that a baseline of zero is no case
of its own. Each side's interval has its own design effect, so this is a comparison with effective sample sizes.

It is an equivalence test where that is wanted: "> 110% of baseline" is kept only when the upper end of the difference
proves that the value is at most 110 % of the baseline. That no difference was found proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from harness.plan.model import Better, Rule, Unit
from harness.units import show
from harness.verdict.ruling import Bounds, Measured, holds

_STEPS = 60  # of a bisection


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What the SLI was in the baseline phase, scaled to the load of the phase that is compared with it."""

    phase: str
    value: Measured
    scale: float  # of offered load, for rates and counts; else 1
    itself: bool  # the phase that is judged is the baseline


def scaled(value: Measured, scale: float) -> Measured:
    """The value as it would be at `scale` times the load."""
    ends = [None if end is None else end * scale for end in (value.value, value.lo, value.hi)]
    return Measured(value=ends[0], lo=ends[1], hi=ends[2], samples=value.samples, coverage=value.coverage)


def limit_of(rule: Rule, base: Measured, better: Better) -> Bounds:
    """The limit as an amount, within the bounds of the baseline; for slices and stretches."""
    low, high = _ends(base)[1:]
    return _amount(rule, low, better), _amount(rule, high, better)


def point_limit(rule: Rule, base: Measured, better: Better) -> float:
    """The limit as an amount, from the baseline's value."""
    return _amount(rule, _ends(base)[0], better)


def compared(value: Measured, rule: Rule, base: Baseline, better: Better) -> bool | None:
    """Whether `value OP limit` is proven true, proven false, or neither; the limit's parts are compared one by one."""
    if base.itself:
        amount, limit = _ends(value)[0], point_limit(rule, base.value, better)
        return holds((amount, amount), rule, (limit, limit))
    worse = (rule.op in (">", ">=")) == (better is Better.LOWER)
    both, either = (_all, _any) if worse else (_any, _all)
    away = 1 if better is Better.LOWER else -1
    zero = (0.0, 0.0)
    beyond = holds(difference(value, base.value, rule.quantity), rule, zero)
    if rule.floor is not None:
        low, high = difference(value, base.value, 1.0)
        beyond = both(beyond, holds((low - away * rule.floor, high - away * rule.floor), rule, zero))
    if rule.cap is not None:
        beyond = either(beyond, holds(_ends(value)[1:], rule, (rule.cap, rule.cap)))
    return beyond


def difference(value: Measured, base: Measured, factor: float) -> Bounds:
    """The interval of `value - factor x base`."""
    (v, v_low, v_high), (b, b_low, b_high) = _ends(value), _ends(base)
    if not math.isfinite(v) or not math.isfinite(b):
        return (v_low - factor * b_high if math.isfinite(b_high) else -math.inf), math.inf
    middle = v - factor * b
    return middle - math.hypot(v - v_low, factor * (b_high - b)), middle + math.hypot(v_high - v, factor * (b - b_low))


def compared_text(value: Measured, base: Baseline, unit: Unit) -> str:
    """The comparison for people: `1.2 times the baseline's 20ms (1.1 to 1.3)`."""
    if base.itself:
        return "this phase is the baseline"
    was = "no finite value" if base.value.value is None else show(base.value.value, unit)
    at = f" at {show(base.scale, Unit.RATIO)} of its load" if base.scale != 1 else ""
    if not base.value.value or value.value is None:
        return f"the baseline ({base.phase}){at} had {was}"
    low = _turning(lambda factor: difference(value, base.value, factor)[0] <= 0)
    high = _turning(lambda factor: difference(value, base.value, factor)[1] <= 0)
    times = show(value.value / base.value.value, Unit.COUNT)
    within = "" if low == high else f" ({show(low, Unit.COUNT)} to {show(high, Unit.COUNT)})"
    return f"{times} times the {was} of the baseline ({base.phase}){at}{within}"


def _ends(one: Measured) -> tuple[float, float, float]:
    """Value, lower and upper end; what has no finite number is beyond all."""
    value = math.inf if one.value is None else one.value
    low = value if one.lo is None else one.lo
    return value, low, math.inf if one.hi is None else one.hi


def _amount(rule: Rule, base: float, better: Better) -> float:
    """min(cap, max(base x quantity, base + floor)) for what is better lower, mirrored for what is better higher."""
    nearer, further, away = (min, max, 1) if better is Better.LOWER else (max, min, -1)
    limit = rule.quantity * base
    if rule.floor is not None:
        limit = further(limit, base + away * rule.floor)
    return limit if rule.cap is None else nearer(limit, rule.cap)


def _all(*propositions: bool | None) -> bool | None:
    return False if False in propositions else None if None in propositions else True


def _any(*propositions: bool | None) -> bool | None:
    return True if True in propositions else None if None in propositions else False


def _turning(true_above: Callable[[float], bool]) -> float:
    """The factor from which on a condition is true; infinite when it never is."""
    low, high = 0.0, 1.0
    while not true_above(high):
        low, high = high, 2 * high
        if high > 1e9:
            return math.inf
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if true_above(middle) else (middle, high)
    return high
