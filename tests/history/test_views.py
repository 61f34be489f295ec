"""What the history proves: phases as they ran, faults in force and gone, ready pods, how the run ended."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plan_values import fault, phase, plan_of

from harness.history import events as ev
from harness.history.views import FaultWindow, fault_windows, phase_windows, ready_pods, status_of
from harness.plan.model import Fault, Observe, Plan

MS = 1_000_000


def plan(*faults: Fault) -> Plan:
    return plan_of(phase("stress", 0, 10), phase("after", 10, 20), faults=faults)


def history(*bodies: tuple[int, ev.Body]) -> tuple[ev.Event, ...]:
    return tuple(ev.Event(seq=i, t_ns=t_ms * MS, body=body) for i, (t_ms, body) in enumerate(bodies))


def pod(number: int, *, ready: bool = True, terminating: bool = False) -> ev.PodSeen:
    return ev.PodSeen(
        pod=f"shop-{number}",
        uid=f"u{number}",
        zone="zone-a",
        node="node-a",
        phase="Running",
        ready=ready,
        terminating=terminating,
    )


def gone(number: int) -> ev.PodGone:
    return ev.PodGone(pod=f"shop-{number}", uid=f"u{number}")


def canary(source: str, to: str, *, ok: bool, lo_ms: int, hi_ms: int) -> ev.CanarySeen:
    return ev.CanarySeen(from_zone=source, to_zone=to, ok=ok, lo_ns=lo_ms * MS, hi_ns=hi_ms * MS)


DELETE = plan(fault("pod-delete"))
CUT = plan(fault("cut", observe=Observe.ZONE_CUT, zone="zone-a"))

TWO_PODS = (
    (10, pod(1)),
    (20, pod(2)),
    (30, ev.TargetsFrozen(fault="pod-delete", names=("shop-1", "shop-2"))),
    (900, ev.FaultArmed(fault="pod-delete")),
    (1000, ev.InjectRequested(fault="pod-delete")),
    (1400, ev.ActivityStarted(fault="pod-delete", activity="kill")),
)
ENDED = (
    (5000, ev.RollbackRequested(fault="pod-delete")),
    (5100, ev.RollbackCompleted(fault="pod-delete")),
)


def deleted(*bodies: tuple[int, ev.Body]) -> FaultWindow:
    (window,) = fault_windows(DELETE, history(*TWO_PODS, *bodies))
    return window


def cut(*bodies: tuple[int, ev.Body]) -> FaultWindow:
    inside = canary("zone-a", "zone-a", ok=True, lo_ms=1, hi_ms=2)
    across = canary("zone-b", "zone-a", ok=True, lo_ms=1, hi_ms=2)
    begun = ((5, inside), (6, across), (1000, ev.InjectRequested(fault="cut")))
    (window,) = fault_windows(CUT, history(*begun, *bodies))
    return window


def test_a_deleted_pod_that_is_replaced_confirms_the_fault_and_its_end() -> None:
    window = deleted(
        (1500, pod(1, ready=True, terminating=True)),
        (1600, ev.InjectCompleted(fault="pod-delete")),
        (1700, gone(1)),
        (1800, pod(3, ready=False)),
        (4000, pod(3)),
        *ENDED,
    )
    assert window == FaultWindow(
        fault="pod-delete",
        armed=True,
        requested_ns=1000 * MS,
        injected_ns=1600 * MS,
        failed=None,
        rollback_requested_ns=5000 * MS,
        rollback_ns=5100 * MS,
        rollback_failed=None,
        confirmed=(1400 * MS, 1500 * MS),
        gone=(4000 * MS, 4000 * MS),
        evidence="pod shop-1 (uid u1) was deleted",
    )


def test_a_replacement_ready_before_the_old_pod_is_gone_counts() -> None:
    window = deleted((1500, pod(1, terminating=True)), (2000, pod(3)), (2500, gone(1)), *ENDED)
    assert (window.confirmed, window.gone) == ((1400 * MS, 1500 * MS), (2500 * MS, 2500 * MS))


def test_a_pod_that_only_became_unready_confirms_nothing() -> None:
    window = deleted((1500, pod(1, ready=False)), (2000, pod(1)))
    assert (window.confirmed, window.evidence) == (None, "no targeted pod was seen deleted")


def test_the_deletion_of_a_pod_that_was_no_target_confirms_nothing() -> None:
    frozen = (30, ev.TargetsFrozen(fault="pod-delete", names=("shop-2",)))
    (window,) = fault_windows(DELETE, history(*TWO_PODS, frozen, (1500, gone(1))))
    assert window.confirmed is None


def test_the_deletion_of_a_pod_that_was_not_ready_confirms_nothing() -> None:
    begun = ((10, pod(1, ready=False)), *TWO_PODS[1:])
    (window,) = fault_windows(DELETE, history(*begun, (1500, gone(1))))
    assert window.confirmed is None


def test_a_deletion_before_the_request_confirms_nothing() -> None:
    (window,) = fault_windows(DELETE, history(*TWO_PODS[:4], (950, gone(1)), *TWO_PODS[4:], *ENDED))
    assert (window.confirmed, window.gone) == (None, (5100 * MS, 5100 * MS))


def test_a_pod_of_a_later_rollout_of_the_same_deployment_is_a_target_and_one_of_another_is_none() -> None:
    """The controller of the pods that were frozen has none by then."""

    def replica_set(uid: str, deployment: str) -> ev.ReplicaSetSeen:
        return ev.ReplicaSetSeen(replica_set=uid, uid=uid, deployment=deployment, revision=1, replicas=2, ready=2)

    def confirmed(deployment: str) -> tuple[int, int] | None:
        frozen = ev.TargetsFrozen(fault="pod-delete", names=("shop-1", "shop-2"), owners=("rs-1",))
        restarted = replace(pod(3), owner="rs-2")
        happened = (
            (10, frozen),
            (20, replica_set("rs-1", "shop")),
            (30, ev.InjectRequested(fault="restart")),
            (40, replica_set("rs-2", deployment)),
            (50, restarted),
            (60, gone(1)),
            (1000, ev.InjectRequested(fault="pod-delete")),
            (1400, ev.ActivityStarted(fault="pod-delete", activity="kill")),
            (1500, gone(3)),
        )
        both = plan(fault("restart", observe=Observe.ROLLED_OUT, deployment="shop"), fault("pod-delete"))
        return fault_windows(both, history(*happened))[1].confirmed

    assert confirmed("shop") == (1400 * MS, 1500 * MS)
    assert confirmed("other") is None


def test_pods_missing_at_the_end_mean_the_fault_is_not_gone() -> None:
    window = deleted((1500, gone(1)), *ENDED)
    assert (window.gone, window.evidence) == (None, "pod shop-1 (uid u1) was deleted; still missing pods")


def test_a_second_pod_lost_while_the_fault_lasts_takes_its_end_back() -> None:
    lost = ((1500, gone(1)), (2000, pod(3)), (3000, gone(2)))
    assert deleted(*lost).gone is None
    assert deleted(*lost, (4000, pod(4))).gone == (4000 * MS, 4000 * MS)


def test_a_pod_lost_after_rollback_is_not_the_faults_doing() -> None:
    window = deleted((1500, gone(1)), (2000, pod(3)), *ENDED, (9000, gone(2)))
    assert window.gone == (2000 * MS, 2000 * MS)


def test_a_pod_lost_to_a_later_fault_is_not_the_earlier_ones_doing() -> None:
    both = plan(fault("pod-delete"), fault("pod-delete-2"))
    first, second = fault_windows(
        both,
        history(
            *TWO_PODS,
            (1500, gone(1)),
            (2000, pod(3)),
            (2500, ev.TargetsFrozen(fault="pod-delete-2", names=("shop-2", "shop-3"))),
            (3000, ev.InjectRequested(fault="pod-delete-2")),
            (3500, gone(2)),
        ),
    )
    assert first.gone == (2000 * MS, 2000 * MS)
    assert (second.confirmed, second.gone) == ((3000 * MS, 3500 * MS), None)


def test_a_fault_that_was_never_requested_is_empty() -> None:
    (window,) = fault_windows(DELETE, ())
    assert (window.armed, window.requested_ns, window.confirmed, window.gone) == (False, None, None, None)
    assert window.evidence == "never injected"


def test_failures_of_injection_and_rollback_are_kept_until_rollback_succeeds() -> None:
    failed = (
        (1500, ev.InjectFailed(fault="pod-delete", detail="refused")),
        (5000, ev.RollbackRequested(fault="pod-delete")),
        (5100, ev.RollbackFailed(fault="pod-delete", detail="timeout")),
    )
    assert (deleted(*failed).failed, deleted(*failed).rollback_failed) == ("refused", "timeout")
    again = deleted(*failed, (6000, ev.RollbackCompleted(fault="pod-delete")))
    assert (again.rollback_failed, again.rollback_ns, again.gone) == (None, 6000 * MS, (6000 * MS, 6000 * MS))


def test_a_cut_is_confirmed_and_ended_by_canaries_across_it() -> None:
    window = cut(
        (1300, canary("zone-b", "zone-a", ok=False, lo_ms=1100, hi_ms=1200)),
        (5000, ev.RollbackRequested(fault="cut")),
        (5400, canary("zone-b", "zone-a", ok=True, lo_ms=5200, hi_ms=5300)),
    )
    assert (window.confirmed, window.gone) == ((1100 * MS, 1200 * MS), (5200 * MS, 5300 * MS))
    assert window.evidence == "canary zone-b -> zone-a failed, none inside zone-a did"


def test_a_zone_that_is_broken_inside_is_not_cut_off() -> None:
    across = (1300, canary("zone-b", "zone-a", ok=False, lo_ms=1100, hi_ms=1200))
    inside = (1350, canary("zone-a", "zone-a", ok=False, lo_ms=1100, hi_ms=1300))
    for order in ((across, inside), (inside, across)):
        window = cut(*order)
        assert (window.confirmed, window.evidence) == (
            None,
            "canary inside zone-a failed: the zone was broken, not cut off",
        )


def test_a_path_that_stays_closed_means_the_cut_is_not_gone() -> None:
    window = cut(
        (1300, canary("zone-b", "zone-a", ok=False, lo_ms=1100, hi_ms=1200)),
        (5000, ev.RollbackRequested(fault="cut")),
        (5100, ev.RollbackCompleted(fault="cut")),
    )
    assert window.gone is None


def test_a_cut_noticed_only_while_rolling_back_still_has_to_go() -> None:
    late = (5050, canary("zone-b", "zone-a", ok=False, lo_ms=4900, hi_ms=5000))
    begun = ((5000, ev.RollbackRequested(fault="cut")), late, (5100, ev.RollbackCompleted(fault="cut")))
    assert cut(*begun).gone is None
    opened = (5400, canary("zone-b", "zone-a", ok=True, lo_ms=5200, hi_ms=5300))
    assert cut(*begun, opened).gone == (5200 * MS, 5300 * MS)


def test_a_cut_came_into_force_no_earlier_than_its_first_action() -> None:
    begun = (1100, ev.ActivityStarted(fault="cut", activity="cut-zone-off"))
    looked = (1200, ev.ActivityStarted(fault="cut", activity="look"))
    window = cut(begun, looked, (2300, canary("zone-b", "zone-a", ok=False, lo_ms=900, hi_ms=1300)))
    assert window.confirmed == (1100 * MS, 1300 * MS)


def test_a_path_that_failed_before_the_request_confirms_nothing() -> None:
    window = cut((1300, canary("zone-b", "zone-a", ok=False, lo_ms=800, hi_ms=900)))
    assert (window.confirmed, window.evidence) == (None, "no canary across the cut was seen failing")


def test_an_effect_seen_late_may_be_that_of_any_action_but_of_no_probe() -> None:
    document = """{"steady-state-hypothesis": {"title": "t", "probes": [{"type": "probe", "name": "answers"}]},
                   "method": [{"type": "probe", "name": "count"}, {"type": "action", "name": "kill"},
                              {"ref": "count"}, {"type": "action", "name": "wait"}]}"""
    (one,) = DELETE.faults
    played = replace(DELETE, faults=(replace(one, experiment=replace(one.experiment, document=document)),))
    activities = ((1100, "answers"), (1200, "count"), (1300, "kill"), (1400, "count"), (1500, "wait"))
    begun = ((at_ms, ev.ActivityStarted(fault="pod-delete", activity=name)) for at_ms, name in activities)
    (window,) = fault_windows(played, history(*TWO_PODS[:5], *begun, (1600, gone(1))))
    assert window.confirmed == (1300 * MS, 1600 * MS)


def test_canaries_between_other_zones_say_nothing_about_the_cut() -> None:
    window = cut((1300, canary("zone-b", "zone-c", ok=False, lo_ms=1100, hi_ms=1200)))
    assert window.confirmed is None


def test_without_canaries_nothing_is_proven_gone() -> None:
    (window,) = fault_windows(
        CUT, history((1000, ev.InjectRequested(fault="cut")), (5000, ev.RollbackRequested(fault="cut")))
    )
    assert window.gone is None


def test_phases_are_as_they_ran() -> None:
    windows = phase_windows(DELETE, history((2, ev.PhaseStarted(phase="stress")), (9, ev.PhaseEnded(phase="stress"))))
    assert [(one.phase.name, one.start_ns, one.end_ns) for one in windows] == [
        ("stress", 2 * MS, 9 * MS),
        ("after", None, None),
    ]


def test_ready_pods_are_a_step_function() -> None:
    steps = ready_pods(
        history(
            (1, pod(1)),
            (2, pod(2, ready=False)),
            (3, pod(2)),
            (4, pod(1, terminating=True)),
            (5, gone(1)),
            (6, pod(3)),
        )
    )
    assert steps == ((1 * MS, 1), (3 * MS, 2), (4 * MS, 1), (6 * MS, 2))


@pytest.mark.parametrize("status", list(ev.Status))
def test_a_run_ended_as_its_last_event_says(status: ev.Status) -> None:
    assert status_of(history((1, ev.RunEnded(status=status, detail="")))) is status


def test_a_history_without_an_end_is_a_crash() -> None:
    assert status_of(history((1, ev.RunStarted(run="x", wall_ns=0)))) is ev.Status.CRASHED


def test_a_cut_not_yet_seen_is_not_gone_because_its_rollback_was_asked_for() -> None:
    """A record that breaks off there (SIGKILL, a full disk) proves nothing; with the rollback's end it would."""
    open_paths = [
        (0, ev.CanarySeen(from_zone=here, to_zone=there, ok=True, lo_ns=0, hi_ns=0))
        for here, there in (("zone-a", "zone-a"), ("zone-a", "zone-b"), ("zone-b", "zone-a"))
    ]
    begun = (
        *open_paths,
        (1000, ev.InjectRequested(fault="cut")),
        (1010, ev.InjectCompleted(fault="cut")),
        (1020, ev.RollbackRequested(fault="cut")),
    )
    (torn,) = fault_windows(CUT, history(*begun))
    (whole,) = fault_windows(CUT, history(*begun, (1100, ev.RollbackCompleted(fault="cut"))))

    assert (torn.gone, whole.gone) == (None, (1100 * MS, 1100 * MS))


