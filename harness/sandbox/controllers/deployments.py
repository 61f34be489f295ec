"""
The Deployment controller: one replica set per template, and rolling from the old ones to the new one.

The arithmetic of surge and unavailability is the real controller's:
https://github.com/kubernetes/kubernetes/blob/v1.32.0/pkg/controller/deployment/rolling.go
"""

from __future__ import annotations

import json
import zlib
from typing import Any

from harness.sandbox.controllers import progress
from harness.sandbox.objects import condition, owned_by, owner_reference, record_event, set_condition, share
from harness.sandbox.resources import BY_KIND, DEPLOYMENTS, REPLICASETS, Obj
from harness.sandbox.store import Store, timestamp

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"
_NOT_COPIED = (REVISION, "kubectl.kubernetes.io/last-applied-configuration")


def reconcile_deployment(store: Store, namespace: str, name: str) -> float | None:
    """One step of the rollout and the status that follows from it; seconds until it misses its progress deadline."""
    deployment = store.find(DEPLOYMENTS, name, namespace)
    if deployment is None:
        return None
    owned = sorted(owned_by(store, REPLICASETS, deployment), key=_revision)
    new = next((one for one in owned if _same_template(one, deployment)), None)
    old = [one for one in owned if one is not new]
    new = _current_revision(store, deployment, new, old)
    _roll(store, deployment, new, old)
    deployment = _write_status(store, deployment, new["metadata"]["name"])
    _forget_oldest(store, deployment, old)
    return progress.left_s(deployment)


def bounds(deployment: Obj) -> tuple[int, int]:
    """How many pods there may be above the wanted number, and how many below may be unavailable, during a rollout."""
    wanted, rolling = deployment["spec"]["replicas"], deployment["spec"]["strategy"]["rollingUpdate"]
    surge = share(rolling["maxSurge"], wanted, round_up=True)
    unavailable = share(rolling["maxUnavailable"], wanted, round_up=False)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def _revision(obj: Obj) -> int:
    text = (obj["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def _same_template(replica_set: Obj, deployment: Obj) -> bool:
    return _bare(replica_set["spec"]["template"]) == _bare(deployment["spec"]["template"])


def _bare(template: Obj) -> Obj:
    meta = template.get("metadata") or {}
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key != HASH}
    # Typed clients such as `kubectl rollout undo` send back what they read with empty fields, like `resources: {}`.
    spec = _without_empty(template["spec"])
    return {"labels": labels, "annotations": meta.get("annotations") or {}, "spec": spec}


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items() if item not in ({}, [], "", None)}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value


def _current_revision(store: Store, deployment: Obj, new: Obj | None, old: list[Obj]) -> Obj:
    """The replica set of the present template, made if there is none; it and the deployment carry its revision."""
    latest = max((_revision(one) for one in old), default=0)
    revision = str(max(_revision(new) if new else 0, latest + 1))
    notes = deployment["metadata"].get("annotations") or {}
    annotations = {key: value for key, value in notes.items() if key not in _NOT_COPIED} | {REVISION: revision}
    _annotate(store, deployment, {**notes, REVISION: revision})
    return _create_replica_set(store, deployment, annotations) if new is None else _annotate(store, new, annotations)


def _annotate(store: Store, obj: Obj, annotations: Obj) -> Obj:
    meta = obj["metadata"]
    resource = BY_KIND[obj["kind"]]
    return store.update(
        resource, meta["name"], meta["namespace"], lambda new: new["metadata"].update(annotations=annotations)
    )


def _create_replica_set(store: Store, deployment: Obj, annotations: Obj) -> Obj:
    spec, meta = deployment["spec"], deployment["metadata"]
    key = {HASH: f"{zlib.crc32(json.dumps(_bare(spec['template']), sort_keys=True).encode()):x}"}
    template_meta = spec["template"].get("metadata") or {}
    labels = {**(template_meta.get("labels") or {}), **key}
    selector = spec["selector"]
    return store.create(
        REPLICASETS,
        {
            "metadata": {
                "name": f"{meta['name']}-{key[HASH]}",
                "namespace": meta["namespace"],
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": [owner_reference(deployment)],
            },
            "spec": {
                "replicas": 0,
                "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), **key}},
                "template": {**spec["template"], "metadata": {**template_meta, "labels": labels}},
            },
        },
    )


