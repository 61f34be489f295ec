"""Undoing from the cluster alone, against a cluster in memory."""

from typing import Any

import pytest
from cluster_double import ClusterDouble, refusal

from harness.drivers.faults import sweep as sweeping
from harness.drivers.faults.marks import Change, marking
from harness.drivers.faults.sweep import sweep
from harness.drivers.faults.sweeping import LeftError

SHOP = "/namespaces/shop"
POLICIES = f"/apis/networking.k8s.io/v1{SHOP}/networkpolicies"
CHAOS = f"/apis/chaos-mesh.org/v1alpha1{SHOP}/networkchaos"
JOBS = f"/apis/batch/v1{SHOP}/jobs"
LEASES = f"/apis/coordination.k8s.io/v1{SHOP}/leases"
PODS = f"/api/v1{SHOP}/pods"
NODES = "/api/v1/nodes"


def ours(name: str, run: str = "dead", role: str = "cut", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"lch.dev/run": run, "lch.dev/role": role}, **more}, "spec": {}}


def lease(run: str, lasts_s: float = 0.05) -> tuple[str, dict[str, Any]]:
    spec = {"holderIdentity": run, "renewTime": "then", "leaseDurationSeconds": lasts_s}
    return LEASES, {**ours(f"lease-of-{run}", run, "lease"), "spec": spec}


def cordoned(cluster: ClusterDouble, name: str, run: str = "dead") -> None:
    """A node that the run made unschedulable."""
    node = cluster.create(NODES, {"metadata": {"name": name, "labels": {}, "annotations": {}}, "spec": {}})
    changes = [Change(path=("spec", "unschedulable"), ours=True)]
    cluster.edit(f"{NODES}/{name}", marking(node, changes, run=run, ttl_s=60, leased=True))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "PAUSE_S", 0.001)
    monkeypatch.setattr(sweeping, "GONE_S", 0.1)
    monkeypatch.setattr(sweeping, "SETTLE_S", 0.01)


def test_everything_of_a_dead_run_is_undone_and_nothing_else() -> None:
    canary = ours("canary", role="canary", ownerReferences=[{"kind": "Job", "name": "lch-canaries-1"}])
    stranger = ours("stranger", role="x", ownerReferences=[{"kind": "ReplicaSet", "name": "shop"}])
    theirs = {"metadata": {"name": "theirs", "labels": {}}, "spec": {}}
    cluster = ClusterDouble(
        (POLICIES, ours("cut")),
        (POLICIES, theirs),
        (CHAOS, ours("slow")),
        (JOBS, ours("lch-dead-man-1", role="dead-man")),
        (PODS, canary),
        (PODS, stranger),
        lease("dead"),
    )
    cordoned(cluster, "node-1")

    undone = sweep(cluster, ["shop"])

    assert undone == (
        "job/lch-dead-man-1",
        "lease/lease-of-dead",
        "networkchaos/slow",
        "networkpolicy/cut",
        "node/node-1",
        "pod/canary",
    )
    assert sorted(cluster.objects) == sorted([f"{NODES}/node-1", f"{POLICIES}/theirs", f"{PODS}/stranger"])
    node = cluster.objects[f"{NODES}/node-1"]
    assert (node["spec"], node["metadata"]["labels"], node["metadata"]["annotations"]) == ({}, {}, {})
    assert sweep(cluster, ["shop"]) == ()


def test_a_run_that_renews_its_lease_is_left_alone() -> None:
    cluster = ClusterDouble((POLICIES, ours("cut", "alive")), (POLICIES, ours("old", "dead")), lease("alive", 30))
    looks = 0

    def renewing(method: str, path: str) -> None:
        nonlocal looks
        looks += 1
        cluster.objects[f"{LEASES}/lease-of-alive"]["spec"]["renewTime"] = f"look {looks}"

    cluster.before = renewing

    assert sweep(cluster, ["shop"]) == ("networkpolicy/old",)
    assert f"{POLICIES}/cut" in cluster.objects


def test_a_run_that_is_named_or_known_to_be_over_is_not_waited_for() -> None:
    for more in ({"run": "drill/1"}, {"over": ["drill/1"]}):
        cluster = ClusterDouble((POLICIES, ours("cut", "drill_1")), lease("drill_1", 3600))

        assert sweep(cluster, ["shop"], **more) == ("lease/lease-of-drill_1", "networkpolicy/cut")  # type: ignore[arg-type]


