"""What is asked of Prometheus, and how its answers become samples: pure."""

from __future__ import annotations

import math

import pytest
from plan_values import PROMETHEUS, phase, server_sli

from harness.drivers.prometheus.answers import Gathered, plain_samples_of
from harness.drivers.prometheus.http import RefusedError
from harness.drivers.prometheus.questions import Question, Window, health_questions, questions, window_of
from harness.history.series import Samples, Series

TEN_SECONDS = Window(phase="stress", start_ms=1_000_000_000_250, end_ms=1_000_000_010_250, t0_wall_ns=0)


def slices_of(query: str, first_ms: int, last_ms: int) -> Question:
    return Question(role="slice", query=query, from_ms=first_ms, at_ms=last_ms, step_ms=2000)


def test_a_template_is_asked_once_at_the_windows_end_and_once_per_slice() -> None:
    cpu = server_sli("cpu", query='max(rate(cpu{$selector,zone=~"a|b$"}[$window]))')
    assert questions(cpu, PROMETHEUS, TEN_SECONDS) == (
        Question(role="value", query='max(rate(cpu{job="shop",zone=~"a|b$"}[10000ms]))', at_ms=1_000_000_010_250),
        slices_of('max(rate(cpu{job="shop",zone=~"a|b$"}[2000ms]))', 1_000_000_002_250, 1_000_000_010_250),
    )


def test_slices_are_disjoint_and_aligned_to_the_windows_start() -> None:
    cpu = server_sli("cpu", query="max(rate(cpu[$window]))")
    odd = Window(phase="stress", start_ms=1_000_000_000_250, end_ms=1_000_000_007_900, t0_wall_ns=0)
    assert questions(cpu, PROMETHEUS, odd)[1] == slices_of(
        "max(rate(cpu[2000ms]))", 1_000_000_002_250, 1_000_000_006_250
    )


def test_a_rule_on_any_stretch_asks_for_stretches_that_overlap_and_lie_in_the_window() -> None:
    cpu = server_sli("cpu", query="max(rate(cpu[$window]))")
    assert questions(cpu, PROMETHEUS, TEN_SECONDS, stretches_s=(5.0, 5.0))[2:] == (
        Question(
            role="stretch",
            query="max(rate(cpu[5000ms]))",
            from_ms=1_000_000_005_250,
            at_ms=1_000_000_009_250,
            step_ms=2000,
        ),
    )


def test_a_stretch_longer_than_the_window_is_not_asked_for() -> None:
    cpu = server_sli("cpu", query="max(rate(cpu[$window]))")
    assert [one.role for one in questions(cpu, PROMETHEUS, TEN_SECONDS, stretches_s=(11.0,))] == ["value", "slice"]


def test_more_slices_than_prometheus_returns_points_are_asked_in_several_queries() -> None:
    cpu = server_sli("cpu", query="cpu[$window]")
    long = Window(phase="soak", start_ms=0, end_ms=50_000_000, t0_wall_ns=0)
    asked = [one for one in questions(cpu, PROMETHEUS, long) if one.role == "slice"]
    assert [(one.from_ms, one.at_ms) for one in asked] == [
        (2_000, 20_000_000),
        (20_002_000, 40_000_000),
        (40_002_000, 50_000_000),
    ]


def test_counters_are_asked_raw_with_a_lead_before_the_window() -> None:
    errors = server_sli("errors", bad='requests_total{$selector,code=~"5.."}', total="requests_total{$selector}")
    assert questions(errors, PROMETHEUS, TEN_SECONDS) == (
        Question(role="bad", query='requests_total{job="shop",code=~"5.."}[11500ms]', at_ms=1_000_000_010_250),
        Question(role="total", query='requests_total{job="shop"}[11500ms]', at_ms=1_000_000_010_250),
    )


def test_a_histogram_is_asked_for_its_buckets_its_count_and_its_native_form() -> None:
    slow = server_sli("slow", histogram='request_seconds{$selector,route="/"}', quantile=0.95)
    inside = '{job="shop",route="/"}[11500ms]'
    at_ms = 1_000_000_010_250
    assert questions(slow, PROMETHEUS, TEN_SECONDS) == (
        Question(role="bucket", query=f"request_seconds_bucket{inside}", at_ms=at_ms),
        Question(role="count", query=f"request_seconds_count{inside}", at_ms=at_ms),
        Question(role="bucket", query=f"request_seconds{inside}", at_ms=at_ms, native=True),
    )


def test_scrape_health_is_asked_for_once_inside_the_window() -> None:
    assert health_questions(PROMETHEUS, TEN_SECONDS) == (
        Question(role="up", query='up{job="shop"}[10000ms]', at_ms=1_000_000_010_250),
    )


