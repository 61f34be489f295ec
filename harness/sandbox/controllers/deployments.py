"""
The Deployment controller: one replica set per template, and rolling from the old ones to the new one.

The arithmetic of surge and unavailability is the real controller's:
https://github.com/kubernetes/kubernetes/blob/v1.32.0/pkg/controller/deployment/rolling.go
"""

from __future__ import annotations

import json
import zlib

from harness.sandbox.controllers.replicasets import pods_of
from harness.sandbox.controllers.rollout_status import bounds, write_status
from harness.sandbox.objects import controlled_by, owner_reference, record_event
from harness.sandbox.resources import DEPLOYMENTS, PODS, REPLICASETS, Obj
from harness.sandbox.store import Store

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"
_NOT_COPIED = (REVISION, "kubectl.kubernetes.io/last-applied-configuration")
_HASH_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: a hash spells no words


def reconcile_deployment(store: Store, namespace: str, name: str) -> float | None:
    """One step of the rollout and the status that follows from it; seconds until the rollout's deadline passes."""
    deployment = store.find(DEPLOYMENTS, name, namespace)
    if deployment is None or "deletionTimestamp" in deployment["metadata"]:
        return None
    owned = sorted(controlled_by(store, REPLICASETS, deployment), key=_revision)
    new = next((one for one in owned if _same_template(one, deployment)), None)
    old = [one for one in owned if one is not new]
    if deployment["spec"].get("paused"):
        _scale_only(store, deployment, new, old)
    else:
        new = _current_revision(store, deployment, new, old)
        if deployment["spec"]["strategy"]["type"] == "Recreate":
            _recreate(store, deployment, new, old)
        else:
            _roll(store, deployment, new, old)
        _forget_old_revisions(store, deployment, old)
    return write_status(store, deployment, new)


def _revision(obj: Obj) -> int:
    text = (obj["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def _same_template(replica_set: Obj, deployment: Obj) -> bool:
    return _bare(replica_set["spec"]["template"]) == _bare(deployment["spec"]["template"])


def _bare(template: Obj) -> Obj:
    meta = template.get("metadata") or {}
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key != HASH}
    return {"labels": labels, "annotations": meta.get("annotations") or {}, "spec": template["spec"]}


def _template_hash(template: Obj) -> str:
    number = zlib.crc32(json.dumps(_bare(template), sort_keys=True).encode())
    letters = ""
    while number:
        number, index = divmod(number, len(_HASH_LETTERS))
        letters += _HASH_LETTERS[index]
    return letters


def _current_revision(store: Store, deployment: Obj, new: Obj | None, old: list[Obj]) -> Obj:
    """The replica set of the present template, made if there is none; it and the deployment carry its revision."""
    latest = max((_revision(one) for one in old), default=0)
    revision = str(latest + 1 if new is None else max(_revision(new), latest + 1))
    meta, notes = deployment["metadata"], deployment["metadata"].get("annotations") or {}
    annotations = {key: value for key, value in notes.items() if key not in _NOT_COPIED} | {REVISION: revision}
    if new is None:
        new = _create_replica_set(store, deployment, annotations)
    else:
        name = new["metadata"]["name"]
        new = store.update(
            REPLICASETS, name, meta["namespace"], lambda obj: obj["metadata"].update(annotations=annotations)
        )
    store.update(
        DEPLOYMENTS,
        meta["name"],
        meta["namespace"],
        lambda obj: obj["metadata"].update(annotations={**notes, REVISION: revision}),
    )
    return new


def _create_replica_set(store: Store, deployment: Obj, annotations: Obj) -> Obj:
    spec, meta = deployment["spec"], deployment["metadata"]
    key = {HASH: _template_hash(spec["template"])}
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
                "minReadySeconds": spec.get("minReadySeconds", 0),
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


def _scale_only(store: Store, deployment: Obj, new: Obj | None, old: list[Obj]) -> None:
    """While paused, only the one replica set that has pods follows the wanted number."""
    active = [one for one in (*old, *filter(None, [new])) if one["spec"]["replicas"]]
    if len(active) == 1:
        _scale(store, deployment, active[0], deployment["spec"]["replicas"])


def _recreate(store: Store, deployment: Obj, new: Obj, old: list[Obj]) -> None:
    for one in old:
        _scale(store, deployment, one, 0)
    if not any(controlled_by(store, PODS, one) for one in old):
        _scale(store, deployment, new, deployment["spec"]["replicas"])


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
    for one in old:
        broken = max(0, one["spec"]["replicas"] - one["status"].get("availableReplicas", 0))
        taken = min(spare, broken)
        targets[one["metadata"]["uid"]] -= taken
        spare -= taken
    for one in old:
        taken = min(spare, targets[one["metadata"]["uid"]])
        targets[one["metadata"]["uid"]] -= taken
        spare -= taken
    for one in old:
        _scale(store, deployment, one, targets[one["metadata"]["uid"]])


def _forget_old_revisions(store: Store, deployment: Obj, old: list[Obj]) -> None:
    idle = [one for one in old if not one["spec"]["replicas"] and not pods_of(store, one)]
    for one in idle[: max(0, len(idle) - deployment["spec"]["revisionHistoryLimit"])]:
        store.delete(REPLICASETS, one["metadata"]["name"], one["metadata"]["namespace"])
