"""Streams, levels of their own, replays: which arrivals a plan has, and what is said of them before a run."""

from __future__ import annotations

from array import array
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_values import HERE, LOAD, SERVICE, client_sli, phase, plan_of, rule, server_sli, threshold

from harness.plan.model import ClientMeasure, HealthPart, Limits, Load, Phase, Plan, Replay, Stream, Tier
from harness.plan.replay import Recording
from harness.schedule.arrivals import Arrivals, Knot, ReplayPiece
from harness.schedule.compile import needs_prometheus
from harness.schedule.load import (
    arrivals_of,
    knots_of,
    latency_limits_us,
    replay_pieces,
    seed_of,
    stream_names,
)
from harness.schedule.offered import per_second, summary, table
from harness.schedule.timeline import timeline

S = 1_000_000_000
BROWSE = Stream(name="browse", baseline_per_s=160.0, users=("Browser",), tags=())
CHECKOUT = Stream(name="checkout", baseline_per_s=40.0, users=(), tags=("write", "slow"))
STREAMED = replace(LOAD, streams=(BROWSE, CHECKOUT), workers=2)


def loaded(*phases: Phase, load: Load = STREAMED, **of_service: object) -> Plan:
    return plan_of(*phases, service=replace(SERVICE, load=load, **of_service))


REPLAY = Replay(path="/rec.txt", sha256="", speed=1.0, counts=(3, 0, 1), stream_counts=((2, 0, 0), (1, 0, 1)))
RECORDED = {
    "/rec.txt": Recording(
        sha256="", times_ns={"browse": array("q", [0, 400_000_000]), "checkout": array("q", [1, 2_999_999_999])}
    )
}
MIXED = loaded(
    phase("steady", 0, 10),
    phase("apart", 10, 20, 1.4, levels=(1.0, 3.0)),
    phase("recorded", 20, 23, 4 / 600, replay=REPLAY),
    phase("after", 23, 33),
)


def test_a_plan_without_streams_has_one_that_is_all_of_its_load():
    plan = loaded(phase("a", 0, 10, 1.5), load=LOAD)
    assert stream_names(plan) == ("",)
    assert knots_of(plan, "") == knots_of(plan) == (Knot(0.0, 0.0), Knot(0, 300.0), Knot(10, 300.0))


def test_streams_share_the_corners_and_make_the_whole_together():
    assert knots_of(MIXED, "browse")[:5] == (
        Knot(0.0, 0.0),
        Knot(0, 160.0),
        Knot(10, 160.0),
        Knot(20, 160.0),
        Knot(20, 2.0),
    )
    assert knots_of(MIXED, "checkout")[:6] == (
        Knot(0.0, 0.0),
        Knot(0, 40.0),
        Knot(10, 40.0),
        Knot(10, 120.0),
        Knot(20, 120.0),
        Knot(20, 1.0),
    )
    assert knots_of(MIXED)[1:5] == (Knot(0, 200.0), Knot(10, 200.0), Knot(10, 280.0), Knot(20, 280.0))


def test_an_unknown_stream_is_an_error():
    with pytest.raises(ValueError, match="not in tuple"):
        knots_of(MIXED, "checkin")


def test_a_replayed_phase_has_a_step_for_every_second_and_the_next_goes_on_from_the_last():
    recorded = phase("recorded", 0, 2.5, replay=replace(REPLAY, counts=(3, 0, 1), stream_counts=()))
    plan = loaded(recorded, phase("after", 2.5, 5, ramp_s=0.5), load=LOAD)
    assert knots_of(plan) == (
        Knot(0.0, 0.0),
        Knot(0, 3.0),
        Knot(1, 3.0),
        Knot(1, 0.0),
        Knot(2, 0.0),
        Knot(2, 2.0),
        Knot(2.5, 2.0),
        Knot(3.0, 200.0),
        Knot(5, 200.0),
    )


def test_a_replay_gives_its_recorded_times_and_the_profile_goes_on_after_it():
    browse = arrivals_of(MIXED, "browse", RECORDED)
    assert [browse.at(k) for k in (3199, 3200, 3201, 3202)] == [19_996_875_000, 20 * S, 20_400_000_000, 23_003_125_000]
    assert browse.total == 1600 + 1600 + 2 + 1600
    checkout = arrivals_of(MIXED, "checkout", RECORDED)
    assert [checkout.planned_in(second) for second in (19, 20, 21, 22, 23, 32, 33)] == [120, 1, 0, 1, 40, 40, 0]


def test_a_replay_at_another_speed_is_squeezed_and_cut_at_the_phase_s_end():
    recorded = phase("recorded", 5, 6, replay=replace(REPLAY, speed=2.0))
    assert replay_pieces(loaded(recorded), "checkout", RECORDED) == (ReplayPiece(5 * S, 6 * S, array("q", [5 * S])),)


def test_without_its_recording_a_replay_has_as_many_arrivals_in_each_second():
    browse = arrivals_of(MIXED, "browse")
    assert [browse.planned_in(second) for second in (19, 20, 21, 22, 23)] == [160, 2, 0, 0, 160]


def test_poisson_streams_draw_from_seeds_of_their_own_names():
    assert seed_of(MIXED) == 1
    assert len({seed_of(MIXED, "browse"), seed_of(MIXED, "checkout"), 1}) == 3
    assert seed_of(MIXED, "browse") == seed_of(loaded(phase("other", 0, 1)), "browse")


TIMES = st.lists(st.integers(0, 2 * S - 1), max_size=20).map(sorted)


