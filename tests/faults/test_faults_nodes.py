"""Nodes that are drained: which, what is evicted and what stays, and that they come back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from chaoslib.exceptions import ActivityFailed
from pod_stage import NODES, PODS, Cluster, node, pod, shop

from harness.drivers.faults import nodes
from harness.drivers.faults.act import Act
from harness.drivers.faults.marks import Change
from harness.drivers.faults.nodes import drain_nodes, undrain_nodes

On = Callable[[Cluster], Cluster]
SELECTED: dict[str, Any] = {"namespace": "shop", "selector": "app=shop"}
TWO_NODES = {f"uid-node-{zone}": f"node-{zone}" for zone in "ab"}


def cordoned(cluster: Cluster) -> list[str]:
    return [name for name in cluster.names(NODES) if cluster.stored[f"{NODES}/{name}"]["spec"].get("unschedulable")]


def test_a_node_is_cordoned_marked_and_emptied(on: On) -> None:
    """Each pod is evicted by its UID; the node says how to change it back."""
    cluster = on(Cluster(shop()))

    done = drain_nodes(**SELECTED, node="node-a", run="s/1", ttl_s=60)

    assert done == {"nodes": ["node-a"], "evicted": ["shop/shop-a1", "shop/shop-a2"]}
    assert cluster.names(PODS) == ["shop-b1", "shop-b2", "shop-c1", "shop-c2"]
    metadata = cluster.stored[f"{NODES}/node-a"]["metadata"]
    assert metadata["labels"]["lch.dev/run"] == "s_1"
    assert json.loads(metadata["annotations"]["lch.dev/undo"]) == {
        "run": "s_1",
        "ttl_s": 60,
        "leased": False,
        "changes": [{"path": ["spec", "unschedulable"], "before": None, "ours": True, "role": "drain"}],
    }
    assert [(method, path) for method, path, _ in cluster.asked] == [
        ("PATCH", f"{NODES}/node-a"),
        ("POST", f"{PODS}/shop-a1/eviction"),
        ("POST", f"{PODS}/shop-a2/eviction"),
    ]
    assert cluster.asked[1][2] == {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "shop-a1", "namespace": "shop"},
        "deleteOptions": {"preconditions": {"uid": "uid-shop-a1"}},
    }


def test_a_pod_that_comes_before_the_node_is_closed_is_evicted_too(on: On) -> None:
    """The scheduler may have bound it after the first look."""
    cluster = on(Cluster(shop()))
    cluster.then = lambda method, _path: cluster.put(PODS, pod("late", "node-a")) if method == "PATCH" else None

    assert drain_nodes(**SELECTED, node="node-a")["evicted"] == ["shop/late", "shop/shop-a1", "shop/shop-a2"]


def test_undraining_leaves_the_nodes_as_they_were(on: On) -> None:
    """Twice is fine; other runs' nodes and nodes that were cordoned before stay as they are."""
    objects = [*shop(), (NODES, node("node-d", unschedulable=True)), (PODS, pod("shop-d1", "node-d"))]
    cluster = on(Cluster(objects))
    before = {name: cluster.stored[f"{NODES}/{name}"]["spec"] for name in cluster.names(NODES)}
    drain_nodes(**SELECTED, node="node-d", run="s/1")
    drain_nodes(**SELECTED, node="node-a", run="s/1")
    drain_nodes(**SELECTED, node="node-b", run="s/2")

    assert undrain_nodes(namespace="shop", run="s/1") == {"nodes": ["node-a"]}
    assert cordoned(cluster) == ["node-b", "node-d"]
    assert undrain_nodes(namespace="shop", run="s/1") == {"nodes": []}
    undrain_nodes(namespace="shop", run="s/2")
    assert {name: cluster.stored[f"{NODES}/{name}"]["spec"] for name in cluster.names(NODES)} == before
    assert [cluster.stored[f"{NODES}/{name}"]["metadata"]["labels"].keys() for name in cluster.names(NODES)] == [
        {"topology.kubernetes.io/zone"}
    ] * 4