def test_a_run_that_is_just_beginning_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its dead-man Job is there before its Lease."""
    monkeypatch.setattr(sweeping, "SETTLE_S", 30)
    cluster = ClusterDouble((JOBS, ours("lch-dead-man-1", "new", "dead-man")))
    looks = 0

    def taking(method: str, path: str) -> None:
        nonlocal looks
        looks += "leases" in path
        if looks == 5:
            cluster.before = lambda method, path: None
            cluster.create(*lease("new", 30))

    cluster.before = taking

    assert sweep(cluster, ["shop"]) == ()
    assert len(cluster.objects) == 2


def test_what_cannot_be_undone_does_not_keep_the_rest_on() -> None:
    """It comes first in the sweep's order, and is the only thing that is left."""
    cluster = ClusterDouble((POLICIES, ours("cut")), (JOBS, ours("lch-dead-man-1", role="dead-man")))
    cordoned(cluster, "node-1")
    cluster.objects[f"{NODES}/node-1"]["metadata"]["annotations"]["lch.dev/undo"] = "torn"

    with pytest.raises(LeftError, match=r"^kubernetes memory: node/node-1: .*/node-1: .* cannot be read: .* by hand$"):
        sweep(cluster, ["shop"])

    assert list(cluster.objects) == [f"{NODES}/node-1"]


def test_a_node_that_a_command_stopped_is_not_called_undone() -> None:
    """How to start it stands in the run's ledger only."""
    stopped = {"metadata": {"name": "node-1", "annotations": {"lch.dev/stopped-by": "dead"}}, "spec": {}}
    cluster = ClusterDouble((NODES, stopped), (POLICIES, ours("cut")))

    with pytest.raises(LeftError, match=r"^kubernetes memory: node/node-1: was stopped by .* 'dead', .*/stopped-by-$"):
        sweep(cluster, ["shop"])

    assert list(cluster.objects) == [f"{NODES}/node-1"]
    assert sweep(cluster, ["shop"], run="drill/1") == ()


def test_what_somebody_else_changed_since_is_theirs() -> None:
    cluster = ClusterDouble()
    cordoned(cluster, "node-1")
    cluster.objects[f"{NODES}/node-1"]["spec"]["unschedulable"] = "as they like"

    assert sweep(cluster, ["shop"]) == ("node/node-1",)
    assert cluster.objects[f"{NODES}/node-1"]["spec"] == {"unschedulable": "as they like"}


@pytest.mark.parametrize("status", [409, 410, 422, 429, 500, 503, None])
def test_refusals_that_may_pass_are_waited_out(status: int | None) -> None:
    cluster = ClusterDouble((POLICIES, ours("cut")))
    left = [refusal(status)] * 3

    def failing(method: str, path: str) -> None:
        if left:
            raise left.pop()

    cluster.before = failing

    assert sweep(cluster, ["shop"]) == ("networkpolicy/cut",)


@pytest.mark.parametrize(("status", "why"), [(403, "403"), (500, "500")])
def test_what_cannot_be_undone_is_named(status: int, why: str) -> None:
    cluster = ClusterDouble((POLICIES, ours("cut")))

    def failing(method: str, path: str) -> None:
        if method == "DELETE":
            raise refusal(status)

    cluster.before = failing

    with pytest.raises(LeftError, match=f"networkpolicy/cut: kubernetes memory: {why}"):
        sweep(cluster, ["shop"])


def test_what_does_not_go_is_named() -> None:
    cluster = ClusterDouble((POLICIES, ours("cut", deletionTimestamp="now")))

    with pytest.raises(LeftError, match=r"networkpolicy/cut: still there after 0\.1 s"):
        sweep(cluster, ["shop"])


def test_a_kind_that_is_not_served_or_not_to_us_holds_nothing() -> None:
    cluster = ClusterDouble((POLICIES, ours("cut")))

    def failing(method: str, path: str) -> None:
        if "networkchaos" in path or path == "/apis/coordination.k8s.io/v1/leases":
            raise refusal(403)

    cluster.before = failing

    assert sweep(cluster, ["shop"]) == ("networkpolicy/cut",)