BOTH = plan(fault("one"), fault("two"))
AT_ONCE = (
    *((number, pod(number)) for number in (1, 2, 3)),
    *((30, ev.TargetsFrozen(fault=name, names=("shop-1", "shop-2", "shop-3"))) for name in ("one", "two")),
    (1000, ev.InjectRequested(fault="one")),
    (1010, ev.ActivityStarted(fault="one", activity="kill")),
)


def test_each_of_two_faults_on_the_same_targets_is_confirmed_by_a_pod_of_its_own() -> None:
    one, two = fault_windows(
        BOTH,
        history(
            *AT_ONCE,
            (1020, ev.InjectRequested(fault="two")),
            (1030, ev.ActivityStarted(fault="two", activity="kill")),
            (1100, gone(2)),
            (1200, gone(3)),
        ),
    )
    assert (one.confirmed, two.confirmed) == ((1010 * MS, 1100 * MS), (1030 * MS, 1200 * MS))


def test_a_fault_is_not_gone_while_pods_that_an_earlier_one_took_are_missing() -> None:
    begun = (*AT_ONCE, (1100, gone(1)), (1200, ev.InjectRequested(fault="two")), (1300, gone(2)))
    waiting = fault_windows(BOTH, history(*begun, (2000, pod(4))))
    over = fault_windows(BOTH, history(*begun, (2000, pod(4)), (3000, pod(5))))
    assert [one.gone for one in waiting] == [None, None]
    assert [one.gone for one in over] == [(3000 * MS, 3000 * MS)] * 2


