"""Cutting a zone off: what is created, what refuses it, and that it is undone."""

from __future__ import annotations

from typing import Any

import pytest
from chaoslib.exceptions import ActivityFailed
from kube_doubles import ScriptedApi, node, pod

from harness.drivers.chaos import zone
from harness.drivers.kubernetes.client import ApiError

PODS = "/api/v1/namespaces/shop/pods"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"
NODES = [node("node-a", "a"), node("node-b", "b")]
SHOP = [pod("shop-1", "a"), pod("shop-2", "b")]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zone, "PAUSE_S", 0.0)


def cluster(*pods: dict[str, Any], policies: tuple[dict[str, Any], ...] = ()) -> ScriptedApi:
    return ScriptedApi({PODS: pods, POLICIES: policies, "/api/v1/nodes": NODES})


def network_policy(name: str, spec: dict[str, Any], **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


def test_the_policy_lets_the_zone_talk_to_itself_and_to_name_servers_only() -> None:
    """It selects every pod of the zone, in both directions, and goes with the Job."""
    job = {"metadata": {"name": "j", "uid": "u"}}

    made = zone.policy("p", "shop", {"lch.dev/run": "r"}, "a", job)

    same = [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"topology.kubernetes.io/zone": "a"}}}]
    assert made["metadata"]["ownerReferences"][0]["uid"] == "u"
    assert made["spec"] == {
        "podSelector": {"matchLabels": {"topology.kubernetes.io/zone": "a"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": same}],
        "egress": [{"to": same}, {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}],
    }


def test_a_cut_creates_a_dead_man_job_and_the_policy_it_owns() -> None:
    """Labels say whose they are."""
    api = cluster(*SHOP, pod("db-1", "a", app="db"))

    done = zone.cut(api, "a", "shop", "app=shop", "s/1", 60)

    assert done == {
        "zone": "a",
        "namespace": "shop",
        "pods": ["db-1", "shop-1"],
        "policy": "lch-zone-cut-a-77ceec1a",
        "job": "lch-zone-cut-a-77ceec1a",
        "ttl_s": 60,
    }
    job = api.stored["/apis/batch/v1/namespaces/shop/jobs/lch-zone-cut-a-77ceec1a"]
    policy = api.stored[f"{POLICIES}/lch-zone-cut-a-77ceec1a"]
    labels = {"lch.dev/run": "s_1", "lch.dev/role": "zone-cut", "lch.dev/zone": "a"}
    assert job["metadata"]["labels"] == policy["metadata"]["labels"] == labels
    assert policy["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    assert {name: value for name, value in job["spec"].items() if name != "template"} == {
        "parallelism": 0,
        "activeDeadlineSeconds": 60,
        "ttlSecondsAfterFinished": 0,
    }


def test_pods_without_zone_label_are_given_it_and_lose_it_again() -> None:
    """The undo is written on the pod; a label that was there before stays."""
    api = cluster(*SHOP, pod("shop-3", node="node-a"))
    before = api.stored[f"{PODS}/shop-3"]["metadata"]["labels"].copy()

    zone.cut(api, "a", "shop", "app=shop", "s/1", 60)
    metadata = api.stored[f"{PODS}/shop-3"]["metadata"]
    during = dict(metadata["labels"]), dict(metadata["annotations"])
    removed = zone.mend(api, "a", "shop", "s/1")

    assert during == (before | {"topology.kubernetes.io/zone": "a"}, {"lch.dev/zone-label-added-by": "s_1"})
    assert removed == ["job/lch-zone-cut-a-77ceec1a", "networkpolicy/lch-zone-cut-a-77ceec1a"]
    assert (metadata["labels"], metadata["annotations"]) == (before, {})
    assert api.stored[f"{PODS}/shop-1"]["metadata"]["labels"]["topology.kubernetes.io/zone"] == "a"


def test_healing_twice_is_fine_and_leaves_other_runs_alone() -> None:
    """The undo may be played by the child, the watchdog and a person."""
    api = cluster(*SHOP)
    zone.cut(api, "a", "shop", "app=shop", "s/1", 60)
    before = api.names()

    assert zone.mend(api, "a", "shop", "s/2") == []
    assert api.names() == before
    assert zone.mend(api, "a", "shop", "s/1") != []
    assert zone.mend(api, "a", "shop", "s/1") == []


def test_healing_goes_on_when_the_server_fails_for_a_moment() -> None:
    """A refusal that may pass is tried again; one that will not is told."""
    api = cluster(*SHOP)
    zone.cut(api, "a", "shop", "app=shop", "s/1", 60)
    api.refuse = {("DELETE", f"{POLICIES}/lch-zone-cut-a-77ceec1a"): 503}

    zone.mend(api, "a", "shop", "s/1")
    assert api.names() == ["nodes/node-a", "nodes/node-b", "pods/shop-1", "pods/shop-2"]
    api.refuse = {("GET", PODS): 403}
    with pytest.raises(ApiError, match=r"403$"):
        zone.mend(api, "a", "shop", "s/1")


def test_a_cut_that_cannot_be_completed_leaves_nothing() -> None:
    """The Job is taken back when the policy is refused."""
    api = cluster(*SHOP, pod("shop-3", node="node-a"))
    before = api.names()
    api.refuse = {("POST", POLICIES): 403}

    with pytest.raises(ApiError, match=r"403$"):
        zone.cut(api, "a", "shop", "app=shop", "s/1", 60)

    assert api.names() == before
    assert "topology.kubernetes.io/zone" not in api.stored[f"{PODS}/shop-3"]["metadata"]["labels"]


OPEN = network_policy("open", {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]})
EARLIER = network_policy(
    "x", {"podSelector": {}}, **{"lch.dev/role": "zone-cut", "lch.dev/zone": "a", "lch.dev/run": "s_0"}
)


@pytest.mark.parametrize(
    ("pods", "policies", "message"),
    [
        (
            (SHOP[1], pod("db-1", "a", app="db")),
            (),
            "zone 'a' in namespace 'shop': selector 'app=shop' matches no running pod there; nothing to cut off",
        ),
        (
            (SHOP[0], pod("db-1", "b", app="db")),
            (),
            "zone 'a' in namespace 'shop': holds all 1 pods of selector 'app=shop'; nothing would be left to serve",
        ),
        (
            SHOP,
            (OPEN,),
            (
                "zone 'a': network policy 'open' allows traffic of pod 'shop-1', so a cut would not hold; "
                "remove the policy for the experiment"
            ),
        ),
        (SHOP, (EARLIER,), "zone 'a': is cut off already by run 's_0'; undo that run first"),
    ],
    ids=["nothing there", "everything there", "path kept open", "never undone"],
)
def test_a_cut_that_would_be_wrong_is_refused(
    pods: tuple[dict[str, Any], ...], policies: tuple[dict[str, Any], ...], message: str
) -> None:
    """Nothing is created."""
    api = cluster(*pods, policies=policies)
    before = api.names()

    with pytest.raises(ActivityFailed) as caught:
        zone.cut(api, "a", "shop", "app=shop", "s/1", 60)

    assert str(caught.value) == message
    assert api.names() == before


def test_an_earlier_cut_of_the_same_run_is_an_error() -> None:
    """A name that is taken is not taken for success."""
    api = cluster(*SHOP)
    zone.cut(api, "a", "shop", "app=shop", "s/1", 60)
    del api.stored[f"{POLICIES}/lch-zone-cut-a-77ceec1a"]

    with pytest.raises(ApiError) as caught:
        zone.cut(api, "a", "shop", "app=shop", "s/1", 60)

    assert caught.value.status == 409


@pytest.mark.parametrize(
    ("spec", "through"),
    [
        ({"policyTypes": ["Ingress", "Egress"]}, False),
        ({"ingress": [{}]}, True),
        ({"policyTypes": ["Egress"], "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]}, False),
        ({"policyTypes": ["Egress"], "egress": [{"ports": [{"port": 53}, {"port": 443}]}]}, True),
        ({"policyTypes": ["Egress"], "egress": [{"ports": [{"port": 53, "endPort": 9000}]}]}, True),
        ({"policyTypes": ["Egress"], "ingress": [{}]}, False),
    ],
)
def test_policies_that_would_keep_a_path_open(spec: dict[str, Any], through: bool) -> None:  # noqa: FBT001
    """Denials and name lookups do not; any other allowance does."""
    assert zone.lets_through(spec) is through


def test_without_a_kubeconfig_the_activity_fails(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no server to fall back to."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))

    with pytest.raises(ActivityFailed, match=r"none' is not a file; give the path of one$"):
        zone.heal_zone("a", "shop")
