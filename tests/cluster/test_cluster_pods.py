"""How pods leave nodes and come back: evictions, budgets, cordons, taints; and how endpoints tell their zone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster_place import Obj, Place, refused, until

from harness.drivers.kubernetes.objects import (
    SERVICE_NAME,
    budgets_path,
    name_of,
    node_of,
    node_path,
    pods_path,
    running,
    slices_path,
)

pytestmark = [pytest.mark.real, pytest.mark.cluster, pytest.mark.timeout(120)]

TAINT = {"key": "lch.dev/conformance", "value": "out", "effect": "NoExecute"}


@pytest.fixture
def spare(place: Place) -> Iterator[str]:
    """A node that is as before after the test."""
    name = place.spare_node()
    before = place.api.get(node_path(name))["spec"]
    yield name
    as_before = {"unschedulable": before.get("unschedulable"), "taints": before.get("taints")}
    place.api.patch(node_path(name), {"spec": as_before})


def on(node: str) -> Obj:
    return {"nodeSelector": {"kubernetes.io/hostname": node}}


def runs(place: Place, name: str) -> bool:
    return running(place.api.get(f"{pods_path(place.namespace)}/{name}"))


def evict(place: Place, name: str) -> Obj:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": place.namespace}}
    return place.api.create(f"{pods_path(place.namespace)}/{name}/eviction", body)


def test_an_eviction_waits_for_what_a_budget_allows(place: Place) -> None:
    """429 as long as it would be one pod too many; then the pod goes."""
    place.deployment("lch-kept", 2)
    budget = {"minAvailable": 2, "selector": {"matchLabels": {"app": "lch-kept"}}}
    place.make(
        budgets_path(place.namespace),
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "lch-kept"}, "spec": budget},
    )
    path = budgets_path(place.namespace, "lch-kept")
    until(lambda: place.api.get(path).get("status", {}).get("currentHealthy") == 2, "the budget knows both pods")
    pod = place.ready_pods("app=lch-kept")[0]

    assert refused(lambda: evict(place, name_of(pod))) == 429
    assert name_of(pod) in {name_of(one) for one in place.ready_pods("app=lch-kept")}
    place.api.patch(path, {"spec": {"minAvailable": 1}})
    until(lambda: place.api.get(path)["status"].get("disruptionsAllowed") == 1, "the budget allows one")
    evict(place, name_of(pod))

    def replaced() -> bool:
        return pod["metadata"]["uid"] not in {one["metadata"]["uid"] for one in place.pods("app=lch-kept")}

    until(replaced, "the evicted pod is gone")
    until(lambda: len(place.ready_pods("app=lch-kept")) == 2, "another one came")


def test_a_cordoned_node_takes_no_new_pods_and_keeps_those_it_has(place: Place, spare: str) -> None:
    """Until it is uncordoned."""
    place.pod("lch-stays", **on(spare))
    until(lambda: runs(place, "lch-stays"), "a pod on the node")
    place.api.patch(node_path(spare), {"spec": {"unschedulable": True}})
    place.pod("lch-waits", **on(spare))

    def pending() -> bool:
        conditions = place.api.get(pods_path(place.namespace, "lch-waits")).get("status", {}).get("conditions") or []
        return any(one["type"] == "PodScheduled" and one["status"] == "False" for one in conditions)

    until(pending, "the new pod is not scheduled")
    assert runs(place, "lch-stays")
    assert "unschedulable" not in place.api.patch(node_path(spare), {"spec": {"unschedulable": False}})["spec"]
    until(lambda: runs(place, "lch-waits"), "it runs once the node is uncordoned")


def test_a_taint_evicts_pods_that_do_not_tolerate_it(place: Place, spare: str) -> None:
    """At once; those that do stay, and the node takes others again when the taint is gone."""
    tolerant = {"tolerations": [{"key": TAINT["key"], "operator": "Exists"}]}
    place.pod("lch-evicted", **on(spare))
    place.pod("lch-tolerant", **on(spare), **tolerant)
    until(lambda: runs(place, "lch-evicted") and runs(place, "lch-tolerant"), "both pods on the node")
    taints = place.api.get(node_path(spare))["spec"].get("taints") or []

    place.api.patch(node_path(spare), {"spec": {"taints": [*taints, TAINT]}})

    until(lambda: not place.there(f"{pods_path(place.namespace)}/lch-evicted"), "the pod is evicted")
    assert runs(place, "lch-tolerant")
    place.api.patch(node_path(spare), {"spec": {"taints": taints or None}})
    place.pod("lch-back", **on(spare))
    until(lambda: runs(place, "lch-back"), "the node takes pods again")


def test_a_pod_is_deleted_without_its_grace_if_asked(place: Place) -> None:
    """A crash, as far as clients can tell."""
    place.pod("lch-crashing", terminationGracePeriodSeconds=60)
    until(lambda: runs(place, "lch-crashing"), "the pod runs")

    place.api.delete(pods_path(place.namespace, "lch-crashing"), grace_s=0)

    assert until(lambda: not place.there(pods_path(place.namespace, "lch-crashing")), "it is gone") < 30


def test_endpoints_tell_their_zone_and_leave_with_their_pod(place: Place) -> None:
    """Every ready pod of the service is one, in the zone of its node."""
    zones = place.zones()
    if not zones:
        pytest.skip("the nodes carry no zones")
    place.deployment("lch-served", 3)

    def ready_by_zone() -> list[str]:
        slices = place.api.items(slices_path(place.namespace), {"labelSelector": f"{SERVICE_NAME}=lch-served"})
        endpoints = [one for each in slices for one in each.get("endpoints") or []]
        return sorted(one.get("zone", "") for one in endpoints if one["conditions"].get("ready"))

    def expected() -> list[str]:
        return sorted(zones.get(node_of(pod), "") for pod in place.ready_pods("app=lch-served"))

    until(lambda: len(ready_by_zone()) == 3, "three ready endpoints")
    assert ready_by_zone() == expected()
    place.api.patch(f"/apis/apps/v1/namespaces/{place.namespace}/deployments/lch-served", {"spec": {"replicas": 1}})
    until(lambda: len(ready_by_zone()) == 1, "one ready endpoint is left")
