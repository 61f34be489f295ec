"""What timings say when faults overlap, the service flaps, one stream is hit, or the load was not what it should be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from verdict_case import parse

from harness.history.load import WorkerHealth
from harness.history.run import Run
from harness.plan.model import Timing
from harness.verdict.judge import judge
from harness.verdict.model import Impact, Outcome, Reason, Shape, TimingFinding

ONE = """
phase baseline 0..30 load=100%
phase stress 30..60 load=100%
phase recovery 60..90 load=100%
rule baseline error_ratio fail > 1%
rule stress error_ratio fail > 50%
rule recovery error_ratio fail > 50%
fault pod-delete 40..50 stress pods-replaced
timing pod-delete failover fail > 5m
timing pod-delete recovery fail > 10s
timing pod-delete rollback fail > 10m
at 0.01 pod_seen shop-1 u1 zone-a node-a Running yes no
at 0.02 pod_seen shop-2 u2 zone-b node-b Running yes no
at 0.03 endpoints_seen shop 2
at 0.04 targets_frozen pod-delete shop-1,shop-2
at 40.0 inject_requested pod-delete
at 40.1 activity_started pod-delete kill
at 40.2 pod_seen shop-1 u1 zone-a node-a Running no yes
at 40.3 endpoints_seen shop 1
at 40.4 pod_gone shop-1 u1
at 40.5 inject_completed pod-delete
at 43.2 pod_seen shop-3 u3 zone-a node-a Running yes no
at 43.3 endpoints_seen shop 2
at 50.0 rollback_requested pod-delete
at 50.1 rollback_completed pod-delete
"""

TWO = """
phase baseline 0..30 load=100%
phase stress 30..90 load=100%
rule baseline error_ratio fail > 1%
rule stress error_ratio fail > 90%
fault first 40..80 stress pods-replaced
fault second {second}..80 stress pods-replaced
timing first recovery fail > 1m
timing second recovery fail > 1m
at 0.01 pod_seen shop-1 u1 zone-a node-a Running yes no
at 0.02 pod_seen shop-2 u2 zone-b node-b Running yes no
at 0.03 pod_seen shop-3 u3 zone-c node-c Running yes no
at 0.04 targets_frozen first shop-1,shop-2,shop-3
at 0.04 targets_frozen second shop-1,shop-2,shop-3
at 40.0 inject_requested first
at 40.05 activity_started first kill
at 40.1 pod_gone shop-1 u1
at 40.2 inject_completed first
at 45.0 pod_seen shop-4 u4 zone-a node-a Running yes no
at {second} inject_requested second
at {second}5 activity_started second kill
at {second}9 pod_gone shop-2 u2
at {second}9 inject_completed second
at 66.0 pod_seen shop-5 u5 zone-b node-b Running yes no
at 80.0 rollback_requested first
at 80.0 rollback_requested second
at 80.1 rollback_completed first
at 80.1 rollback_completed second
"""


def timing(run: Run, fault: str, name: str) -> TimingFinding:
    return next(one for one in judge(run).timings if one.fault == fault and one.timing is Timing(name))


def whole(run: Run) -> tuple[Impact, ...]:
    return tuple(one for one in judge(run).impacts if one.stream is None)


def run_of(text: str, *lines: str) -> Run:
    return parse("\n".join((text, *lines))).run()


def test_flaps_are_told_with_the_longest_time_without_an_answer() -> None:
    run = run_of(ONE, "outage 40.2..41.2 1.0", "outage 43.0..45.0 1.0")
    found = timing(run, "pod-delete", "recovery")
    assert found.value_s == pytest.approx(4.8, abs=0.05)
    assert found.detail.endswith("of the run; 2 episodes, the longest gap between successes 2.01s")


def test_a_rule_decides_with_the_bounds() -> None:
    run = run_of(ONE.replace("fail > 10s", "fail > 1.2s"), "outage 40.2..41.4 0.5")
    found = timing(run, "pod-delete", "recovery")
    assert found.lo_s is not None
    assert found.hi_s is not None
    assert found.lo_s < 1.2 < found.hi_s
    assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, Reason.UNDECIDED)


@pytest.mark.parametrize(
    ("limit", "outcome"), [("> 5m", Outcome.PASS), ("> 1s", Outcome.FAIL), ("> 1.25s", Outcome.INCONCLUSIVE)]
)
def test_failover_is_decided_from_the_fault_on(limit: str, outcome: Outcome) -> None:
    run = run_of(ONE.replace("failover fail > 5m", f"failover fail {limit}"), "outage 40.2..41.4 0.5")
    assert timing(run, "pod-delete", "failover").outcome is outcome


def test_what_clients_saw_of_a_stream_is_sharper_than_of_all() -> None:
    run = run_of(ONE, "requests browse search checkout", "outage 40.2..44.2 1.0 checkout")
    streams = replace(run, frames=tuple(replace(frame, stream=frame.series) for frame in run.frames))
    both = [(one.stream, one.shape) for one in judge(streams).impacts]
    assert both == [(None, Shape.BROWNOUT), ("checkout", Shape.BLACKOUT)]
    apart, together = (timing(one, "pod-delete", "recovery") for one in (streams, run))
    assert apart.detail.endswith("; stream checkout")
    assert None not in (apart.lo_s, apart.hi_s, together.lo_s, together.hi_s)
    assert apart.hi_s - apart.lo_s < together.hi_s - together.lo_s  # type: ignore[operator]
    assert apart.value_s == pytest.approx(4.0, abs=0.05)


def test_downtime_is_weighted_with_all_requests_whichever_stream_they_are_of() -> None:
    run = run_of(ONE, "requests browse search checkout", "outage 40.2..44.2 1.0 checkout")
    streams = replace(run, frames=tuple(replace(frame, stream=frame.series) for frame in run.frames))
    assert timing(streams, "pod-delete", "downtime").value_s == pytest.approx(4.0 / 3, abs=0.1)


def test_two_pods_deleted_at_once_confirm_a_fault_each_and_share_the_impact() -> None:
    run = run_of(TWO.format(second="40.1"), "outage 40.15..42.0 0.6")
    confirmed = {one.detail: one.outcome for one in judge(run).validity if one.check == "fault_confirmed"}
    assert confirmed == {
        "first: pod shop-1 (uid u1) was deleted": Outcome.PASS,
        "second: pod shop-2 (uid u2) was deleted": Outcome.PASS,
    }
    (impact,) = whole(run)
    assert impact.fault == "second"
    lengths = [timing(run, name, "recovery").value_s for name in ("first", "second")]
    assert lengths == [pytest.approx(1.85, abs=0.05)] * 2
    assert timing(run, "first", "recovery").detail.endswith("; together with second")


def test_one_deleted_pod_confirms_one_of_two_faults() -> None:
    run = run_of(TWO.format(second="40.1").replace("pod_gone shop-2 u2", "pod_gone shop-1 u1"))
    assert [one.outcome for one in judge(run).validity if one.check == "fault_confirmed"] == [
        Outcome.PASS,
        Outcome.INCONCLUSIVE,
    ]


def test_a_later_fault_may_delete_what_replaced_a_target() -> None:
    run = run_of(TWO.format(second="60.1").replace("pod_gone shop-2 u2", "pod_gone shop-4 u4"))
    assert [one.outcome for one in judge(run).validity if one.check == "fault_confirmed"] == [Outcome.PASS] * 2


def test_a_fault_that_comes_while_another_one_hurts_is_not_told_apart_but_bounded() -> None:
    run = run_of(TWO.format(second="60.1"), "outage 40.1..65.0 0.6")
    (impact,) = whole(run)
    assert impact.fault == "first"
    found = timing(run, "second", "recovery")
    assert (found.value_s, found.lo_s, found.outcome) == (None, 0.0, Outcome.PASS)
    assert found.hi_s == pytest.approx(4.9, abs=0.15)
    assert "what it added cannot be told apart" in found.detail


def test_replicas_that_an_earlier_fault_had_taken_are_waited_for() -> None:
    text = TWO.format(second="42.1")
    found = timing(run_of(text), "second", "redundancy")
    assert found.value_s == pytest.approx(66.0 - 42.17, abs=0.05)


def late(run: Run, seconds: range) -> Run:
    """The run with a worker whose loop stood still for 700 ms in each of these seconds."""
    health = tuple(WorkerHealth(second=s, worker="w1", cpu_ratio=0.1, stall_s_max=0.7) for s in seconds)
    return replace(run, health=health)


def test_the_load_must_be_valid_in_every_phase_that_the_impact_reaches() -> None:
    beyond = run_of(ONE, "outage 40.2..62.0 0.5")
    within = run_of(ONE, "outage 40.2..42.0 0.5")
    found = timing(late(beyond, range(75, 76)), "pod-delete", "recovery")
    assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, Reason.GENERATOR_LIMITED)
    assert found.detail.startswith(
        "the load of phase recovery is not valid: loop_stall: worker w1 stood still for 700ms"
    )
    assert timing(late(within, range(75, 76)), "pod-delete", "recovery").reason is Reason.WITHIN


def test_the_load_must_be_valid_between_phases_too() -> None:
    gap = ONE.replace("phase recovery 60..90", "phase recovery 70..90")
    run = run_of(gap, "outage 40.2..65.0 0.5")
    found = timing(late(run, range(64, 65)), "pod-delete", "recovery")
    assert found.reason is Reason.GENERATOR_LIMITED
    assert found.detail.startswith("the load between 60 s and 70 s of the run is not valid: loop_stall: worker w1")


def test_an_outage_that_outlasts_the_record_is_censored_and_may_still_prove_a_breach() -> None:
    found = timing(run_of(ONE, "outage 40.2..90.0 1.0"), "pod-delete", "recovery")
    assert (found.censored, found.value_s, found.outcome) == (True, None, Outcome.FAIL)
    assert found.lo_s == pytest.approx(49.7, abs=0.2)


def test_no_impact_says_what_would_have_shown() -> None:
    found = timing(run_of(ONE), "pod-delete", "recovery")
    assert (found.value_s, found.detail) == (0.0, "no impact on clients; a black-out of 15ms would have shown")
