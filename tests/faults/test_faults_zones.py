"""Losing a zone at three depths: what is done to nodes and pods, what refuses it, and that it is undone."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chaoslib.exceptions import ActivityFailed
from zone_stage import StoreApi, add_node, add_pod, cluster, state

from harness.drivers.faults import act, zones
from harness.drivers.faults.command import filled
from harness.sandbox.objects import set_condition
from harness.sandbox.resources import NAMESPACES, NODES, PODS, REPLICASETS, Obj
from harness.sandbox.store import Store

PLACE = {"zone": "a", "namespace": "shop", "selector": "app=shop", "run": "s_1"}
UNDO = {"zone": "a", "namespace": "shop", "run": "s_1"}
DONE = {"zone": "a", "nodes": ["node-a"], "pods": ["shop-a"]}
POWER = "lch.dev/power"


@pytest.fixture
def store() -> Store:
    return cluster()


@pytest.fixture
def api(store: Store, monkeypatch: pytest.MonkeyPatch) -> StoreApi:
    """What every action connects to."""
    api = StoreApi(store)
    monkeypatch.setattr(act, "PAUSE_S", 0.0)
    monkeypatch.setattr(act, "ApiClient", lambda _kubeconfig, _context, *, dry: api)
    for name in ("LCH_RUN", "LCH_TARGETS", "LCH_CLUSTER_UID", "LCH_LEASED", "LCH_DRY"):
        monkeypatch.delenv(name, raising=False)
    return api


def reacting(store: Store, to: Callable[[Obj], bool], change: Callable[[Store, Obj], None]) -> Callable[..., None]:
    """A cluster that does `change` to every node of which `to` holds, after each request."""

    def react(_method: str, _path: str) -> None:
        for node in store.list(NODES):
            if to(node):
                change(store, node)

    return react


def evict(store: Store, node: Obj) -> None:
    for pod in store.list(PODS):
        if pod["spec"].get("nodeName") == node["metadata"]["name"]:
            store.delete(PODS, pod["metadata"]["name"], "shop")


def set_ready(status: str) -> Callable[[Store, Obj], None]:
    def change(store: Store, node: Obj) -> None:
        store.update(NODES, node["metadata"]["name"], "", lambda obj: set_condition(obj, "Ready", status))

    return change


def node_state(store: Store, name: str = "node-a") -> tuple[Any, Any, Any]:
    """Whether it is cordoned, its taints, its power."""
    node = store.get(NODES, name)
    spec = node["spec"]
    return spec.get("unschedulable"), spec.get("taints"), (node["metadata"].get("annotations") or {}).get(POWER)


def test_an_announced_outage_cordons_and_taints_until_it_is_undone(api: StoreApi, store: Store) -> None:
    """The pods there begin to end; nodes of other zones are left alone; the undo leaves nothing of it."""
    before = state(store)
    api.after = reacting(store, lambda node: bool(node["spec"].get("taints")), evict)

    assert zones.taint_zone(**PLACE) == DONE
    taint = {"key": "lch.dev/zone-outage", "value": "s_1", "effect": "NoExecute"}
    assert node_state(store) == (True, [taint], None)
    assert state(store)["Node/node-b"] == before["Node/node-b"]
    api.after = lambda *_: None
    assert zones.untaint_zone(**UNDO) == {"zone": "a", "undone": ["node/node-a"]}
    assert zones.untaint_zone(**UNDO) == {"zone": "a", "undone": []}
    assert state(store)["Node/node-a"] == before["Node/node-a"]


def test_pods_that_nothing_evicts_fail_the_action_and_the_nodes_are_as_before(
    api: StoreApi, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may tolerate the taint; a fault without an effect is no fault."""
    monkeypatch.setattr(zones, "EVICT_S", 0.0)
    before = state(store)

    with pytest.raises(ActivityFailed, match=r"after 0 s still not: pods of zone 'a' evicted; do they tolerate "):
        zones.taint_zone(**PLACE)

    assert state(store) == before


