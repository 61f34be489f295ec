"""A cluster of three zones in this process: the sandbox's own store and API verbs, without sockets, time or pods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.drivers.faults.act import Act
from harness.drivers.kubernetes.client import ApiClient
from harness.drivers.kubernetes.client import ApiError as Refusal
from harness.sandbox.api import verbs
from harness.sandbox.api.target import parse_target
from harness.sandbox.objects import labels_of
from harness.sandbox.resources import NAMESPACES, NODES, PODS, ApiError, Obj
from harness.sandbox.selectors import label_selector
from harness.sandbox.store import Store

ZONE = "topology.kubernetes.io/zone"


class StoreApi(ApiClient):
    """
    An API client that is its own server. `refuse` maps (method, path) to the status of its one refusal.

    `asked` are the changes that were sent, as (method, path); a dry one changes nothing.
    """

    def __init__(self, store: Store, *, dry: bool = False) -> None:
        self.store = store
        self.url = "http://store"
        self.dry = dry
        self.refuse: dict[tuple[str, str], int] = {}
        self.asked: list[tuple[str, str]] = []
        self.after: Callable[[str, str], None] = lambda _method, _path: None

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Obj:
        def found() -> Obj:
            target = parse_target(path)
            if target.name:
                return verbs.get(self.store, target)
            selected = label_selector((query or {}).get("labelSelector", ""))
            return verbs.listed(self.store, target, lambda obj: selected(labels_of(obj)))

        return self._play("GET", path, found)

    def create(self, path: str, body: Obj) -> Obj:
        return self._change("POST", path, lambda: verbs.create(self.store, parse_target(path), body), body)

    def edit(self, path: str, operations: list[Obj]) -> Obj:
        kind = "application/json-patch+json"
        return self._change("PATCH", path, lambda: verbs.patch(self.store, parse_target(path), kind, operations), {})

    def patch(self, path: str, body: Obj) -> Obj:
        kind = "application/merge-patch+json"
        return self._change("PATCH", path, lambda: verbs.patch(self.store, parse_target(path), kind, body), {})

    def delete(self, path: str, grace_s: int | None = None, uid: str | None = None) -> bool:
        body: Obj = {"propagationPolicy": "Background", "gracePeriodSeconds": -1 if grace_s is None else grace_s}
        body |= {"preconditions": {"uid": uid}} if uid else {}
        try:
            self._change("DELETE", path, lambda: verbs.delete(self.store, parse_target(path), body), {})
        except Refusal as refusal:
            if refusal.status == 404:
                return False
            raise
        return True

    def close(self) -> None:
        pass

    def _change(self, method: str, path: str, change: Callable[[], Any], dry: Obj) -> Obj:
        self.asked.append((method, path))
        if self.dry:
            return {**dry, "metadata": {"uid": "dry", **dry.get("metadata", {})}}
        return self._play(method, path, change)

    def _play(self, method: str, path: str, call: Callable[[], Obj]) -> Obj:
        status = self.refuse.pop((method, path), None)
        if status is not None:
            raise Refusal(f"{method} {path}: {status}", status)
        try:
            return call()
        except ApiError as error:
            raise Refusal(str(error), error.code) from error
        finally:
            self.after(method, path)


def act_on(api: ApiClient, *, run: str = "s_1", leased: bool = True) -> Act:
    """An action of the run in the namespace shop."""
    return Act(api=api, namespace="shop", run=run, ttl_s=60, leased=leased)


def cluster(zones: str = "abc", *, labelled: bool = True, apps: tuple[str, ...] = ("shop",)) -> Store:
    """A node for each zone, with a running pod of each app: `node-a` and `shop-a` in zone `a`, and so on."""
    store = Store()
    store.create(NAMESPACES, {"metadata": {"name": "shop"}})
    for zone in zones:
        add_node(store, f"node-{zone}", zone)
        for app in apps:
            add_pod(store, f"{app}-{zone}", zone, labelled=labelled, app=app)
    return store


def add_node(store: Store, name: str, zone: str, **annotations: str) -> Obj:
    """A ready node."""
    metadata = {"name": name, "labels": {ZONE: zone}, "annotations": annotations}
    return store.create(NODES, {"metadata": metadata, "status": _ready()})


def add_pod(store: Store, name: str, zone: str, *, labelled: bool = True, app: str = "shop", **meta: Any) -> Obj:
    """A running, ready pod on the zone's node, of the app's ReplicaSet unless `meta` says otherwise."""
    labels = {"app": app} | ({ZONE: zone} if labelled else {})
    spec = {"nodeName": f"node-{zone}", "containers": [{"name": "main"}]}
    owners = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": app, "uid": f"uid-{app}", "controller": True}]
    metadata = {"name": name, "namespace": "shop", "labels": labels, "ownerReferences": owners, **meta}
    obj = {"metadata": metadata, "spec": spec}
    ip = f"10.42.{ord(zone) - ord('a')}.{len(store.list(PODS)) + 2}"
    return store.create(PODS, obj | {"status": {"phase": "Running", "podIP": ip} | _ready()})


def _ready() -> Obj:
    return {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}


def state(store: Store) -> dict[str, Obj]:
    """Everything in the store by kind and name, without what every write changes."""
    noise = ("resourceVersion", "generation")
    return {
        f"{resource.kind}/{obj['metadata']['name']}": {
            **obj,
            "metadata": {key: value for key, value in obj["metadata"].items() if key not in noise and value},
        }
        for resource, objects in store._objects.items()
        for obj in objects.values()
    }
