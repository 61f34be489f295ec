"""Intervals of shares, against published figures and literals computed with SciPy."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.verdict.interval import Second, design_effect, ratio_estimate, share_interval
from harness.verdict.special import beta_cdf, beta_quantile, student_quantile


@pytest.mark.parametrize(
    ("p", "a", "b", "expected"),
    [
        (0.05, 10, 5991, 0.0009045038122285657),
        (0.05, 1, 6000, 8.548845856334092e-06),
        (0.95, 13.5, 1200.25, 0.0164866066836141),
        (0.001, 2, 3, 0.013022947370814273),
        (0.05, 0.5, 0.5, 0.0061558297024311365),
        (0.95, 300, 20, 0.9580664449798505),
        (0.05, 250000.5, 750000, 0.24928841698231044),
    ],
)
def test_beta_quantiles_agree_with_scipy(p: float, a: float, b: float, expected: float) -> None:
    assert beta_quantile(p, a, b) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("x", "a", "b", "expected"),
    [
        (0.5, 2, 3, 0.6875),
        (0.01, 3.7, 400, 0.6336576780900546),
        (0.999, 50, 0.4, 0.665455005715639),
        (1e-5, 0.5, 30000, 0.5614212108350348),
        (0.0, 2, 3, 0.0),
        (1.0, 2, 3, 1.0),
    ],
)
def test_the_incomplete_beta_function_agrees_with_scipy(x: float, a: float, b: float, expected: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("p", "freedom", "expected"),
    [
        (0.95, 1, 6.313751514675037),
        (0.95, 7, 1.8945786050900062),
        (0.95, 29, 1.6991270265334972),
        (0.999, 44, 3.286071946180288),
    ],
)
def test_student_quantiles_agree_with_scipy(p: float, freedom: int, expected: float) -> None:
    assert student_quantile(p, freedom) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("bad", "needed"), [(0, 2995), (1, 4742), (2, 6294), (3, 7752), (5, 10511), (10, 16959)])
def test_so_many_arrivals_prove_less_than_one_in_a_thousand(bad: int, needed: int) -> None:
    assert share_interval((bad, bad), needed)[1] < 0.001
    assert share_interval((bad, bad), needed - 1)[1] >= 0.001


def test_six_thousand_arrivals_without_an_error_prove_both_one_and_half_a_per_cent_kept() -> None:
    assert share_interval((0, 0), 6000)[1] == pytest.approx(0.000499164, rel=1e-5)


def test_unknown_outcomes_widen_both_ends() -> None:
    lo, hi = share_interval((10, 20), 1000)
    assert lo == share_interval((10, 10), 1000)[0]
    assert hi == share_interval((20, 20), 1000)[1]


def test_correlation_widens_both_ends() -> None:
    plain, wide = share_interval((60, 60), 6000), share_interval((60, 60), 6000, effect=10)
    assert wide[0] < plain[0] < 0.01 < plain[1] < wide[1]


def test_evenly_spread_errors_have_no_design_effect() -> None:
    assert design_effect([Second(200, 2)] * 30) == 1.0


def test_no_errors_and_nothing_but_errors_have_no_design_effect() -> None:
    assert design_effect([Second(200, 0)] * 30) == 1.0
    assert design_effect([Second(200, 200)] * 30) == 1.0


def test_errors_in_one_burst_count_as_few() -> None:
    seconds = [Second(200, 200 if i == 10 else 0) for i in range(30)]
    assert 100 < design_effect(seconds) < 400


def test_a_burst_that_a_fault_explains_is_no_variation_of_the_service() -> None:
    seconds = [Second(200, 200 if i == 10 else 0, disturbed=i == 10) for i in range(30)]
    assert design_effect(seconds) == 1.0


def test_the_design_effect_never_exceeds_the_number_of_arrivals() -> None:
    assert design_effect([Second(5, 5), Second(5, 0)]) == 10.0


# -- the whole estimate ------------------------------------------------------------------------------------------------

CALM = [Second(200, 2)] * 30


def test_independent_errors_have_the_interval_of_clopper_and_pearson() -> None:
    found = ratio_estimate(CALM)
    assert (found.lo, found.hi) == share_interval((60, 60), 6000)
    assert (found.value, found.effect, found.tau_s) == (0.01, 1.0, 0.0)


def test_unknown_outcomes_are_good_below_and_bad_above() -> None:
    found = ratio_estimate(CALM, [Second(200, 3)] * 30)
    assert (found.lo, found.hi) == (share_interval((60, 60), 6000)[0], share_interval((90, 90), 6000)[1])


def test_one_short_burst_proves_neither_a_breach_nor_much_of_a_limit() -> None:
    found = ratio_estimate([Second(200, 120 if i == 10 else 0) for i in range(40)])
    assert found.value == 0.015
    assert found.lo < 0.001
    assert 0.06 < found.hi < 0.08  # as one event of forty: 1.5 % times 4.7


def test_a_black_out_is_a_fact() -> None:
    found = ratio_estimate([Second(200, 200 if i in (10, 11) else 0) for i in range(30)])
    assert found.lo > 0.05
    assert found.hi > 0.25  # but whether it comes again is not


def test_a_second_of_a_few_failing_arrivals_is_no_black_out() -> None:
    assert ratio_estimate([Second(5, 5 if i == 10 else 0) for i in range(30)]).lo < 0.01


def test_a_slow_drift_is_wider_than_the_same_seconds_shuffled() -> None:
    drift = [Second(200, 2 if i % 20 < 10 else 18) for i in range(60)]
    mixed = [Second(200, 2 if i % 2 else 18) for i in range(60)]
    assert ratio_estimate(drift).hi > ratio_estimate(mixed).hi
    assert ratio_estimate(drift).tau_s > 2


def test_an_hour_is_estimated_in_milliseconds() -> None:
    seconds = [Second(20_000, 100 + i % 37) for i in range(3600)]
    began = time.process_time()
    ratio_estimate(seconds)
    assert time.process_time() - began < 0.25


bad_counts = st.lists(st.sampled_from([0, 0, 0, 1, 3, 10, 50]), min_size=12, max_size=30)


@settings(max_examples=60)
@given(bad_counts, st.data())
def test_more_bad_arrivals_lower_neither_end(bad: list[int], data: st.DataObject) -> None:
    more = [min(one + data.draw(st.sampled_from([0, 0, 1, 5, 50])), 50) for one in bad]
    before, after = (ratio_estimate([Second(50, one) for one in counts]) for counts in (bad, more))
    assert after.lo >= before.lo * 0.95
    assert after.hi >= before.hi * 0.95
