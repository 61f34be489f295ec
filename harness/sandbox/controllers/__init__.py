"""
The sandbox's controllers: each brings one kind of object from what is to what should be, whenever something changed.

They know only the store. A controller is a function that looks at the present objects and writes what is missing, so
running it once too often does no harm; the loop here decides which to run after which change. It sleeps in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import MappingProxyType

from harness.sandbox.controllers.deployments import reconcile_deployment
from harness.sandbox.controllers.endpoints import reconcile_endpoints
from harness.sandbox.controllers.garbage import collect_garbage
from harness.sandbox.controllers.jobs import reconcile_job
from harness.sandbox.controllers.nodes import evict_if_intolerant, reconcile_node
from harness.sandbox.controllers.replicasets import reconcile_replica_set
from harness.sandbox.controllers.scheduler import schedule
from harness.sandbox.objects import controller_of
from harness.sandbox.resources import (
    DEPLOYMENTS,
    JOBS,
    NODES,
    PODS,
    REPLICASETS,
    RESOURCES,
    SERVICES,
    ApiError,
    Obj,
    Resource,
)
from harness.sandbox.selectors import selects
from harness.sandbox.store import Change, Store

Reconcile = Callable[[Store, str, str], float | None]
"""(store, namespace, name) -> seconds after which to look again even if nothing changes; None: never."""

Task = tuple[Reconcile, str, str]

_OWN: MappingProxyType[Resource, tuple[Reconcile, ...]] = MappingProxyType(
    {
        DEPLOYMENTS: (reconcile_deployment,),
        REPLICASETS: (reconcile_replica_set,),
        JOBS: (reconcile_job,),
        SERVICES: (reconcile_endpoints,),
        NODES: (reconcile_node,),
        PODS: (schedule, evict_if_intolerant),
    }
)
_BY_OWNER_KIND: MappingProxyType[str, Reconcile] = MappingProxyType(
    {"Deployment": reconcile_deployment, "ReplicaSet": reconcile_replica_set, "Job": reconcile_job}
)


async def run_controllers(store: Store) -> None:
    """Keep all objects of the store reconciled until cancelled, beginning with those that are there already."""
    controllers = _Controllers(store)
    try:
        await controllers.run()
    finally:
        controllers.close()


class _Controllers:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._watch = store.watch(*RESOURCES)
        self._due: dict[Task, None] = {}  # a set that keeps its order
        self._timers: dict[Task, asyncio.TimerHandle] = {}
        for resource in RESOURCES:
            for obj in store.list(resource):
                self._take(Change(store.version, "ADDED", resource, obj, None))

    async def run(self) -> None:
        while True:
            for change in self._watch.pending():
                self._take(change)
            tasks, self._due = self._due, {}
            for task in tasks:
                self._reconcile(task)
            await asyncio.sleep(0)
            # Writes of the reconcilers are changes again, so this waits only when everything is settled.
            await self._watch.wait()

    def close(self) -> None:
        self._watch.close()
        for timer in self._timers.values():
            timer.cancel()

    def _take(self, change: Change) -> None:
        collect_garbage(self._store, change)
        self._due |= dict.fromkeys(_tasks(self._store, change))

    def _reconcile(self, task: Task) -> None:
        if task in self._timers:
            self._timers.pop(task).cancel()
        reconcile, namespace, name = task
        try:
            again_s = reconcile(self._store, namespace, name)
        except ApiError:
            # Its namespace or another object it needs is being deleted; that deletion leads back here if it must.
            return
        if again_s is not None:
            loop = asyncio.get_running_loop()
            self._timers[task] = loop.call_later(max(0.0, again_s), self._come_back, task)

    def _come_back(self, task: Task) -> None:
        del self._timers[task]
        self._due[task] = None
        self._watch.wake()


def _tasks(store: Store, change: Change) -> Iterator[Task]:
    """What to look at again after a change."""
    obj = change.obj
    namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
    for reconcile in _OWN.get(change.resource, ()):
        yield reconcile, namespace, name
    yield from _owner_tasks(store, change.resource, obj)
    if change.resource is PODS:
        labels = [version["metadata"].get("labels") or {} for version in (obj, change.old) if version]
        for service in store.list(SERVICES, namespace):
            selector = {"matchLabels": service["spec"].get("selector")}
            if selector["matchLabels"] and any(selects(selector, one) for one in labels):
                yield reconcile_endpoints, namespace, service["metadata"]["name"]
    if change.resource is NODES:
        for pod in store.list(PODS):
            meta = pod["metadata"]
            if pod["spec"].get("nodeName", name) == name:
                yield schedule, meta["namespace"], meta["name"]
                yield evict_if_intolerant, meta["namespace"], meta["name"]


def _owner_tasks(store: Store, resource: Resource, obj: Obj) -> Iterator[Task]:
    owner = controller_of(obj)
    if owner is None or owner["kind"] not in _BY_OWNER_KIND:
        return
    namespace = obj["metadata"].get("namespace", "")
    yield _BY_OWNER_KIND[owner["kind"]], namespace, owner["name"]
    if resource is PODS and owner["kind"] == "ReplicaSet":
        # A deployment that recreates waits for its old pods to be gone, which no replica set's status shows.
        parent = store.find(REPLICASETS, owner["name"], namespace)
        yield from _owner_tasks(store, REPLICASETS, parent) if parent else ()
