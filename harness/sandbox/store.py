"""
The sandbox's only state: Kubernetes objects in memory, and the history of their changes.

One asyncio thread uses it: API server, controllers, kubelets and network. No method waits, so what happens between
two `await`s is atomic. Objects are plain dicts and shared with every watcher and reader: never change one you were
given, hand a function to `update` instead.
"""

from __future__ import annotations

import asyncio
import copy
import json
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from harness.sandbox.defaults import with_defaults
from harness.sandbox.resources import (
    NAMESPACES,
    PODS,
    Obj,
    Resource,
    already_exists,
    conflict,
    gone,
    invalid,
    not_found,
)

HISTORY_LENGTH = 5000
"""Changes kept so that a watch can resume."""

FIRST_NAMESPACES = ("default", "kube-system", "kube-node-lease")

_DELETION = ("deletionTimestamp", "deletionGracePeriodSeconds")
_IDENTITY = ("uid", "resourceVersion", "generation", "creationTimestamp", *_DELETION)
"""What only the store writes into an object's metadata."""

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one object."""

    version: int  # the store's resourceVersion after the change
    type: ChangeType
    resource: Resource
    obj: Obj  # the object after the change; for DELETED its last state
    old: Obj | None  # the object before the change; None for ADDED


def timestamp(at: datetime | None = None) -> str:
    """`at` (by default now) as the API writes times: UTC, whole seconds, `2026-01-31T10:00:00Z`."""
    return (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_since(stamp: str, now: datetime | None = None) -> float:
    """Seconds from an API time (whole seconds or with a fraction) to `now`, by default the present."""
    return ((now or datetime.now(UTC)) - datetime.fromisoformat(stamp)).total_seconds()


class Watch:
    """
    The changes of some resources, in order, as they happen: `async for change in watch`.

    Iteration never ends by itself. Always `close`.
    """

    def __init__(self, resources: tuple[Resource, ...], backlog: list[Change], closed: Callable[[Watch], None]):
        self.resources = frozenset(resources)
        self._changes = backlog
        self._arrived = asyncio.Event()
        self._closed = closed

    def put(self, change: Change) -> None:
        """For the store: add a change and wake the reader."""
        self._changes.append(change)
        self._arrived.set()

    def pending(self) -> list[Change]:
        """All changes not read yet, without waiting."""
        changes, self._changes = self._changes, []
        return changes

    def wake(self) -> None:
        """Make `wait` return once, although there may be nothing to read."""
        self._arrived.set()

    async def wait(self) -> None:
        """Return as soon as there is something to read, or after `wake`."""
        if not self._changes:
            await self._arrived.wait()
        self._arrived.clear()

    async def __aiter__(self) -> AsyncIterator[Change]:
        while True:
            await self.wait()
            for change in self.pending():
                yield change

    def close(self) -> None:
        """Stop collecting changes. Idempotent."""
        self._closed(self)


class Store:
    """Objects by resource, namespace and name. Starts with the namespaces in FIRST_NAMESPACES."""

    def __init__(self) -> None:
        self.version = 0  # the resourceVersion of the latest change
        self._objects: dict[Resource, dict[tuple[str, str], Obj]] = {}
        self._history: deque[Change] = deque(maxlen=HISTORY_LENGTH)
        self._watches: list[Watch] = []
        for name in FIRST_NAMESPACES:
            self.create(NAMESPACES, {"metadata": {"name": name}})

    def fork(self) -> Store:
        """A store with the same objects in which changes can be tried; nobody watches it, and this one never learns."""
        other = Store()
        other.version = self.version
        other._objects = {resource: dict(objects) for resource, objects in self._objects.items()}
        return other

    def find(self, resource: Resource, name: str, namespace: str = "") -> Obj | None:
        """The object, or None. Cluster-wide resources have the namespace ''."""
        return self._objects.get(resource, {}).get((namespace, name))

    def get(self, resource: Resource, name: str, namespace: str = "") -> Obj:
        """The object. Raises ApiError 404."""
        found = self.find(resource, name, namespace)
        if found is None:
            raise not_found(resource, name)
        return found

    def list(self, resource: Resource, namespace: str = "") -> list[Obj]:
        """All objects of a resource, of one namespace or ('') of all, sorted by namespace and name."""
        objects = self._objects.get(resource, {})
        return [obj for key, obj in sorted(objects.items(), key=lambda item: item[0]) if namespace in ("", key[0])]

    def create(self, resource: Resource, obj: Obj) -> Obj:
        """
        The new object, with uid, resourceVersion, generation, creationTimestamp and the defaults of its kind.

        A missing metadata.namespace becomes `default`; metadata.generateName is honoured.
        Raises ApiError 404 when the namespace does not exist, 409 when the name is taken, 422 without a name.
        """
        new: Obj = json.loads(json.dumps(obj))  # a part that stands in it twice must not stay one: patches change one
        meta = new.setdefault("metadata", {})
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + uuid.uuid4().hex[:5]
        name = meta.get("name")
        if not name:
            raise invalid(resource, "", "metadata.name: Required value: name or generateName is required")
        namespace = self._namespace_of(resource, meta)
        if self.find(resource, name, namespace) is not None:
            raise already_exists(resource, name)
        for key in _IDENTITY:
            meta.pop(key, None)
        meta |= {"uid": str(uuid.uuid4()), "generation": 1, "creationTimestamp": timestamp()}
        new = {"apiVersion": resource.api_version, "kind": resource.kind, **new}
        new = with_defaults(resource, new, serial=self.version + 1)
        return self._commit("ADDED", resource, new, None)

    def replace(self, resource: Resource, obj: Obj) -> Obj:
        """
        The object after it took the place of its older version.

        Immutable metadata is kept from the older version; generation grows when anything but metadata and status
        changed; a replacement by the same content is no change.
        Raises ApiError 404, or 409 when obj carries another uid or resourceVersion than the present.
        """
        meta = obj["metadata"]
        old = self.get(resource, meta["name"], meta.get("namespace", "default") if resource.namespaced else "")
        for key in ("uid", "resourceVersion"):
            if meta.get(key) not in (None, "", old["metadata"][key]):
                why = "the object has been modified; please apply your changes to the latest version and try again"
                raise conflict(resource, meta["name"], why)
        new = copy.deepcopy(obj) | {"apiVersion": resource.api_version, "kind": resource.kind}
        kept = {key: old["metadata"][key] for key in _IDENTITY if key in old["metadata"]}
        new["metadata"] = {key: value for key, value in new["metadata"].items() if key not in _IDENTITY} | kept
        new = with_defaults(resource, new)
        if new == old:
            return old
        if _content(new) != _content(old):
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        return self._commit("MODIFIED", resource, new, old)

    def update(self, resource: Resource, name: str, namespace: str, change: Callable[[Obj], None]) -> Obj:
        """The object after `change` was applied to a private copy of its present version. Raises ApiError 404."""
        new = copy.deepcopy(self.get(resource, name, namespace))
        change(new)
        return self.replace(resource, new)

    def delete(self, resource: Resource, name: str, namespace: str = "", *, grace_s: int | None = None) -> Obj:
        """
        The object after its deletion began or took place.

        A pod with a node gets `grace_s` seconds (None: the pod's own) and stays with a deletionTimestamp until the
        kubelet calls `remove`; a second deletion can only shorten that. Everything else, and a pod at grace 0, goes at
        once; nobody's finalizers hold it back. Raises ApiError 404.
        """
        old = self.get(resource, name, namespace)
        grace = _grace_s(old, grace_s) if resource is PODS else 0
        new = copy.deepcopy(old)
        if grace == 0:
            return self._commit("DELETED", resource, new, old)
        if grace >= old["metadata"].get("deletionGracePeriodSeconds", grace + 1):
            return old
        at = timestamp(datetime.now(UTC) + timedelta(seconds=grace))
        new["metadata"] |= {"deletionTimestamp": at, "deletionGracePeriodSeconds": grace}
        return self._commit("MODIFIED", resource, new, old)

    def remove(self, resource: Resource, name: str, namespace: str, uid: str) -> None:
        """Take the object away now, whatever grace it has left. No effect when it, or that uid, is gone already."""
        old = self.find(resource, name, namespace)
        if old is not None and old["metadata"]["uid"] == uid:
            self._commit("DELETED", resource, copy.deepcopy(old), old)

    def watch(self, *resources: Resource, since: int | None = None) -> Watch:
        """
        A watch of the changes after resourceVersion `since` (None: from now on).

        Raises ApiError 410 when the history does not reach back to `since`.
        """
        backlog: list[Change] = []
        if since is not None and since < self.version:
            oldest = self._history[0].version
            if since < oldest - 1:
                raise gone(since, oldest)
            backlog = [change for change in self._history if change.version > since and change.resource in resources]
        watch = Watch(resources, backlog, self._forget)
        self._watches.append(watch)
        return watch

    def _forget(self, watch: Watch) -> None:
        if watch in self._watches:
            self._watches.remove(watch)

    def _namespace_of(self, resource: Resource, meta: Obj) -> str:
        if not resource.namespaced:
            meta.pop("namespace", None)
            return ""
        namespace: str = meta.setdefault("namespace", "default")
        self.get(NAMESPACES, namespace)
        return namespace

    def _commit(self, change: ChangeType, resource: Resource, new: Obj, old: Obj | None) -> Obj:
        self.version += 1
        new["metadata"]["resourceVersion"] = str(self.version)
        key = (new["metadata"].get("namespace", ""), new["metadata"]["name"])
        if change == "DELETED":
            del self._objects[resource][key]
        else:
            self._objects.setdefault(resource, {})[key] = new
        entry = Change(self.version, change, resource, new, old)
        self._history.append(entry)
        for watch in self._watches:
            if resource in watch.resources:
                watch.put(entry)
        return new


def _content(obj: Obj) -> Obj:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}


def _grace_s(pod: Obj, asked_s: int | None) -> int:
    # The API server ends pods that no kubelet runs at once: there is no process to wait for.
    if not pod["spec"].get("nodeName") or pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    own_s: int = pod["spec"].get("terminationGracePeriodSeconds", 30)
    return own_s if asked_s is None or asked_s < 0 else asked_s
