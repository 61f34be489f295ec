"""Histograms read from Prometheus: shares above a limit, decided at the buckets' edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_values import rule, server_sli
from test_verdict_server import up, window

from harness.history.series import Samples, Series
from harness.plan.model import PrometheusSli, Rule
from harness.verdict.buckets import above, histograms_of, quantile_bucket
from harness.verdict.model import Reason
from harness.verdict.ruling import NoEvidenceError, Ruling
from harness.verdict.server import ServerWindow, server_measured, server_ruling

P95 = server_sli("slow", histogram="request_seconds", quantile=0.95)
TIMES = tuple(float(second) for second in range(-1, 30))


def buckets(
    per_s: Mapping[str, float], *, name: str = "request_seconds_bucket", times: Sequence[float] = TIMES, **labels: str
) -> list[Series]:
    """A histogram's cumulative buckets, each rising steadily by so much a second."""
    own = {"instance": "a", "__name__": name} | labels
    return [
        Series(
            sli="slow",
            phase="p",
            role="bucket",
            query="q",
            labels=tuple(sorted((own | {"le": edge}).items())),
            samples=Samples.of((t_s, 100 + rise * (t_s - times[0])) for t_s in times),
        )
        for edge, rise in per_s.items()
    ]


def ruled(seen: ServerWindow, limit_s: float, by: Rule | None = None, of: PrometheusSli = P95) -> Ruling:
    asked = by or rule(f"> {limit_s}s", limit_s)
    return server_ruling(seen, of, asked, (limit_s, limit_s), server_measured(seen, of))


TENTH_SLOW = {"0.1": 50.0, "0.2": 90.0, "0.5": 100.0, "+Inf": 100.0}


def test_a_limit_at_an_edge_is_decided_exactly() -> None:
    seen = window(up(), *buckets(TENTH_SLOW))
    assert ruled(seen, 0.2).holds is True
    assert ruled(seen, 0.2).note.startswith("share above 200ms: 10%")
    assert ruled(seen, 0.5).holds is False


def test_a_limit_between_edges_is_decided_only_where_both_edges_say_the_same() -> None:
    seen = window(up(), *buckets(TENTH_SLOW))
    assert ruled(seen, 0.15).holds is True
    undecided = ruled(seen, 0.3)
    assert (undecided.holds, undecided.reason) == (None, Reason.BUCKET_LIMITED)
    assert undecided.note.endswith("its bucket spans 200ms to 500ms; add a bucket at 300ms")


def test_a_limit_beyond_the_last_edge_says_so() -> None:
    ruling = ruled(window(up(), *buckets({"0.1": 50.0, "+Inf": 100.0})), 0.3)
    assert (ruling.holds, ruling.reason) == (None, Reason.BUCKET_LIMITED)
    assert ruling.note.endswith("the last bucket with an end is 100ms")


def test_the_value_lies_in_its_bucket_between_sure_bounds() -> None:
    measured = server_measured(window(up(), *buckets(TENTH_SLOW)), P95)
    assert (measured.value, measured.lo, measured.hi, measured.samples) == (pytest.approx(0.35), 0.2, 0.5, 3000)


def test_a_value_above_the_last_edge_is_no_number() -> None:
    measured = server_measured(window(up(), *buckets({"0.1": 50.0, "+Inf": 100.0})), P95)
    assert (measured.value, measured.lo, measured.hi) == (None, 0.1, None)


def test_several_targets_are_added_before_anything_is_divided() -> None:
    fast = buckets({"0.2": 900.0, "+Inf": 900.0}, instance="b")
    seen = window(up(), up(instance="b"), *buckets({"0.2": 40.0, "+Inf": 100.0}), *fast)
    assert ruled(seen, 0.2).note.startswith("share above 200ms: 6%")


def test_targets_with_other_edges_are_bounded_each_by_its_own() -> None:
    """A new version brought an edge: where both have the limit the share is exact, elsewhere it is an interval."""
    new = buckets({"0.1": 60.0, "0.2": 90.0, "0.3": 99.0, "+Inf": 100.0}, instance="b")
    seen = window(up(), up(instance="b"), *buckets(TENTH_SLOW), *new)
    assert ruled(seen, 0.2).holds is True
    assert ruled(seen, 0.3).reason is Reason.BUCKET_LIMITED


