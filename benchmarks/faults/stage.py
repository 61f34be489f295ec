"""A sandbox to break, plans that break it, and what is left of ours in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import requests

from harness import sandbox
from harness.plan.bind import bound
from harness.plan.model import Plan
from harness.plan.parse import parse

ROOT = Path(__file__).parents[2]
RUN, UNDO = "lch.dev/run", "lch.dev/undo"
DEAD_MAN_S = 3.0

SHOP = "/namespaces/shop"
CREATED = (f"/apis/networking.k8s.io/v1{SHOP}/networkpolicies",)
HELD = (f"/apis/batch/v1{SHOP}/jobs", f"/apis/coordination.k8s.io/v1{SHOP}/leases")
CHANGED = ("/api/v1/nodes", f"/apis/apps/v1{SHOP}/deployments", f"/api/v1{SHOP}/pods")

SCENARIO = """
service: {service}
title: One fault, to be cut short
phases:
  - name: drill
    load: 100%
    duration: {duration_s}s
    faults:
      - {{experiment: {experiment}, at: {at_s}s, for: {for_s}s, with: {{{arguments}}}}}
    thresholds:
      - {{sli: throughput, fail: "< 1% of offered"}}
"""
FAULTS = {
    "partition": ("zone-partition", "zone: zone-b"),
    "scale": ("scale-to-zero", "deployment: shop, selector: app=shop, replicas: 5"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The sandbox, by its API."""

    endpoints: sandbox.Endpoints

    def left(self) -> set[str]:
        """Whatever is ours there, as `kind/name`."""
        return self.faulty() | {name for path in HELD for name in self._ours(path)}

    def faulty(self) -> set[str]:
        """Of that, what is a fault: policies and marks."""
        found = {name for path in CREATED for name in self._ours(path)}
        return found | {name for path in CHANGED for name in self._ours(path, marked=True)}

    def _ours(self, path: str, *, marked: bool = False) -> Iterator[str]:
        answer = requests.get(self.endpoints.api_url + path, {"labelSelector": RUN}, timeout=5)
        for item in answer.json()["items"]:
            if not marked or UNDO in (item["metadata"].get("annotations") or {}):
                yield f"{path.rpartition('/')[2]}/{item['metadata']['name']}"


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A sandbox of our own, with a reaper that looks after it."""
    with tempfile.TemporaryDirectory(prefix="lch-faults-") as folder:
        state = Path(folder)
        endpoints = sandbox.up("good", state, owned=True)
        server = urlsplit(endpoints.api_url)
        address = {"KUBERNETES_SERVICE_HOST": str(server.hostname), "KUBERNETES_SERVICE_PORT": str(server.port)}
        reaper = subprocess.Popen(
            [sys.executable, "-m", "harness.drivers.faults.reaper"],
            env={**os.environ, **address},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield Cluster(endpoints=endpoints)
        finally:
            reaper.kill()
            reaper.wait()
            sandbox.down(state)


def scenario(folder: Path, fault: str, *, duration_s: int = 30, at_s: int = 1, for_s: int = 20) -> Path:
    """A scenario file that plays the fault."""
    experiment, arguments = FAULTS[fault]
    text = SCENARIO.format(
        service=ROOT / "scenarios/services/shop.yaml",
        experiment=ROOT / f"experiments/{experiment}.yaml",
        arguments=arguments,
        duration_s=duration_s,
        at_s=at_s,
        for_s=for_s,
    )
    file = folder / f"{fault}.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def plan(folder: Path, fault: str, endpoints: sandbox.Endpoints) -> Plan:
    """The plan of that scenario on the sandbox, which keeps a fault for DEAD_MAN_S after it last heard from us."""

    def read(path: str) -> str | None:
        return Path(path).read_text(encoding="utf-8") if Path(path).is_file() else None

    parsed = bound(
        parse(str(scenario(folder, fault)), read, base=str(ROOT)),
        url=endpoints.url,
        kubeconfig=endpoints.kubeconfig,
        prometheus_url=endpoints.prometheus_url,
    )
    assert parsed.service.cluster is not None
    soon = replace(parsed.service.cluster, dead_man_s=DEAD_MAN_S)
    return replace(parsed, service=replace(parsed.service, cluster=soon))


def plan_file(folder: Path, fault: str, endpoints: sandbox.Endpoints) -> Path:
    """The same as a file for a process of its own."""
    from dataclasses import asdict

    file = folder / f"{fault}.json"
    file.write_text(json.dumps(asdict(plan(folder, fault, endpoints))), encoding="utf-8")
    return file