def _scale(store: Store, deployment: Obj, replica_set: Obj, replicas: int) -> None:
    meta, before = replica_set["metadata"], replica_set["spec"]["replicas"]
    if replicas == before:
        return
    store.update(REPLICASETS, meta["name"], meta["namespace"], lambda obj: obj["spec"].update(replicas=replicas))
    direction = "up" if replicas > before else "down"
    message = f"Scaled {direction} replica set {meta['name']} from {before} to {replicas}"
    record_event(store, deployment, "ScalingReplicaSet", message, component="deployment-controller")


def _roll(store: Store, deployment: Obj, new: Obj, old: list[Obj]) -> None:
    wanted = deployment["spec"]["replicas"]
    surge, unavailable = bounds(deployment)
    present = new["spec"]["replicas"]
    room = wanted + surge - present - sum(one["spec"]["replicas"] for one in old)
    target = wanted if present > wanted else present + max(0, min(room, wanted - present))
    _scale(store, deployment, new, target)
    in_old = sum(one["spec"]["replicas"] for one in old)
    new_unavailable = target - new["status"].get("availableReplicas", 0)
    spare = in_old + target - (wanted - unavailable) - max(0, new_unavailable)
    if in_old and spare > 0:
        _shrink(store, deployment, old, spare)


def _shrink(store: Store, deployment: Obj, old: list[Obj], spare: int) -> None:
    """Take up to `spare` pods from the old replica sets: first those that serve nobody, then the others."""
    targets = {one["metadata"]["uid"]: one["spec"]["replicas"] for one in old}
    broken = {
        one["metadata"]["uid"]: targets[one["metadata"]["uid"]] - one["status"].get("availableReplicas", 0)
        for one in old
    }
    for most in (broken, targets):
        for uid in targets:
            taken = max(0, min(spare, most[uid]))
            targets[uid] -= taken
            spare -= taken
    for one in old:
        _scale(store, deployment, one, targets[one["metadata"]["uid"]])


def _write_status(store: Store, deployment: Obj, new: str) -> Obj:
    """The deployment with its status up to date; `new` is the name of its present replica set."""
    meta, wanted = deployment["metadata"], deployment["spec"]["replicas"]
    owned = owned_by(store, REPLICASETS, deployment)

    def total(key: str) -> int:
        return sum(one["status"].get(key, 0) for one in owned)

    counts = {key: total(key) for key in ("replicas", "readyReplicas", "availableReplicas")}
    counts["updatedReplicas"] = sum(one["status"].get("replicas", 0) for one in owned if one["metadata"]["name"] == new)
    available = counts["availableReplicas"]
    counts["unavailableReplicas"] = max(0, sum(one["spec"]["replicas"] for one in owned) - available)
    news = progress.verdict(deployment, counts)

    def change(obj: Obj) -> None:
        status = {"observedGeneration": meta["generation"], "conditions": obj["status"].get("conditions") or []}
        obj["status"] = status | {key: count for key, count in counts.items() if count}
        if available >= wanted - bounds(deployment)[1]:
            set_condition(obj, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        else:
            why = "Deployment does not have minimum availability."
            set_condition(obj, "Available", "False", "MinimumReplicasUnavailable", why)
        if news:
            _say_progress(obj, news, new)

    return store.update(DEPLOYMENTS, meta["name"], meta["namespace"], change)


def _say_progress(deployment: Obj, reason: str, new: str) -> None:
    said = {progress.DONE: "has successfully progressed", progress.LATE: "has timed out progressing"}
    message = f'ReplicaSet "{new}" {said.get(reason, "is progressing")}.'
    set_condition(deployment, "Progressing", str(reason != progress.LATE), reason, message)
    for one in deployment["status"]["conditions"]:
        if one["type"] == "Progressing":
            one["lastUpdateTime"] = timestamp()


def _forget_oldest(store: Store, deployment: Obj, old: list[Obj]) -> None:
    """Delete replica sets without pods beyond the deployment's revisionHistoryLimit, once the rollout is done."""
    present = condition(deployment, "Progressing")
    if present is None or present["reason"] != progress.DONE:
        return
    idle = [one for one in old if not one["spec"]["replicas"] and not one["status"].get("replicas")]
    for one in idle[: max(0, len(idle) - deployment["spec"]["revisionHistoryLimit"])]:
        store.delete(REPLICASETS, one["metadata"]["name"], one["metadata"]["namespace"])
