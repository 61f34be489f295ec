"""The ReplicaSet controller: as many pods as wanted, and how many of them are ready and available."""

from __future__ import annotations

from collections import Counter

from harness.sandbox.objects import condition, controlled_by, is_active, is_true, owner_reference, record_event
from harness.sandbox.resources import PODS, REPLICASETS, Obj
from harness.sandbox.store import Store, seconds_since


def reconcile_replica_set(store: Store, namespace: str, name: str) -> float | None:
    """Create or delete pods until the number is right, and write the status; seconds until a pod becomes available."""
    replica_set = store.find(REPLICASETS, name, namespace)
    if replica_set is None or "deletionTimestamp" in replica_set["metadata"]:
        return None
    pods = pods_of(store, replica_set)
    missing = replica_set["spec"]["replicas"] - len(pods)
    for _ in range(missing):
        pod = create_pod(store, replica_set)
        message = f"Created pod: {pod['metadata']['name']}"
        record_event(store, replica_set, "SuccessfulCreate", message, component="replicaset-controller")
    for pod in _expendable(pods)[: max(0, -missing)]:
        store.delete(PODS, pod["metadata"]["name"], namespace)
        message = f"Deleted pod: {pod['metadata']['name']}"
        record_event(store, replica_set, "SuccessfulDelete", message, component="replicaset-controller")
    return _write_status(store, replica_set)


def pods_of(store: Store, owner: Obj) -> list[Obj]:
    """The active pods that `owner` controls, by name."""
    return [pod for pod in controlled_by(store, PODS, owner) if is_active(pod)]


def create_pod(store: Store, owner: Obj) -> Obj:
    """A new pod from the template of its owner."""
    template = owner["spec"]["template"]
    meta = template.get("metadata") or {}
    return store.create(
        PODS,
        {
            "metadata": {
                "generateName": owner["metadata"]["name"] + "-",
                "namespace": owner["metadata"]["namespace"],
                "labels": meta.get("labels") or {},
                "annotations": meta.get("annotations") or {},
                "ownerReferences": [owner_reference(owner)],
            },
            "spec": template["spec"],
        },
    )


def _expendable(pods: list[Obj]) -> list[Obj]:
    """The pods in the order in which to give them up: not running first, then from crowded nodes, then the younger."""
    peers: Counter[str] = Counter()
    ranks: dict[str, tuple[bool, bool, int, int]] = {}
    for pod in sorted(pods, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"])):
        node = pod["spec"].get("nodeName", "")
        peers[node] += 1
        ranks[pod["metadata"]["uid"]] = (bool(node), is_true(pod, "Ready"), -peers[node], -len(ranks))
    return sorted(pods, key=lambda one: ranks[one["metadata"]["uid"]])


def _write_status(store: Store, replica_set: Obj) -> float | None:
    pods = pods_of(store, replica_set)
    waits = [_available_in_s(pod, replica_set["spec"].get("minReadySeconds", 0)) for pod in pods]
    counts = {
        "readyReplicas": sum(is_true(pod, "Ready") for pod in pods),
        "availableReplicas": sum(wait == 0 for wait in waits),
        "fullyLabeledReplicas": len(pods),
    }
    status = {"replicas": len(pods), "observedGeneration": replica_set["metadata"]["generation"]}
    status |= {key: count for key, count in counts.items() if count}  # zeros are left out, as real servers do
    meta = replica_set["metadata"]
    store.update(REPLICASETS, meta["name"], meta["namespace"], lambda obj: obj.update(status=status))
    return min((wait for wait in waits if wait), default=None)


def _available_in_s(pod: Obj, min_ready_s: int) -> float | None:
    """Seconds until the pod counts as available: 0 if it does now, None if it is not ready."""
    ready = condition(pod, "Ready")
    if ready is None or ready["status"] != "True":
        return None
    return max(0.0, min_ready_s - seconds_since(ready["lastTransitionTime"])) if min_ready_s else 0.0
