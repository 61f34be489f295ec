"""Intervals of shares, against published figures and literals computed with SciPy."""

from __future__ import annotations

import pytest

from harness.verdict.interval import (
    Second,
    beta_cdf,
    beta_quantile,
    design_effect,
    share_interval,
    student_quantile,
)


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


def test_correlation_widens_only_the_side_on_which_a_limit_is_kept() -> None:
    plain, wide = share_interval((60, 60), 6000), share_interval((60, 60), 6000, effect=10)
    assert wide[0] == plain[0]
    assert wide[1] > plain[1]


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
