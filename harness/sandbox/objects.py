"""Small questions about Kubernetes objects that controllers, kubelets and tables all ask, and events about them."""

from __future__ import annotations

import uuid
from typing import Literal

from harness.sandbox.resources import EVENTS, NAMESPACES, Obj, Resource
from harness.sandbox.store import Store, timestamp

EVENTS_KEPT = 1000
"""Events in the store at most; the oldest go first."""

ZONE = "topology.kubernetes.io/zone"


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
    new = {"type": kind, "status": status, "lastTransitionTime": timestamp()}
    new |= {key: value for key, value in (("reason", reason), ("message", message)) if value}
    if old is None:
        conditions.append(new)
        return
    if old["status"] == status:
        new["lastTransitionTime"] = old["lastTransitionTime"]
    conditions[conditions.index(old)] = new


def controller_of(obj: Obj) -> Obj | None:
    """The owner reference of the controller that manages the object, or None."""
    references = obj["metadata"].get("ownerReferences") or ()
    return next((reference for reference in references if reference.get("controller")), None)


def controlled_by(store: Store, resource: Resource, owner: Obj) -> list[Obj]:
    """The objects of a resource that `owner` controls, by name."""
    uid, namespace = owner["metadata"]["uid"], owner["metadata"]["namespace"]
    return [obj for obj in store.list(resource, namespace) if (controller_of(obj) or {}).get("uid") == uid]


def owner_reference(owner: Obj) -> Obj:
    """The reference by which `owner` controls another object."""
    meta = owner["metadata"]
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
    return reference | {"controller": True, "blockOwnerDeletion": True}


def is_active(pod: Obj) -> bool:
    """Whether the pod is neither finished nor being deleted."""
    finished = pod["status"].get("phase") in ("Succeeded", "Failed")
    return not finished and "deletionTimestamp" not in pod["metadata"]


def record_event(
    store: Store,
    about: Obj,
    reason: str,
    message: str,
    *,
    component: str,
    severity: Literal["Normal", "Warning"] = "Normal",
) -> None:
    """Put an event about an object into its namespace, or count it up when the same one was recorded before."""
    meta = about["metadata"]
    namespace = meta.get("namespace", "default")
    if store.find(NAMESPACES, namespace) is None:
        return
    events = store.list(EVENTS)
    again = (meta["uid"], reason, message)
    known = next((e for e in events if (e["involvedObject"].get("uid"), e["reason"], e["message"]) == again), None)
    if known is not None:
        seen = {"count": known["count"] + 1, "lastTimestamp": timestamp()}
        store.update(EVENTS, known["metadata"]["name"], namespace, lambda event: event.update(seen))
        return
    if len(events) >= EVENTS_KEPT:
        oldest = min(events, key=lambda event: int(event["metadata"]["resourceVersion"]))["metadata"]
        store.remove(EVENTS, oldest["name"], oldest["namespace"], oldest["uid"])
    involved = {"kind": about["kind"], "apiVersion": about["apiVersion"], "name": meta["name"], "uid": meta["uid"]}
    store.create(
        EVENTS,
        {
            "metadata": {"name": f"{meta['name']}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
            "involvedObject": involved | ({"namespace": namespace} if "namespace" in meta else {}),
            "reason": reason,
            "message": message,
            "type": severity,
            "firstTimestamp": timestamp(),
            "lastTimestamp": timestamp(),
            "source": {"component": component},
            "reportingComponent": component,
            "reportingInstance": "",
        },
    )


def owned_by(store: Store, resource: Resource, uid: str) -> list[Obj]:
    """The objects of a resource that have an owner reference to `uid`."""
    return [
        obj
        for obj in store.list(resource)
        if any(reference["uid"] == uid for reference in obj["metadata"].get("ownerReferences") or ())
    ]
