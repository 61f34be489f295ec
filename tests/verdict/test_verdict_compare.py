"""Two runs figure by figure: what counts as a change, what is usual, and since when."""

from __future__ import annotations

import math
from typing import Any

import pytest

from harness.errors import RecordError
from harness.verdict.compare import Band, Change, Step, band_of, compare, step_of


def document(run: str, *, p95: float, lo: float | None, hi: float | None, **changes: Any) -> dict[str, Any]:
    finding = {"phase": "stress", "sli": "latency_p95", "tier": "fail", "rule": "> 500ms", "unit": "s"}
    return {
        "run": run,
        "scenario": "stress-150",
        "verdict": "pass",
        "headline": "kept",
        "findings": [{**finding, "value": p95, "lo": lo, "hi": hi}],
        "phases": [],
        "timings": [],
        **changes,
    }


def change(before: dict[str, Any], after: dict[str, Any], history: list[dict[str, Any]] | None = None) -> Change:
    return compare(before, after, history or []).rows[0].change


OLD = document("stress-150/1", p95=0.100, lo=0.095, hi=0.105)


@pytest.mark.parametrize(
    ("p95", "lo", "hi", "expected"),
    [
        (0.200, 0.190, 0.210, Change.WORSE),
        (0.050, 0.045, 0.055, Change.BETTER),
        (0.200, 0.104, 0.300, Change.UNCLEAR),  # the intervals touch
        (0.104, 0.1035, 0.1045, Change.SAME),  # less than five per cent, however sure
        (0.200, None, None, Change.UNCLEAR),  # nothing is known of how sure it is
    ],
)
def test_a_change_is_proven_when_the_intervals_do_not_touch(
    p95: float, lo: float | None, hi: float | None, expected: Change
) -> None:
    assert change(OLD, document("stress-150/2", p95=p95, lo=lo, hi=hi)) is expected


def test_what_earlier_runs_show_to_be_usual_is_no_change() -> None:
    new = document("stress-150/9", p95=0.130, lo=0.128, hi=0.132)
    calm = [document(f"stress-150/0{n}", p95=0.100 + n / 1000, lo=None, hi=None) for n in range(6)]
    wild = [document(f"stress-150/0{n}", p95=0.080 + n / 100, lo=None, hi=None) for n in range(6)]
    assert change(OLD, new, calm) is Change.WORSE
    assert change(OLD, new, wild) is Change.UNCLEAR


def test_an_end_not_seen_is_worse_than_any_that_was() -> None:
    def timed(run: str, value_s: float | None, lo_s: float, hi_s: float | None) -> dict[str, Any]:
        timing = {"fault": "pod-delete", "timing": "recovery", "value_s": value_s, "lo_s": lo_s, "hi_s": hi_s}
        return document(run, p95=0.1, lo=0.1, hi=0.1, timings=[{**timing, "censored": value_s is None}])

    found = compare(timed("s/1", 1.2, 1.1, 1.3), timed("s/2", None, 45.0, None), [])
    row = found.rows[0]
    assert (row.where, row.name, row.change, row.after.hi) == ("pod-delete", "recovery", Change.WORSE, math.inf)
    assert found.worse


def test_for_a_throughput_less_is_worse() -> None:
    def served(run: str, per_s: float) -> dict[str, Any]:
        finding = {"phase": "stress", "sli": "throughput", "tier": "fail", "rule": "< 50% of offered", "unit": "/s"}
        return document(run, p95=0, lo=0, hi=0, findings=[{**finding, "value": per_s, "lo": per_s, "hi": per_s}])

    assert change(served("s/1", 300.0), served("s/2", 200.0)) is Change.WORSE


def test_the_usual_band_is_the_median_and_three_robust_deviations() -> None:
    assert band_of([10.0, 11.0, 12.0, 13.0]) is None
    band = band_of([10.0, 11.0, 12.0, 13.0, 1000.0])
    assert band == Band(lo=pytest.approx(12 - 3 * 1.4826), hi=pytest.approx(12 + 3 * 1.4826), runs=5)


def test_a_step_in_the_history_is_found_with_the_run_that_began_it() -> None:
    levels = [100.0 + n % 3 for n in range(15)] + [130.0 + n % 3 for n in range(15)]
    history = [(f"s/{n:02}", value) for n, value in enumerate(levels)]
    step = step_of(history)
    assert step == Step(since="s/15", before=101.0, after=131.0, p=pytest.approx(2 * math.exp(-6 * 225**2 / 27900)))
    assert step_of(history[:15]) is None
    assert step_of([]) is None


def test_what_makes_runs_hard_to_compare_is_said() -> None:
    phase = {"name": "stress", "verdict": "pass", "response_s": {"p50": None, "p95": None, "p99": None}}
    one = document("s/1", p95=0.1, lo=0.1, hi=0.1, phases=[{**phase, "offered_per_s": 300.0}])
    other = document("s/2", p95=0.1, lo=0.1, hi=0.1, phases=[{**phase, "offered_per_s": 400.0}], scenario="stress-200")
    other |= {"verdict": "inconclusive", "headline": "the run broke off", "findings": []}
    assert compare(one, other, []).notes == (
        "different scenarios: stress-150 and stress-200",
        "s/2 is inconclusive: the run broke off",
        "stress: offered 300/s before, 400/s after",
        "only in s/1: stress latency_p95",
    )


def test_what_is_no_verdict_is_refused() -> None:
    with pytest.raises(RecordError, match="not a verdict document"):
        compare(OLD, {"run": "s/2"}, [])
