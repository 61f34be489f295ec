"""Everything that runs inside the control plane, put together, started and ended in the right order."""

from __future__ import annotations

import asyncio
import os

from harness.sandbox.api.server import kubeconfig, serve_api
from harness.sandbox.container import http_probe
from harness.sandbox.controllers import run_controllers
from harness.sandbox.files import Endpoints, StateDir, Version, write_atomically
from harness.sandbox.manifests import PORT, ZONES, demo, has_store, replicas
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

    def __init__(self, state: StateDir, version: Version, ports: Ports, prometheus: Prometheus) -> None:
        self._state = state
        self._version = version
        self._prometheus = prometheus
        self._store = Store()
        self._network = Network(self._store)
        self._api_port = ports.take()
        host = Host(self._store, self._network, ports, state.root, state.records, self._api_port)
        self._kubelets = [Kubelet(host, zone, index) for index, zone in enumerate(ZONES)]

    async def run(self, stop: asyncio.Event) -> None:
        """
        Run until `stop` is set, then end every pod and Prometheus. The endpoints are written when all is ready.

        A part that fails brings everything down: half a sandbox would spoil measurements unnoticed.
        """
        api = await serve_api(self._store, logs_of(self._kubelets), port=self._api_port)
        write_atomically(self._state.kubeconfig, kubeconfig(api.url))
        async with asyncio.TaskGroup() as group:
            kubelets = [group.create_task(kubelet.run()) for kubelet in self._kubelets]
            await asyncio.sleep(0)  # the nodes register before there is anything to schedule
            for resource, obj in demo(self._version):
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
                url=self._front_url("shop"),
                kubeconfig=str(self._state.kubeconfig),
                api_url=api_url,
                prometheus_url=self._prometheus.url,
                version=self._version,
                state_dir=str(self._state.root),
                store_url=self._front_url("store") if has_store(self._version) else "",
            )
        )

    async def _is_ready(self) -> bool:
        ready = [pod for pod in self._store.list(PODS, "shop") if is_true(pod, "Ready")]
        if len(ready) < replicas(self._version) or not await self._prometheus.is_ready():
            return False
        if has_store(self._version) and await http_probe(self._front_port("store"), "/entries", 1.0) is not None:
            return False
        return await http_probe(self._front_port("shop"), "/healthz", 1.0) is None

    def _front_url(self, service: str) -> str:
        return f"http://127.0.0.1:{self._front_port(service)}"

    def _front_port(self, service: str) -> int:
        return self._network.front_port("shop", service, PORT)
