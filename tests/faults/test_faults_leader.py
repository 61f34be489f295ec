"""A leader that dies: which pod it is, and when another one leads."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from chaoslib.exceptions import ActivityFailed
from pod_stage import LEASES, PODS, Cluster, pod

from harness.drivers.faults import leader
from harness.drivers.faults.leader import delete_leader

On = Callable[[Cluster], Cluster]
STORE: dict[str, Any] = {"namespace": "shop", "selector": "app=store", "lease": "store"}


def store(holder: str, names: tuple[str, ...] = ("store-1", "store-2", "store-10")) -> Cluster:
    lease = {"metadata": {"name": "store"}, "spec": {"holderIdentity": holder, "leaseDurationSeconds": 2}}
    return Cluster([(LEASES, lease), *((PODS, pod(name, app="store", owner="rs-store")) for name in names)])


def taken_over_by(cluster: Cluster, holder: str) -> None:
    cluster.stored[f"{LEASES}/store"]["spec"]["holderIdentity"] = holder


@pytest.mark.parametrize(
    ("holder", "name"),
    [("store-1", "store-1"), ("store-10", "store-10"), ("store-1_7d2f", "store-1"), ("store-10.shop:80", "store-10")],
)
def test_the_holder_of_the_lease_is_deleted(on: On, monkeypatch: pytest.MonkeyPatch, holder: str, name: str) -> None:
    """By the name that its identity begins with; and it is told how long it took until another one held it."""
    ticks = itertools.count(100.0, 0.25)
    monkeypatch.setattr(leader.time, "monotonic", lambda: next(ticks))
    cluster = on(store(holder))
    cluster.then = lambda _method, _path: taken_over_by(cluster, "store-2_1")

    done = delete_leader(**STORE)

    took_s = done.pop("taken_over_s")
    assert done == {
        "lease": "store",
        "namespace": "shop",
        "pod": name,
        "uid": f"uid-{name}",
        "holder_before": holder,
        "holder_after": "store-2_1",
    }
    assert isinstance(took_s, float)
    assert took_s > 0
    assert cluster.asked == [("DELETE", f"{PODS}/{name}", {"grace_s": 0, "uid": f"uid-{name}"})]


def test_a_lease_that_nobody_holds_meanwhile_is_not_taken_over(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that hands over leaves it empty first."""
    cluster = on(store("store-1"))
    cluster.then = lambda _method, _path: taken_over_by(cluster, "")
    monkeypatch.setattr(leader, "TAKEOVER_S", -2.0)
    with pytest.raises(ActivityFailed, match=r"after 0 s still not: lease 'store' held by another than 'store-1'$"):
        delete_leader(**STORE)


def test_a_rehearsal_waits_for_nobody(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease stays where it is."""
    monkeypatch.setenv("LCH_DRY", "1")
    cluster = on(store("store-1"))
    done = delete_leader(**STORE)
    assert (done["holder_after"], done["taken_over_s"]) == (None, None)
    assert len(cluster.names(PODS)) == 3


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        (store(""), "lease 'store' has no holder, so there is no leader to delete; is the service up?"),
        (
            store("store-3"),
            "lease 'store' is held by 'store-3', which is none of the selector's pods; widen the selector",
        ),
        (
            store("store-1", ("store-1",)),
            (
                "1 pods are asked for, max_share 80% of a workload allows 0, and one ready pod of each has to stay; "
                "take fewer"
            ),
        ),
    ],
    ids=["nobody", "somebody else", "nobody to take over"],
)
def test_without_a_leader_to_take_nothing_is_deleted(on: On, cluster: Cluster, message: str) -> None:
    """And it is said why."""
    on(cluster)
    with pytest.raises(ActivityFailed) as caught:
        delete_leader(**STORE)
    assert str(caught.value) == message
    assert cluster.asked == []


def test_a_leader_outside_the_frozen_targets_is_left_alone(on: On, frozen: Callable[..., None]) -> None:
    """However the lease came to it."""
    frozen(owners=["rs-other"])
    cluster = on(store("store-1"))
    with pytest.raises(ActivityFailed, match=r"among the frozen targets$"):
        delete_leader(**STORE)
    assert cluster.asked == []
