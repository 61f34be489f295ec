"""
The sandbox's controllers: each brings one kind of object from what is to what should be, whenever something changed.

They know only the store. A controller is a function that looks at the present objects and writes what is missing, so
running it once too often does no harm; the loop here decides which to run after which change. It sleeps in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

from harness.sandbox.controllers.budgets import reconcile_budget
from harness.sandbox.controllers.deployments import reconcile_deployment
from harness.sandbox.controllers.endpoints import reconcile_endpoints
from harness.sandbox.controllers.garbage import collect_garbage
from harness.sandbox.controllers.jobs import reconcile_job
from harness.sandbox.controllers.nodes import NODE_LEASES, reconcile_node
from harness.sandbox.controllers.replicasets import reconcile_replica_set
from harness.sandbox.controllers.scheduler import schedule
from harness.sandbox.controllers.taints import TaintManager
from harness.sandbox.resources import (
    DEPLOYMENTS,
    LEASES,
    NODES,
    PDBS,
    PODS,
    REPLICASETS,
    RESOURCES,
    SERVICES,
    ApiError,
    Obj,
)
from harness.sandbox.store import Change, Store

Reconcile = Callable[[Store, str, str], float | None]
"""(store, namespace, name) -> seconds after which to look again even if nothing changes; None: never."""

Task = tuple[Reconcile, str, str]

SLEPT_S = 1.0
"""A timer that is this late: the whole process was stopped or starved, the kubelets included."""

_OF_KIND: dict[str, Reconcile] = {
    "Deployment": reconcile_deployment,
    "ReplicaSet": reconcile_replica_set,
    "Job": reconcile_job,
    "Service": reconcile_endpoints,
    "Pod": schedule,
    "Node": reconcile_node,
    "PodDisruptionBudget": reconcile_budget,
}


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
        self._evict = TaintManager().reconcile
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
        self._due |= {(self._evict, meta["namespace"], meta["name"]): None for meta in _exposed(self._store, change)}

    def _reconcile(self, task: Task) -> None:
        if task in self._timers:
            self._timers.pop(task).cancel()
        reconcile, namespace, name = task
        try:
            again_s = reconcile(self._store, namespace, name)
        except ApiError:
            # Its namespace or another object it needs is being deleted; that deletion leads back here if it must.
            return
        except (AttributeError, KeyError, TypeError, ValueError):
            # An object that the API let in and nobody can work with: the others go on.
            logging.getLogger(__name__).exception("%s cannot work with %s/%s", reconcile.__name__, namespace, name)
            return
        if again_s is not None:
            loop = asyncio.get_running_loop()
            at_s = loop.time() + max(0.0, again_s)
            self._timers[task] = loop.call_at(at_s, self._come_back, task, at_s)

    def _come_back(self, task: Task, at_s: float) -> None:
        loop = asyncio.get_running_loop()
        if task[0] is reconcile_node and loop.time() - at_s > SLEPT_S:  # let the node be heard before it is judged
            at_s = loop.time() + 2 * SLEPT_S
            self._timers[task] = loop.call_at(at_s, self._come_back, task, at_s)
            return
        del self._timers[task]
        self._due[task] = None
        self._watch.wake()


def _tasks(store: Store, change: Change) -> Iterator[Task]:
    """What to look at again after a change."""
    meta = change.obj["metadata"]
    namespace = meta.get("namespace", "")
    if change.resource is LEASES:
        # Of heartbeats only the first: from then on the node is looked at when the next ones would be overdue.
        if change.type == "ADDED" and namespace == NODE_LEASES:
            yield reconcile_node, "", meta["name"]
        return
    names = [(change.resource.kind, meta["name"])]
    names += [(owner["kind"], owner["name"]) for owner in meta.get("ownerReferences") or ()]
    if change.resource is PODS:
        names += [("Service", service["metadata"]["name"]) for service in store.list(SERVICES, namespace)]
    if change.resource in (PODS, DEPLOYMENTS, REPLICASETS):
        names += [("PodDisruptionBudget", pdb["metadata"]["name"]) for pdb in store.list(PDBS, namespace)]
    for kind, name in names:
        if kind in _OF_KIND:
            yield _OF_KIND[kind], namespace, name
    if change.resource is NODES:  # whether one node's pods are evicted depends on the others
        yield from ((reconcile_node, "", node["metadata"]["name"]) for node in store.list(NODES))
    if change.resource is NODES or (change.resource is PODS and change.type == "DELETED"):
        for pod in store.list(PODS):
            if "nodeName" not in pod["spec"]:
                yield schedule, pod["metadata"]["namespace"], pod["metadata"]["name"]


def _exposed(store: Store, change: Change) -> Iterator[Obj]:
    """The metadata of the pods that a change may have exposed to a taint."""
    if change.resource is PODS:
        yield change.obj["metadata"]
    elif change.resource is NODES:
        for pod in store.list(PODS):
            if pod["spec"].get("nodeName") == change.obj["metadata"]["name"]:
                yield pod["metadata"]
