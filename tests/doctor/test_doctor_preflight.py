"""What `harness doctor SCENARIO` makes of a preflight."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.doctor import Advice, consult
from harness.cli.main import app
from harness.cli.preflight import Examined
from harness.errors import ExitCode, PlanError, Problem
from harness.history.events import PreflightChecked, TargetsFrozen

FINE = Examined(
    scenario="stress",
    targets=(
        TargetsFrozen(fault="pod-delete", names=("shop-1", "shop-2")),
        TargetsFrozen(fault="node-drain", names=("shop-1",), nodes=("node-a",)),
    ),
    checks=(PreflightChecked(check="permissions", ok=True, detail="pod-delete: all 18 are there"),),
)
WARNED = replace(FINE, checks=(*FINE.checks, PreflightChecked(check="reaper", ok=False, detail="no reaper runs")))
REFUSED = Examined(
    scenario="stress", problems=(Problem("scenarios/stress.yaml", 21, "fault 'pod-delete'", "would touch 3 pods"),)
)
NO_FAULTS = Examined(scenario="baseline")


def test_targets_and_checks_are_a_table_that_ends_with_the_answer() -> None:
    assert WARNED.text.splitlines() == [
        "stress, before its load would start:",
        "  may touch                 pod-delete: 2 pods (shop-1, shop-2)",
        "  may touch                 node-drain: 1 pod (shop-1) on 1 node (node-a)",
        "  permissions         ok    pod-delete: all 18 are there",
        "  reaper              warn  no reaper runs",
        "yes: every fault may be played, with 1 warning",
    ]
    assert FINE.text.splitlines()[-1] == "yes: every fault may be played"


def test_what_forbids_the_run_is_told_with_its_place() -> None:
    assert REFUSED.text.splitlines()[1:] == [
        "  refused             NO    scenarios/stress.yaml:21: fault 'pod-delete': would touch 3 pods",
        "no: 1 problem to solve first",
    ]


def test_a_scenario_without_faults_needs_no_cluster() -> None:
    assert NO_FAULTS.text.splitlines()[-1] == "yes: it has no faults, so there is nothing to check in a cluster"


@pytest.mark.parametrize(("found", "code"), [(FINE, 0), (WARNED, 0), (NO_FAULTS, 0), (REFUSED, 4)])
def test_warnings_are_no_refusal(found: Examined, code: int) -> None:
    assert Advice(examined=found, diagnosis=None).exit_code == ExitCode(code)


def test_programs_get_the_same_as_one_document() -> None:
    told = json.loads(Advice(examined=WARNED, diagnosis=None).json)

    assert told["load"] is None
    assert (told["preflight"]["scenario"], told["preflight"]["ready"]) == ("stress", True)
    assert told["preflight"]["targets"][1] == {"fault": "node-drain", "pods": ["shop-1"], "nodes": ["node-a"]}
    assert [(one["check"], one["ok"]) for one in told["preflight"]["checks"]] == [
        ("permissions", True),
        ("reaper", False),
    ]
    assert REFUSED.document["problems"] == [
        {"path": "scenarios/stress.yaml", "line": 21, "where": "fault 'pod-delete'", "what": "would touch 3 pods"}
    ]


def test_with_nothing_to_look_at_it_is_a_usage_error() -> None:
    told = CliRunner().invoke(app, ["doctor"])

    assert told.exit_code == 2
    assert "give a scenario, or --load RATE, or both" in told.output


def test_a_scenario_with_mistakes_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"no such scenario"):
        consult(str(tmp_path / "none.yaml"), results=tmp_path, per_s=None, workers=None)


def test_the_shipped_baseline_has_nothing_to_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])

    assert consult("baseline", results=tmp_path, per_s=None, workers=None).examined == NO_FAULTS
