"""The API's verbs: what create, replace, patch, delete and their subresources do to the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.sandbox.api.patches import json_patch, merge_patch, strategic_merge
from harness.sandbox.api.target import Target
from harness.sandbox.api.validation import check_unchangeable, checked
from harness.sandbox.objects import owned_by
from harness.sandbox.resources import (
    NAMESPACES,
    NODES,
    PODS,
    RESOURCES,
    SERVICES,
    ApiError,
    Obj,
    bad_request,
    conflict,
)
from harness.sandbox.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """How to delete."""

    grace_s: int | None  # None: the pod's own
    propagation: str  # Background, Foreground or Orphan
    dry_run: bool
    preconditions: Mapping[str, str]  # uid and resourceVersion that the object must have


def status(outcome: str, **fields: object) -> Obj:
    """A Status object, the API's answer where there is no object to show: outcome Success or Failure."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": outcome, **fields}


def get(store: Store, target: Target) -> Obj:
    """The object, or its Scale. Raises ApiError 404."""
    obj = store.get(target.resource, target.name, target.namespace)
    return _scale_of(obj) if target.subresource == "scale" else obj


def listed(store: Store, target: Target, selected: Callable[[Obj], bool]) -> Obj:
    """The list object of all selected objects, always whole (`limit` is a wish that a server may ignore)."""
    return {
        "kind": f"{target.resource.kind}List",
        "apiVersion": target.resource.api_version,
        "metadata": {"resourceVersion": str(store.version)},
        "items": [obj for obj in store.list(target.resource, target.namespace) if selected(obj)],
    }


def create(store: Store, target: Target, body: Any, *, dry_run: bool) -> Obj:
    """The new object. Raises ApiError 400, 404, 409 or 422."""
    obj = checked(target.resource, body)
    meta = obj.setdefault("metadata", {})
    if target.namespace and meta.setdefault("namespace", target.namespace) != target.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if "status" in target.resource.subresources and target.resource not in (NODES, NAMESPACES):
        obj.pop("status", None)
    return store.create(target.resource, obj, dry_run=dry_run)


def replace(store: Store, target: Target, body: Any, *, dry_run: bool) -> Obj:
    """The object, its status or its scale after PUT. Raises ApiError 400, 404, 409 or 422."""
    old = store.get(target.resource, target.name, target.namespace)
    if target.subresource == "scale":
        return _rescale(store, target, old, body, dry_run=dry_run)
    return _put(store, target, old, checked(target.resource, body), dry_run=dry_run)


