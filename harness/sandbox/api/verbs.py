"""The API's verbs: what create, replace, patch, delete and their subresources do to the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.sandbox.api.patches import json_patch, merge_patch, strategic_merge
from harness.sandbox.api.target import Target
from harness.sandbox.api.validation import checked
from harness.sandbox.disruptions import permit_eviction
from harness.sandbox.objects import set_condition
from harness.sandbox.resources import PODS, SERVICES, ApiError, Obj, bad_request, conflict
from harness.sandbox.store import Store

_KIND = ("kind", "apiVersion")


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


def without_kinds(found: Obj) -> Obj:
    """A list whose items do not say their kind, as lists of built-in kinds are on their way out."""
    return found | {"items": [{key: value for key, value in obj.items() if key not in _KIND} for obj in found["items"]]}


def create(store: Store, target: Target, body: Any) -> Obj:
    """The new object. Raises ApiError 400, 404, 409 or 422."""
    obj = checked(target.resource, body)
    if target.namespace and obj["metadata"].setdefault("namespace", target.namespace) != target.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    return store.create(target.resource, obj)


def replace(store: Store, target: Target, body: Any) -> Obj:
    """The object, or its scale, after PUT. Raises ApiError 400, 404, 409 or 422."""
    old = store.get(target.resource, target.name, target.namespace)
    if target.subresource == "scale":
        return _rescale(store, target, old, body)
    new = checked(target.resource, body)
    meta = new["metadata"]
    if meta.setdefault("name", target.name) != target.name:
        raise bad_request(f"the name of the object ({meta['name']}) does not match the URL ({target.name})")
    if target.namespace:
        meta["namespace"] = target.namespace
    if "status" in old:
        new["status"] = old["status"]
    return store.replace(target.resource, new)


def patch(store: Store, target: Target, kind: str, body: Any) -> Obj:
    """The object, or its scale, after PATCH; `kind` is its content type. Raises ApiError as `replace` does, or 415."""
    before = get(store, target)
    match kind:
        case "application/json-patch+json":
            after = json_patch(before, body)
        case "application/merge-patch+json":
            after = merge_patch(before, body)
        case "application/strategic-merge-patch+json":
            after = strategic_merge(before, body)
        case _:
            raise ApiError(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {kind}")
    return replace(store, target, after)


def delete(store: Store, target: Target, options: Any) -> Obj:
    """
    The pod or service that is being deleted, a Status for other kinds; what it owns goes too, in the background.

    `options` are DeleteOptions. Raises ApiError 400, 404 or 409.
    """
    resource, name = target.resource, target.name
    if not isinstance(options, dict) or not isinstance(options.get("preconditions") or {}, dict):
        raise bad_request("the body of a DELETE must be a DeleteOptions object")
    if options.get("propagationPolicy") not in (None, "", "Background") or options.get("orphanDependents"):
        raise bad_request("the sandbox deletes in the background only: use propagationPolicy Background")
    grace = str(options.get("gracePeriodSeconds", "-1"))
    if not grace.removeprefix("-").isdecimal():
        raise bad_request(f'invalid gracePeriodSeconds "{grace}": use a number of seconds')
    old = store.get(resource, name, target.namespace)
    for key, wanted in (options.get("preconditions") or {}).items():
        if wanted and old["metadata"].get(key) != wanted:
            raise conflict(resource, name, f"Precondition failed: {key} is {old['metadata'].get(key)}, not {wanted}")
    gone = store.delete(resource, name, target.namespace, grace_s=int(grace) if int(grace) >= 0 else None)
    if resource in (PODS, SERVICES):
        return gone
    details = {"name": name, "group": resource.group, "kind": resource.plural, "uid": old["metadata"]["uid"]}
    return status("Success", details=details)


def evict(store: Store, target: Target, body: Any) -> Obj:
    """A Status once the pod is being deleted. Raises as `delete`, and ApiError 429 when a disruption budget objects."""
    options = (body.get("deleteOptions") if isinstance(body, dict) else None) or {}
    permit_eviction(store, store.get(PODS, target.name, target.namespace))
    gone = delete(store, target, options)
    if store.find(PODS, target.name, target.namespace) is not None:
        because = ("DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting")
        store.update(PODS, gone["metadata"]["name"], target.namespace, lambda pod: set_condition(pod, *because))
    return status("Success", code=201)


def options_in(query: Mapping[str, str]) -> Obj:
    """The DeleteOptions of a DELETE without a body; where there is one, real servers do not read the query at all."""
    options: Obj = {key: query[key] for key in ("gracePeriodSeconds", "propagationPolicy") if key in query}
    return options | {"dryRun": [query["dryRun"]] if query.get("dryRun") else []}


def is_rehearsal(method: str, query: Mapping[str, str], body: Any) -> bool:
    """Whether `dryRun=All` is asked for: of a deletion in its options, else in the query. Raises ApiError 422."""
    options = body if isinstance(body, dict) else {}
    options = options if method == "DELETE" else options.get("deleteOptions") or {}
    asked = [*(options.get("dryRun") or ())]
    if method != "DELETE" and query.get("dryRun"):
        asked.append(query["dryRun"])
    if set(asked) - {"All"}:
        why = f'dryRun: Unsupported value: "{asked[0]}": supported values: "All"'
        raise ApiError(422, "Invalid", f"options.meta.k8s.io is invalid: {why}")
    return bool(asked)


def as_rehearsed(answer: Obj, present: Obj | None) -> Obj:
    """An answer to a rehearsed write, as real servers give it: with the version that is stored, or none."""
    if answer["kind"] == "Status":
        return answer
    meta = {key: value for key, value in answer["metadata"].items() if key != "resourceVersion"}
    kept = {"resourceVersion": present["metadata"]["resourceVersion"]} if present else {}
    return answer | {"metadata": meta | kept}


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


def _rescale(store: Store, target: Target, old: Obj, scale: Any) -> Obj:
    if not isinstance(scale, dict) or not isinstance(scale.get("spec"), dict):
        raise bad_request("the body must be a Scale object with spec.replicas")
    wanted = {key: (scale.get("metadata") or {}).get(key) for key in ("uid", "resourceVersion")}
    spec = {**old["spec"], "replicas": scale["spec"].get("replicas", 0)}
    new = checked(target.resource, {**old, "spec": spec, "metadata": {**old["metadata"], **wanted}})
    return _scale_of(store.replace(target.resource, {**new, "status": old["status"]}))
