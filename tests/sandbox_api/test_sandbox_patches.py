"""Patches, selectors, validation and paths: the pure parts of the API."""

from __future__ import annotations

import pytest

from harness.sandbox.api.patches import json_patch, merge_patch, strategic_merge
from harness.sandbox.api.tables import duration_text
from harness.sandbox.api.target import Target, parse_target
from harness.sandbox.api.validation import checked
from harness.sandbox.resources import DEPLOYMENTS, LEASES, NAMESPACES, NETWORKPOLICIES, NODES, PODS, ApiError
from harness.sandbox.selectors import field_selector, label_selector, selects


def test_json_patch_operations() -> None:
    old = {"spec": {"list": [1, 2], "a/b": 1}}
    new = json_patch(
        old,
        [
            {"op": "test", "path": "/spec/a~1b", "value": 1},
            {"op": "replace", "path": "/spec/a~1b", "value": 2},
            {"op": "add", "path": "/spec/list/-", "value": 3},
            {"op": "add", "path": "/spec/list/0", "value": 0},
            {"op": "remove", "path": "/spec/list/1"},
        ],
    )
    assert new == {"spec": {"list": [0, 2, 3], "a/b": 2}}
    assert old == {"spec": {"list": [1, 2], "a/b": 1}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "remove", "path": "/missing"},
        {"op": "replace", "path": "/missing", "value": 1},
        {"op": "add", "path": "/a/b", "value": 1},
        {"op": "burn", "path": "/a"},
    ],
)
def test_a_json_patch_that_cannot_be_done_is_refused(operation: dict[str, object]) -> None:
    with pytest.raises(ApiError) as refused:
        json_patch({"a": 1}, [operation])
    assert refused.value.code == 422


def test_merge_patch_removes_nulls_and_replaces_lists() -> None:
    assert merge_patch({"a": {"b": 1, "c": 2}, "l": [1, 2]}, {"a": {"b": None}, "l": [3]}) == {"a": {"c": 2}, "l": [3]}


