"""`harness compare` finds the runs it needs, and says which it misses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli.comparing import compare_runs
from harness.errors import CannotRunError, ExitCode, RecordError

PHASE = {"name": "stress", "verdict": "pass", "offered_per_s": 300.0}


def judged(results: Path, number: int, p95: float, *, verdict: str = "pass") -> Path:
    """A judged run directory with one figure, known to a percent."""
    run = f"stress-150/20261101-0000{number:02}-abcd"
    finding = {"phase": "stress", "sli": "latency_p95", "tier": "fail", "rule": "> 500ms", "unit": "s"}
    document = {
        "run": run,
        "scenario": "stress-150",
        "status": "completed",
        "verdict": verdict,
        "headline": "kept",
        "phases": [PHASE | {"response_s": {"p50": p95 / 2, "p95": p95, "p99": None}}],
        "findings": [finding | {"value": p95, "lo": p95 * 0.99, "hi": p95 * 1.01}],
        "timings": [],
    }
    directory = results / run
    directory.mkdir(parents=True)
    (directory / "verdict.json").write_text(json.dumps(document))
    (directory / "environment.json").write_text(json.dumps({"format": 1, "started": f"2026-11-01T00:00:{number:02}"}))
    return directory


def test_a_run_alone_is_compared_with_the_last_passing_one_and_with_what_is_usual(tmp_path: Path) -> None:
    for number in range(6):
        judged(tmp_path, number, 0.100 + number / 1000)
    judged(tmp_path, 6, 9.0, verdict="fail")
    newest = judged(tmp_path, 7, 0.200)

    done = compare_runs(newest, None)

    assert done.text.splitlines() == [
        "before  stress-150/20261101-000005-abcd  pass",
        "after   stress-150/20261101-000007-abcd  pass",
        "usual: of 6 earlier passing runs",
        "",
        "                               before                  after                   change  usual",
        "✗ worse  stress  latency_p95   105ms (104ms to 106ms)  200ms (198ms to 202ms)  +90.5%  95.8ms to 109ms",
        "✗ worse  stress  response p50  52.5ms                  100ms                   +90.5%  47.9ms to 54.6ms",
        "✗ worse  stress  response p95  105ms                   200ms                   +90.5%  95.8ms to 109ms",
    ]
    assert (done.exit_code(strict=False), done.exit_code(strict=True)) == (ExitCode.PASS, ExitCode.FAIL)
    assert json.loads(done.json)["rows"][0]["change"] == "worse"


def test_two_runs_are_compared_in_the_order_given(tmp_path: Path) -> None:
    first, second = judged(tmp_path, 1, 0.100), judged(tmp_path, 2, 0.050)
    done = compare_runs(first, second)
    assert [row.change.value for row in done.found.rows] == ["unclear", "unclear", "better"]
    assert not done.found.worse


def test_without_a_passing_run_before_it_two_must_be_named(tmp_path: Path) -> None:
    judged(tmp_path, 1, 0.1, verdict="fail")
    with pytest.raises(CannotRunError, match="no passing run of stress-150 before") as raised:
        compare_runs(judged(tmp_path, 2, 0.1), None)
    assert raised.value.hint == "name two runs: harness compare BEFORE AFTER"


def test_copies_of_runs_are_compared_without_a_folder_of_runs(tmp_path: Path) -> None:
    """Nothing is written beside where they were unpacked."""
    first = judged(tmp_path / "home/ci", 1, 0.1).rename(tmp_path / "home/first")
    second = judged(tmp_path / "home/ci", 2, 0.2).rename(tmp_path / "home/second")
    assert compare_runs(first, second).found.history == 0
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_run_that_is_not_judged_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"verdict\.json: cannot be read"):
        compare_runs(tmp_path / "a" / "b", None)
