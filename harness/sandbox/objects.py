"""Small questions about Kubernetes objects that controllers, kubelets and tables all ask, and events about them."""

from __future__ import annotations

import uuid

from harness.sandbox.resources import EVENTS, NAMESPACES, Obj, Resource
from harness.sandbox.store import Store, timestamp

EVENTS_KEPT = 1000
"""Events in the store at most; the oldest go first."""

ZONE = "topology.kubernetes.io/zone"

SERVICE_NAME = "kubernetes.io/service-name"
"""Label of an EndpointSlice: the service it belongs to."""


def labels_of(obj: Obj) -> dict[str, str]:
    """The object's labels."""
    return obj["metadata"].get("labels") or {}


def condition(obj: Obj, kind: str) -> Obj | None:
    """The condition of a type (`Ready`, `Available`, …) in the object's status, or None."""
    return next((item for item in obj.get("status", {}).get("conditions") or () if item["type"] == kind), None)


def is_true(obj: Obj, kind: str) -> bool:
    """Whether the object has the condition with status True."""
    found = condition(obj, kind)
    return found is not None and found["status"] == "True"


def set_condition(obj: Obj, kind: str, status: str, reason: str = "", message: str = "") -> None:
    """
    Change or add a condition in place. lastTransitionTime moves only when the status changes.

    For use inside `Store.update`.
    """
    conditions = obj.setdefault("status", {}).setdefault("conditions", [])
    old = condition(obj, kind)
    since = old["lastTransitionTime"] if old is not None and old["status"] == status else timestamp()
    new = {"type": kind, "status": status, "lastTransitionTime": since}
    new |= {key: value for key, value in (("reason", reason), ("message", message)) if value}
    if old is None:
        conditions.append(new)
    else:
        conditions[conditions.index(old)] = new


def owned_by(store: Store, resource: Resource, owner: Obj) -> list[Obj]:
    """The objects of a resource that have an owner reference to `owner`, by name."""
    uid, namespace = owner["metadata"]["uid"], owner["metadata"].get("namespace", "")
    return [
        obj
        for obj in store.list(resource, namespace)
        if any(reference["uid"] == uid for reference in obj["metadata"].get("ownerReferences") or ())
    ]


def owner_reference(owner: Obj) -> Obj:
    """The reference by which `owner` controls another object."""
    meta = owner["metadata"]
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
    return reference | {"controller": True, "blockOwnerDeletion": True}


def is_finished(pod: Obj) -> bool:
    """Whether all containers of the pod have ended for good."""
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def is_active(pod: Obj) -> bool:
    """Whether the pod is neither finished nor being deleted."""
    return not is_finished(pod) and "deletionTimestamp" not in pod["metadata"]


def named_ports(pod_spec: Obj) -> dict[str, int]:
    """The container ports of a pod's spec that have names."""
    ports = [port for container in pod_spec["containers"] for port in container.get("ports") or ()]
    return {port["name"]: port["containerPort"] for port in ports if "name" in port}


def share(value: int | str, whole: int, *, round_up: bool) -> int:
    """A number, or a percentage of the whole such as `25%`, as a number."""
    if isinstance(value, int):
        return value
    hundredths = int(value.removesuffix("%")) * whole
    return -(-hundredths // 100) if round_up else hundredths // 100


def record_event(store: Store, about: Obj, reason: str, message: str, *, component: str, warn: bool = False) -> None:
    """Put an event about an object into its namespace."""
    meta = about["metadata"]
    namespace = meta.get("namespace", "default")
    if store.find(NAMESPACES, namespace) is None:
        return
    events = store.list(EVENTS)
    if len(events) >= EVENTS_KEPT:
        oldest = min(events, key=lambda event: int(event["metadata"]["resourceVersion"]))["metadata"]
        store.remove(EVENTS, oldest["name"], oldest["namespace"], oldest["uid"])
    involved = {"kind": about["kind"], "apiVersion": about["apiVersion"], "name": meta["name"], "uid": meta["uid"]}
    event = {
        "metadata": {"name": f"{meta['name']}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
        "involvedObject": involved | ({"namespace": namespace} if "namespace" in meta else {}),
        "reason": reason,
        "message": message,
        "type": "Warning" if warn else "Normal",
        "count": 1,
        "firstTimestamp": timestamp(),
        "lastTimestamp": timestamp(),
        "source": {"component": component},
    }
    store.create(EVENTS, event)