def test_a_node_that_somebody_else_cordoned_stays_cordoned(api: StoreApi, store: Store) -> None:
    """The undo changes back what the run changed, and nothing else."""
    store.update(NODES, "node-a", "", lambda node: node["spec"].update(unschedulable=True))

    zones.empty_zone(**PLACE)
    zones.reopen_zone(**UNDO)

    assert node_state(store) == (True, None, None)


def test_an_abrupt_outage_deletes_at_once_what_would_be_replaced_elsewhere(api: StoreApi, store: Store) -> None:
    """Pods of a DaemonSet, of no controller, of a run of ours, and those of other zones stay."""
    daemon = [{"kind": "DaemonSet", "name": "d", "uid": "d", "controller": True}]
    add_pod(store, "agent-a", "a", app="agent", ownerReferences=daemon)
    add_pod(store, "bare-a", "a", app="bare", ownerReferences=[])
    add_pod(store, "shop-a2", "a", app="db")
    add_pod(store, "db-b", "b", app="db")

    assert zones.empty_zone(**PLACE) == DONE | {"pods": ["shop-a", "shop-a2"]}

    assert [pod["metadata"]["name"] for pod in store.list(PODS)] == ["agent-a", "bare-a", "db-b", "shop-b", "shop-c"]
    assert node_state(store) == (True, None, None)
    assert zones.reopen_zone(**UNDO) == {"zone": "a", "undone": ["node/node-a"]}
    assert node_state(store) == (None, None, None)


def test_a_pod_that_comes_before_the_zone_is_closed_is_deleted_too(api: StoreApi, store: Store) -> None:
    """The scheduler may have bound it after the first look."""

    def bind(method: str, _path: str) -> None:
        if method == "PATCH" and store.find(PODS, "late-a", "shop") is None:
            add_pod(store, "late-a", "a")

    api.after = bind

    assert zones.empty_zone(**PLACE) == DONE | {"pods": ["late-a", "shop-a"]}


def test_each_fault_undoes_its_own_changes_only(api: StoreApi, store: Store) -> None:
    """Two faults of one run may have hold of one node."""
    api.after = reacting(store, lambda node: bool(node["spec"].get("taints")), evict)
    zones.taint_zone(**PLACE)

    assert zones.reopen_zone(**UNDO) == {"zone": "a", "undone": []}
    assert zones.untaint_zone(**UNDO | {"run": "s_2"}) == {"zone": "a", "undone": []}
    assert node_state(store)[0] is True


def test_nodes_with_a_switch_are_switched_off_and_on(api: StoreApi, store: Store) -> None:
    """The action ends when Kubernetes has noticed, its undo when the nodes are ready."""
    store.update(NODES, "node-a", "", lambda node: node["metadata"].update(annotations={POWER: "on"}))
    before = state(store)
    api.after = reacting(
        store, lambda node: node_state(store, node["metadata"]["name"])[2] == "off", set_ready("Unknown")
    )

    assert zones.stop_zone(**PLACE) == DONE
    assert node_state(store) == (None, None, "off")
    api.after = reacting(store, lambda node: node_state(store, node["metadata"]["name"])[2] == "on", set_ready("True"))
    assert zones.start_zone(**UNDO) == {"zone": "a", "undone": ["node/node-a"], "ready": True}

    after = state(store)
    after["Node/node-a"]["status"] = before["Node/node-a"]["status"]
    assert after == before


@pytest.mark.real
def test_nodes_without_a_switch_are_stopped_by_a_command(api: StoreApi, store: Store, tmp_path: Path) -> None:
    """Once for each; what it stopped is noted on the node, and started again by the rollback's own command."""
    log = tmp_path / "log"
    say = [sys.executable, "-c", f"open({str(log)!r}, 'a').write(__import__('sys').argv[1] + chr(10))"]
    store.update(NODES, "node-a", "", lambda node: node["spec"].update(providerID="cloud:///1"))
    api.after = reacting(store, lambda _: log.exists() and "stop" in log.read_text(), set_ready("Unknown"))

    start = [*say, "start {node}"]
    zones.stop_zone(**PLACE, stop=[*say, "stop {node} {provider_id}"], start=start)
    assert store.get(NODES, "node-a")["metadata"]["annotations"] == {"lch.dev/stopped-by": "s_1"}
    with pytest.raises(ActivityFailed, match=r"^zone 'a': 1 nodes were stopped by a command; give `start`$"):
        zones.start_zone(**UNDO)
    api.after = reacting(store, lambda _: "start" in log.read_text(), set_ready("True"))
    done = zones.start_zone(**UNDO, start=start)

    assert log.read_text().splitlines() == ["stop node-a cloud:///1", "start node-a"]
    assert done == {"zone": "a", "undone": ["node/node-a"], "ready": True}
    assert store.get(NODES, "node-a")["metadata"].get("annotations") in (None, {})


