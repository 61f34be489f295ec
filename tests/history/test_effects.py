"""What proves that nodes were out, a rollout was on, a deployment scaled down, paths slow; and that it is over."""

from __future__ import annotations

import json

from plan_values import fault, plan_of

from harness.history import events as ev
from harness.history.views import FaultWindow, fault_windows
from harness.plan.model import Observe, Plan

OLD, NEW = "rs-old", "rs-new"


def plan_with(observe: Observe, *, zone: str | None = None, rolls_back: bool = True) -> Plan:
    undo = [{"type": "action", "name": "undo", "provider": {}}]
    document = json.dumps({"rollbacks": undo if rolls_back else []})
    return plan_of(faults=(fault("fault", observe=observe, zone=zone, deployment="shop", document=document),))


def window(plan: Plan, *happened: tuple[int, ev.Body]) -> FaultWindow:
    events = [ev.Event(seq=seq, t_ns=t_ns, body=body) for seq, (t_ns, body) in enumerate(happened)]
    return fault_windows(plan, events)[0]


def pod(name: str, node: str, *, ready: bool = True, owner: str = OLD) -> ev.PodSeen:
    return ev.PodSeen(
        pod=name,
        uid=f"uid-{name}",
        zone="",
        node=node,
        phase="Running",
        ready=ready,
        terminating=False,
        owner=owner,
    )


def gone(name: str) -> ev.PodGone:
    return ev.PodGone(pod=name, uid=f"uid-{name}")


def node(name: str, *, ready: bool = True, schedulable: bool = True, taints: tuple[str, ...] = ()) -> ev.NodeSeen:
    return ev.NodeSeen(node=name, zone="zone-b", ready=ready, schedulable=schedulable, taints=taints)


def deployment(
    *, generation: int = 1, observed: int = 1, wanted: int = 2, updated: int = 2, ready: int = 2
) -> ev.DeploymentSeen:
    return ev.DeploymentSeen(
        deployment="shop",
        generation=generation,
        observed=observed,
        wanted=wanted,
        replicas=2,
        updated=updated,
        ready=ready,
        available=ready,
        stuck=False,
    )


def replica_set(uid: str, revision: int) -> ev.ReplicaSetSeen:
    return ev.ReplicaSetSeen(replica_set=uid, uid=uid, deployment="shop", revision=revision, replicas=2, ready=2)


def probes(from_zone: str, to_zone: str, lo_ns: int, *, sent: int = 10, slow: int = 0) -> ev.CanaryCounted:
    return ev.CanaryCounted(
        from_zone=from_zone, to_zone=to_zone, lo_ns=lo_ns, hi_ns=lo_ns + 10, sent=sent, failed=0, slow=slow
    )


REQUEST = (100, ev.InjectRequested(fault="fault"))
ASK = (200, ev.RollbackRequested(fault="fault"))
RETURNED = (210, ev.RollbackCompleted(fault="fault"))

TWO_NODES = (
    (1, ev.TargetsFrozen(fault="fault", names=("a", "b"), nodes=("node-1", "node-2"))),
    (2, node("node-1")),
    (3, node("node-2")),
    (4, pod("a", "node-1")),
    (5, pod("b", "node-2")),
)


def test_a_drained_node_is_out_once_it_is_cordoned_and_its_pod_has_left() -> None:
    """From when the pod left service, not before the request."""
    drain = plan_with(Observe.NODES_OUT)
    cordoned = (110, node("node-1", schedulable=False))

    assert window(drain, *TWO_NODES, REQUEST, cordoned).confirmed is None
    out = window(drain, *TWO_NODES, REQUEST, cordoned, (120, gone("a")))
    assert out.confirmed == (100, 120)
    assert out.evidence == "node-1 took no pods and had no ready one; not all nodes and pods are back"


def test_a_pod_that_dies_on_an_open_node_is_no_drain() -> None:
    """Nobody closed the node."""
    found = window(plan_with(Observe.NODES_OUT), *TWO_NODES, REQUEST, (120, gone("a")))

    assert found.confirmed is None
    assert found.evidence == "no targeted node was seen without ready pods and closed to new ones"


