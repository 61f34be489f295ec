"""Garbage collection: what belonged to something that is gone goes too, always in the background."""

from __future__ import annotations

from harness.sandbox.objects import owned_by
from harness.sandbox.resources import BY_KIND, NAMESPACES, RESOURCES, Obj
from harness.sandbox.store import Change, Store


def collect_garbage(store: Store, change: Change) -> None:
    """Delete what a change left without its owner or namespace."""
    meta = change.obj["metadata"]
    if change.type == "DELETED":
        for resource in RESOURCES:
            left = owned_by(store, resource, change.obj)
            if change.resource is NAMESPACES and resource.namespaced:
                left = store.list(resource, meta["name"])
            for obj in left:
                store.delete(resource, obj["metadata"]["name"], obj["metadata"].get("namespace", ""))
    elif meta.get("ownerReferences") and not any(_lives(store, change.obj, one) for one in meta["ownerReferences"]):
        # An owner that was never there, or went before this object came, leaves nobody who would ever delete it.
        present = store.find(change.resource, meta["name"], meta.get("namespace", ""))
        if present is not None and present["metadata"]["uid"] == meta["uid"]:
            store.delete(change.resource, meta["name"], meta.get("namespace", ""))


def _lives(store: Store, dependent: Obj, reference: Obj) -> bool:
    resource = BY_KIND.get(reference["kind"])
    if resource is None:
        return False
    namespace = dependent["metadata"].get("namespace", "") if resource.namespaced else ""
    owner = store.find(resource, reference["name"], namespace)
    return owner is not None and owner["metadata"]["uid"] == reference["uid"]
