"""The plan as a finite, sorted list of cues."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from harness.plan.model import Phase, Plan, PrometheusSli
from harness.schedule.cues import Cue, Fetch, Inject, LoadEnd, PhaseEnd, PhaseStart, Rollback

_RANK = {kind: rank for rank, kind in enumerate(get_args(Cue))}


def compile_plan(plan: Plan) -> tuple[Cue, ...]:
    """
    Everything that should happen in the run, in order of time; within one instant what ends comes first.

    Load starts at 0 and is not a cue. Each fault has one Inject and one Rollback, not earlier. A phase
    has a Fetch only when it needs Prometheus, `fetch_lag_s` after its end; so the last cue may
    come that much later than `plan.end_s`.
    """
    return tuple(sorted(_cues(plan), key=lambda cue: (cue.at_s, _rank(cue))))


def fetch_lag_s(plan: Plan) -> float:
    """How long after a phase's end its series are asked for: three scrapes, at least 2 s; 0 without Prometheus."""
    prometheus = plan.service.prometheus
    return max(3 * prometheus.scrape_interval_s, 2.0) if prometheus else 0.0


def needs_prometheus(plan: Plan, phase: Phase) -> bool:
    """Whether a threshold of the phase, or the health score of a judged one, is on an SLI read from Prometheus."""
    names = {sli.name for sli in plan.service.slis if isinstance(sli, PrometheusSli)}
    health = [part.sli for part in plan.service.health] if phase.judge else []
    return not names.isdisjoint([*health, *(threshold.sli for threshold in phase.thresholds)])


def _rank(cue: Cue) -> int:
    """The order within one instant; a fault of no length is still rolled back after it was injected."""
    if isinstance(cue, Rollback) and cue.at_s <= cue.fault.at_s:
        return len(_RANK)
    return _RANK[type(cue)]


def _cues(plan: Plan) -> Iterator[Cue]:
    for phase in plan.phases:
        yield PhaseStart(at_s=phase.start_s, phase=phase)
        yield PhaseEnd(at_s=phase.end_s, phase=phase)
        if needs_prometheus(plan, phase):
            yield Fetch(at_s=phase.end_s + fetch_lag_s(plan), phase=phase)
    for fault in plan.faults:
        yield Inject(at_s=fault.at_s, fault=fault)
        yield Rollback(at_s=fault.until_s, fault=fault)
    yield LoadEnd(at_s=plan.end_s)
