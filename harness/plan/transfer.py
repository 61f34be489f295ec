"""The rules of one scenario on the run of another: "would it have passed with ...?"."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.errors import PlanError, Problem
from harness.plan.model import Phase, Plan


def with_rules(plan: Plan, other: Plan) -> Plan:
    """
    The plan as it was run, with the thresholds, timing rules, SLIs and health score of `other`, by phase name.

    A phase that `other` does not have is not judged. Raises PlanError when `other` has a phase or a fault's timing
    that the run had not.
    """
    problems = tuple(_problems(plan, other))
    if problems:
        raise PlanError(problems)
    theirs = {phase.name: phase for phase in other.phases}
    service = replace(plan.service, slis=other.service.slis, health=other.service.health)
    return replace(plan, service=service, phases=tuple(_ruled(phase, theirs.get(phase.name)) for phase in plan.phases))


def _ruled(phase: Phase, other: Phase | None) -> Phase:
    if other is None:
        return replace(phase, judge=False, thresholds=(), timings=())
    return replace(phase, judge=other.judge, thresholds=other.thresholds, timings=other.timings)


def _problems(plan: Plan, other: Plan) -> Iterator[Problem]:
    phases = [phase.name for phase in plan.phases]
    faults = [fault.name for fault in plan.faults]
    for phase in other.phases:
        if phase.name not in phases:
            what = f"the run has no phase '{phase.name}'; it has {', '.join(phases)}"
            yield Problem(path=phase.source.path, line=phase.source.line, where="phases", what=what)
        for rule in phase.timings:
            if rule.fault not in faults:
                what = f"the run had no fault '{rule.fault}'; it had {', '.join(faults) or 'none'}"
                yield Problem(path=rule.source.path, line=rule.source.line, where="timings", what=what)
