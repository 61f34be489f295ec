"""Garbage collection: what belonged to something that is gone goes too."""

from __future__ import annotations

from harness.sandbox.objects import owned_by
from harness.sandbox.resources import NAMESPACES, RESOURCES, Obj
from harness.sandbox.store import Change, Store

_BY_KIND = {resource.kind: resource for resource in RESOURCES}
_FOREGROUND = "foregroundDeletion"


def collect_garbage(store: Store, change: Change) -> None:
    """
    Delete what a change left without an owner or namespace.

    A foreground deletion deletes its dependents first, and takes place when the last is gone.
    """
    meta = change.obj["metadata"]
    if change.type == "DELETED":
        if change.resource is NAMESPACES:
            _empty_namespace(store, meta["name"])
        _delete_dependents(store, meta["uid"])
        _release_owners(store, change.obj)
    elif "deletionTimestamp" in meta and _FOREGROUND in (meta.get("finalizers") or ()):
        _delete_dependents(store, meta["uid"])
        _release(store, change.obj)
    elif meta.get("ownerReferences"):
        _delete_if_orphaned(store, change.obj)


def _empty_namespace(store: Store, namespace: str) -> None:
    for resource in RESOURCES:
        if resource.namespaced:
            for obj in store.list(resource, namespace):
                store.delete(resource, obj["metadata"]["name"], namespace)


def _delete_dependents(store: Store, uid: str) -> None:
    for resource in RESOURCES:
        for dependent in owned_by(store, resource, uid):
            meta = dependent["metadata"]
            others = [_owner(store, dependent, one) for one in meta["ownerReferences"] if one["uid"] != uid]
            if not any(others):
                store.delete(resource, meta["name"], meta.get("namespace", ""))


def _delete_if_orphaned(store: Store, obj: Obj) -> None:
    # An owner that was never there, or went before this object came, leaves nobody who would ever delete it.
    meta = obj["metadata"]
    resource = _BY_KIND[obj["kind"]]
    owners = [_owner(store, obj, reference) for reference in meta["ownerReferences"]]
    present = store.find(resource, meta["name"], meta.get("namespace", ""))
    if not any(owners) and present is not None and present["metadata"]["uid"] == meta["uid"]:
        store.delete(resource, meta["name"], meta.get("namespace", ""))


def _release_owners(store: Store, gone: Obj) -> None:
    for reference in gone["metadata"].get("ownerReferences") or ():
        owner = _owner(store, gone, reference)
        if owner is not None and _FOREGROUND in (owner["metadata"].get("finalizers") or ()):
            _release(store, owner)


def _release(store: Store, owner: Obj) -> None:
    meta = owner["metadata"]
    if any(owned_by(store, resource, meta["uid"]) for resource in RESOURCES):
        return
    finalizers = [one for one in meta["finalizers"] if one != _FOREGROUND]
    namespace = meta.get("namespace", "")
    resource = _BY_KIND[owner["kind"]]
    present = store.find(resource, meta["name"], namespace)
    if present is not None and present["metadata"]["uid"] == meta["uid"]:
        store.update(resource, meta["name"], namespace, lambda obj: obj["metadata"].update(finalizers=finalizers))


def _owner(store: Store, dependent: Obj, reference: Obj) -> Obj | None:
    """The living object that an owner reference means, which may be of a kind that this API does not serve."""
    resource = _BY_KIND.get(reference["kind"])
    if resource is None:
        return None
    namespace = dependent["metadata"].get("namespace", "") if resource.namespaced else ""
    owner = store.find(resource, reference["name"], namespace)
    return owner if owner is not None and owner["metadata"]["uid"] == reference["uid"] else None
