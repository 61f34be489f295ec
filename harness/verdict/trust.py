"""
Whether the load record can be believed from a fault to the end of its impacts.

That may reach beyond the fault's own phase: into the next ones, into ramps, into phases that are not judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness.history.load import WorkerHealth
from harness.history.views import FaultWindow
from harness.plan.model import Plan
from harness.verdict.attribution import belongs, fault_on
from harness.verdict.generator import stall_text, stalled
from harness.verdict.model import Check, Impact, Outcome
from harness.verdict.window import hold_s

_LIKE_AN_IMPACT = 0.5  # a stall of this much of the slow limit may make good arrivals look bad


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What is known of the load: the check that failed in a phase, and how to check seconds that are of none."""

    limited: Mapping[str, Check]
    checked: frozenset[str]  # phases that were checked
    checks_in: Callable[[range], Sequence[Check]]
    recorded: range  # seconds
    health: Sequence[WorkerHealth]


def distrusted(
    plan: Plan, faults: Sequence[FaultWindow], impacts: Sequence[Impact], load: Delivered, end_s: float
) -> dict[str, str]:
    """Fault -> why the load record is not believed somewhere between it and the end of its last impact, held."""
    found: dict[str, str] = {}
    for window in faults:
        on = fault_on(window)
        if on is not None:
            own = [impact.end_hi_s for impact in impacts if belongs(impact, window.fault, faults, hold_s(plan))]
            over_s = max([end_s if window.gone is None else window.gone[1] / 1e9, *own]) + hold_s(plan)
            why = _why(plan, (on[0], min(over_s, end_s)), load)
            if why:
                found[window.fault] = why
    return found


def _why(plan: Plan, reach: tuple[float, float], load: Delivered) -> str:
    reached = [phase for phase in plan.phases if phase.begin_s < reach[1] and reach[0] < phase.end_s]
    for phase in reached:
        if phase.name in load.limited:
            check = load.limited[phase.name]
            return f"the load of phase {phase.name} is not valid: {check.check}: {check.detail}"
    inside = range(max(math.floor(reach[0]), load.recorded.start), min(math.ceil(reach[1]), load.recorded.stop))
    covered = [(phase.start_s, phase.end_s) for phase in reached if phase.name in load.checked]
    apart = [second for second in inside if not any(lo <= second and second + 1 <= hi for lo, hi in covered)]
    for stretch in _runs(apart):
        for check in load.checks_in(stretch):
            if check.outcome is Outcome.INCONCLUSIVE:
                where = f"between {stretch.start} s and {stretch.stop} s of the run"
                return f"the load {where} is not valid: {check.check}: {check.detail}"
    for one in stalled(load.health, plan.service.load.limits):
        if one.second in inside and one.stall_s_max >= _LIKE_AN_IMPACT * plan.service.load.slow_s:
            return f"loop_stall: {stall_text(one)}"
    return ""


def _runs(seconds: Sequence[int]) -> Iterable[range]:
    """The seconds as uninterrupted ranges."""
    breaks = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(seconds)) if b != a + 1), len(seconds)]
    return [range(seconds[lo], seconds[hi - 1] + 1) for lo, hi in pairwise(breaks) if hi > lo]