def test_a_node_that_somebody_uncordoned_meanwhile_stays_so(on: On) -> None:
    """What is not ours any more is not changed."""
    cluster = on(Cluster(shop()))
    drain_nodes(**SELECTED, node="node-a")
    cluster.stored[f"{NODES}/node-a"]["spec"]["unschedulable"] = False
    undrain_nodes(namespace="shop")
    assert cluster.stored[f"{NODES}/node-a"]["spec"] == {"unschedulable": False}


def test_what_another_fault_of_the_run_did_to_a_node_stays(on: On) -> None:
    """Its own undo is to come."""
    cluster = on(Cluster(shop()))
    taint = Change(path=("spec", "taints"), element={"key": "out", "effect": "NoExecute"}, role="zone")
    Act(api=cluster, namespace="shop", run="s_1", ttl_s=60, leased=False).change(f"{NODES}/node-b", [taint])
    drain_nodes(**SELECTED, node="node-a", run="s/1")
    assert undrain_nodes(namespace="shop", run="s/1") == {"nodes": ["node-a"]}
    assert cluster.stored[f"{NODES}/node-b"]["spec"]["taints"] == [{"key": "out", "effect": "NoExecute"}]


def test_drawn_nodes_bear_pods_of_the_service_and_take_new_ones(on: On) -> None:
    """A node that was cordoned before, or has none, is not drawn."""
    taken = set()
    for seed in range(12):
        others = [(NODES, node("node-x")), (NODES, node("node-c", unschedulable=True))]
        cluster = on(Cluster([*shop(), *others]))
        taken |= set(drain_nodes(**SELECTED, seed=seed)["nodes"])  # type: ignore[call-overload]
        assert len(cluster.names(PODS)) == 4
    assert taken == {"node-a", "node-b"}


def test_pods_of_the_node_and_of_the_harness_stay(on: On) -> None:
    """DaemonSets' pods, the kubelet's own, canaries, the reaper; and pods that have ended."""
    staying = [
        pod("logs", kind="DaemonSet", owner="ds"),
        pod("static", kind="Node", owner="node-a", annotations={"kubernetes.io/config.mirror": "x"}),
        pod("canary", kind="Job", owner="job", labels={"lch.dev/run": "s_1"}),
        pod("reaper", labels={"app.kubernetes.io/name": "lch-reaper"}),
        pod("done", phase="Succeeded", owner=None),
    ]
    on(Cluster([*shop(), *((PODS, one | {"spec": {"nodeName": "node-a"}}) for one in staying)]))
    assert drain_nodes(**SELECTED, node="node-a")["evicted"] == ["shop/shop-a1", "shop/shop-a2"]