def test_pods_that_the_fault_may_not_touch_say_nothing_about_a_node() -> None:
    """Those of another namespace may stay, and may die by themselves; what a target's controller made may not."""
    drain, cordoned = plan_with(Observe.NODES_OUT), (110, node("node-1", schedulable=False))
    owners = (1, ev.TargetsFrozen(fault="fault", names=("a", "b"), owners=(OLD,), nodes=("node-1", "node-2")))
    there = (owners, *TWO_NODES[1:], (6, pod("db", "node-1", owner="other")))

    assert window(drain, *there, REQUEST, cordoned, (120, gone("a"))).confirmed == (100, 120)
    assert window(drain, *there, REQUEST, cordoned, (120, gone("db"))).confirmed is None
    again = (115, pod("a2", "node-1"))
    assert window(drain, *there, REQUEST, cordoned, again, (120, gone("a"))).confirmed is None


def test_pods_of_a_later_rollout_are_targets_as_well() -> None:
    """Both ReplicaSets are of one Deployment."""
    frozen = ev.TargetsFrozen(fault="fault", names=("z",), owners=(OLD,), nodes=("node-1",))
    rolled = (
        (1, frozen),
        (2, node("node-1")),
        (3, replica_set(OLD, 1)),
        (4, replica_set(NEW, 2)),
        (5, pod("c", "node-1", owner=NEW)),
    )
    out = ((110, node("node-1", schedulable=False)), (120, gone("c")))

    assert window(plan_with(Observe.NODES_OUT), *rolled, REQUEST, *out).confirmed == (100, 120)


def test_a_zone_is_out_once_all_its_nodes_are() -> None:
    """One of two is not the zone."""
    outage = plan_with(Observe.NODES_OUT, zone="zone-b")
    one = ((110, node("node-1", ready=False)), (120, gone("a")))
    both = (*one, (130, node("node-2", taints=("lch.dev/zone-outage",))), (140, gone("b")))

    assert window(outage, *TWO_NODES, REQUEST, *one).confirmed is None
    assert window(outage, *TWO_NODES, REQUEST, *both).confirmed == (100, 120)


def test_nodes_are_back_once_they_take_pods_again_and_as_many_are_ready() -> None:
    """Whichever comes last; losing a pod again takes it back."""
    out = (REQUEST, (110, node("node-1", schedulable=False)), (120, gone("a")), ASK, RETURNED)
    drain = plan_with(Observe.NODES_OUT)

    assert window(drain, *TWO_NODES, *out, (220, pod("c", "node-2"))).gone is None
    back = (*out, (220, pod("c", "node-2")), (230, node("node-1")))
    assert window(drain, *TWO_NODES, *back).gone == (230, 230)
    assert window(drain, *TWO_NODES, *back, (240, gone("c"))).gone is None


def test_a_node_that_was_cordoned_before_need_not_be_open_after() -> None:
    """As before is enough."""
    closed = (*TWO_NODES[:1], (2, node("node-1", schedulable=False)), *TWO_NODES[2:])
    tainted = (110, node("node-1", schedulable=False, taints=("lch.dev/zone-outage",)))
    back = ((220, node("node-1", schedulable=False)), (230, pod("c", "node-2")))

    found = window(plan_with(Observe.NODES_OUT), *closed, REQUEST, tainted, (120, gone("a")), ASK, RETURNED, *back)

    assert (found.confirmed, found.gone) == ((100, 120), (230, 230))


def test_nodes_that_were_never_out_are_gone_once_the_rollback_returned() -> None:
    """A fault that did nothing does not keep the run waiting."""
    found = window(plan_with(Observe.NODES_OUT), *TWO_NODES, REQUEST, ASK, RETURNED)

    assert (found.confirmed, found.gone) == (None, (210, 210))


DEPLOYED = (
    (1, ev.TargetsFrozen(fault="fault", names=("a", "b"))),
    (2, replica_set(OLD, 1)),
    (3, pod("a", "node-1")),
    (4, pod("b", "node-2")),
    (5, deployment()),
)
ROLLING = (
    REQUEST,
    (110, replica_set(NEW, 2)),
    (120, pod("c", "node-1", owner=NEW)),
    (130, deployment(generation=2, observed=2, updated=1)),
)


