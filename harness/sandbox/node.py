"""The kubelets: each runs the pods that the scheduler has bound to its node, and says that the node is well."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

from harness.sandbox.api.server import PodLogs
from harness.sandbox.controllers.nodes import GRACE_S, NODE_LEASES
from harness.sandbox.defaults import TOLERATION_S
from harness.sandbox.network.fabric import POWER
from harness.sandbox.objects import ZONE, is_finished, is_true, record_event, set_condition
from harness.sandbox.pod import Host, PodRun
from harness.sandbox.resources import LEASES, NODES, PODS, VERSION, Obj, bad_request

TIMINGS = (
    f"unreachable after {GRACE_S:g} s without heartbeat (real clusters: 40-50 s), pods evicted after {TOLERATION_S} s"
    " (real clusters: 300 s)"
)
"""How this cluster's clocks differ from real ones, for `kubectl describe node`."""


HEARTBEAT_S = 1.0
"""How often a kubelet renews its lease; real ones every 10 s."""


class Kubelet:
    """
    One node: `node-a` in `zone-a` with the pod addresses 10.42.0.0/24, and so on by `index`.

    The node's annotation `lch.dev/power` is its switch. `off` is a power cut: every container ends at once, and the
    kubelet with them, so that nobody is told. `on` starts it again: it clears away pods that were deleted meanwhile,
    and restarts those that are still bound to it.
    """

    def __init__(self, host: Host, zone: str, index: int) -> None:
        self.node = f"node-{zone.removeprefix('zone-')}"
        self._host = host
        self._zone = zone
        self._index = index
        self._issued = 0
        self._on = True
        self._runs: dict[str, PodRun] = {}  # by pod uid; also ended ones, for their logs, until the pod is deleted
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """Register the node, then run its pods until cancelled."""
        self._host.store.create(NODES, node_object(self.node, self._zone))
        watch = self._host.store.watch(PODS, NODES)
        try:
            async with self._group:
                self._group.create_task(self._beat())
                self._sync_all()
                async for change in watch:
                    if change.resource is PODS:
                        self._sync(change.obj, deleted=change.type == "DELETED")
                    elif change.obj["metadata"]["name"] == self.node:
                        await self._switch(off=change.obj["metadata"].get("annotations", {}).get(POWER) == "off")
        finally:
            watch.close()

    async def _beat(self) -> None:
        while True:
            if self._on:
                self._renew()
            await asyncio.sleep(HEARTBEAT_S)

    def _renew(self) -> None:
        """Say that the node is well: by its lease, and by its status when that says something else."""
        store = self._host.store
        node = store.find(NODES, self.node)
        if node is None:  # deleted; kubelets register only when they start
            return
        if store.find(LEASES, self.node, NODE_LEASES) is None:
            owner = {key: node[key] for key in ("apiVersion", "kind")} | {
                "name": self.node,
                "uid": node["metadata"]["uid"],
            }
            meta = {"name": self.node, "namespace": NODE_LEASES, "ownerReferences": [owner]}
            store.create(LEASES, {"metadata": meta, "spec": lease_spec(self.node)})
        else:
            store.update(LEASES, self.node, NODE_LEASES, lambda obj: obj.update(spec=lease_spec(self.node)))
        if not is_true(node, "Ready"):
            store.update(NODES, self.node, "", _say_ready)
            record_event(store, node, "NodeReady", f"Node {self.node} status is now: NodeReady", component="kubelet")
            for run in self._runs.values():
                run.tell_again()

    async def _switch(self, *, off: bool) -> None:
        if off and self._on:
            self._on = False
            await asyncio.sleep(0)  # the network hears of it first: nobody sees connections end
            for run in self._runs.values():
                run.lose_power()
        elif not off and not self._on:
            for run in self._runs.values():
                await run.ended.wait()
            self._runs.clear()
            self._on = True
            self._renew()
            self._sync_all()

    def _sync_all(self) -> None:
        for pod in self._host.store.list(PODS):
            self._sync(pod, deleted=False)

    async def kill_all(self) -> None:
        """End every container of this node now, as a power cut would; returns when they are gone."""
        runs = list(self._runs.values())
        for run in runs:
            run.kill()
        for run in runs:
            await run.ended.wait()

    def find(self, uid: str) -> PodRun | None:
        """The pod's run, if the pod is or was on this node and still in the store."""
        return self._runs.get(uid)

    def _sync(self, pod: Obj, *, deleted: bool) -> None:
        meta = pod["metadata"]
        if pod["spec"].get("nodeName") != self.node or not self._on:
            return
        run = self._runs.get(meta["uid"])
        if deleted:
            if run is not None:
                run.kill()
                del self._runs[meta["uid"]]
        elif "deletionTimestamp" in meta:
            if run is not None and not run.ended.is_set():
                run.end(meta["deletionGracePeriodSeconds"])
            else:
                self._host.store.remove(PODS, meta["name"], meta["namespace"], meta["uid"])
        elif run is None and not is_finished(pod):
            run = self._runs[meta["uid"]] = PodRun(self._host, pod, self._free_ip())
            self._group.create_task(run.run())

    def _free_ip(self) -> str:
        taken = {run.ip for run in self._runs.values()}
        while True:
            # Counting on, so that an address that was just given up is not somebody else's at once.
            self._issued = self._issued % 250 + 1
            ip = f"10.42.{self._index}.{self._issued + 1}"
            if ip not in taken:
                return ip


def node_object(name: str, zone: str) -> Obj:
    """A ready node as its kubelet registers it."""
    system = os.uname()
    capacity = {"cpu": str(os.cpu_count() or 1), "memory": "4Gi", "pods": "110"}
    # Typed clients refuse a node without any of these.
    unknown = dict.fromkeys(("machineID", "systemUUID", "bootID", "containerRuntimeVersion", "kubeProxyVersion"), "")
    node: Obj = {
        "metadata": {
            "name": name,
            "labels": {ZONE: zone, "kubernetes.io/hostname": name},
            "annotations": {POWER: "on", "lch.dev/timings": TIMINGS},
        },
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
            "nodeInfo": unknown
            | {"kubeletVersion": VERSION, "operatingSystem": system.sysname.lower(), "architecture": system.machine}
            | {"osImage": system.sysname, "kernelVersion": system.release},
        },
    }
    _say_ready(node)
    return node


def _say_ready(node: Obj) -> None:
    set_condition(node, "Ready", "True", "KubeletReady", "the kubelet runs")


def lease_spec(node: str) -> Obj:
    """The spec of a node's lease, renewed now."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"holderIdentity": node, "leaseDurationSeconds": int(GRACE_S), "renewTime": now}


def logs_of(kubelets: Sequence[Kubelet]) -> PodLogs:
    """Where the API server gets the output of containers from."""

    def logs(pod: Obj, container: str, follow: bool, tail: int | None) -> AsyncIterator[bytes]:  # noqa: FBT001
        name = pod["metadata"]["name"]
        run = next((run for kubelet in kubelets if (run := kubelet.find(pod["metadata"]["uid"]))), None)
        if run is None:
            raise bad_request(f'pod "{name}" has not been started')
        names = [item.spec["name"] for item in run.containers]
        if container and container not in names:
            raise bad_request(f"container {container} is not valid for pod {name}; choose one of: {' '.join(names)}")
        log = run.containers[names.index(container) if container else 0].log
        return log.read(tail, follow=follow)

    return logs
