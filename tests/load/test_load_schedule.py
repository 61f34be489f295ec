"""The arithmetic of arrivals: rate, integral, intended times, stripes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from load_support import load_plan
from plan_values import phase

from harness.schedule.load import (
    Arrivals,
    Knot,
    arrivals_before,
    arrivals_of,
    intended_counts,
    intended_ns,
    knots_of,
    rate_at,
)

S = 1_000_000_000
RAMP = (Knot(0, 0), Knot(10, 100), Knot(20, 100), Knot(20, 50), Knot(30, 0))


@st.composite
def profiles(draw):
    knots = [Knot(0.0, 0.0)]
    for _ in range(draw(st.integers(1, 4))):
        per_s = draw(st.sampled_from([0.0, 0.3, 10.0, 77.7, 200.0]))
        ramp_s, hold_s = draw(st.sampled_from([0.0, 0.1, 1.0, 2.5])), draw(st.sampled_from([0.1, 1.0, 3.3]))
        t_s = knots[-1].t_s
        knots += [Knot(t_s, knots[-1].per_s), Knot(t_s + ramp_s, per_s), Knot(t_s + ramp_s + hold_s, per_s)]
    return tuple(knots)


LAWS = st.sampled_from(["uniform", "poisson"])


def test_a_plan_ramps_from_level_to_level_and_steps_without_a_ramp():
    plan = load_plan(
        per_s=200, phases=(phase("a", 0, 10, ramp_s=5), phase("b", 10, 20, 1.5), phase("c", 20, 30, 0.5, ramp_s=2))
    )
    assert knots_of(plan) == (
        Knot(0, 0.0),
        Knot(5, 200.0),
        Knot(10, 200.0),
        Knot(10, 300.0),
        Knot(20, 300.0),
        Knot(22, 100.0),
        Knot(30, 100.0),
    )


def test_the_rate_is_linear_between_knots_right_continuous_and_zero_outside():
    assert [rate_at(RAMP, t_s) for t_s in (-1, 0, 5, 10, 19.9, 20, 25, 30, 31)] == [0, 0, 50, 100, 100, 50, 25, 0, 0]


def test_the_integral_is_the_area_under_the_rate():
    assert [arrivals_before(RAMP, t_s) for t_s in (-1, 0, 5, 10, 20, 25, 30, 99)] == [
        0,
        0,
        125,
        500,
        1500,
        1687.5,
        1750,
        1750,
    ]


def test_uniform_arrivals_are_evenly_spaced_at_a_constant_rate():
    assert [intended_ns((Knot(0, 500), Knot(1, 500)), k) for k in range(3)] == [1_000_000, 3_000_000, 5_000_000]


def test_there_is_no_arrival_past_the_last():
    with pytest.raises(IndexError, match="there is no arrival 500, only 500"):
        intended_ns((Knot(0, 500), Knot(1, 500)), 500)


def test_a_constant_rate_plans_the_same_number_every_second():
    arrivals = arrivals_of(load_plan(per_s=500, phases=(phase("a", 0, 3), phase("b", 3, 5, 1.5))))
    assert [arrivals.planned_in(second) for second in range(-1, 6)] == [0, 500, 500, 500, 750, 750, 0]


def test_counts_per_ten_milliseconds_add_up_to_the_second():
    plan = load_plan(per_s=500, phases=(phase("a", 0, 2, ramp_s=1),))
    assert intended_counts(plan, 1) == (5,) * 100
    assert sum(intended_counts(plan, 0)) == arrivals_of(plan).planned_in(0) == 250


@settings(max_examples=25)
@given(profiles(), LAWS, st.integers(0, 5))
def test_seconds_conserve_arrivals_exactly(knots, law, seed):
    arrivals = Arrivals(knots, law, seed)
    times = [arrivals.at(k) for k in range(arrivals.total)]
    assert times == sorted(times)
    assert all(0 <= t_ns < knots[-1].t_s * S for t_ns in times)
    seconds = range(int(knots[-1].t_s) + 1)
    assert [arrivals.planned_in(second) for second in seconds] == [
        sum(second * S <= t_ns < (second + 1) * S for t_ns in times) for second in seconds
    ]


@settings(max_examples=25)
@given(profiles(), LAWS, st.integers(1, 4), st.integers(0, 8 * S))
def test_stripes_divide_the_arrivals_from_any_instant(knots, law, of, from_ns):
    arrivals = Arrivals(knots, law, 1)
    striped = sorted(t_ns for index in range(of) for t_ns in arrivals.stripe(index, of, from_ns))
    assert striped == [t_ns for t_ns in map(arrivals.at, range(arrivals.total)) if t_ns >= from_ns]
    assert len(striped) == sum(arrivals.planned_of(index, of, from_ns, 10**12) for index in range(of))


@settings(max_examples=25)
@given(profiles())
def test_a_uniform_arrival_sits_where_the_integral_reaches_its_middle(knots):
    arrivals = Arrivals(knots)
    for k in range(arrivals.total):
        assert arrivals_before(knots, arrivals.at(k) / S) == pytest.approx(k + 0.5, abs=1e-4)


def test_poisson_arrivals_depend_on_the_seed_alone_and_vary_as_poisson():
    knots = (Knot(0, 1000), Knot(100, 1000))
    one, again, other = Arrivals(knots, "poisson", 1), Arrivals(knots, "poisson", 1), Arrivals(knots, "poisson", 2)
    assert again.at(70_000) == one.at(70_000) != other.at(70_000)
    counts = [one.planned_in(second) for second in range(100)]
    mean = sum(counts) / 100
    assert mean == pytest.approx(1000, abs=13)  # 4 sigma
    assert sum((count - mean) ** 2 for count in counts) / 99 == pytest.approx(1000, rel=0.6)  # 4 sigma
