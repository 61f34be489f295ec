"""Zones cut off, slowed down and lost on the sandbox: real processes, real traffic, real undo."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import sandbox
from harness.drivers.faults import network, partition, zones
from harness.drivers.kubernetes.client import ApiClient
from harness.drivers.kubernetes.objects import labels_of, name_of, node_of, node_path, pods_path, ready, running

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

ZONE = "topology.kubernetes.io/zone"
NODES = "/api/v1/nodes"
SHOP: dict[str, Any] = {"namespace": "shop", "selector": "app=shop", "run": "zones/1"}
UNDO: dict[str, Any] = {"namespace": "shop", "run": "zones/1"}
PROBE = """
import http.client, json, os, time, urllib.parse
proxy = urllib.parse.urlsplit(os.environ["http_proxy"])
def connection():
    return http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=0.5)
def ask(one):
    began = time.monotonic()
    try:
        one.request("GET", os.environ["TARGET"])
        good = one.getresponse().read() and True
    except (OSError, http.client.HTTPException):
        one.close()
        return None
    return time.monotonic() - began
kept = connection()
while True:
    new = connection()
    print(json.dumps([ask(new), ask(kept)]), flush=True)
    new.close()
    time.sleep(0.05)
"""


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiClient]:
    """A sandbox of the test's own, which the actions are pointed at."""
    endpoints = sandbox.up("good", tmp_path / "sandbox", owned=True)
    monkeypatch.setenv("KUBECONFIG", str(endpoints.kubeconfig))
    for name in ("KUBERNETES_CONTEXT", "LCH_RUN", "LCH_TARGETS", "LCH_CLUSTER_UID", "LCH_LEASED", "LCH_DRY"):
        monkeypatch.delenv(name, raising=False)
    client = ApiClient(str(endpoints.kubeconfig), None)
    yield client
    client.close()
    sandbox.down(tmp_path / "sandbox")


