"""Where pods may be: taints, cordons, spreading and keeping off; and nodes whose kubelets fall silent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness.sandbox.controllers import _Controllers
from harness.sandbox.controllers.nodes import NODE_LEASES, reconcile_node
from harness.sandbox.controllers.taints import TaintManager, tolerates
from harness.sandbox.objects import condition, is_true, set_condition
from harness.sandbox.resources import DEPLOYMENTS, ENDPOINTSLICES, LEASES, NODES, PODS, SERVICES
from harness.sandbox.store import Store

Obj = dict[str, Any]
Play = Callable[..., None]
Shop = Callable[..., Obj]

ZONES = "topology.kubernetes.io/zone"
OUTAGE = {"key": "outage", "value": "run", "effect": "NoExecute"}
SHOP = {"matchLabels": {"app": "shop"}}


def places(store: Store) -> dict[str, int]:
    return dict(Counter(pod["spec"].get("nodeName", "") for pod in store.list(PODS)))


def taint(store: Store, node: str, *taints: Obj) -> None:
    store.update(NODES, node, "", lambda obj: obj["spec"].update(taints=list(taints)))


def taints_of(store: Store, node: str) -> list[tuple[str, str]]:
    return [(one["key"], one["effect"]) for one in store.get(NODES, node)["spec"].get("taints") or ()]


def heartbeat(store: Store, node: str, seconds_ago: float) -> None:
    at = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()
    if store.find(LEASES, node, NODE_LEASES) is None:
        store.create(LEASES, {"metadata": {"name": node, "namespace": NODE_LEASES}, "spec": {"renewTime": at}})
    else:
        store.update(LEASES, node, NODE_LEASES, lambda obj: obj["spec"].update(renewTime=at))


def with_pod_spec(deployment: Obj, **spec: object) -> Obj:
    deployment["spec"]["template"]["spec"] |= spec
    return deployment


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "outage", "operator": "Exists"}, True),
        ({"key": "outage", "value": "run"}, True),
        ({"key": "outage", "operator": "Equal", "value": "other"}, False),
        ({"key": "outage", "operator": "Exists", "effect": "NoSchedule"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_a_toleration_is_for_a_key_a_value_and_an_effect(toleration: Obj, *, tolerated: bool) -> None:
    assert tolerates(toleration, OUTAGE) is tolerated


def test_a_taint_that_does_not_execute_keeps_only_new_pods_off(store: Store, reconciled: Play, shop: Shop) -> None:
    reconciled(lambda: store.create(DEPLOYMENTS, shop(replicas=3)))
    taint(store, "node-a", OUTAGE | {"effect": "NoSchedule"})
    reconciled(lambda: store.update(DEPLOYMENTS, "shop", "default", lambda obj: obj["spec"].update(replicas=5)))
    assert places(store) == {"node-a": 1, "node-b": 2, "node-c": 2}


def test_a_taint_that_executes_empties_the_node_of_all_that_do_not_tolerate_it(
    store: Store, reconciled: Play, shop: Shop
) -> None:
    hardened = with_pod_spec(shop("hard", 3), tolerations=[{"operator": "Exists"}])
    reconciled(
        lambda: store.create(DEPLOYMENTS, shop()),
        lambda: store.create(DEPLOYMENTS, hardened),
        lambda: taint(store, "node-a", OUTAGE),
    )
    assert places(store) == {"node-a": 1, "node-b": 4, "node-c": 4}
    reconciled(lambda: taint(store, "node-a"))
    assert taints_of(store, "node-a") == []


def test_a_pod_that_fits_nowhere_says_why_and_goes_where_it_may_once_that_has_gone(
    store: Store, reconciled: Play, shop: Shop
) -> None:
    taint(store, "node-a", OUTAGE)
    taint(store, "node-b", OUTAGE)
    store.update(NODES, "node-c", "", lambda obj: obj["spec"].update(unschedulable=True))
    reconciled(lambda: store.create(DEPLOYMENTS, shop(replicas=1)))
    (pod,) = store.list(PODS)
    said = condition(pod, "PodScheduled")
    assert said is not None
    why = "0/3 nodes are available: 2 node(s) had untolerated taint {outage: run}, 1 node(s) were unschedulable."
    assert (said["reason"], said["message"]) == ("Unschedulable", why)
    reconciled(lambda: taint(store, "node-b"))
    assert places(store) == {"node-b": 1}


def test_pods_that_keep_off_each_other_wait_for_a_zone_of_their_own(store: Store, reconciled: Play, shop: Shop) -> None:
    term = {"labelSelector": SHOP, "topologyKey": ZONES}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    reconciled(lambda: store.create(DEPLOYMENTS, with_pod_spec(shop(replicas=4), affinity=apart)))
    assert places(store) == {"node-a": 1, "node-b": 1, "node-c": 1, "": 1}
    victim = next(pod for pod in store.list(PODS) if pod["spec"].get("nodeName") == "node-b")["metadata"]["name"]
    reconciled(lambda: store.delete(PODS, victim, "default"))
    assert places(store) == {"node-a": 1, "node-b": 1, "node-c": 1, "": 1}


def test_a_spread_constraint_holds_although_a_zone_is_closed(store: Store, reconciled: Play, shop: Shop) -> None:
    rule = {"maxSkew": 1, "topologyKey": ZONES, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": SHOP}
    taint(store, "node-c", OUTAGE)
    reconciled(lambda: store.create(DEPLOYMENTS, with_pod_spec(shop(), topologySpreadConstraints=[rule])))
    assert places(store) == {"node-a": 1, "node-b": 1, "": 4}


def test_pods_tolerate_an_unreachable_node_for_five_seconds_unless_they_say(store: Store, shop: Shop) -> None:
    spec = shop()["spec"]["template"]["spec"]
    plain = store.create(PODS, {"metadata": {"name": "plain"}, "spec": spec})
    own = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 60}
    patient = store.create(PODS, {"metadata": {"name": "patient"}, "spec": spec | {"tolerations": [own]}})
    assert [(one["key"][19:], one["tolerationSeconds"]) for one in plain["spec"]["tolerations"]] == [
        ("not-ready", 5),
        ("unreachable", 5),
    ]
    assert [(one["key"][19:], one["tolerationSeconds"]) for one in patient["spec"]["tolerations"]] == [
        ("unreachable", 60),
        ("not-ready", 5),
    ]


def test_an_eviction_waits_for_the_tolerated_seconds_and_a_taint_that_goes_ends_the_wait(
    store: Store, shop: Shop
) -> None:
    spec = shop()["spec"]["template"]["spec"] | {"nodeName": "node-a"}
    store.create(PODS, {"metadata": {"name": "a"}, "spec": spec})
    unreachable = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}
    now_s = [100.0]
    evictor = TaintManager(lambda: now_s[0])

    def left_s(at_s: float) -> float | None:
        now_s[0] = at_s
        return evictor.reconcile(store, "default", "a")

    assert left_s(100.0) is None
    taint(store, "node-a", unreachable)
    assert (left_s(101.0), left_s(104.0)) == (5.0, 2.0)
    taint(store, "node-a")
    assert left_s(105.0) is None
    taint(store, "node-a", unreachable)
    assert left_s(110.0) == 5.0
    assert left_s(115.0) is None
    pod = store.get(PODS, "a", "default")
    target = condition(pod, "DisruptionTarget")
    assert "deletionTimestamp" in pod["metadata"]
    assert target is not None
    assert target["reason"] == "DeletionByTaintManager"


def test_a_silent_node_is_unknown_its_pods_are_not_ready_and_a_heartbeat_brings_it_back(
    store: Store, reconciled: Play, shop: Shop
) -> None:
    service = {"metadata": {"name": "shop"}, "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]}}
    reconciled(lambda: store.create(SERVICES, service), lambda: store.create(DEPLOYMENTS, shop(replicas=3)))
    for node, ago_s in (("node-a", 9.0), ("node-b", 1.0), ("node-c", 0.0)):
        heartbeat(store, node, ago_s)
    reconciled()
    ready = condition(store.get(NODES, "node-a"), "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")
    effects = [("node.kubernetes.io/unreachable", effect) for effect in ("NoSchedule", "NoExecute")]
    assert {node: taints_of(store, f"node-{node}") for node in "abc"} == {"a": effects, "b": [], "c": []}
    (endpoints,) = store.list(ENDPOINTSLICES)
    assert {one["nodeName"]: one["conditions"]["ready"] for one in endpoints["endpoints"]} == {
        "node-a": False,
        "node-b": True,
        "node-c": True,
    }
    heartbeat(store, "node-a", 0.0)
    reconciled(lambda: store.update(NODES, "node-a", "", lambda obj: set_condition(obj, "Ready", "True")))
    assert taints_of(store, "node-a") == []


def test_a_control_plane_that_slept_hears_the_nodes_before_it_judges_them(store: Store) -> None:
    """Their heartbeats were due when it slept, and come now."""
    heartbeat(store, "node-a", 9.0)

    async def wake_up(late_s: float) -> bool:
        loop, look = asyncio.get_running_loop(), (reconcile_node, "", "node-a")
        controllers = _Controllers(store)
        controllers._due.clear()
        controllers._timers[look] = loop.call_later(60.0, lambda: None)
        running = asyncio.create_task(controllers.run())
        controllers._come_back(look, loop.time() - late_s)
        for _ in range(20):
            await asyncio.sleep(0)
        running.cancel()
        controllers.close()
        return is_true(store.get(NODES, "node-a"), "Ready")

    assert asyncio.run(wake_up(late_s=5.0))
    assert not asyncio.run(wake_up(late_s=0.0))


def test_when_no_node_is_heard_none_is_emptied(store: Store) -> None:
    for node in ("node-a", "node-b", "node-c"):
        heartbeat(store, node, 9.0)
    for _ in range(2):
        for node in ("node-a", "node-b", "node-c"):
            reconcile_node(store, "", node)
    assert not any(is_true(node, "Ready") for node in store.list(NODES))
    assert {taint for node in "abc" for taint in taints_of(store, f"node-{node}")} == {
        ("node.kubernetes.io/unreachable", "NoSchedule")
    }


def test_a_node_is_looked_at_again_when_its_next_heartbeat_would_be_overdue(store: Store) -> None:
    heartbeat(store, "node-a", 1.0)
    left_s = reconcile_node(store, "", "node-a")
    assert left_s is not None
    assert 0.0 < left_s <= 3.0
    assert reconcile_node(store, "", "node-b") is None


def test_a_cordon_is_a_taint_too_beside_those_of_people(store: Store) -> None:
    taint(store, "node-a", OUTAGE)
    store.update(NODES, "node-a", "", lambda obj: obj["spec"].update(unschedulable=True))
    reconcile_node(store, "", "node-a")
    assert taints_of(store, "node-a") == [("outage", "NoExecute"), ("node.kubernetes.io/unschedulable", "NoSchedule")]
    store.update(NODES, "node-a", "", lambda obj: obj["spec"].update(unschedulable=False))
    reconcile_node(store, "", "node-a")
    assert taints_of(store, "node-a") == [("outage", "NoExecute")]
