"""The sandbox's Prometheus: the real server as a child process, told about pods through a file as they come and go."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import IO

from harness.sandbox.container import Process, http_probe
from harness.sandbox.files import StateDir, write_atomically
from harness.sandbox.network.fabric import Network
from harness.sandbox.objects import ZONE
from harness.sandbox.resources import PODS, Obj
from harness.sandbox.store import Store

SCRAPE = "prometheus.io/scrape"
"""Annotation of pods that are to be scraped, with the value "true", at /metrics of the first port they declare."""

END_S = 3.0
"""How long Prometheus gets to end by itself."""


class Prometheus:
    """A running server. Its data lies in the state directory and goes with it."""

    def __init__(self, port: int, targets: Path, process: Process, log: IO[bytes]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._targets = targets
        self._process = process
        self._log = log
        self._written = ""

    @classmethod
    async def start(cls, executable: str, state: StateDir, *, port: int) -> Prometheus:
        """A server on 127.0.0.1:`port` that keeps everything in the state directory; it takes a moment to be ready."""
        directory = state.prometheus
        state.guests.mkdir(parents=True, exist_ok=True)
        config, targets = directory / "prometheus.yml", directory / "targets.json"
        found = [{"files": [str(targets), str(state.guests / "*.json")]}]
        jobs = [{"job_name": "sandbox", "file_sd_configs": found}]
        settings = {"global": {"scrape_interval": "1s", "scrape_timeout": "900ms"}, "scrape_configs": jobs}
        config.write_text(json.dumps(settings, indent=2), encoding="utf-8")  # JSON is YAML
        command = (
            executable,
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
            # Discovery hands targets on every 5 s (not configurable); by default scraping waits for up to 5 s more.
            "--scrape.discovery-reload-interval=100ms",
        )
        sink = (state.logs / "prometheus.log").open("ab", buffering=0)
        process = await Process.start(command, {}, record=state.records / "prometheus", log=sink, directory=directory)
        return cls(port, targets, process, sink)

    async def follow(self, store: Store, network: Network) -> None:
        """Keep the targets in step with the pods until cancelled."""
        watch = store.watch(PODS)
        try:
            while True:
                groups = [group for pod in store.list(PODS) if (group := _group(pod, network))]
                text = json.dumps(groups, indent=2)
                if text != self._written:
                    write_atomically(self._targets, text)
                    self._written = text
                await watch.wait()
                watch.pending()
        finally:
            watch.close()

    async def is_ready(self) -> bool:
        """Whether the server answers queries. It scrapes nothing in its first five seconds, which is its own."""
        return await http_probe(self._port, "/-/ready", 1.0) is None

    @property
    def ended(self) -> bool:
        """Whether the server has ended, by itself or killed."""
        return self._process.ended

    async def end(self) -> None:
        """End the server; returns when it is gone."""
        self._process.terminate()
        try:
            async with asyncio.timeout(END_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        self._log.close()


def _group(pod: Obj, network: Network) -> Obj | None:
    """The pod's entry in the targets file; None when there is nothing to scrape."""
    meta, ip = pod["metadata"], pod["status"].get("podIP", "")
    if (meta.get("annotations") or {}).get(SCRAPE) != "true":
        return None
    for port, real_port in network.real_ports(ip).items():
        labels = meta.get("labels") or {}
        named = {"job": labels.get("app", meta["name"]), "pod": meta["name"], "zone": labels.get(ZONE, "")}
        return {"targets": [f"127.0.0.1:{real_port}"], "labels": named | {"instance": f"{ip}:{port}"}}
    return None