def test_a_rollout_is_on_with_the_first_pod_of_the_new_revision_and_over_when_no_old_one_is_left() -> None:
    """A status of an older generation says nothing."""
    restart = plan_with(Observe.ROLLED_OUT, rolls_back=False)
    done = (
        (140, gone("a")),
        (150, pod("d", "node-2", owner=NEW)),
        (160, deployment(generation=2, observed=2)),
        (170, gone("b")),
    )

    assert window(restart, *DEPLOYED, *ROLLING).confirmed == (100, 120)
    assert window(restart, *DEPLOYED, *ROLLING, *done[:3]).gone is None
    assert window(restart, *DEPLOYED, *ROLLING, *done).gone == (170, 170)
    assert window(restart, *DEPLOYED, REQUEST, (110, deployment(generation=2, observed=1))).gone is None


def test_a_bad_rollout_is_undone_when_only_the_old_revision_is_left() -> None:
    """Complete and of the new revision is not undone."""
    bad = plan_with(Observe.ROLLED_OUT)
    spread = ((140, gone("a")), (150, pod("d", "node-2", owner=NEW)), (160, gone("b")))
    complete = (*spread, (170, deployment(generation=2, observed=2)), ASK, RETURNED)
    undone = (
        *complete,
        (220, pod("e", "node-1")),
        (230, pod("f", "node-2")),
        (240, gone("c")),
        (250, gone("d")),
        (260, deployment(generation=3, observed=3)),
    )

    assert window(bad, *DEPLOYED, *ROLLING, *complete).gone is None
    assert window(bad, *DEPLOYED, *ROLLING, *undone).gone == (250, 250)


def test_a_revision_that_was_there_before_without_pods_is_a_new_one() -> None:
    """An earlier run may have left its ReplicaSet, at zero."""
    known = (*DEPLOYED, (6, replica_set(NEW, 1)))

    assert window(plan_with(Observe.ROLLED_OUT), *known, *ROLLING).confirmed == (100, 120)


def test_a_scaled_down_deployment_is_back_with_all_its_ready_pods() -> None:
    """Not before the rollback was asked for."""
    scale = plan_with(Observe.SCALED_DOWN)
    down = (REQUEST, (120, deployment(wanted=0, ready=0)), ASK, RETURNED)

    assert window(scale, *DEPLOYED, *down).confirmed == (100, 120)
    assert window(scale, *DEPLOYED, *down, (300, deployment(ready=1))).gone is None
    assert window(scale, *DEPLOYED, *down, (300, deployment(ready=2))).gone == (300, 300)


def test_a_pod_that_fails_meanwhile_is_no_scaling_down() -> None:
    """The deployment itself has to want fewer."""
    found = window(plan_with(Observe.SCALED_DOWN), *DEPLOYED, REQUEST, (120, deployment(ready=1)))

    assert (found.confirmed, found.evidence) == (
        None,
        "the deployment was not seen scaled down, with fewer ready pods",
    )


def test_paths_are_degraded_when_probes_across_are_slow_and_others_are_not() -> None:
    """From the first slow second on; well again after thirty good probes in a row."""
    delay = plan_with(Observe.PATHS_DEGRADED, zone="zone-b")
    slow = (REQUEST, (130, probes("zone-a", "zone-b", 110, slow=8)), (131, probes("zone-a", "zone-c", 110)))
    well = tuple((250 + n, probes("zone-b", "zone-a", 220 + n)) for n in range(3))

    found = window(delay, *slow, ASK, RETURNED, (230, probes("zone-a", "zone-b", 205, slow=1)), *well)

    assert (found.confirmed, found.gone) == ((110, 120), (205, 230))
    assert found.evidence == "80% of the probes across the border of zone-b were slow or failed"
    assert window(delay, *slow, ASK, RETURNED, *well[:2]).gone is None


def test_a_machine_that_is_slow_everywhere_is_no_degraded_path() -> None:
    """The fault must make a difference."""
    slow = ((130, probes("zone-a", "zone-c", 110, slow=8)), (131, probes("zone-a", "zone-b", 110, slow=8)))

    assert window(plan_with(Observe.PATHS_DEGRADED, zone="zone-b"), REQUEST, *slow).confirmed is None
