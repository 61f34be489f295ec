"""What is asked of Prometheus, and how its answers become samples: pure."""

from __future__ import annotations

import math

import pytest
from prometheus_plan import phase, prometheus, sli

from harness.drivers.prometheus import Question, Window, questions, samples_of, window_of
from harness.drivers.prometheus_http import RefusedError

HERE = prometheus("http://127.0.0.1:9090")
TEN_SECONDS = Window(phase="stress", start_ms=1_000_000_000_250, end_ms=1_000_000_010_250, t0_wall_ns=0)
UP = Question(role="up", query='up{job="shop"}[10000ms]', at_ms=1_000_000_010_250)


def test_a_template_is_asked_once_at_the_windows_end_over_the_whole_window() -> None:
    cpu = sli("cpu", query='max(rate(cpu{$selector,zone=~"a|b$"}[$window]))')
    assert questions(cpu, HERE, TEN_SECONDS, sliced=False) == (
        Question(role="value", query='max(rate(cpu{job="shop",zone=~"a|b$"}[10000ms]))', at_ms=1_000_000_010_250),
        UP,
    )


def test_a_rule_with_a_duration_also_asks_for_disjoint_slices_aligned_to_the_windows_start() -> None:
    cpu = sli("cpu", query="max(rate(cpu[$window]))")
    odd = Window(phase="stress", start_ms=1_000_000_000_250, end_ms=1_000_000_007_900, t0_wall_ns=0)
    assert questions(cpu, HERE, odd, sliced=True)[1] == Question(
        role="slice",
        query="max(rate(cpu[2000ms]))",
        from_ms=1_000_000_002_250,
        at_ms=1_000_000_006_250,
        step_ms=2000,
    )


def test_more_slices_than_prometheus_returns_points_are_asked_in_several_queries() -> None:
    cpu = sli("cpu", query="cpu[$window]")
    long = Window(phase="soak", start_ms=0, end_ms=50_000_000, t0_wall_ns=0)
    asked = [one for one in questions(cpu, HERE, long, sliced=True) if one.role == "slice"]
    assert [(one.from_ms, one.at_ms) for one in asked] == [
        (2_000, 20_000_000),
        (20_002_000, 40_000_000),
        (40_002_000, 50_000_000),
    ]


def test_counters_are_asked_raw_with_a_lead_before_the_window() -> None:
    errors = sli("errors", bad='requests_total{$selector,code=~"5.."}', total="requests_total{$selector}")
    assert questions(errors, HERE, TEN_SECONDS, sliced=True) == (
        Question(role="bad", query='requests_total{job="shop",code=~"5.."}[11500ms]', at_ms=1_000_000_010_250),
        Question(role="total", query='requests_total{job="shop"}[11500ms]', at_ms=1_000_000_010_250),
        UP,
    )


def test_a_window_is_rounded_inwards_to_whole_milliseconds() -> None:
    window = window_of(phase(), 1.0, 2.0, 1_000_000_000_000_400_000)
    assert window == Window(
        phase="stress", start_ms=1_000_000_001_001, end_ms=1_000_000_002_000, t0_wall_ns=1_000_000_000_000_400_000
    )
    assert window.length_ms == 999


def test_samples_become_seconds_since_run_start_and_keep_what_is_not_a_number() -> None:
    answer = [
        {
            "metric": {"pod": "shop-1", "__name__": "up"},
            "values": [[1_000_000_001.25, "1"], [1_000_000_002.251, "NaN"], [1_000_000_003.25, "+Inf"]],
        }
    ]
    [(labels, samples)] = samples_of(answer, 1_000_000_000_000_000_000)
    assert labels == (("__name__", "up"), ("pod", "shop-1"))
    assert [at for at, _ in samples] == [1.25, 2.251, 3.25]
    assert samples[0][1] == 1.0
    assert math.isnan(samples[1][1])
    assert samples[2][1] == math.inf


def test_a_scalar_is_one_sample_without_labels() -> None:
    assert samples_of([1_000_000_000.5, "0.25"], 1_000_000_000_000_000_000) == [((), ((0.5, 0.25),))]


def test_an_empty_answer_is_no_series() -> None:
    assert samples_of([], 0) == []


def test_a_native_histogram_is_refused_with_the_remedy() -> None:
    with pytest.raises(RefusedError, match=r"^the answer is a native histogram; wrap the query in histogram_quantile"):
        samples_of([{"metric": {}, "histogram": [1.0, {}]}], 0)
