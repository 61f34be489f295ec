"""The API over HTTP: verbs, errors, dry run, tables, watches and logs, as a client sees them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

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
        return urlopen(Request(self._url + path, content, names, method=method), timeout=30)

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
    groups = {group["preferredVersion"]["groupVersion"] for group in api("GET", "/apis")["groups"]}
    assert groups >= {"apps/v1", "batch/v1", "discovery.k8s.io/v1", "coordination.k8s.io/v1", "policy/v1"}
    names = [resource["name"] for resource in api("GET", "/apis/apps/v1")["resources"]]
    assert names == ["deployments", "deployments/scale", "replicasets", "replicasets/scale"]
    with api.open("GET", "/healthz") as response:
        assert response.read() == b"ok"
    with api.open("GET", "/openapi/v2") as response:
        assert response.read() == b""


def test_errors_are_status_objects(api: Api) -> None:
    missing = api("GET", f"{APPS}/nope")
    assert missing == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'deployments.apps "nope" not found',
        "reason": "NotFound",
        "code": 404,
    }
    assert api("POST", MAPS, {"metadata": {"name": "No Name"}})["code"] == 422
    assert api("POST", MAPS, [])["code"] == 400
    portless = {"containers": [{"name": "c", "ports": [{"name": "http"}]}]}
    assert api("POST", PODS, {"metadata": {"name": "x"}, "spec": portless})["code"] == 400
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


def test_status_is_not_for_clients_to_write_and_the_selector_must_match(api: Api, shop: Shop) -> None:
    api("POST", APPS, shop(replicas=1))
    while api("GET", f"{APPS}/shop")["status"].get("replicas") != 1:
        time.sleep(0.01)
    merge = "application/merge-patch+json"
    patched = api("PATCH", f"{APPS}/shop", {"status": {"replicas": 9}, "spec": {"replicas": 5}}, Content_Type=merge)
    assert (patched["spec"]["replicas"], patched["status"].get("replicas")) == (5, 1)
    broken = {"spec": {"template": {"spec": {"containers": [{"name": ["a"]}]}}}}
    assert api("PATCH", f"{APPS}/shop", broken, Content_Type=STRATEGIC)["code"] == 400
    selector = {"spec": {"selector": {"matchLabels": {"other": "x"}}}}
    assert api("PATCH", f"{APPS}/shop", selector, Content_Type=merge)["code"] == 422


def test_every_write_can_be_rehearsed(api: Api, shop: Shop, cluster: Any) -> None:
    api("POST", MAPS, configmap("x"))
    before = cluster.store.version
    created = api("POST", f"{MAPS}?dryRun=All", configmap("y"))
    assert set(created["metadata"]) >= {"uid", "creationTimestamp"}
    assert "resourceVersion" not in created["metadata"]
    old = api("GET", f"{MAPS}/x")
    replaced = api("PUT", f"{MAPS}/x?dryRun=All", {**old, "data": {"a": "1"}})
    assert (replaced["data"], replaced["metadata"]["resourceVersion"]) == (
        {"a": "1"},
        old["metadata"]["resourceVersion"],
    )
    assert api("PATCH", f"{MAPS}/x?dryRun=All", {"data": {"a": "1"}}, Content_Type=STRATEGIC) == replaced
    assert api("DELETE", f"{MAPS}/x", {"dryRun": ["All"]})["status"] == "Success"
    assert api("DELETE", f"{MAPS}/x?dryRun=All")["status"] == "Success"
    assert api("POST", f"{MAPS}?dryRun=All", configmap("x"))["code"] == 409
    assert (cluster.store.version, api("GET", f"{MAPS}/x")) == (before, old)


def test_of_a_deletion_with_a_body_the_query_is_not_read(api: Api) -> None:
    """Who asks for a rehearsal there gets the real thing, as from real servers."""
    api("POST", MAPS, configmap("x"))
    assert api("DELETE", f"{MAPS}/x?dryRun=All", {"propagationPolicy": "Background"})["status"] == "Success"
    assert api("GET", f"{MAPS}/x")["code"] == 404


def test_items_of_a_list_do_not_say_their_kind(api: Api) -> None:
    api("POST", MAPS, configmap("x"))
    found = api("GET", MAPS)
    assert (found["kind"], [sorted(one) for one in found["items"]]) == ("ConfigMapList", [["metadata"]])


def test_what_is_denied_is_answered_with_403(api: Api) -> None:
    rules = {"metadata": {"name": "lch-sandbox-denied"}, "data": {"rules": "list /configmaps"}}
    api("POST", "/api/v1/namespaces/kube-system/configmaps", rules)
    asked = {"spec": {"resourceAttributes": {"verb": "list", "resource": "configmaps"}}}
    review = api("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", asked)
    assert (review["kind"], review["status"]["allowed"]) == ("SelfSubjectAccessReview", False)
    assert api("GET", MAPS)["code"] == 403
    assert api("POST", MAPS, configmap("x"))["metadata"]["name"] == "x"


def test_what_the_sandbox_leaves_out_is_refused(api: Api, shop: Shop) -> None:
    assert api("POST", f"{MAPS}?dryRun=Some", configmap("y"))["code"] == 422
    assert api("POST", APPS, shop(strategy={"type": "Recreate"}))["code"] == 422
    assert api("POST", APPS, shop(paused=True))["code"] == 422
    assert api("POST", APPS, shop(minReadySeconds=3))["code"] == 422
    template = {"spec": {"containers": [{"name": "x"}]}}
    job = {"metadata": {"name": "j"}, "spec": {"template": template, "parallelism": 1}}
    assert api("POST", "/apis/batch/v1/namespaces/default/jobs", job)["code"] == 422
    api("POST", MAPS, configmap("x"))
    assert api("DELETE", f"{MAPS}/x", {"propagationPolicy": "Orphan"})["code"] == 400
    assert api("DELETE", MAPS)["code"] == 405
    assert [item["metadata"]["name"] for item in api("GET", MAPS)["items"]] == ["x"]


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


def test_a_deletion_with_a_precondition_that_does_not_hold_is_refused(api: Api) -> None:
    api("POST", MAPS, configmap("b"))
    assert api("DELETE", f"{MAPS}/b", {"preconditions": {"uid": "another"}})["code"] == 409
    assert api("DELETE", f"{MAPS}/b", {"propagationPolicy": "Background"})["status"] == "Success"
    assert api("GET", f"{MAPS}/b")["code"] == 404


def test_tables_carry_what_the_client_asked_for(api: Api) -> None:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    nodes = api("GET", "/api/v1/nodes?includeObject=Object", Accept=accept)
    assert nodes["kind"] == "Table"
    assert [column["name"] for column in nodes["columnDefinitions"]][:4] == ["Name", "Status", "Roles", "Age"]
    assert [row["cells"][:2] for row in nodes["rows"]] == [
        ["node-a", "Ready"],
        ["node-b", "Ready"],
        ["node-c", "Ready"],
    ]
    assert {row["object"]["kind"] for row in nodes["rows"]} == {"Node"}
    one = api("GET", "/api/v1/nodes/node-a", Accept=accept)["rows"][0]["object"]
    assert (one["kind"], one["metadata"]["name"]) == ("PartialObjectMetadata", "node-a")


def test_a_watch_without_a_version_begins_with_what_is_there_and_ends_in_time(api: Api) -> None:
    events = api.watch("/api/v1/nodes?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Dnode-b")
    assert [(kind, obj["metadata"]["name"]) for kind, obj in events] == [("ADDED", "node-b")]


def test_a_watch_that_allows_bookmarks_says_at_its_end_how_far_it_has_come(api: Api) -> None:
    version = api("POST", MAPS, configmap("x"))["metadata"]["resourceVersion"]
    query = f"watch=1&timeoutSeconds=1&resourceVersion={version}"
    head = {"kind": "Node", "apiVersion": "v1"}
    bookmark = head | {"metadata": {"resourceVersion": version, "creationTimestamp": None}}
    assert api.watch(f"/api/v1/nodes?{query}&allowWatchBookmarks=true") == [("BOOKMARK", bookmark)]


def test_a_watch_resumes_and_shows_leaving_a_selection_as_deleted(api: Api) -> None:
    version = api("POST", MAPS, configmap("x", color="red"))["metadata"]["resourceVersion"]
    api("POST", MAPS, configmap("y", color="blue"))
    api("PATCH", f"{MAPS}/x", {"data": {"a": "1"}}, Content_Type=STRATEGIC)
    api("PATCH", f"{MAPS}/x", configmap("x", color="blue"), Content_Type=STRATEGIC)
    api("PATCH", f"{MAPS}/x", configmap("x", color="red"), Content_Type=STRATEGIC)
    query = f"watch=True&timeoutSeconds=1&labelSelector=color%3Dred&resourceVersion={version}"
    events = api.watch(f"{MAPS}?{query}")
    assert [kind for kind, _ in events] == ["MODIFIED", "DELETED", "ADDED"]


def test_a_watch_from_too_old_a_version_gets_an_expired_error(api: Api, cluster: Any) -> None:
    cluster.loop.call_soon_threadsafe(cluster.store._history.clear)
    api("POST", MAPS, configmap("x"))
    ((kind, status),) = api.watch(f"{MAPS}?watch=1&resourceVersion=1")
    assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")


def test_logs_are_text_and_can_be_followed(api: Api, shop: Shop) -> None:
    api("POST", APPS, shop(replicas=1))
    name = first_pod(api)
    with api.open("GET", f"{PODS}/{name}/log") as response:
        assert response.read() == b"first\nsecond\n"
    with api.open("GET", f"{PODS}/{name}/log?follow=true&tailLines=1") as response:
        assert response.read() == b"second\nfollowed\n"
    assert api("GET", f"{PODS}/nope/log")["code"] == 404