def test_strategic_merge_merges_containers_by_name_and_env_inside_them() -> None:
    old = {"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]}
    patch = {"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}]}, {"name": "c"}]}
    assert strategic_merge(old, patch) == {
        "containers": [
            {"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
            {"name": "b"},
            {"name": "c"},
        ]
    }


def test_strategic_merge_merges_ports_conditions_and_addresses_by_their_keys() -> None:
    old = {
        "ports": [{"containerPort": 1}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    patch = {
        "ports": [{"containerPort": 2}],
        "conditions": [{"type": "Ready", "status": "False"}],
    }
    assert strategic_merge(old, patch) == {
        "ports": [{"containerPort": 1}, {"containerPort": 2}],
        "conditions": [{"type": "Ready", "status": "False"}],
    }
    service = {"ports": [{"port": 80, "targetPort": 1}]}
    assert strategic_merge(service, {"ports": [{"port": 80, "targetPort": 2}]}) == {
        "ports": [{"port": 80, "targetPort": 2}]
    }


def test_strategic_merge_replaces_lists_without_a_key() -> None:
    assert strategic_merge({"taints": [{"key": "a"}], "args": ["x"]}, {"taints": [{"key": "b"}], "args": ["y"]}) == {
        "taints": [{"key": "b"}],
        "args": ["y"],
    }


def test_strategic_merge_directives() -> None:
    containers = {"containers": [{"name": "a"}, {"name": "b"}]}
    assert strategic_merge(containers, {"containers": [{"name": "a", "$patch": "delete"}]}) == {
        "containers": [{"name": "b"}]
    }
    assert strategic_merge(containers, {"$setElementOrder/containers": [{"name": "b"}]}) == containers
    assert strategic_merge(containers, {"containers": [{"name": "z"}, {"$patch": "replace"}]}) == {
        "containers": [{"name": "z"}]
    }
    assert strategic_merge({"a": {"b": 1}}, {"a": {"$patch": "replace", "c": 2}}) == {"a": {"c": 2}}
    strategy = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {}}}
    assert strategic_merge(strategy, {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}) == {
        "strategy": {"type": "Recreate"}
    }


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("", True),
        ("app=shop", True),
        ("app==shop,tier!=db", True),
        ("app!=shop", False),
        ("app in (shop, cart),tier notin (db)", True),
        ("app", True),
        ("!app", False),
        ("tier", False),
        ("!tier", True),
        ("topology.kubernetes.io/zone = zone-a", True),
    ],
)
def test_label_selectors(selector: str, *, selected: bool) -> None:
    labels = {"app": "shop", "topology.kubernetes.io/zone": "zone-a"}
    assert label_selector(selector)(labels) is selected


@pytest.mark.parametrize("selector", ["app in shop", "=x", "a=b c=d", "a,,b"])
def test_a_label_selector_that_makes_no_sense_is_refused(selector: str) -> None:
    with pytest.raises(ApiError, match=r"^BadRequest: unable to parse label selector"):
        label_selector(selector)


def test_selector_objects() -> None:
    expressions = [{"key": "app", "operator": "In", "values": ["shop"]}, {"key": "old", "operator": "DoesNotExist"}]
    assert selects({"matchExpressions": expressions}, {"app": "shop"})
    assert not selects({"matchLabels": {"a": "b"}, "matchExpressions": expressions}, {"app": "shop"})
    assert selects({}, {"anything": "goes"})


def test_field_selectors() -> None:
    pod = {"metadata": {"name": "a", "namespace": "n"}, "spec": {"nodeName": "x"}, "status": {"phase": "Running"}}
    assert field_selector(PODS, "metadata.name=a,metadata.namespace=n,spec.nodeName=x,status.phase!=Failed")(pod)
    assert not field_selector(PODS, "spec.nodeName=")(pod)
    assert field_selector(NODES, "spec.unschedulable=true")({"spec": {"unschedulable": True}})
    with pytest.raises(ApiError, match=r'^BadRequest: field label not supported for Pod: "spec.color"$'):
        field_selector(PODS, "spec.color=red")


def test_paths_lead_to_targets() -> None:
    assert parse_target("/api/v1/nodes/a") == Target(NODES, "", "a")
    assert parse_target("/api/v1/namespaces/shop") == Target(NAMESPACES, "", "shop")
    assert parse_target("/api/v1/namespaces/shop/pods/a/log") == Target(PODS, "shop", "a", "log")
    assert parse_target("/apis/apps/v1/deployments") == Target(DEPLOYMENTS)
    policies = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"
    assert parse_target(policies) == Target(NETWORKPOLICIES, "shop")


@pytest.mark.parametrize("path", ["/", "/api", "/apis/apps/v1", "/api/v1/toasters", "/api/v1/namespaces/a/nodes/b"])
def test_other_paths_lead_nowhere(path: str) -> None:
    with pytest.raises(ApiError, match=r"^NotFound: the server could not find the requested resource"):
        parse_target(path)


CONTAINERS = [{"name": "c", "image": "x"}]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "spec.template.spec.containers: Required value"),
        ({"template": {"spec": {}}}, "spec.template.spec.containers: Required value"),
        ({"template": {"spec": {"containers": [{}]}}}, "spec.template.spec.containers[0].name: Required value"),
        ({"template": {"spec": {"containers": CONTAINERS}}}, "spec.selector: Required value"),
        ({"replicas": -1}, "spec.replicas: Invalid value: -1: must be a number of at least 0"),
        ({"replicas": "3"}, "spec.replicas: Invalid value: '3': must be a number of at least 0"),
        (
            {"template": {"spec": {"containers": CONTAINERS}}, "selector": {"matchLabels": {"a": "b"}}},
            "spec.template.metadata.labels: Invalid value: {}: `selector` does not match template `labels`",
        ),
    ],
)
def test_objects_that_controllers_could_not_work_with_are_refused(spec: dict[str, object], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        checked(DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": spec})
    assert (refused.value.code, refused.value.message) == (422, f'Deployment "d" is invalid: {message}')


@pytest.mark.parametrize("renewed", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123Z", "now", 5])
def test_a_lease_is_renewed_at_a_time_with_microseconds(renewed: object) -> None:
    with pytest.raises(ApiError, match=r"^Invalid: .*: spec\.renewTime: Invalid value: .*: must be a time with micro"):
        checked(LEASES, {"metadata": {"name": "l"}, "spec": {"renewTime": renewed}})
    assert checked(LEASES, {"metadata": {"name": "l"}, "spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}})


def test_null_means_not_set() -> None:
    obj = checked(NODES, {"metadata": {"name": "a", "creationTimestamp": None}, "spec": {"x": [None, 1]}})
    assert obj == {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "a"}, "spec": {"x": [None, 1]}}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0s"), (119, "119s"), (125, "2m5s"), (600, "10m"), (7200, "120m"), (18120, "5h2m"), (266400, "3d2h")],
)
def test_ages_are_written_as_kubectl_does(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
