"""The kubelets: each runs the pods that the scheduler has bound to its node, and says that the node is well."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence

from harness.sandbox.api.server import PodLogs
from harness.sandbox.objects import ZONE, is_finished, set_condition
from harness.sandbox.pod import Host, PodRun
from harness.sandbox.resources import NODES, PODS, VERSION, Obj, bad_request


class Kubelet:
    """One node: `node-a` in `zone-a` with the pod addresses 10.42.0.0/24, and so on by `index`."""

    def __init__(self, host: Host, zone: str, index: int) -> None:
        self.node = f"node-{zone.removeprefix('zone-')}"
        self._host = host
        self._zone = zone
        self._index = index
        self._issued = 0
        self._runs: dict[str, PodRun] = {}  # by pod uid; also ended ones, for their logs, until the pod is deleted
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """Register the node, then run its pods until cancelled."""
        self._host.store.create(NODES, node_object(self.node, self._zone))
        watch = self._host.store.watch(PODS)
        try:
            async with self._group:
                for pod in self._host.store.list(PODS):
                    self._sync(pod, deleted=False)
                async for change in watch:
                    self._sync(change.obj, deleted=change.type == "DELETED")
        finally:
            watch.close()

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
        if pod["spec"].get("nodeName") != self.node:
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
        "metadata": {"name": name, "labels": {ZONE: zone, "kubernetes.io/hostname": name}},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
            "nodeInfo": unknown
            | {"kubeletVersion": VERSION, "operatingSystem": system.sysname.lower(), "architecture": system.machine}
            | {"osImage": system.sysname, "kernelVersion": system.release},
        },
    }
    set_condition(node, "Ready", "True", "KubeletReady", "the kubelet runs")
    return node


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