def test_raw_samples_of_a_long_window_are_asked_for_in_pieces_of_one_length_oldest_first() -> None:
    hour = Window(phase="soak", start_ms=0, end_ms=3_600_000, t0_wall_ns=0)
    errors = server_sli("errors", bad="bad", total="total")
    asked = [one for one in questions(errors, PROMETHEUS, hour) if one.role == "total"]
    assert {one.query for one in asked} == {"total[720300ms]"}
    assert [one.at_ms for one in asked] == [718_800, 1_439_100, 2_159_400, 2_879_700, 3_600_000]


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
    [(labels, samples)] = plain_samples_of(answer, 1_000_000_000_000_000_000)
    assert labels == (("__name__", "up"), ("pod", "shop-1"))
    assert list(samples.times) == [1.25, 2.251, 3.25]
    assert samples.values[0] == 1.0
    assert math.isnan(samples.values[1])
    assert samples.values[2] == math.inf


def test_a_scalar_is_one_sample_without_labels() -> None:
    found = plain_samples_of([1_000_000_000.5, "0.25"], 1_000_000_000_000_000_000)
    assert list(found) == [((), Samples.of([(0.5, 0.25)]))]


def test_an_empty_answer_is_no_series() -> None:
    assert list(plain_samples_of([], 0)) == []


def test_pieces_of_one_series_are_joined_and_the_sample_at_their_edge_counts_once() -> None:
    gathered = Gathered("errors", "soak", 0)
    for values in ([[1.0, "5"], [2.0, "6"]], [[2.0, "6"], [3.0, "9"]]):
        question = Question(role="total", query="total[2000ms]", at_ms=0)
        gathered.add(question, [{"metric": {"pod": "a"}, "values": values}])
    assert gathered.series() == [
        Series(
            sli="errors",
            phase="soak",
            role="total",
            query="total[2000ms]",
            labels=(("pod", "a"),),
            samples=Samples.of([(1.0, 5.0), (2.0, 6.0), (3.0, 9.0)]),
        )
    ]


def test_a_native_histogram_is_refused_with_the_remedy() -> None:
    with pytest.raises(RefusedError, match=r"^the answer is a native histogram; wrap the query in histogram_quantile"):
        list(plain_samples_of([{"metric": {}, "histogram": [1.0, {}]}], 0))


NATIVE = Question(role="bucket", query="request_seconds[60000ms]", at_ms=0, native=True)


def native(*samples: list[object]) -> dict[tuple[str, str | None], list[float]]:
    """The columns that native samples become, by role and edge."""
    gathered = Gathered("slow", "stress", 0)
    gathered.add(NATIVE, [{"metric": {"pod": "a"}, "histograms": list(samples)}])
    return {(one.role, one.label("le")): list(one.samples.values) for one in gathered.series()}


def test_a_native_histogram_becomes_cumulative_buckets_at_its_own_edges() -> None:
    early = [1.0, {"count": "3", "sum": "1", "buckets": [[3, "-0.001", "0.001", "1"], [0, "0.1", "0.2", "2"]]}]
    late = [
        2.0,
        {
            "count": "7",
            "sum": "1",
            "buckets": [[3, "-0.001", "0.001", "1"], [0, "0.1", "0.2", "2"], [0, "0.2", "0.4", "4"]],
        },
    ]
    assert native(early, late) == {
        ("bucket", "0.001"): [1.0, 1.0],
        ("bucket", "0.1"): [1.0, 1.0],
        ("bucket", "0.2"): [3.0, 3.0],
        ("bucket", "0.4"): [3.0, 7.0],
        ("bucket", "+Inf"): [3.0, 7.0],
        ("count", None): [3.0, 7.0],
    }


def test_an_edge_inside_a_coarser_bucket_of_another_sample_is_left_out() -> None:
    """A native histogram may halve its resolution: what lay between the finer edges is not known any more."""
    fine = [1.0, {"count": "3", "sum": "1", "buckets": [[0, "0.1", "0.14", "1"], [0, "0.14", "0.2", "2"]]}]
    coarse = [2.0, {"count": "5", "sum": "1", "buckets": [[0, "0.1", "0.2", "5"]]}]
    assert native(fine, coarse) == {
        ("bucket", "0.1"): [0.0, 0.0],
        ("bucket", "0.2"): [3.0, 5.0],
        ("bucket", "+Inf"): [3.0, 5.0],
        ("count", None): [3.0, 5.0],
    }


def test_plain_numbers_are_no_answer_to_a_question_for_native_histograms() -> None:
    gathered = Gathered("slow", "stress", 0)
    gathered.add(NATIVE, [{"metric": {"pod": "a"}, "values": [[1.0, "5"]]}])
    assert gathered.series() == []