def test_an_eviction_that_a_budget_puts_off_is_tried_again(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is allowed."""
    monkeypatch.setattr(nodes, "AGAIN_S", 0.0)
    cluster = on(Cluster(shop()))
    cluster.refuse = {("POST", f"{PODS}/shop-a2/eviction"): [429, 429, 429]}
    assert drain_nodes(**SELECTED, node="node-a")["evicted"] == ["shop/shop-a1", "shop/shop-a2"]
    assert cluster.names(PODS) == ["shop-b1", "shop-b2", "shop-c1", "shop-c2"]


def test_a_budget_that_never_allows_it_is_told(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node is still the run's to bring back."""
    monkeypatch.setattr(nodes, "AGAIN_S", 0.0)
    cluster = on(Cluster(shop()))
    cluster.refuse = {("POST", f"{PODS}/shop-a2/eviction"): [429] * 1000}
    with pytest.raises(
        ActivityFailed,
        match=r"^a PodDisruptionBudget forbids for 0 s to evict shop/shop-a2; is the service whole\?$",
    ):
        drain_nodes(**SELECTED, node="node-a", timeout_s=0)
    assert undrain_nodes(namespace="shop") == {"nodes": ["node-a"]}
    assert cordoned(cluster) == []


def test_a_pod_that_is_gone_meanwhile_needs_no_eviction(on: On) -> None:
    """Or whose name another one has."""
    cluster = on(Cluster(shop()))
    cluster.refuse = {("POST", f"{PODS}/shop-a1/eviction"): [404], ("POST", f"{PODS}/shop-a2/eviction"): [409]}
    cluster.then = lambda _method, _path: [cluster.stored.pop(f"{PODS}/shop-a{n}", None) for n in (1, 2)] and None
    drain_nodes(**SELECTED, node="node-a")


def test_a_rehearsal_asks_for_the_same_and_changes_nothing(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget that forbids it then is told then."""
    monkeypatch.setenv("LCH_DRY", "1")
    cluster = on(Cluster(shop()))
    drain_nodes(**SELECTED, node="node-a")
    assert [method for method, _, _ in cluster.asked] == ["PATCH", "POST", "POST"]
    assert (cordoned(cluster), len(cluster.names(PODS))) == ([], 6)

    cluster.refuse = {("POST", f"{PODS}/shop-a2/eviction"): [429]}
    with pytest.raises(ActivityFailed, match=r"^a PodDisruptionBudget forbids now to evict shop/shop-a2"):
        drain_nodes(**SELECTED, node="node-a")


@pytest.mark.parametrize(
    ("more", "arguments", "message"),
    [
        ([], {"node": "node-x"}, "there is no node named 'node-x'; there are: node-a, node-b, node-c"),
        ([], {"zone": "zone-x"}, "there is no node in zone 'zone-x'; there are: node-a, node-b, node-c"),
        ([], {"count": 3}, "no other node is left to take the pods of node-a, node-b, node-c; drain fewer"),
        ([], {"count": 4}, "4 nodes are asked for, of 3 that fit 3 are frozen targets"),
        (
            [(NODES, node("node-x"))],
            {"node": "node-x"},
            "none of the selector's pods is on the nodes, so draining them would show nothing",
        ),
        (
            [(PODS, pod("bare", owner=None))],
            {"node": "node-a"},
            "pod 'shop/bare' on node 'node-a' has no controller, so nothing would bring it back; choose another node",
        ),
        (
            [(PODS, pod("db-1", owner="rs-db"))],
            {"node": "node-a"},
            "1 pods of one workload would be taken, max_share 80% allows 0; take fewer",
        ),
    ],
)
def test_what_would_be_wrong_is_refused(
    on: On, more: list[tuple[str, Any]], arguments: dict[str, Any], message: str
) -> None:
    """Before anything is cordoned."""
    cluster = on(Cluster([*shop(), *more]))
    with pytest.raises(ActivityFailed) as caught:
        drain_nodes(**SELECTED | arguments)
    assert str(caught.value) == message
    assert cluster.asked == []


def test_caps_and_frozen_nodes_hold_whatever_the_arguments_say(on: On, frozen: Callable[..., None]) -> None:
    """A node by its name, a zone, a number: none reaches beyond them."""
    cluster = on(Cluster(shop()))
    for limits, arguments, message in (
        ({"max_nodes": 1, "nodes": TWO_NODES}, {"node": "node-c"}, "1 nodes are asked for, of 1 that fit 0 are frozen"),
        ({"max_nodes": 1, "nodes": TWO_NODES}, {"count": 2}, "2 nodes are asked for, max_nodes allows 1"),
        ({"max_nodes": 0, "nodes": TWO_NODES}, {"zone": "zone-a"}, "1 nodes are asked for, max_nodes allows 0"),
        ({"max_nodes": 1, "nodes": TWO_NODES, "max_pods": 1}, {}, "2 pods would be taken, max_pods allows 1"),
        (
            {"max_nodes": 1, "nodes": TWO_NODES, "max_share": 0.2},
            {},
            "2 pods of one workload would be taken, max_share 20% allows 1",
        ),
    ):
        frozen(owners=["rs-shop"], **limits)
        with pytest.raises(ActivityFailed) as caught:
            drain_nodes(**SELECTED | arguments)
        assert str(caught.value).startswith(message)
    assert cluster.asked == []
