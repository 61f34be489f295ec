"""Pods that die: which, how, in how many rounds, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from chaoslib.exceptions import ActivityFailed
from pod_stage import PODS, Cluster, pod, shop

from harness.drivers.faults.pods import delete_pods

On = Callable[[Cluster], Cluster]
SELECTED: dict[str, Any] = {"namespace": "shop", "selector": "app=shop"}


def deleted(done: dict[str, Any]) -> list[list[str]]:
    return [[one["name"] for one in taken] for taken in done["rounds"]]


def test_a_pod_is_deleted_by_its_uid_and_without_grace(on: On) -> None:
    """So that a successor of the same name cannot be hit; and the names and UIDs are told."""
    cluster = on(Cluster(shop()))

    done = delete_pods(**SELECTED, seed=1)

    (name,) = deleted(done)[0]
    assert done == {"namespace": "shop", "rounds": [[{"name": name, "uid": f"uid-{name}"}]], "deleted": 1}
    assert cluster.asked == [("DELETE", f"{PODS}/{name}", {"grace_s": 0, "uid": f"uid-{name}"})]


def test_with_grace_of_minus_one_the_pods_own_holds(on: On) -> None:
    """The API server is told nothing then."""
    cluster = on(Cluster(shop()))
    delete_pods(**SELECTED, grace_s=-1, count=2)
    assert [body["grace_s"] for _, _, body in cluster.asked] == [None, None]


def test_only_pods_of_the_zone_are_taken(on: On) -> None:
    """The share is of those."""
    cluster = on(Cluster(shop()))
    done = delete_pods(**SELECTED, zone="zone-b", share="50%")
    assert [name[:6] for name in deleted(done)[0]] == ["shop-b"]
    assert len(cluster.names(PODS)) == 5


def test_rounds_go_on_with_what_replaced_the_pods(on: On) -> None:
    """Nothing else comes into reach meanwhile."""
    cluster = on(Cluster(shop()))

    def replaced(method: str, path: str) -> None:
        gone = path.rsplit("/", 1)[1]
        cluster.put(PODS, pod(f"{gone}x"))
        cluster.put(PODS, pod(f"other-{gone}", owner="rs-other"))

    cluster.then = replaced
    done = delete_pods(**SELECTED, count=2, rounds=4, every_s=0, seed=3)

    assert [len(taken) for taken in deleted(done)] == [2, 2, 2, 2]
    assert done["deleted"] == 8
    assert not [name for taken in deleted(done) for name in taken if name.startswith("other")]
    assert len([name for name in cluster.names(PODS) if not name.startswith("other")]) == 6


def test_a_round_waits_for_nobody_but_leaves_room_for_successors(on: On, frozen: Callable[..., None]) -> None:
    """While as many as may be touched at once have no ready successor, nothing more is taken."""
    frozen(owners=["rs-shop"], max_pods=2)
    cluster = on(Cluster(shop()))
    cluster.then = lambda _method, path: cluster.put(PODS, pod(path.rsplit("/", 1)[1] + "x", ready=False))
    done = delete_pods(**SELECTED, count=1, rounds=5, every_s=0)
    assert [len(taken) for taken in deleted(done)] == [1, 1, 0, 0, 0]


def test_a_round_that_finds_no_pod_in_the_zone_takes_none(on: On) -> None:
    """What replaced the first ones may be elsewhere."""
    cluster = on(Cluster(shop()))
    cluster.then = lambda _method, path: cluster.put(PODS, pod(path.rsplit("/", 1)[1] + "x", "node-a"))
    done = delete_pods(**SELECTED, zone="zone-b", count=2, rounds=3, every_s=0)
    assert [len(taken) for taken in deleted(done)] == [2, 0, 0]


def test_a_rehearsal_asks_for_the_same_and_changes_nothing(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    """One round, and no waiting."""
    monkeypatch.setenv("LCH_DRY", "1")
    cluster = on(Cluster(shop()))
    delete_pods(**SELECTED, count=2, rounds=3, every_s=600)
    assert [method for method, _, _ in cluster.asked] == ["DELETE", "DELETE"]
    assert cluster.dry
    assert len(cluster.names(PODS)) == 6


def test_frozen_targets_hold_whatever_the_arguments_say(on: On, frozen: Callable[..., None]) -> None:
    """Neither another selector nor a wider share reaches beyond them."""
    frozen(pods={"uid-shop-a1": "shop-a1"}, max_pods=1, max_share=0.5)
    other = [(PODS, pod(f"db-{n}", app="db", owner="rs-db")) for n in range(3)]
    cluster = on(Cluster([*shop(), *other]))

    assert deleted(delete_pods(**SELECTED, seed=5)) == [["shop-a1"]]
    for asked in ({"selector": "app=db"}, {"count": 2}, {"max_share": "100%", "count": 5}):
        with pytest.raises(ActivityFailed, match="asked for"):
            delete_pods(**SELECTED | asked)
    assert len(cluster.asked) == 1


def test_a_successor_of_the_same_name_is_left_alone(on: On) -> None:
    """The pod was replaced between looking and deleting, as a StatefulSet does."""
    cluster = on(Cluster(shop()))
    cluster.refuse = {("DELETE", f"{PODS}/{name}"): [409] for name in cluster.names(PODS)}
    with pytest.raises(ActivityFailed, match=r"^the chosen pods were gone before they could be deleted: shop-"):
        delete_pods(**SELECTED)
    assert len(cluster.names(PODS)) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"selector": " "}, "the selector is empty, which would match every pod; write one"),
        ({"zone": "zone-x"}, "no matching pod is in zone 'zone-x'; their zones: zone-a, zone-b, zone-c"),
        ({"grace_s": -2}, "grace_s -2 is neither a number of seconds nor -1, what each pod asks for"),
        (
            {"rounds": 0},
            "0 rounds every 10.0 s: give 1 round or more, every 0 s or more, within 3600 s in all",
        ),
        (
            {"rounds": 1000},
            "1000 rounds every 10.0 s: give 1 round or more, every 0 s or more, within 3600 s in all",
        ),
        (
            {"selector": "app=nope"},
            (
                "1 pods are asked for, 0 of 0 that match may be taken: ready, replaced by a controller, and among the "
                "frozen targets"
            ),
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(on: On, arguments: dict[str, Any], message: str) -> None:
    """Nothing is deleted."""
    cluster = on(Cluster(shop()))
    with pytest.raises(ActivityFailed) as caught:
        delete_pods(**SELECTED | arguments)
    assert str(caught.value) == message
    assert cluster.asked == []


def test_only_the_cluster_that_is_pinned_is_touched(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one behind the same name is told from it by its UID."""
    monkeypatch.setenv("LCH_CLUSTER_UID", "mine")
    cluster = on(Cluster([*shop(), ("/api/v1/namespaces", {"metadata": {"name": "kube-system", "uid": "other"}})]))
    with pytest.raises(ActivityFailed, match=r"is cluster other, the run is pinned to mine; nothing was done$"):
        delete_pods(**SELECTED)
    assert cluster.asked == []