@settings(max_examples=50)
@given(TIMES, TIMES, st.sampled_from(["uniform", "poisson"]), st.integers(1, 4), st.integers(0, 9 * S))
def test_with_replays_stripes_still_divide_the_arrivals_and_numbers_count_them(early, late, law, of, from_ns):
    knots = (Knot(0, 0), Knot(1, 10), Knot(3, 10), Knot(5, 0), Knot(5, 7.5), Knot(9, 7.5))
    pieces = (
        ReplayPiece(1 * S, 3 * S, array("q", [S + t_ns for t_ns in early])),
        ReplayPiece(5 * S, 7 * S, array("q", [5 * S + t_ns for t_ns in late])),
    )
    arrivals = Arrivals(knots, law, 3, pieces)
    times = [arrivals.at(k) for k in range(arrivals.total)]
    assert times == sorted(times)
    assert [t_ns for t_ns in times if S <= t_ns < 3 * S] == list(pieces[0].times_ns)
    striped = sorted(t_ns for index in range(of) for t_ns in arrivals.stripe(index, of, from_ns))
    assert striped == [t_ns for t_ns in times if t_ns >= from_ns]
    assert [arrivals.before(t_ns) for t_ns in range(0, 10 * S, S // 2)] == [
        sum(time_ns < t_ns for time_ns in times) for t_ns in range(0, 10 * S, S // 2)
    ]
    with pytest.raises(IndexError, match=f"there is no arrival {len(times)}, only {len(times)}"):
        arrivals.at(len(times))


def test_poisson_gaps_vary_as_exponentials_and_numbers_far_ahead_are_cheap():
    arrivals = Arrivals((Knot(0, 1000), Knot(100_000, 1000)), "poisson", 5)
    first = [arrivals.at(k) / 1e6 for k in range(20_001)]  # in mean gaps
    gaps = [later - earlier for earlier, later in pairwise(first)]
    assert sum(gaps) / 20_000 == pytest.approx(1, abs=0.028)  # 4 sigma
    assert sum(gap * gap for gap in gaps) / 20_000 == pytest.approx(2, abs=0.13)  # 4 sigma
    assert arrivals.total == pytest.approx(100_000_000, abs=40_000)  # 4 sigma


def test_latency_limits_are_what_the_plan_decides_latencies_at_and_slow():
    slis = (client_sli("p95", ClientMeasure.LATENCY, 0.95), client_sli("errors"))
    half = threshold("p95", rule("> 500ms", 0.5))
    rules = (
        half,
        threshold("p95", rule("< 30.1ms", 0.0301), Tier.TARGET),
        threshold("p95", rule("> 120% of baseline", 1.2, relative_to="baseline")),
        threshold("errors", rule("> 1%", 0.01)),
    )
    plan = loaded(phase("a", 0, 1, thresholds=rules), phase("b", 1, 2, thresholds=(half,)), slis=slis)
    assert latency_limits_us(plan) == (30_100, 500_000, 1_000_000)


def test_every_second_of_every_stream_is_counted():
    assert {name: counts[18:24] for name, counts in per_second(MIXED, RECORDED).items()} == {
        "browse": (160, 160, 2, 0, 0, 160),
        "checkout": (120, 120, 1, 0, 1, 40),
    }
    assert table(MIXED, RECORDED).splitlines()[20:23] == [
        "    19     160       120  280",
        "    20       2         1    3",
        "    21       0         0    0",
    ]


def test_too_many_poisson_arrivals_are_expected_not_counted():
    load = replace(LOAD, baseline_per_s=1e9, arrivals="poisson")
    assert per_second(loaded(phase("a", 0, 2), load=load)) == {"": (1_000_000_000, 1_000_000_000)}


def test_the_timeline_shows_streams_and_recordings():
    assert timeline(MIXED).splitlines()[2:6] == [
        " 10s  phase apart for 10s    140%    280/s   stream browse: 100%, 160/s",
        "                                             stream checkout: 300%, 120/s",
        "                                             not judged",
        " 20s  phase recorded for 3s  0.667%  1.33/s  replays /rec.txt, at most 3 arrivals in a second",
    ]
    assert timeline(MIXED).endswith(" 33s  end                                    6804 arrivals planned")


def test_the_timeline_counts_arrivals_and_says_when_it_did_not_draw_them():
    """Each stream has whole arrivals: one of 1.5 has 1, two have 2."""
    halves = replace(STREAMED, streams=(replace(BROWSE, baseline_per_s=1.5), replace(CHECKOUT, baseline_per_s=1.5)))
    poisson = replace(LOAD, baseline_per_s=300.0, streams=(), arrivals="poisson")
    assert timeline(loaded(phase("a", 0, 1), load=halves)).endswith("  2 arrivals planned")
    assert timeline(loaded(phase("a", 0, 2), load=poisson)).endswith("  about 600 arrivals planned")


def test_the_summary_says_what_holds_of_the_whole_run():
    load = replace(STREAMED, baseline_from="baseline/1", metrics="127.0.0.1:9646", limits=Limits(start_lag_s=0.002))
    assert summary(loaded(phase("a", 0, 1), load=load)).splitlines() == [
        "100%        200/s, measured by baseline/1",
        "stream      browse: 160/s, users Browser",
        "stream      checkout: 40/s, tags write slow",
        "arrivals    uniform, timed out after 5s",
        "counted at  1s",
        "workers     2",
        "limits      start lag 2ms, stall 200ms, cpu 90%, rate error 2%, lost 0.1%, dropped 0.1%, clock 10ms",
        "metrics     127.0.0.1:9646",
    ]


def test_a_judged_phase_needs_prometheus_for_its_health_score():
    part = HealthPart(sli="cpu", weight=1.0, target=0.8, source=HERE)
    plan = loaded(
        phase("played", 0, 1, judge=False), phase("judged", 1, 2), slis=(server_sli("cpu", query="q"),), health=(part,)
    )
    assert [needs_prometheus(plan, each) for each in plan.phases] == [False, True]
