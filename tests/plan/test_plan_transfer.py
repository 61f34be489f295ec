"""The rules of one scenario on the run of another."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_plan_shipped import shipped

from harness.errors import PlanError
from harness.plan.transfer import with_rules


def test_rules_are_taken_over_by_the_phases_name() -> None:
    run, other = shipped("stress-150"), shipped("stress-150")
    strict = replace(other, phases=tuple(replace(phase, thresholds=phase.thresholds[:1]) for phase in other.phases))
    ruled = with_rules(run, strict)
    assert [len(phase.thresholds) for phase in ruled.phases] == [0, 1, 1, 1]
    assert (ruled.faults, ruled.end_s) == (run.faults, run.end_s)


def test_a_phase_the_rules_do_not_have_is_not_judged() -> None:
    ruled = with_rules(shipped("stress-150"), shipped("baseline"))
    assert [(phase.name, phase.judge, bool(phase.thresholds)) for phase in ruled.phases] == [
        ("warm-up", False, False),
        ("baseline", True, True),
        ("stress", False, False),
        ("recovery", False, False),
    ]


def test_what_the_run_did_not_have_cannot_be_ruled_on() -> None:
    with pytest.raises(PlanError) as raised:
        with_rules(shipped("baseline"), shipped("stress-150"))
    assert [problem.what for problem in raised.value.problems] == [
        "the run has no phase 'stress'; it has warm-up, baseline",
        *["the run had no fault 'pod-delete'; it had none"] * (len(raised.value.problems) - 2),
        "the run has no phase 'recovery'; it has warm-up, baseline",
    ]
