"""The store: versions, conflicts, graceful deletion, and watches that can resume."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harness.sandbox import store as store_module
from harness.sandbox.resources import CONFIGMAPS, DEPLOYMENTS, NAMESPACES, NODES, PODS, SERVICES, ApiError
from harness.sandbox.store import Store

POD = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c"}]}}


def bound(store: Store, name: str = "a", **spec: object) -> dict[str, Any]:
    spec = {"containers": [{"name": "c"}], "nodeName": "node-a", **spec}
    return store.create(PODS, {"metadata": {"name": name}, "spec": spec})


def test_a_new_object_gets_identity_version_and_namespace(store: Store) -> None:
    meta = store.create(CONFIGMAPS, {"metadata": {"name": "x"}, "data": {"a": "1"}})["metadata"]
    assert (meta["namespace"], meta["generation"], meta["resourceVersion"]) == ("default", 1, str(store.version))
    assert len(meta["uid"]) == 36
    assert meta["creationTimestamp"].endswith("Z")


def test_creating_twice_or_in_an_unknown_namespace_is_refused(store: Store) -> None:
    store.create(CONFIGMAPS, {"metadata": {"name": "x"}})
    with pytest.raises(ApiError, match=r'^AlreadyExists: configmaps "x" already exists$'):
        store.create(CONFIGMAPS, {"metadata": {"name": "x"}})
    with pytest.raises(ApiError, match=r'^NotFound: namespaces "nowhere" not found$'):
        store.create(CONFIGMAPS, {"metadata": {"name": "x", "namespace": "nowhere"}})


def test_a_stale_write_is_a_conflict(store: Store) -> None:
    old = store.create(CONFIGMAPS, {"metadata": {"name": "x"}})
    store.update(CONFIGMAPS, "x", "default", lambda obj: obj.update(data={"a": "1"}))
    with pytest.raises(ApiError) as refused:
        store.replace(CONFIGMAPS, {**old, "data": {"a": "2"}})
    assert (refused.value.code, refused.value.reason) == (409, "Conflict")


def test_only_changes_of_content_bump_the_generation_and_equal_content_changes_nothing(store: Store) -> None:
    store.create(DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": {"template": {"spec": {}}}})
    store.update(DEPLOYMENTS, "d", "default", lambda obj: obj["status"].update(replicas=1))
    assert store.get(DEPLOYMENTS, "d", "default")["metadata"]["generation"] == 1
    store.update(DEPLOYMENTS, "d", "default", lambda obj: obj["spec"].update(replicas=7))
    assert store.get(DEPLOYMENTS, "d", "default")["metadata"]["generation"] == 2
    version = store.version
    store.update(DEPLOYMENTS, "d", "default", lambda obj: obj["spec"].update(replicas=7))
    assert store.version == version


def test_fields_that_hold_nothing_any_more_are_gone(store: Store) -> None:
    """As of real objects: who wants to remove one again is told that it is not there."""
    marked = {"name": "x", "labels": {"a": "1"}, "annotations": {"b": "2"}}
    store.create(NODES, {"metadata": marked, "spec": {"unschedulable": True, "taints": [{"key": "t"}]}})
    bare = {"labels": {}, "annotations": {}}
    node = store.update(NODES, "x", "", lambda obj: obj["metadata"].update(bare))
    assert not {"labels", "annotations"} & node["metadata"].keys()
    assert store.update(NODES, "x", "", lambda obj: obj["spec"].update(unschedulable=False, taints=[]))["spec"] == {}


def test_a_running_pod_stays_until_its_kubelet_removes_it(store: Store) -> None:
    pod = bound(store, terminationGracePeriodSeconds=7)
    store.delete(PODS, "a", "default")
    meta = store.get(PODS, "a", "default")["metadata"]
    assert meta["deletionGracePeriodSeconds"] == 7
    assert "deletionTimestamp" in meta
    store.remove(PODS, "a", "default", "another uid")
    assert store.find(PODS, "a", "default") is not None
    store.remove(PODS, "a", "default", pod["metadata"]["uid"])
    assert store.find(PODS, "a", "default") is None


def test_a_second_deletion_only_shortens_the_grace(store: Store) -> None:
    bound(store)
    store.delete(PODS, "a", "default", grace_s=5)
    store.delete(PODS, "a", "default", grace_s=20)
    assert store.get(PODS, "a", "default")["metadata"]["deletionGracePeriodSeconds"] == 5
    store.delete(PODS, "a", "default", grace_s=1)
    assert store.get(PODS, "a", "default")["metadata"]["deletionGracePeriodSeconds"] == 1
    store.delete(PODS, "a", "default", grace_s=0)
    assert store.find(PODS, "a", "default") is None


def test_a_pod_without_a_node_goes_at_once(store: Store) -> None:
    store.create(PODS, POD)
    store.delete(PODS, "a", "default")
    assert store.find(PODS, "a", "default") is None


def test_a_service_keeps_the_address_it_was_given(store: Store) -> None:
    first = store.create(SERVICES, {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}})["spec"]
    second = store.create(SERVICES, {"metadata": {"name": "b"}, "spec": {"ports": [{"port": 80}]}})["spec"]
    assert first["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert first["clusterIP"] != second["clusterIP"]
    store.update(SERVICES, "a", "default", lambda obj: obj["metadata"].update(labels={"x": "y"}))
    assert store.get(SERVICES, "a", "default")["spec"]["clusterIP"] == first["clusterIP"]


def test_a_watch_sees_every_change_of_its_resources_in_order() -> None:
    async def seen() -> list[tuple[str, str]]:
        store = Store()
        watch = store.watch(PODS, since=0)
        store.create(PODS, POD)
        store.create(CONFIGMAPS, {"metadata": {"name": "not watched"}})
        store.update(PODS, "a", "default", lambda obj: obj["metadata"].update(labels={"x": "y"}))
        store.delete(PODS, "a", "default")
        await watch.wait()
        changes = watch.pending()
        watch.close()
        return [(change.type, change.obj["metadata"]["resourceVersion"]) for change in changes]

    assert asyncio.run(seen()) == [("ADDED", "4"), ("MODIFIED", "6"), ("DELETED", "7")]


def test_a_watch_resumes_from_a_version(store: Store) -> None:
    version = store.version
    store.create(CONFIGMAPS, {"metadata": {"name": "x"}})
    store.create(CONFIGMAPS, {"metadata": {"name": "y"}})
    names = [change.obj["metadata"]["name"] for change in store.watch(CONFIGMAPS, since=version + 1).pending()]
    assert names == ["y"]


def test_a_watch_from_before_the_history_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "HISTORY_LENGTH", 3)
    store = Store()
    for number in range(4):
        store.create(NAMESPACES, {"metadata": {"name": f"n{number}"}})
    with pytest.raises(ApiError, match=r"^Expired: too old resource version: 1 \(5\)$"):
        store.watch(NAMESPACES, since=1)
