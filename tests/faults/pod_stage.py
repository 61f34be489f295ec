"""A cluster that is a dict of path to object, and the actions of this room played on it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from harness.drivers.kubernetes.client import ApiClient, ApiError
from harness.sandbox.api.patches import json_patch, merge_patch
from harness.sandbox.resources import ApiError as Refused

Obj = dict[str, Any]
ZONE = "topology.kubernetes.io/zone"
PODS = "/api/v1/namespaces/shop/pods"
NODES = "/api/v1/nodes"
DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
REPLICA_SETS = "/apis/apps/v1/namespaces/shop/replicasets"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/shop/leases"
AUTOSCALERS = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers"
RUN = "s_1"


def owned(kind: str, uid: str) -> list[Obj]:
    return [{"kind": kind, "name": uid, "uid": uid, "controller": True}]


def pod(name: str, node: str = "node-a", *, app: str = "shop", owner: str | None = "rs-shop", **state: Any) -> Obj:
    """A running, ready pod; `state` may be phase, ready, terminating, labels, annotations, kind (the owner's), uid."""
    metadata: Obj = {
        "name": name,
        "namespace": "shop",
        "uid": state.get("uid", f"uid-{name}"),
        "labels": {"app": app, **state.get("labels", {})},
        "annotations": state.get("annotations", {}),
    }
    if owner:
        metadata["ownerReferences"] = owned(state.get("kind", "ReplicaSet"), owner)
    if state.get("terminating"):
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    conditions = [{"type": "Ready", "status": "True" if state.get("ready", True) else "False"}]
    status = {"phase": state.get("phase", "Running"), "conditions": conditions}
    return {"metadata": metadata, "spec": {"nodeName": node, "terminationGracePeriodSeconds": 10}, "status": status}


def node(name: str, **spec: Any) -> Obj:
    """A ready node: `node-a` in zone-a, and so on by the sixth letter."""
    labels = {ZONE: f"zone-{name[5]}"}
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": {"name": name, "uid": f"uid-{name}", "labels": labels}, "spec": spec, "status": status}


def replica_set(name: str, deployment: str) -> Obj:
    return {"metadata": {"name": name, "uid": name, "ownerReferences": owned("Deployment", f"uid-{deployment}")}}


def deployment(name: str = "shop", replicas: int = 6, **spec: Any) -> Obj:
    """A complete deployment of one container with image `shop:good`."""
    template = {"metadata": {}, "spec": {"containers": [{"name": "main", "image": "shop:good"}]}}
    counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), replicas)
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template, **spec},
        "status": {"observedGeneration": 1, **counts},
    }


def shop(zones: str = "abc", each: int = 2) -> list[tuple[str, Obj]]:
    """The shop: a node for each zone with pods `shop-a1`, `shop-a2`, ... on it, of one ReplicaSet of one Deployment."""
    return [
        *((NODES, node(f"node-{zone}")) for zone in zones),
        *((PODS, pod(f"shop-{zone}{n}", f"node-{zone}")) for zone in zones for n in range(1, each + 1)),
        (REPLICA_SETS, replica_set("rs-shop", "shop")),
        (DEPLOYMENTS, deployment(replicas=len(zones) * each)),
    ]


class Cluster(ApiClient):
    """
    The API server of a cluster, and a client of it. A deleted pod is gone at once.

    `asked` are the changes sent, as (method, path, body); dry ones change nothing. `refuse` maps (method, path) to the
    statuses of its next refusals. `then` is called after every change that was made, as the controllers.
    """

    def __init__(self, objects: list[tuple[str, Obj]]) -> None:
        self.url = "http://cluster"
        self.dry = False
        self.asked: list[tuple[str, str, Any]] = []
        self.refuse: dict[tuple[str, str], list[int]] = {}
        self.then: Callable[[str, str], None] = lambda _method, _path: None
        self._versions = itertools.count(1)
        self.stored: dict[str, Obj] = {}
        for place, obj in objects:
            self.put(place, obj)

    def put(self, place: str, obj: Obj) -> None:
        self.stored[f"{place}/{obj['metadata']['name']}"] = self._versioned(deepcopy(obj))

    def names(self, place: str) -> list[str]:
        return sorted(path.rsplit("/", 1)[1] for path in self.stored if path.rsplit("/", 1)[0] == place)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Obj:
        self._refused("GET", path)
        if path in self.stored:
            return deepcopy(self.stored[path])
        kind = path.rsplit("/", 1)[1]
        everywhere = path == "/api/v1/pods"
        under = [
            obj
            for where, obj in self.stored.items()
            if where.rsplit("/", 1)[0] == path or (everywhere and f"/{kind}/" in where)
        ]
        if not under and path.rsplit("/", 1)[0] in {where.rsplit("/", 1)[0] for where in self.stored}:
            raise ApiError(f"GET {path}: 404", 404)
        if not under and path == AUTOSCALERS:
            raise ApiError(f"GET {path}: 404", 404)
        return {"items": [deepcopy(obj) for obj in under if _selected(obj, query or {})]}

    def create(self, path: str, body: Obj) -> Obj:
        self._change("POST", path, body)
        if path.endswith("/eviction") and not self.dry:
            self._gone(path.removesuffix("/eviction"), body["deleteOptions"]["preconditions"]["uid"])
            self.then("POST", path)
        return {"kind": "Status"}

    def patch(self, path: str, body: Obj) -> Obj:
        self._change("PATCH", path, body)
        return self._stored(path, merge_patch(self.stored[path], body))

    def edit(self, path: str, operations: list[Obj]) -> Obj:
        self._change("PATCH", path, operations)
        try:
            return self._stored(path, json_patch(self.stored[path], operations))
        except Refused as refused:
            raise ApiError(str(refused), refused.code) from refused

    def delete(self, path: str, grace_s: int | None = None, uid: str | None = None) -> bool:
        self._change("DELETE", path, {"grace_s": grace_s, "uid": uid})
        if path not in self.stored:
            return False
        if not self.dry:
            self._gone(path, uid)
            self.then("DELETE", path)
        return True

    def close(self) -> None:
        pass

    def _gone(self, path: str, uid: str | None) -> None:
        if path not in self.stored:
            raise ApiError(f"{path}: 404", 404)
        if self.stored[path]["metadata"]["uid"] != uid:
            raise ApiError(f"{path}: 409", 409)
        del self.stored[path]

    def _stored(self, path: str, new: Obj) -> Obj:
        if self.dry:
            return new
        old = self.stored[path]
        if "generation" in new["metadata"] and new["spec"] != old["spec"]:
            new["metadata"]["generation"] += 1
        self.stored[path] = self._versioned(new)
        self.then("PATCH", path)
        return deepcopy(self.stored[path])

    def _versioned(self, obj: Obj) -> Obj:
        obj["metadata"]["resourceVersion"] = str(next(self._versions))
        return obj

    def _change(self, method: str, path: str, body: Any) -> None:
        self.asked.append((method, path, body))
        self._refused(method, path)

    def _refused(self, method: str, path: str) -> None:
        statuses = self.refuse.get((method, path))
        if statuses:
            raise ApiError(f"{method} {path}: refused", statuses.pop(0))


def _selected(obj: Obj, query: Mapping[str, str]) -> bool:
    labels = obj["metadata"].get("labels") or {}
    wanted = [part.split("=") for part in query.get("labelSelector", "").split(",") if part]
    on = query.get("fieldSelector", "").removeprefix("spec.nodeName=")
    return all(labels.get(key) == value for key, value in wanted) and on in ("", obj.get("spec", {}).get("nodeName"))