def test_what_replaced_a_target_is_one_for_the_next_fault_and_a_stranger_is_not() -> None:
    begun = (*AT_ONCE, (1100, gone(1)), (2000, pod(4)), (5000, ev.InjectRequested(fault="two")))
    stranger = ev.PodSeen(
        pod="cart-1", uid="c1", zone="zone-a", node="node-a", phase="Running", ready=True, terminating=False
    )
    (_, two) = fault_windows(BOTH, history(*begun, (5100, gone(4))))
    (_, other) = fault_windows(BOTH, history((5, stranger), *begun, (5100, ev.PodGone(pod="cart-1", uid="c1"))))
    assert (two.confirmed, other.confirmed) == ((5000 * MS, 5100 * MS), None)


def test_a_cut_that_lets_open_connections_live_is_none_until_they_die_too() -> None:
    """In force from when neither new nor old connections pass; gone when both do again."""
    shut = canary("zone-b", "zone-a", ok=False, lo_ms=1100, hi_ms=1200)
    healed = canary("zone-b", "zone-a", ok=True, lo_ms=5200, hi_ms=5300)

    def on_open(seen: ev.CanarySeen, lo_ms: int, hi_ms: int) -> ev.CanarySeen:
        return replace(seen, via="open", lo_ns=lo_ms * MS, hi_ns=hi_ms * MS)

    alive = ((30, on_open(healed, 1, 2)), (1300, shut))
    dead = (*alive, (2300, on_open(shut, 2100, 2200)), (5000, ev.RollbackRequested(fault="cut")), (5300, healed))

    assert cut(*alive).confirmed is None
    assert cut(*alive).evidence == "connections that were open before went on, so it was not cut off"
    assert cut(*dead).confirmed == (2100 * MS, 2200 * MS)
    assert cut(*dead).gone is None
    assert cut(*dead, (5600, on_open(healed, 5400, 5500))).gone == (5400 * MS, 5500 * MS)