def test_nodes_that_take_long_to_start_are_left_to_the_harness(
    api: StoreApi, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its observer says when the outage is over; without it the undo is not done before they are ready."""
    store.update(NODES, "node-a", "", lambda node: node["metadata"].update(annotations={POWER: "on"}))
    api.after = reacting(
        store, lambda node: node_state(store, node["metadata"]["name"])[2] == "off", set_ready("False")
    )
    monkeypatch.setattr(zones, "START_S", 0.0)
    monkeypatch.setattr(zones, "WATCHED_START_S", 0.0)

    zones.stop_zone(**PLACE)
    with pytest.raises(ActivityFailed, match=r"after 0 s still not: nodes of zone 'a' ready$"):
        zones.start_zone(**UNDO)
    zones.stop_zone(**PLACE)
    monkeypatch.setenv("LCH_LEASED", "1")
    assert zones.start_zone(**UNDO) == {"zone": "a", "undone": ["node/node-a"], "ready": False}
    assert node_state(store)[2] == "on"


@pytest.mark.parametrize(
    ("stop", "start", "message"),
    [
        ((), ("true",), "its nodes have no annotation lch.dev/power; give the commands `stop` and `start`, such as "),
        (("true",), (), "its nodes have no annotation lch.dev/power; give the commands `stop` and `start`, such as "),
        (["/no/such program", "{node}"], ("true",), "command '/no/such program': no such program"),
        (("true",), ["/no/such program", "{node}"], "command '/no/such program': no such program"),
        (
            "halt {node}",
            ("true",),
            "command 'halt {node}': write it as a list of texts, the program first; no shell reads it",
        ),
    ],
)
def test_nodes_that_cannot_be_stopped_and_started_are_refused(
    api: StoreApi, store: Store, stop: Any, start: Any, message: str
) -> None:
    """Before anything is changed."""
    before = state(store)

    with pytest.raises(ActivityFailed) as caught:
        zones.stop_zone(**PLACE, stop=stop, start=start)

    assert message in str(caught.value)
    assert state(store) == before


def test_only_placeholders_are_filled_in() -> None:
    """Braces that mean something else are left alone."""
    node = {"metadata": {"name": "n"}, "spec": {}}

    assert filled(["x", "--id={node}", "{provider_id}", "{}"], node) == ["x", "--id=n", "", "{}"]


def _others_gone(store: Store) -> None:
    for name in ("node-b", "node-c"):
        store.update(NODES, name, "", lambda node: node["spec"].update(unschedulable=True))


def _reaper_there(store: Store) -> None:
    store.create(NAMESPACES, {"metadata": {"name": "lch-system"}})
    add_pod(store, "reaper-1", "a")
    pod = store.get(PODS, "reaper-1", "shop")
    store.delete(PODS, "reaper-1", "shop", grace_s=0)
    labels = {"app.kubernetes.io/name": "lch-reaper"}
    store.create(PODS, {**pod, "metadata": {"name": "reaper-1", "namespace": "lch-system", "labels": labels}})


def _nothing(_store: Store) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "asked", "message"),
    [
        (_nothing, {"selector": " "}, "the selector is empty, which would match every pod; write one"),
        (_nothing, {"zone": "x"}, "zone 'x': none of its 0 nodes is a frozen target; nothing was done"),
        (
            _nothing,
            {"selector": "app=db"},
            "zone 'a': selector 'app=db' matches no running pod there; nothing would be lost",
        ),
        (
            _others_gone,
            {},
            "zone 'a': no other zone has a node that is ready and not cordoned; nothing was done",
        ),
        (
            _reaper_there,
            {},
            "zone 'a': is the only one with a pod of lch-reaper; run another in another zone first",
        ),
    ],
)
@pytest.mark.parametrize("fault", [zones.taint_zone, zones.empty_zone, zones.stop_zone])
def test_an_outage_that_would_reach_too_far_is_refused(
    api: StoreApi,
    store: Store,
    fault: Callable[..., Any],
    change: Callable[[Store], None],
    asked: dict[str, Any],
    message: str,
) -> None:
    """Whatever its depth; nothing is changed."""
    change(store)
    before = state(store)

    with pytest.raises(ActivityFailed) as caught:
        fault(**PLACE | asked)

    assert str(caught.value) == message
    assert state(store) == before


@pytest.fixture
def freeze(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Freeze what is in the zone now, with a cap on its nodes."""

    def freeze(max_nodes: int) -> None:
        nodes = {node["metadata"]["uid"]: node["metadata"]["name"] for node in store.list(NODES)}
        pods = {store.get(PODS, "shop-a", "shop")["metadata"]["uid"]: "shop-a"}
        caps = {"max_pods": 1, "max_share": 0.8, "max_nodes": max_nodes}
        (tmp_path / "targets.json").write_text(json.dumps({"pods": pods, "owners": [], "nodes": nodes, **caps}))
        monkeypatch.setenv("LCH_TARGETS", str(tmp_path / "targets.json"))

    return freeze


def test_only_frozen_nodes_and_pods_are_touched(api: StoreApi, store: Store, freeze: Callable[[int], None]) -> None:
    """What joined the zone after the preflight is not ours to take."""
    freeze(1)
    add_node(store, "node-a2", "a")
    add_pod(store, "db-a", "a", app="db")

    assert zones.empty_zone(**PLACE) == DONE
    assert node_state(store, "node-a2") == (None, None, None)
    assert store.find(PODS, "db-a", "shop") is not None


def test_pods_of_a_later_rollout_are_still_targets(
    api: StoreApi, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ReplicaSet that controlled the frozen ones has none by then."""
    of_shop = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop", "uid": "d", "controller": True}]
    old, new = (
        store.create(REPLICASETS, {"metadata": {"name": name, "namespace": "shop", "ownerReferences": of_shop}})
        for name in ("shop-1", "shop-2")
    )
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-2", "controller": True}
    store.delete(PODS, "shop-a", "shop", grace_s=0)
    add_pod(store, "shop-a", "a", ownerReferences=[owner | {"uid": new["metadata"]["uid"]}])
    nodes = {store.get(NODES, "node-a")["metadata"]["uid"]: "node-a"}
    caps = {"max_pods": 1, "max_share": 1.0, "max_nodes": 1}
    targets = {"pods": {"gone": "shop-0"}, "owners": [old["metadata"]["uid"]], "nodes": nodes, **caps}
    (tmp_path / "targets.json").write_text(json.dumps(targets))
    monkeypatch.setenv("LCH_TARGETS", str(tmp_path / "targets.json"))

    assert zones.empty_zone(**PLACE) == DONE


def test_no_more_nodes_than_allowed_are_taken(api: StoreApi, store: Store, freeze: Callable[[int], None]) -> None:
    """Nothing is changed then."""
    add_node(store, "node-a2", "a")
    freeze(1)
    before = state(store)

    with pytest.raises(ActivityFailed, match=r"^zone 'a': has 2 nodes, max_nodes allows 1; nothing was done$"):
        zones.empty_zone(**PLACE)
    assert state(store) == before


def test_a_rehearsal_asks_for_every_change_and_makes_none(
    api: StoreApi, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing happens, so nothing is waited for; no command is run."""
    before = state(store)
    api.dry = True
    ran = tmp_path / "ran"

    zones.taint_zone(**PLACE)
    zones.empty_zone(**PLACE)
    zones.stop_zone(**PLACE, stop=[sys.executable, "-c", f"open({str(ran)!r}, 'w')"], start=["true"])

    node = ("PATCH", "/api/v1/nodes/node-a")
    assert api.asked == [node, node, ("DELETE", "/api/v1/namespaces/shop/pods/shop-a"), node]
    assert state(store) == before
    assert not ran.exists()
