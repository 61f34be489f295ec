"""Holding a cluster for one run, against a cluster in memory."""

from typing import Any

import pytest
from cluster_double import ClusterDouble, refusal

from harness.drivers.chaos.holding import Holding
from harness.drivers.chaos.keeper import HeldError, Keeper, LostError
from harness.errors import DriverError

LEASES = "/apis/coordination.k8s.io/v1/namespaces/shop/leases"
JOBS = "/apis/batch/v1/namespaces/{}/jobs"
LEASE = f"{LEASES}/lch-harness"
SYSTEM = ("/api/v1/namespaces", {"metadata": {"name": "kube-system", "uid": "this"}})


def holding(run: str = "drill/1", **more: Any) -> Holding:
    return Holding(
        kubeconfig="", context=None, run=run, namespace="shop", namespaces=("bank", "shop"), dead_man_s=9, **more
    )


def lease_of(holder: str, lasts_s: float) -> tuple[str, dict[str, Any]]:
    spec = {"holderIdentity": holder, "renewTime": "long ago", "leaseDurationSeconds": lasts_s}
    return LEASES, {"metadata": {"name": "lch-harness", "labels": {"lch.dev/run": holder}}, "spec": spec}


def test_a_run_holds_a_lease_and_a_job_in_every_namespace() -> None:
    cluster = ClusterDouble()

    Keeper(cluster, holding()).take()

    jobs = [path for path in cluster.objects if "/jobs/" in path]
    assert [path.rpartition("/")[0] for path in jobs] == [JOBS.format("bank"), JOBS.format("shop")]
    assert {cluster.objects[path]["spec"]["activeDeadlineSeconds"] for path in jobs} <= {9, 10}
    lease = cluster.objects[LEASE]
    assert lease["metadata"]["labels"] == {"lch.dev/run": "drill_1", "lch.dev/role": "lease"}
    assert lease["metadata"]["ownerReferences"][0]["uid"] == cluster.objects[jobs[1]]["metadata"]["uid"]
    assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseDurationSeconds"]) == ("drill_1", 9)


def test_renewing_puts_off_both() -> None:
    cluster = ClusterDouble()
    keeper = Keeper(cluster, holding())
    keeper.take()
    keeper.since_s -= 60
    before = cluster.objects[LEASE]["spec"]["renewTime"]

    keeper.renew()
    keeper.look()

    deadlines = {one["spec"]["activeDeadlineSeconds"] for path, one in cluster.objects.items() if "/jobs/" in path}
    assert deadlines <= {69, 70}
    assert cluster.objects[LEASE]["spec"]["renewTime"] != before


def test_a_lease_that_another_run_renews_is_not_taken() -> None:
    cluster = ClusterDouble(lease_of("other", 30))

    def renewed(_seconds: float) -> None:
        cluster.objects[LEASE]["spec"]["renewTime"] = "just now"

    with pytest.raises(HeldError, match="run 'other' holds the Lease lch-harness in namespace 'shop' and renews it"):
        Keeper(cluster, holding(), renewed).take()
    assert list(cluster.objects) == [LEASE]


def test_a_lease_that_nobody_renews_is_taken_over() -> None:
    cluster = ClusterDouble(lease_of("dead", 0.001))

    Keeper(cluster, holding(), lambda _seconds: None).take()

    lease = cluster.objects[LEASE]
    assert lease["spec"]["holderIdentity"] == "drill_1"
    assert lease["metadata"]["labels"]["lch.dev/run"] == "drill_1"
    assert lease["metadata"]["ownerReferences"][0]["kind"] == "Job"


def test_a_race_for_the_lease_has_one_winner_and_the_other_leaves_nothing() -> None:
    cluster = ClusterDouble()

    def won_by_another(method: str, path: str) -> None:
        if (method, path) == ("POST", LEASES):
            cluster.before = lambda method, path: None
            cluster.create(*lease_of("other", 30))

    cluster.before = won_by_another

    with pytest.raises(HeldError, match="run 'other' holds"):
        Keeper(cluster, holding()).take()
    assert list(cluster.objects) == [LEASE]


def test_a_cluster_that_is_not_the_pinned_one_is_not_touched() -> None:
    cluster = ClusterDouble(SYSTEM)

    with pytest.raises(DriverError, match="is cluster this, the plan pins that"):
        Keeper(cluster, holding(uid="that")).take()
    assert len(cluster.objects) == 1


@pytest.mark.parametrize(
    ("gone", "why"),
    [
        (JOBS.format("bank"), "the dead-man Job in namespace 'bank' was deleted"),
        (LEASES, "the Lease lch-harness in namespace 'shop' was deleted"),
    ],
)
def test_whoever_deletes_a_job_or_the_lease_takes_the_hold_away(gone: str, why: str) -> None:
    cluster = ClusterDouble()
    keeper = Keeper(cluster, holding())
    keeper.take()
    for path in [path for path in cluster.objects if path.startswith(gone)]:
        del cluster.objects[path]

    with pytest.raises(LostError, match=why):
        keeper.look()
    with pytest.raises(LostError, match=why):
        keeper.renew()


def test_a_lease_in_other_hands_is_lost_and_left_alone() -> None:
    cluster = ClusterDouble()
    keeper = Keeper(cluster, holding())
    keeper.take()
    cluster.objects[LEASE]["spec"]["holderIdentity"] = "other"

    with pytest.raises(LostError, match="is held by 'other'"):
        keeper.look()
    keeper.release()

    assert list(cluster.objects) == [LEASE]


def test_another_keeper_of_the_same_run_goes_on() -> None:
    cluster = ClusterDouble()
    Keeper(cluster, holding()).take()

    keeper = Keeper(cluster, holding(since_s=0.0))
    keeper.take()
    keeper.look()
    keeper.release()

    assert cluster.objects == {}


def test_a_server_that_fails_is_not_a_loss() -> None:
    cluster = ClusterDouble()
    keeper = Keeper(cluster, holding())
    keeper.take()

    def failing(method: str, path: str) -> None:
        raise refusal(500)

    cluster.before = failing

    with pytest.raises(DriverError):
        keeper.renew()
