"""Cutting a zone off: what is created, what refuses it, and that it is undone."""

from __future__ import annotations

from typing import Any

import pytest
from chaoslib.exceptions import ActivityFailed
from zone_stage import ZONE, StoreApi, act_on, add_pod, cluster, state

from harness.drivers.faults import act, partition
from harness.drivers.kubernetes.client import ApiError
from harness.drivers.kubernetes.objects import lets_through
from harness.sandbox.objects import labels_of
from harness.sandbox.resources import JOBS, NETWORKPOLICIES, PODS

POLICIES = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"
NAME = "lch-zone-cut-a-77ceec1a"
JOB = "lch-dead-man-77ceec1a"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(act, "PAUSE_S", 0.0)


def test_the_policy_lets_the_zone_talk_to_itself_and_to_name_servers_only() -> None:
    """It selects every pod of the zone, in both directions, and goes with the Job."""
    job = {"metadata": {"name": "j", "uid": "u"}}

    made = partition.policy("p", "shop", {"lch.dev/run": "r"}, "a", job)

    same = [{"namespaceSelector": {}, "podSelector": {"matchLabels": {ZONE: "a"}}}]
    assert made["metadata"]["ownerReferences"][0]["uid"] == "u"
    assert made["spec"] == {
        "podSelector": {"matchLabels": {ZONE: "a"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": same}],
        "egress": [{"to": same}, {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}],
    }


def test_a_cut_is_a_policy_that_the_run_s_dead_man_job_owns() -> None:
    """Labels say whose it is, and all pods of the zone are told, also those of other apps."""
    store = cluster(apps=("shop", "db"))

    done = partition.cut(act_on(StoreApi(store)), "a", "app=shop")

    assert done == {
        "zone": "a",
        "namespace": "shop",
        "pods": ["db-a", "shop-a"],
        "labelled": [],
        "policy": NAME,
        "ttl_s": 60,
    }
    job, policy = store.get(JOBS, JOB, "shop"), store.get(NETWORKPOLICIES, NAME, "shop")
    assert policy["metadata"]["labels"] == {"lch.dev/run": "s_1", "lch.dev/role": "zone-cut", "lch.dev/zone": "a"}
    assert policy["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]


def test_pods_without_zone_label_are_given_it_and_lose_it_again() -> None:
    """The undo is written on the pod; a label that was there before stays."""
    store = cluster(labelled=False)
    add_pod(store, "labelled", "a")
    before = state(store)
    now = act_on(StoreApi(store), leased=False)

    done = partition.cut(now, "a", "app=shop")
    labels = labels_of(store.get(PODS, "shop-a", "shop"))
    healed = partition.mend(now, "a")

    assert done["labelled"] == ["shop-a"]
    assert labels == {"app": "shop", ZONE: "a", "lch.dev/run": "s_1"}
    assert healed == {"zone": "a", "namespace": "shop", "removed": [f"networkpolicy/{NAME}", "pod/shop-a"]}
    assert state(store) == before


def test_pods_that_come_during_the_cut_are_labelled_too() -> None:
    """Those of the zone that do not carry it, while the policy is there; healing takes it back."""
    store = cluster(labelled=False)
    now = act_on(StoreApi(store), leased=False)
    before = state(store)
    partition.cut(now, "a", "app=shop")
    add_pod(store, "new-a", "a", labelled=False)
    add_pod(store, "new-b", "b", labelled=False)
    unlabelled = state(store)

    assert partition.label_newcomers(now, "a")
    assert labels_of(store.get(PODS, "new-a", "shop"))[ZONE] == "a"
    assert ZONE not in labels_of(store.get(PODS, "new-b", "shop"))
    partition.mend(now, "a")
    assert not partition.label_newcomers(now, "a")
    news = {name: unlabelled[name] for name in ("Pod/new-a", "Pod/new-b")}
    assert state(store) == before | news


def test_a_pod_labelled_while_the_cut_ended_is_left_as_it_was() -> None:
    """The healing that just passed would not see its label any more."""
    store = cluster(labelled=False)
    api = StoreApi(store)
    now = act_on(api)
    partition.cut(now, "a", "app=shop")
    new = add_pod(store, "new-a", "a", labelled=False)

    def healed(method: str, path: str) -> None:
        if (method, path) == ("PATCH", "/api/v1/namespaces/shop/pods/new-a"):
            store.delete(NETWORKPOLICIES, NAME, "shop")
            api.after = lambda *_: None

    api.after = healed
    partition.label_newcomers(now, "a")

    assert labels_of(store.get(PODS, "new-a", "shop")) == labels_of(new)


def test_healing_twice_is_fine_and_leaves_other_runs_alone() -> None:
    """The undo may be played by the child, the watchdog and a person."""
    store = cluster()
    api = StoreApi(store)
    partition.cut(act_on(api), "a", "app=shop")
    during = state(store)

    assert partition.mend(act_on(api, run="s_2"), "a")["removed"] == []
    assert state(store) == during
    assert partition.mend(act_on(api), "a")["removed"] == [f"networkpolicy/{NAME}"]
    assert partition.mend(act_on(api), "a")["removed"] == []


def test_healing_goes_on_when_the_server_fails_for_a_moment() -> None:
    """A refusal that may pass is tried again; one that will not is told."""
    store = cluster()
    api = StoreApi(store)
    partition.cut(act_on(api), "a", "app=shop")
    api.refuse = {("DELETE", f"{POLICIES}/{NAME}"): 503}

    partition.mend(act_on(api), "a")
    assert store.find(NETWORKPOLICIES, NAME, "shop") is None
    api.refuse = {("GET", "/api/v1/namespaces/shop/pods"): 403}
    with pytest.raises(ApiError, match=r"403$"):
        partition.mend(act_on(api), "a")


def test_a_cut_that_cannot_be_completed_leaves_nothing() -> None:
    """Labels are taken back when the policy is refused, and so is the Job when nobody else keeps it."""
    store = cluster(labelled=False)
    before = state(store)
    api = StoreApi(store)
    api.refuse = {("POST", POLICIES): 403}

    with pytest.raises(ApiError, match=r"403$"):
        partition.cut(act_on(api, leased=False), "a", "app=shop")

    assert state(store) == before


def test_a_rehearsal_asks_for_everything_and_changes_nothing() -> None:
    """The server checks what the real thing will send."""
    store = cluster(labelled=False)
    before = state(store)
    api = StoreApi(store, dry=True)

    partition.cut(act_on(api), "a", "app=shop")
    partition.mend(act_on(api), "a")

    assert api.asked == [
        ("PATCH", "/api/v1/namespaces/shop/pods/shop-a"),
        ("POST", "/apis/batch/v1/namespaces/shop/jobs"),
        ("POST", POLICIES),
    ]
    assert state(store) == before


def _policy(name: str, spec: dict[str, Any], **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop", "labels": labels}, "spec": spec}


@pytest.mark.parametrize(
    ("apps", "zones", "selector", "present", "message"),
    [
        (
            ("db",),
            "ab",
            "app=shop",
            None,
            "zone 'a' in namespace 'shop': selector 'app=shop' matches no running pod there; nothing to cut off",
        ),
        (
            ("shop",),
            "a",
            "app=shop",
            None,
            "zone 'a' in namespace 'shop': holds all 1 pods of selector 'app=shop'; nothing would be left to serve",
        ),
        (("shop",), "ab", "", None, "zone 'a': the selector is empty; name the service's pods"),
        (
            ("shop",),
            "ab",
            "app=shop",
            _policy("open", {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}),
            (
                "zone 'a': network policy 'open' allows traffic of pod 'shop-a', so a cut would not hold; "
                "remove the policy for the experiment"
            ),
        ),
        (
            ("shop",),
            "ab",
            "app=shop",
            _policy(
                "x", {"podSelector": {}}, **{"lch.dev/role": "zone-cut", "lch.dev/zone": "a", "lch.dev/run": "s_0"}
            ),
            "zone 'a': is cut off already by run 's_0'; undo that run first",
        ),
    ],
    ids=["nothing there", "everything there", "no selector", "path kept open", "never undone"],
)
def test_a_cut_that_would_be_wrong_is_refused(
    apps: tuple[str, ...], zones: str, selector: str, present: dict[str, Any] | None, message: str
) -> None:
    """Nothing is created."""
    store = cluster(zones, apps=apps)
    if present is not None:
        store.create(NETWORKPOLICIES, present)
    before = state(store)

    with pytest.raises(ActivityFailed) as caught:
        partition.cut(act_on(StoreApi(store)), "a", selector)

    assert str(caught.value) == message
    assert state(store) == before


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
    assert lets_through(spec) is through


def test_without_a_kubeconfig_the_activity_fails(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no server to fall back to."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))

    with pytest.raises(ActivityFailed, match=r"none' is not a file; give the path of one$"):
        partition.heal_zone("a", "shop")
