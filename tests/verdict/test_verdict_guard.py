"""The live guard: what trips an abort threshold, when, and what does not."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from verdict_case import S, parse

from harness.history.load import LoadFrame
from harness.history.run import Run
from harness.plan.model import Phase
from harness.verdict.evidence import Spread, log_evidence, proven
from harness.verdict.guard import Guard, Tripped, tripped

GUARDED = """
service rate=100
phase warm-up 0..5 load=100% unjudged
phase stress 5..40 load=100%
rule stress error_ratio abort > 1% for 5s
rule stress latency_p95 abort > 500ms for 5s
load
    failed 0x14 0.5x24
"""


def so_far(run: Run, t_s: float) -> Run:
    events = tuple(event for event in run.events if event.t_ns <= t_s * S)
    return replace(run, events=events, frames=tuple(frame for frame in run.frames if 5 <= frame.second < int(t_s)))


def case(rule: str, load: str, *, seconds: int = 60, rate: int = 200) -> Run:
    phase = f"phase stress 0..{seconds} load=100%"
    return parse(f"service rate={rate}\nrequests browse checkout\n{phase}\nrule stress {rule}\n{load}").run()


def trip_of(run: Run) -> tuple[int, Tripped] | None:
    """When the guard trips first, looked at every second, and on what."""
    phase: Phase = run.plan.phases[0]
    guard = Guard(run.plan)
    guard.enter(phase)
    by_second: dict[int, list[LoadFrame]] = {}
    for frame in run.frames:
        by_second.setdefault(frame.second, []).append(frame)
    for t_s in range(1, int(phase.end_s) + 1):
        guard.add(by_second.get(t_s - 1, ()))
        found = guard.look(float(t_s))
        if found is not None:
            return t_s, found
    return None


def at(run: Run) -> int | None:
    found = trip_of(run)
    return found[0] if found else None


def test_the_guard_trips_as_soon_as_the_breach_has_lasted() -> None:
    run = parse(GUARDED).run()
    assert tripped(so_far(run, 19.9), 19.9) is None
    assert tripped(so_far(run, 20.0), 20.0) == Tripped(phase="stress", sli="error_ratio", rule="> 1% for 5s")


def test_the_guard_sees_nothing_outside_of_phases() -> None:
    run = parse(GUARDED).run()
    assert tripped(so_far(run, 41.0), 41.0) is None
    assert tripped(replace(run, events=()), 20.0) is None


def test_answers_still_outstanding_may_be_good_or_bad_to_the_guard() -> None:
    outstanding = GUARDED.replace("> 1% for 5s", "> 10% for 5s").replace(
        "failed 0x14 0.5x24", "failed 0.05x39\n    unseen 0.9x39"
    )
    run = so_far(parse(outstanding).run(), 30.0)
    assert tripped(run, 30.0) is None


def test_a_late_frame_keeps_the_guard_from_deciding() -> None:
    run = so_far(parse(GUARDED).run(), 20.0)
    assert tripped(replace(run, frames=tuple(one for one in run.frames if one.second != 17)), 20.0) is None


def test_slow_answers_trip_the_guard_too() -> None:
    run = parse(GUARDED.replace("failed 0x14 0.5x24", "latency 0.02x14 0.8x24")).run()
    assert tripped(so_far(run, 20.0), 20.0) == Tripped(phase="stress", sli="latency_p95", rule="> 500ms for 5s")


@pytest.mark.parametrize("onset", [0, 10, 300])
def test_a_total_outage_trips_within_two_seconds_whatever_came_before(onset: int) -> None:
    good = f"0x{onset - 1} " if onset else ""
    run = case("error_ratio abort > 1%", f"load\n    failed {good}1x30\n", seconds=onset + 30)
    assert at(run) in (onset + 1, onset + 2)


def test_a_tenth_of_errors_trips_within_ten_seconds_of_a_good_phase() -> None:
    run = case("error_ratio abort > 1%", "load\n    failed 0x99 0.1x30\n", seconds=130)
    assert 102 <= (at(run) or 0) <= 110


def test_one_burst_does_not_trip_a_rule_on_the_phase() -> None:
    run = case("error_ratio abort > 1%", "load\n    failed 0x19 0.7 0x39\n")
    assert at(run) is None


def test_errors_at_the_limit_do_not_trip() -> None:
    assert at(case("error_ratio abort > 1%", "load\n    failed 0.01x59\n")) is None


def test_the_service_going_away_trips_success_rules_at_once() -> None:
    assert at(case("success_ratio abort < 95%", "load\n    failed 0x19 1x39\n")) in (21, 22)


@pytest.mark.parametrize("rule", ["< 50% of offered", "< 100/s"])
def test_half_of_the_throughput_is_missing_when_half_of_ten_seconds_is(rule: str) -> None:
    assert 25 < (at(case(f"throughput abort {rule}", "load\n    failed 0x19 1x39\n")) or 0) <= 28


def test_a_stretch_rule_waits_for_a_stretch() -> None:
    run = case("error_ratio abort > 10% in any 8s", "load\n    failed 0.5x59\n")
    assert at(run) == 8


def test_each_request_is_watched_by_itself() -> None:
    run = case("error_ratio abort > 20% each request", "outage 10..40 1.0 checkout\n")
    found = trip_of(run)
    assert found is not None
    assert found[1].group == "checkout"


def test_the_guard_costs_the_same_after_an_hour() -> None:
    run = case("error_ratio abort > 1%", "load\n    failed 0.001x3599\n", seconds=3600, rate=20)
    guard = Guard(run.plan)
    guard.enter(run.plan.phases[0])
    guard.add(run.frames)
    guard.look(3590.0)
    began = time.process_time()
    for t_s in range(3590, 3600):
        guard.look(float(t_s))
    assert (time.process_time() - began) / 10 < 0.01


# -- evidence ----------------------------------------------------------------------------------------------------------


def test_evidence_at_the_limit_is_one_on_average() -> None:
    """Summed over all outcomes with their probability at the limit, the e-value is at most 1."""
    total, allowed = 40, 0.1
    chance, mean = (1 - allowed) ** total, 0.0
    for bad in range(total + 1):
        mean += chance * 2.718281828459045 ** log_evidence(bad, total, allowed)
        chance *= (total - bad) / (bad + 1) * allowed / (1 - allowed)
    assert mean == pytest.approx(1.0, rel=1e-6)


def test_proof_takes_more_for_a_smaller_error() -> None:
    assert proven(8, 80, 0.01, 0.05)
    assert not proven(8, 80, 0.01, 1e-9)
    assert not proven(0.5, 80, 0.01, 0.05)


def test_bursts_are_seen_as_they_come() -> None:
    even, bursty = Spread(), Spread()
    for second in range(300):
        even.add(2, 200)
        bursty.add(40 if second % 20 == 0 else 0, 200)
    assert even.effect() == 1.0
    assert bursty.effect() > 20
