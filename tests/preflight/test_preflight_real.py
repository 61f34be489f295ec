"""The preflight in its child process, on the sandbox: the same answers and errors as the pure part gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cluster_before import CLUSTER, planned
from kube_doubles import kubeconfig, plan
from plan_values import at

from harness import sandbox
from harness.drivers.chaos.driver import resolved
from harness.drivers.kubernetes.client import ApiClient
from harness.drivers.kubernetes.objects import name_of, pods_path, policies_path
from harness.drivers.preflight.look import Found, resolve_in_child
from harness.errors import DriverError, PlanError
from harness.history.events import PreflightChecked, TargetsFrozen
from harness.plan.model import Fault, Observe

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

DENIED = "/api/v1/namespaces/kube-system/configmaps"
CUT = planned("cut", observe=Observe.ZONE_CUT, zone="zone-a", method=["partition.partition_zone"])
OUTAGE = planned("outage", observe=Observe.NODES_OUT, zone="zone-b", method=["zones.stop_zone"], until_s=60.0)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sandbox.Endpoints]:
    state_dir = tmp_path_factory.mktemp("sandbox")
    yield sandbox.up(version="good", state_dir=state_dir, owned=True)
    sandbox.down(state_dir)


@pytest.fixture
def api(cluster: sandbox.Endpoints) -> Iterator[ApiClient]:
    client = ApiClient(str(cluster.kubeconfig), None)
    yield client
    client.close()


def look(cluster: sandbox.Endpoints, *faults: Fault, uid: str | None = None) -> Found:
    pinned = replace(CLUSTER, uid=uid)
    return resolve_in_child(faults, pinned, kubeconfig=str(cluster.kubeconfig), context=None)


def checks(found: Found) -> dict[str, bool]:
    return {one.check: one.ok for one in found.bodies if isinstance(one, PreflightChecked)}


def test_targets_are_frozen_by_a_child_process(cluster: sandbox.Endpoints, api: ApiClient) -> None:
    """Pods of the zone by name and UID; the cluster's UID and its nodes come with them."""
    shop = api.items(pods_path("shop"), {"labelSelector": "app=shop"})
    inside = sorted((pod for pod in shop if pod["spec"]["nodeName"] == "node-a"), key=name_of)
    owners = {owner["uid"] for pod in inside for owner in pod["metadata"]["ownerReferences"]}

    found = look(cluster, CUT)

    assert [one for one in found.bodies if isinstance(one, TargetsFrozen)] == [
        TargetsFrozen(
            fault="cut",
            names=tuple(map(name_of, inside)),
            uids=tuple(pod["metadata"]["uid"] for pod in inside),
            owners=tuple(sorted(owners)),
        )
    ]
    assert checks(found) == {"cluster": True, "permissions": True, "open_paths": True}
    assert found.uid == api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
    assert sorted(found.nodes.values()) == ["node-a", "node-b", "node-c"]
    assert look(cluster, CUT, uid=found.uid).uid == found.uid


def test_a_real_outage_is_told_what_it_can_at_best_show(cluster: sandbox.Endpoints) -> None:
    """The sandbox gives a node up after 4 s; nothing but a reaper would undo what is changed."""
    found = look(cluster, OUTAGE)

    floor = next(one for one in found.bodies if isinstance(one, PreflightChecked) and one.check == "failover_floor")
    assert (floor.ok, floor.detail) == (
        True,
        (
            "fault 'outage': Kubernetes replaces no pod of a lost node before 9 s "
            "(4 s until it gives the node up, 5 s that its pods tolerate)"
        ),
    )
    assert {"reaper", "nodes"} <= checks(found).keys()


def test_all_problems_come_back_with_their_places(cluster: sandbox.Endpoints) -> None:
    nothing = planned("nothing", selector="app=shop,no=pod", source=at(4), at_s=30.0, until_s=40.0)
    most = planned("most", max_targets=5, source=at(7), at_s=30.0, until_s=40.0)

    with pytest.raises(PlanError) as caught:
        look(cluster, CUT, nothing, most)

    assert [(one.path, one.line, one.where) for one in caught.value.problems] == [
        ("scenarios/s.yaml", 4, "fault 'nothing'"),
        ("scenarios/s.yaml", 7, "fault 'most'"),
        ("scenarios/s.yaml", 7, "fault 'most'"),
    ]


def test_another_cluster_than_the_pinned_one_is_not_looked_at(cluster: sandbox.Endpoints) -> None:
    with pytest.raises(
        DriverError, match=r"^kubernetes http://127.0.0.1:\d+: is cluster \S+, the service file pins u-1$"
    ):
        look(cluster, CUT, uid="u-1")


def test_what_the_account_may_not_do_is_refused(cluster: sandbox.Endpoints, api: ApiClient) -> None:
    """The undo's permissions as well as the method's."""
    forbidden = {"denied": "delete networking.k8s.io/networkpolicies\npatch /nodes"}
    api.create(DENIED, {"metadata": {"name": "lch-sandbox-denied"}, "data": forbidden})
    try:
        with pytest.raises(PlanError) as caught:
            look(cluster, CUT)
    finally:
        api.delete(f"{DENIED}/lch-sandbox-denied")

    assert [one.what for one in caught.value.problems] == [
        (
            "the account may not delete networkpolicies.networking.k8s.io in namespace 'shop', "
            "which the fault, its undo or its proof needs; allow it, see deploy/rbac.yaml"
        )
    ]


def test_a_policy_that_would_defeat_the_cut_is_refused(cluster: sandbox.Endpoints, api: ApiClient) -> None:
    spec = {"podSelector": {"matchLabels": {"app": "shop"}}, "policyTypes": ["Ingress"], "ingress": [{}]}
    api.create(policies_path("shop"), {"metadata": {"name": "open"}, "spec": spec})
    try:
        with pytest.raises(
            PlanError, match=r"network policy 'open' allows traffic of pod 'shop-\S+', so a cut would not"
        ):
            look(cluster, CUT)
    finally:
        api.delete(policies_path("shop", "open"))


def test_without_a_cluster_the_childs_error_is_the_callers(tmp_path: Path) -> None:
    nobody = kubeconfig(tmp_path, "http://127.0.0.1:1")

    with pytest.raises(
        DriverError, match=r"^kubernetes http://127.0.0.1:1: GET /api/v1/namespaces/kube-system: no answer"
    ):
        resolve_in_child([CUT], CLUSTER, kubeconfig=nobody, context=None)


def test_the_fault_driver_asks_the_same(cluster: sandbox.Endpoints) -> None:
    """For the plan's own faults and cluster; nothing without a kubeconfig."""
    delete = planned("delete", max_targets=1, method=["pods.delete_pods"])
    asked = plan((delete,), kubeconfig=str(cluster.kubeconfig))

    found = resolved(asked, str(cluster.kubeconfig), None)

    assert checks(found) == {"cluster": True, "permissions": True}
    assert json.dumps(dict(found.nodes))
    assert resolved(asked, None, None) == Found()