def test_edges_that_came_inside_the_window_are_refused() -> None:
    late = buckets({"0.3": 95.0}, times=TIMES[15:])
    with pytest.raises(NoEvidenceError, match=r"^the buckets of a histogram changed inside the window") as caught:
        server_measured(window(up(), *buckets(TENTH_SLOW), *late), P95)
    assert caught.value.reason is Reason.BUCKETS_CHANGED


def test_a_native_histogram_brings_its_edges_to_the_classic_one_of_the_same_target() -> None:
    classic = buckets({"0.1": 50.0, "0.5": 100.0, "+Inf": 100.0})
    native = buckets({"0.25": 90.0, "0.35": 96.0, "+Inf": 100.0}, name="request_seconds")
    assert ruled(window(up(), *classic), 0.25).reason is Reason.BUCKET_LIMITED
    assert ruled(window(up(), *classic, *native), 0.25).holds is True


def test_a_native_histogram_too_coarse_for_the_limit_wants_more_resolution() -> None:
    native = buckets({"0.25": 90.0, "0.5": 100.0, "+Inf": 100.0}, name="request_seconds")
    assert ruled(window(up(), *native), 0.3).note.endswith("raise the native histogram's resolution")


def test_the_count_stands_where_there_is_no_last_bucket() -> None:
    [one] = buckets({"0.2": 90.0})
    with pytest.raises(NoEvidenceError, match=r"neither a _count nor a bucket \+Inf"):
        server_measured(window(up(), one), P95)
    [total] = buckets({"0": 100.0}, name="request_seconds_count")
    count = replace(total, role="count", labels=tuple(pair for pair in total.labels if pair[0] != "le"))
    assert server_measured(window(up(), one, count), P95).samples == 3000


def test_nothing_observed_is_no_quantile() -> None:
    with pytest.raises(NoEvidenceError) as caught:
        server_measured(window(up(), *buckets({"0.2": 0.0, "+Inf": 0.0})), P95)
    assert caught.value.reason is Reason.NOTHING_SERVED


def test_no_buckets_are_no_histogram() -> None:
    with pytest.raises(NoEvidenceError, match=r"^no buckets of the histogram; is that its name, without _bucket\?$"):
        server_measured(window(up()), P95)


def test_rules_over_time_look_at_the_share_of_each_slice() -> None:
    seen = window(up(), *buckets(TENTH_SLOW))
    assert ruled(seen, 0.2, rule("> 200ms for 10s", 0.2, for_s=10)).holds is True
    assert ruled(seen, 0.5, rule("> 500ms for 10s", 0.5, for_s=10)).holds is False
    assert ruled(seen, 0.3, rule("> 300ms for 10s", 0.3, for_s=10)).holds is None
    assert ruled(seen, 0.2, rule("> 200ms in any 10s", 0.2, any_s=10)).holds is True


@given(
    st.lists(st.integers(0, 400), min_size=30, max_size=200),
    st.sets(st.integers(1, 300), min_size=1, max_size=8),
    st.integers(1, 400),
)
def test_bounds_hold_whatever_was_observed(latencies: list[int], edges: set[int], limit: int) -> None:
    """The true count above a limit, and the true quantile, lie within what the buckets allow."""
    per_edge: dict[str, float] = {str(edge): float(sum(one <= edge for one in latencies)) for edge in sorted(edges)}
    per_edge["+Inf"] = float(len(latencies))
    found = histograms_of(window(up(), *buckets(per_edge, times=(-1.0, 0.0))), 30.0)
    share = above(found, (limit, limit))
    true = sum(one > limit for one in latencies)
    assert sum(share.least) <= true <= sum(share.most)
    if limit in edges:
        assert sum(share.least) == true == sum(share.most)
    rank = 0.9 * len(latencies)
    bucket = quantile_bucket(found, rank)
    assert bucket is not None
    ordered = sorted(latencies)
    true_quantile = ordered[min(int(-(-rank // 1)) - 1, len(ordered) - 1)]
    assert bucket[0] <= true_quantile <= bucket[2]
