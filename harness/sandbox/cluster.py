"""Everything that runs inside the control plane, put together, started and ended in the right order."""

from __future__ import annotations

import asyncio
import os
from typing import Literal

from harness.sandbox.api.server import kubeconfig, serve_api
from harness.sandbox.container import http_probe
from harness.sandbox.controllers import run_controllers
from harness.sandbox.files import Endpoints, StateDir, write_atomically
from harness.sandbox.manifests import PORT, REPLICAS, ZONES, shop
from harness.sandbox.network.fabric import Network
from harness.sandbox.node import Kubelet, logs_of
from harness.sandbox.objects import is_true
from harness.sandbox.pod import Host
from harness.sandbox.ports import Ports
from harness.sandbox.prometheus import Prometheus
from harness.sandbox.resources import PODS
from harness.sandbox.store import Store

POLL_S = 0.05


class Cluster:
    """One sandbox: its store and all that works on it."""

    def __init__(self, state: StateDir, version: Literal["good", "bad"], ports: Ports, prometheus: Prometheus) -> None:
        self._state = state
        self._version = version
        self._prometheus = prometheus
        self._store = Store()
        self._network = Network(self._store)
        host = Host(self._store, self._network, ports, directory=state.root, records=state.records)
        self._kubelets = [Kubelet(host, zone, index) for index, zone in enumerate(ZONES)]

    async def run(self, stop: asyncio.Event) -> None:
        """
        Run until `stop` is set, then end every pod and Prometheus. The endpoints are written when all is ready.

        A part that fails brings everything down: half a sandbox would spoil measurements unnoticed.
        """
        api = await serve_api(self._store, logs_of(self._kubelets))
        write_atomically(self._state.kubeconfig, kubeconfig(api.url))
        async with asyncio.TaskGroup() as group:
            kubelets = [group.create_task(kubelet.run()) for kubelet in self._kubelets]
            await asyncio.sleep(0)  # the nodes register before there is anything to schedule
            for resource, obj in shop(self._version):
                self._store.create(resource, obj)
            controllers = group.create_task(run_controllers(self._store))
            others = [
                group.create_task(self._network.run()),
                group.create_task(self._prometheus.follow(self._store, self._network)),
                group.create_task(self._announce(api.url)),
            ]
            await stop.wait()
            controllers.cancel()  # first, so that nothing replaces the pods that end now
            for kubelet in self._kubelets:
                await kubelet.kill_all()
            for task in (*kubelets, *others):
                task.cancel()
        self._network.close()
        await self._prometheus.end()
        await api.close()

    async def _announce(self, api_url: str) -> None:
        while not await self._is_ready():
            if self._prometheus.ended:  # later it may: to lose Prometheus is one of the things to rehearse
                raise RuntimeError(f"prometheus ended at once; see {self._state.logs / 'prometheus.log'}")
            await asyncio.sleep(POLL_S)
        self._state.write_endpoints(
            Endpoints(
                pid=os.getpid(),
                url=f"http://127.0.0.1:{self._front_port()}",
                kubeconfig=str(self._state.kubeconfig),
                api_url=api_url,
                prometheus_url=self._prometheus.url,
                version=self._version,
                state_dir=str(self._state.root),
            )
        )

    async def _is_ready(self) -> bool:
        ready = [pod for pod in self._store.list(PODS, "shop") if is_true(pod, "Ready")]
        if len(ready) < REPLICAS or not await self._prometheus.is_ready():
            return False
        return await http_probe(self._front_port(), "/healthz", 1.0) is None

    def _front_port(self) -> int:
        return self._network.front_port("shop", "shop", PORT)
