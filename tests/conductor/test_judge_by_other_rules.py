"""`harness judge --rules`: another answer from the same record, which stays as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conductor_stage import Stage, small_plan, without_faults

from harness.cli import judging
from harness.plan.model import Plan
from harness.verdict.model import Outcome


def stricter(plan: Plan) -> Plan:
    """Not even nothing is little enough."""

    def tightened(text: str) -> Plan:
        phases = tuple(
            replace(
                phase,
                thresholds=tuple(
                    replace(one, rule=replace(one.rule, text=text, op=">=", quantity=0.0)) for one in phase.thresholds
                ),
            )
            for phase in plan.phases
        )
        return replace(plan, phases=phases)

    return tightened(">= 0%")


def test_other_rules_give_another_verdict_and_leave_the_record_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, plan=without_faults(small_plan()))
    stage.play()
    directory = stage.record.directory
    assert judging.judge_directory(directory).verdict.verdict is Outcome.PASS
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}

    monkeypatch.setattr(judging, "load_plan", lambda _scenario, *, time_scale: stricter(small_plan()))
    monkeypatch.setattr(judging, "with_rules", lambda _plan, other: without_faults(other))
    judged = judging.judge_by(directory, "strict")

    assert judged.verdict.verdict is Outcome.FAIL
    assert {finding.rule for finding in judged.verdict.findings} == {">= 0%"}
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before
