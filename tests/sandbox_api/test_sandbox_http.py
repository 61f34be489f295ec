"""The API over HTTP: verbs, errors, dry run, tables, watches and logs, as a client sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

pytestmark = pytest.mark.real

Obj = dict[str, Any]
Shop = Callable[..., Obj]

APPS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"
STRATEGIC = "application/strategic-merge-patch+json"


class Api:
    def __init__(self, url: str) -> None:
        self._url = url

    def open(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        content = None if body is None else json.dumps(body).encode()
        names = {key.replace("_", "-"): value for key, value in headers.items()}
        return urlopen(Request(self._url + path, content, names, method=method), timeout=5)

    def __call__(self, method: str, path: str, body: object = None, **headers: str) -> Obj:
        try:
            with self.open(method, path, body, **headers) as response:
                result = json.loads(response.read())
        except HTTPError as error:
            with error:
                result = json.loads(error.read())
        assert isinstance(result, dict)
        return result

    def watch(self, path: str) -> list[tuple[str, Obj]]:
        with self.open("GET", path) as response:
            events = [json.loads(line) for line in response.read().splitlines()]
        return [(event["type"], event["object"]) for event in events]


@pytest.fixture
def api(cluster: Any) -> Api:
    return Api(cluster.url)


def first_pod(api: Api) -> str:
    """The name of a pod that has been started, once there is one."""
    watch = "watch=1&timeoutSeconds=5&fieldSelector=status.phase%3DRunning"
    with api.open("GET", f"{PODS}?{watch}") as response:
        name: str = json.loads(response.readline())["object"]["metadata"]["name"]
    return name


def configmap(name: str, **labels: str) -> Obj:
    return {"metadata": {"name": name, "labels": labels}}


MAPS = "/api/v1/namespaces/default/configmaps"


def test_discovery_and_health(api: Api) -> None:
    assert api("GET", "/version")["gitVersion"] == "v1.32.0-sandbox"
    assert [group["name"] for group in api("GET", "/apis")["groups"]] == [
        "apps",
        "batch",
        "discovery.k8s.io",
        "networking.k8s.io",
        "coordination.k8s.io",
    ]
    names = [resource["name"] for resource in api("GET", "/apis/apps/v1")["resources"]]
    assert names == [
        "deployments",
        "deployments/status",
        "deployments/scale",
        "replicasets",
        "replicasets/status",
        "replicasets/scale",
    ]
    with api.open("GET", "/healthz") as response:
        assert response.read() == b"ok"


def test_errors_are_status_objects(api: Api) -> None:
    missing = api("GET", f"{APPS}/nope")
    assert missing == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'deployments.apps "nope" not found',
        "reason": "NotFound",
        "details": {"name": "nope", "group": "apps", "kind": "deployments"},
        "code": 404,
    }
    assert api("POST", MAPS, {"metadata": {"name": "No Name"}})["code"] == 422
    assert api("POST", MAPS, [])["code"] == 400
    assert api("POST", MAPS, {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}})["code"] == 400
    assert api("GET", f"{MAPS}?labelSelector=a+in+b")["code"] == 400
    assert api("PATCH", "/api/v1/nodes/node-a", {}, Content_Type="text/plain")["code"] == 415
    assert api("POST", "/api/v1/nodes/node-a", {})["code"] == 405


def test_put_with_a_stale_version_is_refused(api: Api) -> None:
    old = api("POST", MAPS, configmap("x"))
    api("PUT", f"{MAPS}/x", {**old, "data": {"a": "1"}})
    assert api("PUT", f"{MAPS}/x", {**old, "data": {"a": "2"}})["code"] == 409
    del old["metadata"]["resourceVersion"]
    assert api("PUT", f"{MAPS}/x", {**old, "data": {"a": "3"}})["data"] == {"a": "3"}


def test_status_and_main_resource_are_written_apart(api: Api, shop: Shop) -> None:
    api("POST", APPS, shop(replicas=1))
    status = {"status": {"replicas": 9}, "spec": {"replicas": 5}}
    merge = "application/merge-patch+json"
    assert api("PATCH", f"{APPS}/shop/status", status, Content_Type=merge)["spec"]["replicas"] == 1
    assert api("PATCH", f"{APPS}/shop", status, Content_Type=merge)["spec"]["replicas"] == 5
    selector = {"spec": {"selector": {"matchLabels": {"other": "x"}}}}
    assert api("PATCH", f"{APPS}/shop", selector, Content_Type=merge)["code"] == 422


def test_scale_is_read_and_written(api: Api, shop: Shop) -> None:
    api("POST", APPS, shop(replicas=2))
    scale = api("GET", f"{APPS}/shop/scale")
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 2}, "app=shop")
    patched = api("PATCH", f"{APPS}/shop/scale", {"spec": {"replicas": 4}}, Content_Type=STRATEGIC)
    assert patched["spec"] == {"replicas": 4}
    assert api("PUT", f"{APPS}/shop/scale", {**scale, "spec": {"replicas": 3}})["code"] == 409
    del scale["metadata"]["resourceVersion"]
    assert api("PUT", f"{APPS}/shop/scale", {**scale, "spec": {"replicas": 3}})["spec"] == {"replicas": 3}


def test_json_patch_with_a_failing_test_changes_nothing(api: Api) -> None:
    patch = [
        {"op": "test", "path": "/metadata/name", "value": "other"},
        {"op": "add", "path": "/spec/unschedulable", "value": True},
    ]
    kind = "application/json-patch+json"
    assert api("PATCH", "/api/v1/nodes/node-a", patch, Content_Type=kind)["code"] == 422
    assert api("PATCH", "/api/v1/nodes/node-a", patch[1:], Content_Type=kind)["spec"] == {"unschedulable": True}


def test_an_apply_patch_creates_and_then_merges(api: Api) -> None:
    kind = "application/apply-patch+yaml"
    path = f"{MAPS}/x?fieldManager=test"
    body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}, "data": {"a": "1"}}
    assert api("PATCH", path, body, Content_Type=kind)["metadata"]["generation"] == 1
    assert api("PATCH", path, {**body, "data": {"b": "2"}}, Content_Type=kind)["data"] == {"a": "1", "b": "2"}


def test_a_dry_run_of_every_verb_changes_nothing(api: Api, shop: Shop) -> None:
    api("POST", MAPS, configmap("x"))
    before = api("GET", MAPS)["metadata"]["resourceVersion"]
    merge = "application/merge-patch+json"
    assert api("POST", f"{MAPS}?dryRun=All", configmap("y"))["metadata"]["name"] == "y"
    assert api("PATCH", f"{MAPS}/x?dryRun=All", {"data": {"a": "1"}}, Content_Type=merge)["data"] == {"a": "1"}
    assert api("PUT", f"{MAPS}/x?dryRun=All", configmap("x", a="b"))["metadata"]["labels"] == {"a": "b"}
    assert api("DELETE", f"{MAPS}/x?dryRun=All")["status"] == "Success"
    assert api("DELETE", f"{MAPS}/x", {"dryRun": ["All"]})["status"] == "Success"
    assert api("DELETE", "/api/v1/nodes?dryRun=All")["status"] == "Success"
    after = api("GET", MAPS)
    assert (after["metadata"]["resourceVersion"], len(after["items"])) == (before, 1)
    assert api("POST", f"{MAPS}?dryRun=Some", configmap("y"))["code"] == 400


def test_a_collection_is_deleted_by_selector(api: Api) -> None:
    for name, color in (("a", "red"), ("b", "blue"), ("c", "red")):
        api("POST", MAPS, configmap(name, color=color))
    assert api("DELETE", f"{MAPS}?labelSelector=color%3Dred")["status"] == "Success"
    assert [item["metadata"]["name"] for item in api("GET", MAPS)["items"]] == ["b"]
    wrong = {"preconditions": {"uid": "another"}}
    assert api("DELETE", f"{MAPS}/b", wrong)["code"] == 409


def test_tables_carry_what_the_client_asked_for(api: Api) -> None:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    nodes = api("GET", "/api/v1/nodes?includeObject=None", Accept=accept)
    assert nodes["kind"] == "Table"
    assert [column["name"] for column in nodes["columnDefinitions"]][:4] == ["Name", "Status", "Roles", "Age"]
    assert [row["cells"][:2] for row in nodes["rows"]] == [
        ["node-a", "Ready"],
        ["node-b", "Ready"],
        ["node-c", "Ready"],
    ]
    assert {row["object"] for row in nodes["rows"]} == {None}
    one = api("GET", "/api/v1/nodes/node-a", Accept=accept)["rows"][0]["object"]
    assert (one["kind"], one["metadata"]["name"]) == ("PartialObjectMetadata", "node-a")


def test_a_watch_without_a_version_begins_with_what_is_there_and_ends_in_time(api: Api) -> None:
    events = api.watch("/api/v1/nodes?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Dnode-b")
    assert [(kind, obj["metadata"]["name"]) for kind, obj in events] == [("ADDED", "node-b")]


def test_a_watch_resumes_and_shows_leaving_a_selection_as_deleted(api: Api) -> None:
    version = api("POST", MAPS, configmap("x", color="red"))["metadata"]["resourceVersion"]
    api("POST", MAPS, configmap("y", color="blue"))
    api("PATCH", f"{MAPS}/x", {"data": {"a": "1"}}, Content_Type=STRATEGIC)
    api("PATCH", f"{MAPS}/x", configmap("x", color="blue"), Content_Type=STRATEGIC)
    api("PATCH", f"{MAPS}/x", configmap("x", color="red"), Content_Type=STRATEGIC)
    query = f"watch=True&timeoutSeconds=1&labelSelector=color%3Dred&allowWatchBookmarks=true&resourceVersion={version}"
    events = api.watch(f"{MAPS}?{query}")
    assert [kind for kind, _ in events] == ["MODIFIED", "DELETED", "ADDED", "BOOKMARK"]
    assert int(events[-1][1]["metadata"]["resourceVersion"]) >= int(events[-2][1]["metadata"]["resourceVersion"])


def test_a_watch_from_too_old_a_version_gets_an_expired_error(api: Api, cluster: Any) -> None:
    cluster.loop.call_soon_threadsafe(cluster.store._history.clear)
    api("POST", MAPS, configmap("x"))
    ((kind, status),) = api.watch(f"{MAPS}?watch=1&resourceVersion=1")
    assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")


def test_a_streaming_list_marks_the_end_of_what_is_there(api: Api) -> None:
    query = "watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1"
    events = api.watch(f"/api/v1/nodes?{query}")
    assert [kind for kind, _ in events] == ["ADDED", "ADDED", "ADDED", "BOOKMARK", "BOOKMARK"]
    assert events[3][1]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_logs_are_text_and_can_be_followed(api: Api, shop: Shop) -> None:
    api("POST", APPS, shop(replicas=1))
    name = first_pod(api)
    with api.open("GET", f"{PODS}/{name}/log") as response:
        assert response.read() == b"first\nsecond\n"
    with api.open("GET", f"{PODS}/{name}/log?follow=true&tailLines=1") as response:
        assert response.read() == b"second\nfollowed\n"
    assert api("GET", f"{PODS}/nope/log")["code"] == 404


def test_an_eviction_deletes_the_pod(api: Api, shop: Shop) -> None:
    api("POST", APPS, shop(replicas=1))
    name = first_pod(api)
    body = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": name}, "deleteOptions": {}}
    assert api("POST", f"{PODS}/{name}/eviction", body)["status"] == "Success"
    assert api("GET", f"{PODS}/{name}")["code"] == 404