def patch(store: Store, target: Target, kind: str, body: Any, *, dry_run: bool) -> tuple[int, Obj]:
    """
    Status code and object after PATCH; `kind` is the patch's content type.

    An apply patch creates what does not exist and otherwise merges: fields left out stay as they are, and no field
    has an owner.
    """
    apply = kind == "application/apply-patch+yaml"
    if apply and store.find(target.resource, target.name, target.namespace) is None:
        named = merge_patch(body, {"metadata": {"name": target.name}})
        return 201, create(store, target, named, dry_run=dry_run)
    old = store.get(target.resource, target.name, target.namespace)
    before = _scale_of(old) if target.subresource == "scale" else old
    match kind:
        case "application/json-patch+json":
            after = json_patch(before, body)
        case "application/merge-patch+json":
            after = merge_patch(before, body)
        case "application/strategic-merge-patch+json" | "application/apply-patch+yaml":
            after = strategic_merge(before, body)
        case _:
            raise ApiError(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {kind}")
    if target.subresource == "scale":
        return 200, _rescale(store, target, old, after, dry_run=dry_run)
    return 200, _put(store, target, old, checked(target.resource, after), dry_run=dry_run)


def evict(store: Store, target: Target, body: Any) -> Obj:
    """Delete a pod as an eviction does; there are no disruption budgets here that could refuse it."""
    options = delete_options(body.get("deleteOptions") or {}, {})
    delete(store, target, options)
    return status("Success")


def delete_options(body: Any, query: Mapping[str, str]) -> DeleteOptions:
    """The options of a DELETE, from its body or (as older clients do) its query. Raises ApiError 400."""
    if not isinstance(body, dict):
        raise bad_request("the body of a DELETE must be a DeleteOptions object")
    grace = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    propagation = body.get("propagationPolicy") or query.get("propagationPolicy") or "Background"
    if propagation not in ("Background", "Foreground", "Orphan"):
        raise bad_request(f'invalid propagationPolicy "{propagation}": use Background, Foreground or Orphan')
    if grace is not None and not str(grace).lstrip("-").isdigit():
        raise bad_request(f'invalid gracePeriodSeconds "{grace}": use a number of seconds')
    preconditions = {key: value for key, value in (body.get("preconditions") or {}).items() if value}
    return DeleteOptions(
        grace_s=None if grace is None else int(grace),
        propagation="Orphan" if body.get("orphanDependents") else propagation,
        dry_run=bool(body.get("dryRun") or query.get("dryRun")),
        preconditions=preconditions,
    )


def delete(store: Store, target: Target, options: DeleteOptions) -> Obj:
    """The pod or service that is being deleted, a Status for other kinds. Raises ApiError 404 or 409."""
    resource, name, namespace = target.resource, target.name, target.namespace
    old = store.get(resource, name, namespace)
    for key, wanted in options.preconditions.items():
        if old["metadata"][key] != wanted:
            raise conflict(resource, name, f"Precondition failed: {key} is {old['metadata'][key]}, not {wanted}")
    if options.dry_run:
        gone = old
    else:
        if options.propagation == "Orphan":
            _orphan_dependents(store, old)
        if options.propagation == "Foreground":
            store.update(resource, name, namespace, _hold_for_dependents)
        gone = store.delete(resource, name, namespace, grace_s=options.grace_s)
    if resource in (PODS, SERVICES):
        return gone
    details = {"name": name, "group": resource.group, "kind": resource.plural, "uid": old["metadata"]["uid"]}
    return status("Success", details=details)


def delete_all(store: Store, target: Target, selected: Callable[[Obj], bool], options: DeleteOptions) -> Obj:
    """Delete every selected object of the collection."""
    for obj in store.list(target.resource, target.namespace):
        if selected(obj):
            meta = obj["metadata"]
            delete(store, Target(target.resource, meta.get("namespace", ""), meta["name"]), options)
    return status("Success")


def _put(store: Store, target: Target, old: Obj, new: Obj, *, dry_run: bool) -> Obj:
    if new["metadata"].get("name", target.name) != target.name:
        raise bad_request(f"the name of the object ({new['metadata']['name']}) does not match the URL ({target.name})")
    wanted = {key: new["metadata"].get(key) for key in ("uid", "resourceVersion")}
    if target.subresource == "status":
        new = {**old, "status": new.get("status", {}), "metadata": {**old["metadata"], **wanted}}
    elif "status" in target.resource.subresources:
        new = {**new, "status": old.get("status", {})}
    identity = {"name": target.name} | ({"namespace": target.namespace} if target.namespace else {})
    new = {**new, "metadata": {**new["metadata"], **identity}}
    check_unchangeable(target.resource, old, new)
    return store.replace(target.resource, new, dry_run=dry_run)


def _scale_of(obj: Obj) -> Obj:
    meta = {key: obj["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")}
    labels = obj["spec"]["selector"].get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": meta,
        "spec": {"replicas": obj["spec"]["replicas"]},
        "status": {"replicas": obj["status"].get("replicas", 0), "selector": selector},
    }


def _rescale(store: Store, target: Target, old: Obj, scale: Any, *, dry_run: bool) -> Obj:
    if not isinstance(scale, dict) or not isinstance(scale.get("spec"), dict):
        raise bad_request("the body must be a Scale object with spec.replicas")
    wanted = {key: scale.get("metadata", {}).get(key) for key in ("uid", "resourceVersion")}
    spec = {**old["spec"], "replicas": scale["spec"].get("replicas", 0)}
    new = checked(target.resource, {**old, "spec": spec, "metadata": {**old["metadata"], **wanted}})
    return _scale_of(store.replace(target.resource, new, dry_run=dry_run))


def _orphan_dependents(store: Store, owner: Obj) -> None:
    uid = owner["metadata"]["uid"]

    def disown(obj: Obj) -> None:
        references = obj["metadata"]["ownerReferences"]
        obj["metadata"]["ownerReferences"] = [one for one in references if one["uid"] != uid]

    for resource in RESOURCES:
        for dependent in owned_by(store, resource, uid):
            meta = dependent["metadata"]
            store.update(resource, meta["name"], meta.get("namespace", ""), disown)


def _hold_for_dependents(obj: Obj) -> None:
    finalizers = obj["metadata"].setdefault("finalizers", [])
    if "foregroundDeletion" not in finalizers:
        finalizers.append("foregroundDeletion")
