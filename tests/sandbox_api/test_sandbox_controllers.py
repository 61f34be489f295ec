"""The controllers: what follows from an object, on a store with three nodes and a kubelet that only pretends."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from harness.sandbox.api.tables import table
from harness.sandbox.api.target import Target
from harness.sandbox.api.verbs import create
from harness.sandbox.controllers.deployments import bounds
from harness.sandbox.controllers.jobs import reconcile_job
from harness.sandbox.network.policy import Peer, allowed
from harness.sandbox.objects import ZONE, condition, is_active, is_true
from harness.sandbox.resources import (
    DEPLOYMENTS,
    ENDPOINTSLICES,
    EVENTS,
    JOBS,
    NAMESPACES,
    NETWORKPOLICIES,
    NODES,
    PODS,
    REPLICASETS,
    RESOURCES,
    SERVICES,
    ApiError,
)
from harness.sandbox.store import Store, timestamp

Obj = dict[str, Any]
Play = Callable[..., None]
Shop = Callable[..., Obj]


def progressing(store: Store) -> tuple[str, str]:
    found = condition(store.get(DEPLOYMENTS, "shop", "default"), "Progressing")
    assert found is not None
    return found["status"], found["reason"]


def image(store: Store, name: str = "shop:new") -> Obj:
    def change(obj: Obj) -> None:
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = name

    return store.update(DEPLOYMENTS, "shop", "default", change)


def scale(store: Store, replicas: int) -> Obj:
    return store.update(DEPLOYMENTS, "shop", "default", lambda obj: obj["spec"].update(replicas=replicas))


def replicas_by_image(store: Store) -> dict[str, int]:
    return {
        one["spec"]["template"]["spec"]["containers"][0]["image"]: one["spec"]["replicas"]
        for one in store.list(REPLICASETS)
    }


def places(store: Store) -> Counter[str]:
    return Counter(pod["spec"].get("nodeName", "") for pod in store.list(PODS) if is_active(pod))


def test_a_deployment_becomes_pods_spread_over_zones(store: Store, reconciled: Play, shop: Shop) -> None:
    reconciled(lambda: store.create(DEPLOYMENTS, shop()))
    assert places(store) == {"node-a": 2, "node-b": 2, "node-c": 2}
    assert {pod["metadata"]["labels"][ZONE] for pod in store.list(PODS)} == {"zone-a", "zone-b", "zone-c"}
    status = store.get(DEPLOYMENTS, "shop", "default")["status"]
    conditions = {item["type"]: (item["status"], item["reason"]) for item in status.pop("conditions")}
    assert status == {
        "observedGeneration": 1,
        "replicas": 6,
        "updatedReplicas": 6,
        "readyReplicas": 6,
        "availableReplicas": 6,
    }
    assert conditions == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    reasons = Counter(event["reason"] for event in store.list(EVENTS))
    assert reasons == {"ScalingReplicaSet": 1, "SuccessfulCreate": 6, "Scheduled": 6, "Started": 6}


def test_a_deleted_pod_is_replaced_while_it_still_terminates(store: Store, reconciled: Play, shop: Shop) -> None:
    reconciled(lambda: store.create(DEPLOYMENTS, shop(replicas=3)))
    victim = store.list(PODS)[0]["metadata"]["name"]
    reconciled(lambda: store.delete(PODS, victim, "default"), kubelet=False)
    assert len(store.list(PODS)) == 4
    assert sum(is_active(pod) for pod in store.list(PODS)) == 3


def test_scaling_down_keeps_the_zones_even(store: Store, reconciled: Play, shop: Shop) -> None:
    reconciled(lambda: store.create(DEPLOYMENTS, shop()), lambda: scale(store, 3))
    assert places(store) == {"node-a": 1, "node-b": 1, "node-c": 1}
    reconciled(lambda: scale(store, 0))
    assert places(store) == {}
    assert store.get(DEPLOYMENTS, "shop", "default")["status"]["observedGeneration"] == 3


def test_a_rolling_update_stays_within_its_bounds(store: Store, reconciled: Play, shop: Shop) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    reconciled(lambda: store.create(DEPLOYMENTS, shop(strategy=rolling)))
    pods = {pod["metadata"]["name"]: pod for pod in store.list(PODS)}
    watch = store.watch(PODS)
    reconciled(lambda: image(store))
    available, present = [], []
    for change in watch.pending():
        if change.type == "DELETED":
            del pods[change.obj["metadata"]["name"]]
        else:
            pods[change.obj["metadata"]["name"]] = change.obj
        active = [pod for pod in pods.values() if is_active(pod)]
        available.append(sum(is_true(pod, "Ready") for pod in active))
        present.append(len(active))
    assert (min(available), max(present)) == (6, 7)
    assert replicas_by_image(store) == {"shop:good": 0, "shop:new": 6}


def test_a_rollout_that_never_gets_ready_stops_at_its_bounds(store: Store, reconciled: Play, shop: Shop) -> None:
    reconciled(lambda: store.create(DEPLOYMENTS, shop(replicas=4)))
    reconciled(lambda: image(store), kubelet=False)
    assert replicas_by_image(store) == {"shop:good": 3, "shop:new": 2}
    status = store.get(DEPLOYMENTS, "shop", "default")["status"]
    assert (status["updatedReplicas"], status["availableReplicas"], status["unavailableReplicas"]) == (2, 3, 2)
    reconciled(lambda: image(store, "shop:good"))
    assert replicas_by_image(store) == {"shop:good": 4, "shop:new": 0}


def test_going_back_to_an_old_template_reuses_its_replica_set(store: Store, reconciled: Play, shop: Shop) -> None:
    reconciled(lambda: store.create(DEPLOYMENTS, shop()), lambda: image(store), lambda: image(store, "shop:good"))
    assert replicas_by_image(store) == {"shop:good": 6, "shop:new": 0}
    key = "deployment.kubernetes.io/revision"
    revisions = {
        one["spec"]["template"]["spec"]["containers"][0]["image"]: one["metadata"]["annotations"][key]
        for one in store.list(REPLICASETS)
    }
    assert revisions == {"shop:good": "3", "shop:new": "2"}
    assert store.get(DEPLOYMENTS, "shop", "default")["metadata"]["annotations"][key] == "3"


def test_surge_rounds_up_and_unavailability_rounds_down(store: Store, shop: Shop) -> None:
    made = store.create(DEPLOYMENTS, shop(replicas=6))
    assert bounds(made) == (2, 1)
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}}
    assert bounds(store.create(DEPLOYMENTS, shop("other", 6, strategy=rolling))) == (0, 1)


def test_a_rollout_that_does_not_get_on_misses_its_deadline_and_its_undo_is_progress(
    store: Store, reconciled: Play, shop: Shop
) -> None:
    reconciled(lambda: store.create(DEPLOYMENTS, shop(replicas=3, progressDeadlineSeconds=60)))
    assert progressing(store) == ("True", "NewReplicaSetAvailable")

    def long_ago(obj: Obj) -> None:
        for one in obj["status"]["conditions"]:
            one["lastUpdateTime"] = timestamp(datetime.now(UTC) - timedelta(seconds=61))

    reconciled(lambda: image(store), kubelet=False)
    assert progressing(store) == ("True", "ReplicaSetUpdated")
    reconciled(lambda: store.update(DEPLOYMENTS, "shop", "default", long_ago), kubelet=False)
    assert progressing(store) == ("False", "ProgressDeadlineExceeded")
    reconciled(lambda: image(store, "shop:good"))
    assert progressing(store) == ("True", "NewReplicaSetAvailable")


def test_a_rollout_that_is_done_stays_done_while_pods_come_and_go(store: Store, reconciled: Play, shop: Shop) -> None:
    reconciled(lambda: store.create(DEPLOYMENTS, shop(replicas=3)))
    name = store.list(PODS)[0]["metadata"]["name"]
    reconciled(lambda: store.delete(PODS, name, "default", grace_s=0), kubelet=False)
    assert progressing(store) == ("True", "NewReplicaSetAvailable")
    assert store.get(DEPLOYMENTS, "shop", "default")["status"]["readyReplicas"] == 2


def test_only_as_many_old_revisions_are_kept_as_are_wanted(store: Store, reconciled: Play, shop: Shop) -> None:
    reconciled(lambda: store.create(DEPLOYMENTS, shop(replicas=1, revisionHistoryLimit=1)))
    for number in range(3):
        reconciled(lambda number=number: image(store, f"shop:{number}"))
    images = [one["spec"]["template"]["spec"]["containers"][0]["image"] for one in store.list(REPLICASETS)]
    assert sorted(images) == ["shop:1", "shop:2"]


def test_a_cordoned_node_gets_no_pods_until_it_is_uncordoned(store: Store, reconciled: Play, shop: Shop) -> None:
    def cordon(name: str, *, on: bool) -> None:
        store.update(NODES, name, "", lambda obj: obj["spec"].update(unschedulable=on))

    for name in ("node-a", "node-b", "node-c"):
        cordon(name, on=name != "node-b")
    reconciled(lambda: store.create(DEPLOYMENTS, shop()))
    assert places(store) == {"node-b": 6}
    cordon("node-b", on=True)
    reconciled(lambda: scale(store, 8))
    assert places(store) == {"node-b": 6, "": 2}
    unscheduled = [condition(pod, "PodScheduled") for pod in store.list(PODS) if "nodeName" not in pod["spec"]]
    assert [item and item["reason"] for item in unscheduled] == ["Unschedulable", "Unschedulable"]
    reconciled(lambda: cordon("node-a", on=False))
    assert places(store) == {"node-b": 6, "node-a": 2}
    assert store.get(NODES, "node-a")["spec"] == {}


def test_a_service_lists_its_ready_pods_with_their_zones(store: Store, reconciled: Play, shop: Shop) -> None:
    ports = [{"name": "web", "port": 80, "targetPort": "http"}]
    service = {"metadata": {"name": "shop"}, "spec": {"selector": {"app": "shop"}, "ports": ports}}
    reconciled(lambda: store.create(SERVICES, service), lambda: store.create(DEPLOYMENTS, shop(replicas=3)))
    (found,) = store.list(ENDPOINTSLICES)
    assert found["metadata"]["labels"]["kubernetes.io/service-name"] == "shop"
    assert found["ports"] == [{"name": "web", "port": 8080, "protocol": "TCP"}]
    ready = {"ready": True, "serving": True, "terminating": False}
    assert {item["zone"]: item["conditions"] for item in found["endpoints"]} == {
        "zone-a": ready,
        "zone-b": ready,
        "zone-c": ready,
    }
    victim = next(pod for pod in store.list(PODS) if pod["spec"]["nodeName"] == "node-a")["metadata"]
    reconciled(lambda: store.delete(PODS, victim["name"], "default"), kubelet=False)
    (found,) = store.list(ENDPOINTSLICES)
    (leaving,) = (item for item in found["endpoints"] if item["zone"] == "zone-a")
    assert leaving["conditions"] == {"ready": False, "serving": True, "terminating": True}
    assert leaving["targetRef"]["uid"] == victim["uid"]
    reconciled(lambda: store.delete(SERVICES, "shop", "default"))
    assert store.list(ENDPOINTSLICES) == []


def dead_man(deadline_s: int, ttl_s: int | None = None) -> Obj:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "x", "image": "unused"}]}}
    spec = {"parallelism": 0, "activeDeadlineSeconds": deadline_s, "template": template}
    return {
        "metadata": {"name": "deadman"},
        "spec": spec | ({} if ttl_s is None else {"ttlSecondsAfterFinished": ttl_s}),
    }


def started_ago(store: Store, seconds: int) -> Obj:
    start = timestamp(datetime.now(UTC) - timedelta(seconds=seconds))
    return store.update(JOBS, "deadman", "default", lambda obj: obj["status"].update(startTime=start))


def owned_policy(owner: Obj) -> Obj:
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": "deadman", "uid": owner["metadata"]["uid"]}
    return {"metadata": {"name": "cut", "ownerReferences": [reference]}, "spec": {"podSelector": {}}}


def test_a_dead_man_job_starts_its_clock_at_once_and_runs_nothing(store: Store, reconciled: Play) -> None:
    reconciled(lambda: store.create(JOBS, dead_man(60)))
    job = store.get(JOBS, "deadman", "default")
    assert "startTime" in job["status"]
    assert (condition(job, "Failed"), store.list(PODS)) == (None, [])


def test_a_dead_man_job_fails_at_its_deadline_unless_renewed(store: Store, reconciled: Play) -> None:
    def renew(deadline_s: int) -> Obj:
        return store.update(
            JOBS, "deadman", "default", lambda obj: obj["spec"].update(activeDeadlineSeconds=deadline_s)
        )

    reconciled(lambda: store.create(JOBS, dead_man(60)), lambda: renew(120), lambda: started_ago(store, 100))
    assert not is_true(store.get(JOBS, "deadman", "default"), "Failed")
    left_s = reconcile_job(store, "default", "deadman")
    assert left_s is not None
    assert 18 < left_s < 20
    reconciled(lambda: started_ago(store, 121))
    failed = condition(store.get(JOBS, "deadman", "default"), "Failed")
    assert failed is not None
    assert failed["reason"] == "DeadlineExceeded"


def test_a_finished_job_is_removed_with_all_it_owns(store: Store, reconciled: Play) -> None:
    reconciled(
        lambda: store.create(JOBS, dead_man(60, ttl_s=0)),
        lambda: store.create(NETWORKPOLICIES, owned_policy(store.get(JOBS, "deadman", "default"))),
        lambda: started_ago(store, 61),
        lambda: None,
    )
    assert (store.list(JOBS), store.list(NETWORKPOLICIES)) == ([], [])


def test_an_object_whose_owner_is_gone_already_is_collected(store: Store, reconciled: Play) -> None:
    owner = store.create(JOBS, dead_man(60))
    store.delete(JOBS, "deadman", "default")
    reconciled(lambda: store.create(NETWORKPOLICIES, owned_policy(owner)))
    assert store.list(NETWORKPOLICIES) == []


def test_deleting_a_deployment_deletes_everything_below_it(store: Store, reconciled: Play, shop: Shop) -> None:
    reconciled(lambda: store.create(DEPLOYMENTS, shop()), lambda: store.delete(DEPLOYMENTS, "shop", "default"))
    assert (store.list(REPLICASETS), store.list(PODS)) == ([], [])


def test_deleting_a_namespace_empties_it(store: Store, reconciled: Play, shop: Shop) -> None:
    made = shop()
    made["metadata"]["namespace"] = "shop"
    store.create(NAMESPACES, {"metadata": {"name": "shop"}})
    reconciled(lambda: store.create(DEPLOYMENTS, made), lambda: store.delete(NAMESPACES, "shop"))
    left = [store.list(resource, "shop") for resource in (DEPLOYMENTS, REPLICASETS, PODS, EVENTS)]
    assert left == [[], [], [], []]


NODE = {"metadata": {"name": "n", "labels": {"a": "b"}, "annotations": {"a": "b"}}, "spec": {"unschedulable": True}}
POD = {
    "metadata": {"name": "p", "ownerReferences": [{"kind": "Job", "name": "x", "uid": "y", "controller": True}]},
    "spec": {
        "nodeSelector": {"a": "b"},
        "containers": [
            {"name": "c", "image": "i", "ports": [{"containerPort": 1}], "readinessProbe": {"httpGet": {"port": 1}}}
        ],
    },
}
POLICY = {
    "metadata": {"name": "np"},
    "spec": {
        "podSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"a": "b"}}}], "ports": [{"port": 80, "endPort": 81}]}],
        "egress": [{"to": [{"namespaceSelector": {}}]}],
    },
}
SERVICE = {
    "metadata": {"name": "s"},
    "spec": {"type": "ClusterIP", "selector": {"app": "shop"}, "ports": [{"port": 80, "targetPort": "http"}]},
}


def paths(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from paths(item, (*path, key))


def spoiled(obj: Obj) -> Iterator[Obj]:
    """The object with each of its fields in turn replaced by something it is not."""
    for path, wrong in itertools.product(paths(obj), (None, -1, "x", [], {}, [1], [{}], {"a": 1}, True)):
        new = part = copy.deepcopy(obj)
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = wrong
        yield new


def test_whatever_is_written_is_refused_or_can_be_worked_with(store: Store, reconciled: Play, shop: Shop) -> None:
    seeds = {DEPLOYMENTS: shop(replicas=1), JOBS: dead_man(60, 5), NODES: NODE, PODS: POD, SERVICES: SERVICE}
    seeds |= {NETWORKPOLICIES: POLICY}
    refused = kept = 0
    for resource, seed in seeds.items():
        for number, obj in enumerate(spoiled(seed)):
            if isinstance(obj["metadata"], dict) and obj["metadata"].get("name") == seed["metadata"]["name"]:
                obj["metadata"]["name"] += f"-{number}"
            try:
                create(store, Target(resource, "default" if resource.namespaced else ""), obj)
            except ApiError as error:
                assert error.code in (400, 409, 422)  # noqa: PT017 - both outcomes are right
                refused += 1
            except (AttributeError, KeyError, TypeError, ValueError):  # which the server answers with 400
                refused += 1
            else:
                kept += 1
    assert refused > kept > 50
    reconciled()
    pod = Peer(ip="10.42.0.2", namespace="default", labels={"a": "b"}, port_names={"http": 80})
    for policy in store.list(NETWORKPOLICIES):
        assert allowed([policy], pod, pod, 80) in (True, False)
    for resource in RESOURCES:
        assert len(table(resource, store.list(resource), query={})["rows"]) == len(store.list(resource))
