"""`harness plan` and `harness check` on files in a folder: what they print, and whence a measured baseline comes."""

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from harness.cli.files import check_all, load_plan, measured_in, plan_json, plan_text, recordings_of
from harness.errors import PlanError
from harness.plan.baseline import Measured
from harness.plan.model import Plan
from harness.record import plan_bytes

SERVICE = """\
title: A shop
url: http://127.0.0.1:8080
load: {locustfile: shop.py, baseline: BASELINE, slow: 400ms}
slis: {error_ratio: {client: error_ratio}, p95: {client: latency p95}}
"""
RULES = '[{sli: error_ratio, fail: "> 1%"}, {sli: p95, warn: "> 300ms"}]'
SCENARIO = f"""\
service: shop
title: A case
phases:
  - {{name: recorded, replay: {{file: recorded.txt}}, judge: false}}
  - {{name: steady, load: LEVEL, duration: 2s, thresholds: {RULES}}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "scenarios/services").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    write("scenarios/services/shop.py", "")
    write("scenarios/recorded.txt", "0.5\n1.25\n1.75\n")
    write("scenarios/services/shop.yaml", SERVICE.replace("BASELINE", "200/s"))
    write("scenarios/case.yaml", SCENARIO.replace("LEVEL", "100%"))
    return tmp_path


def write(path: str, text: str) -> None:
    Path(path).write_text(text, encoding="utf-8")


def passed(run: str, plan: Plan, *, ok: int, verdict: str = "pass") -> None:
    """A judged run in results/, as far as a baseline is looked for in it."""
    directory = Path("results") / run
    directory.mkdir(parents=True)
    (directory / "plan.json").write_bytes(plan_bytes(plan))
    started = {"started": f"2026-11-{run.rpartition('/')[2]}"}
    write(str(directory / "environment.json"), json.dumps(started))
    judged = [{"name": phase.name, "load": {"ok": ok}} for phase in plan.phases]
    entry = {"run": run, "scenario": "baseline", "status": "completed", "headline": "", "phases": judged}
    write(str(directory / "verdict.json"), json.dumps(entry | {"verdict": verdict}))


@pytest.mark.usefixtures("folder")
def test_a_plan_is_printed_with_its_load_and_every_second_when_asked():
    text = plan_text(load_plan("case"), per_second=True)
    assert text.split("\n\n")[1].splitlines()[:3] == [
        "100%        200/s",
        "arrivals    uniform, timed out after 5s",
        "counted at  300ms, 400ms",
    ]
    assert text.split("\n\n")[2].splitlines() == [
        "second  arrivals",
        "     0         1",
        "     1         2",
        "     2       200",
        "     3       200",
    ]


@pytest.mark.usefixtures("folder")
def test_a_plan_as_json_is_the_recorded_plan_and_its_arrivals():
    plan = load_plan("case")
    text = plan_json(plan)
    assert TypeAdapter(Plan).validate_json(text) == plan
    assert json.loads(text)["arrivals"] == {
        "streams": [""],
        "per_second": {"": [1, 2, 200, 200]},
        "latency_limits_us": [300_000, 400_000],
    }


@pytest.mark.usefixtures("folder")
def test_a_recording_that_changed_since_is_not_shown():
    plan = load_plan("case")
    write("scenarios/recorded.txt", "0.5\n")
    with pytest.raises(PlanError, match=r"recorded\.txt:1: has changed since it was checked; run the command again$"):
        recordings_of(plan)


@pytest.mark.usefixtures("folder")
def test_a_plan_that_is_not_played_as_written_says_so():
    """Its rules are shown as they are written."""
    scaled = plan_text(load_plan("case", time_scale=0.5), per_second=False)
    assert scaled.endswith("\n\ntime scale 0.5: times are scaled; so are `for` and `in any`, shown as written")
    assert "time scale" not in plan_text(load_plan("case"), per_second=False)


def test_a_measured_baseline_comes_from_the_newest_passing_run_of_the_service(folder):
    write("scenarios/services/shop.yaml", SERVICE.replace("BASELINE", "measured"))
    results = folder / "results"
    with pytest.raises(PlanError, match="no run of the scenario 'baseline' of 'shop' has passed yet"):
        check_all(["case"], results)
    write("scenarios/baseline.yaml", SCENARIO.replace("LEVEL", "210/s"))
    plan = load_plan("baseline", results=results)
    passed("baseline/01", plan, ok=380)
    passed("baseline/02", plan, ok=400)
    passed("baseline/03", plan, ok=100, verdict="fail")
    assert measured_in(results)("shop") == Measured(rate_per_s=200.0, run="baseline/02")
    assert measured_in(results)("other") is None
    assert load_plan("case", results=results).service.load.baseline_from == "baseline/02"
    assert check_all(["case"], results) == ["scenarios/case.yaml: ok, 4 s, 2 phases, 0 faults"]