def until(done: Callable[[], bool], what: str, limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        time.sleep(0.05)


def shop_in(api: ApiClient, zone: str) -> list[Any]:
    pods = api.items(pods_path("shop"), {"labelSelector": "app=shop"})
    return [pod for pod in pods if node_of(pod) == f"node-{zone}" and running(pod)]


class Probe:
    """A pod of one zone that asks a shop pod of another, over new connections and over an open one."""

    def __init__(self, api: ApiClient, source: str, target: str, name: str = "") -> None:
        self.api, self.name = api, name or f"probe-{source}-{target}"
        address = shop_in(api, target)[0]["status"]["podIP"]
        container = {
            "name": "main",
            "image": "python",
            "command": ["python3", "-c", PROBE],
            "env": [{"name": "TARGET", "value": f"http://{address}:8080/items"}],
        }
        spec = {"nodeName": f"node-{source}", "containers": [container], "terminationGracePeriodSeconds": 0}
        metadata = {"name": self.name, "labels": {"app": "probe", ZONE: f"zone-{source}"}}
        api.create(pods_path("shop"), {"metadata": metadata, "spec": spec})

    def lines(self) -> list[list[float | None]]:
        said = self.api.lines(f"{pods_path('shop', self.name)}/log", {}, read_s=5)
        return [json.loads(line) for line in said]

    def settled(self, good: Callable[[list[float | None]], bool], what: str) -> None:
        """Return when its last three answers are `good`."""

        def last() -> bool:
            lines = self.lines() if running(self.api.get(pods_path("shop", self.name))) else []
            return len(lines) >= 3 and all(map(good, lines[-3:]))

        until(last, f"{self.name}: {what}")


def answered(line: list[float | None]) -> bool:
    return None not in line


def cut(line: list[float | None]) -> bool:
    return line == [None, None]


def ours(api: ApiClient) -> list[str]:
    kinds = ("pods", "networkpolicies.networking.k8s.io", "networkchaos.chaos-mesh.org", "jobs.batch")
    versions = {"": "/api/v1", "networking.k8s.io": "v1", "batch": "v1", "chaos-mesh.org": "v1alpha1"}
    found = []
    for kind in kinds:
        plural, _, group = kind.partition(".")
        root = f"/apis/{group}/{versions[group]}" if group else versions[group]
        found += api.items(f"{root}/namespaces/shop/{plural}", {"labelSelector": "lch.dev/run"})
    return sorted(map(name_of, found))


def test_a_zone_is_cut_off_in_both_directions_for_open_connections_and_for_pods_that_come(api: ApiClient) -> None:
    """Nothing crosses, whoever asks and since when; other paths are as before; healing restores and leaves nothing."""
    bare = name_of(shop_in(api, "b")[0])
    api.patch(pods_path("shop", bare), {"metadata": {"labels": {ZONE: None}}})
    there, back, beside = Probe(api, "a", "b"), Probe(api, "b", "a"), Probe(api, "a", "c")
    for probe in (there, back, beside):
        probe.settled(answered, "answered")

    done = partition.partition_zone("zone-b", "shop", "app=shop", run="zones/1", ttl_s=60)
    assert done["labelled"] == [bare]
    late = Probe(api, "b", "a", "late")
    stray = Probe(api, "b", "a", "stray")
    api.patch(pods_path("shop", "stray"), {"metadata": {"labels": {ZONE: None}}})
    for probe in (there, back, late, stray):
        probe.settled(cut, "cut off")
    beside.settled(answered, "answered")
    assert not any(answered(line) for line in late.lines())
    assert labels_of(api.get(pods_path("shop", "stray")))[ZONE] == "zone-b"

    removed = partition.heal_zone("zone-b", **UNDO)["removed"]
    assert removed == [f"networkpolicy/{done['policy']}", f"pod/{bare}", "pod/stray"]
    for probe in (there, back, late, stray):
        probe.settled(answered, "answered again")
    until(lambda: ours(api) == [], "nothing of ours left")
    assert ZONE not in labels_of(api.get(pods_path("shop", bare)))


def test_chaos_mesh_objects_cut_delay_and_lose_between_zones_until_they_are_deleted(api: ApiClient) -> None:
    """Each as asked, on open connections too; paths to other zones are as before."""
    there, back, beside = Probe(api, "a", "b"), Probe(api, "b", "a"), Probe(api, "a", "c")
    for probe in (there, back, beside):
        probe.settled(answered, "answered")

    objects = partition.partition_zone_by_mesh("zone-b", "shop", "app=shop", run="zones/1", ttl_s=60)["objects"]
    for probe in (there, back):
        probe.settled(cut, "cut off")
    beside.settled(answered, "answered")
    removed = partition.heal_zone_by_mesh("zone-b", **UNDO)["removed"]
    assert removed == [f"networkchaos/{name}" for name in objects]  # type: ignore[union-attr]
    for probe in (there, back):
        probe.settled(answered, "answered again")

    network.delay_zone(**SHOP, zone="zone-b", delay_ms=60, jitter_ms=5, ttl_s=60)
    there.settled(lambda line: all(took is None or took >= 0.11 for took in line), "a round trip of 120 ms")
    until(lambda: min(took or 1.0 for took in beside.lines()[-1]) < 0.11, "fast beside")
    network.restore_network("zone-b", **UNDO)
    until(lambda: min(took or 1.0 for took in there.lines()[-1]) < 0.06, "fast again")

    network.lose_packets_of_zone(**SHOP, zone="zone-b", loss="50%", ttl_s=60)
    seen = len(there.lines())
    until(lambda: any(took is None or took >= 0.2 for line in there.lines()[seen:] for took in line), "a loss")
    network.restore_network("zone-b", **UNDO)
    for probe in (there, back):
        probe.settled(answered, "answered again")
    until(lambda: ours(api) == [], "nothing of ours left")


def test_a_zone_is_lost_announced_abruptly_and_for_real_and_comes_back(api: ApiClient) -> None:
    """Pods move, or their node is seen to be gone; and the nodes are as before when it is undone."""

    def serving(*but: str) -> bool:
        pods = [pod for zone in "abc" if zone not in but for pod in shop_in(api, zone) if ready(pod)]
        return len(pods) == 6

    def spec(node: str) -> Any:
        return api.get(node_path(node))["spec"]

    before = {name_of(node): node["spec"] for node in api.items(NODES)}
    done = zones.taint_zone(**SHOP, zone="zone-b")
    assert (done["nodes"], len(done["pods"])) == (["node-b"], 2)  # type: ignore[arg-type]
    until(lambda: serving("b"), "moved out of zone-b")
    assert spec("node-b")["unschedulable"]
    assert zones.untaint_zone("zone-b", **UNDO)["undone"] == ["node/node-b"]

    gone = {pod["metadata"]["uid"] for pod in shop_in(api, "c")}
    zones.empty_zone(**SHOP, zone="zone-c")
    assert not gone & {pod["metadata"]["uid"] for zone in "abc" for pod in shop_in(api, zone)}
    until(lambda: serving("c"), "moved out of zone-c")
    assert zones.reopen_zone("zone-c", **UNDO)["undone"] == ["node/node-c"]
    assert {name_of(node): node["spec"] for node in api.items(NODES)} == before

    zones.stop_zone(**SHOP, zone="zone-a", ttl_s=300)
    assert not ready(api.get(node_path("node-a")))
    assert zones.start_zone("zone-a", **UNDO) == {"zone": "zone-a", "undone": ["node/node-a"], "ready": True}
    assert not any("lch.dev/run" in labels_of(node) for node in api.items(NODES))
