"""The ReplicaSet controller: as many pods as wanted, and how many of them are ready and available."""

from __future__ import annotations

from collections import Counter

from harness.sandbox.objects import is_active, is_true, owned_by, owner_reference, record_event
from harness.sandbox.resources import PODS, REPLICASETS, Obj
from harness.sandbox.store import Store


def reconcile_replica_set(store: Store, namespace: str, name: str) -> None:
    """Create or delete pods until the number is right, and write the status: a pod is available once it is ready."""
    replica_set = store.find(REPLICASETS, name, namespace)
    if replica_set is None:
        return
    pods = pods_of(store, replica_set)
    missing = replica_set["spec"]["replicas"] - len(pods)
    for _ in range(missing):
        _tell(store, replica_set, "SuccessfulCreate", f"Created pod: {_create_pod(store, replica_set)}")
    for pod in _expendable(pods)[: max(0, -missing)]:
        store.delete(PODS, pod["metadata"]["name"], namespace)
        _tell(store, replica_set, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
    pods = pods_of(store, replica_set)
    ready = sum(is_true(pod, "Ready") for pod in pods)
    status = {"replicas": len(pods), "observedGeneration": replica_set["metadata"]["generation"]}
    if ready:  # zeros are left out, as real servers do
        status |= {"readyReplicas": ready, "availableReplicas": ready}
    store.update(REPLICASETS, name, namespace, lambda obj: obj.update(status=status))


def pods_of(store: Store, replica_set: Obj) -> list[Obj]:
    """The active pods of the replica set, by name."""
    return [pod for pod in owned_by(store, PODS, replica_set) if is_active(pod)]


def _tell(store: Store, replica_set: Obj, reason: str, message: str) -> None:
    record_event(store, replica_set, reason, message, component="replicaset-controller")


def _create_pod(store: Store, owner: Obj) -> str:
    """The name of a new pod from the template of its owner."""
    template, meta = owner["spec"]["template"], owner["metadata"]
    made = {
        "generateName": f"{meta['name']}-",
        "namespace": meta["namespace"],
        "ownerReferences": [owner_reference(owner)],
    }
    wanted = {key: (template.get("metadata") or {}).get(key) or {} for key in ("labels", "annotations")}
    pod = store.create(PODS, {"metadata": made | wanted, "spec": template["spec"]})
    return str(pod["metadata"]["name"])


def _expendable(pods: list[Obj]) -> list[Obj]:
    """The pods in the order in which to give them up: not running first, then from crowded nodes, then the younger."""
    peers: Counter[str] = Counter()
    ranks: dict[str, tuple[bool, bool, int, int]] = {}
    for pod in sorted(pods, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"])):
        node = pod["spec"].get("nodeName", "")
        peers[node] += 1
        ranks[pod["metadata"]["uid"]] = (bool(node), is_true(pod, "Ready"), -peers[node], -len(ranks))
    return sorted(pods, key=lambda one: ranks[one["metadata"]["uid"]])
