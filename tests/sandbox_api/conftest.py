"""A small cluster for tests: the API server, the controllers and a kubelet that only pretends to run pods."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.sandbox.api import kubeconfig, serve_api
from harness.sandbox.controllers import run_controllers
from harness.sandbox.node import node_object
from harness.sandbox.objects import record_event, set_condition
from harness.sandbox.resources import NODES, PODS, Obj
from harness.sandbox.store import Store, timestamp


def add_nodes(store: Store, zones: str = "abc") -> None:
    for zone in zones:
        store.create(NODES, node_object(f"node-{zone}", f"zone-{zone}"))


async def pretend_kubelet(store: Store) -> None:
    """Mark every scheduled pod running and ready at once; end every deleted pod at once."""
    addresses = (f"10.42.0.{n}" for n in itertools.count(1))
    watch = store.watch(PODS, since=0)
    async for change in watch:
        meta = change.obj["metadata"]
        pod = store.find(PODS, meta["name"], meta["namespace"])
        if pod is None or pod["metadata"]["uid"] != meta["uid"] or not pod["spec"].get("nodeName"):
            continue
        if "deletionTimestamp" in pod["metadata"]:
            record_event(store, pod, "Killing", "Stopping container", component="kubelet")
            store.remove(PODS, meta["name"], meta["namespace"], meta["uid"])
        elif pod["status"]["phase"] == "Pending":
            ip = next(addresses)
            store.update(PODS, meta["name"], meta["namespace"], lambda obj, ip=ip: run(obj, ip))
            record_event(store, pod, "Started", "Started container", component="kubelet")


def run(pod: Obj, ip: str) -> None:
    """Change a pod's status to what a kubelet writes for a running, ready pod."""
    started = {"running": {"startedAt": timestamp()}}
    pod["status"] |= {
        "phase": "Running",
        "podIP": ip,
        "hostIP": "127.0.0.1",
        "startTime": timestamp(),
        "containerStatuses": [
            {
                "name": one["name"],
                "image": one.get("image", ""),
                "imageID": "",
                "ready": True,
                "restartCount": 0,
                "state": started,
            }
            for one in pod["spec"]["containers"]
        ],
    }
    set_condition(pod, "Ready", "True")


async def pretend_logs(pod: Obj, container: str, follow: bool, tail: int | None) -> AsyncIterator[bytes]:  # noqa: FBT001
    lines = [b"first\n", b"second\n"]
    for line in lines[-tail:] if tail else lines:
        yield line
    if follow:
        yield b"followed\n"


async def settle() -> None:
    """Let the controllers and the kubelet run until nothing more is due."""
    for _ in range(200):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running_controllers(store: Store, *, kubelet: bool = True) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(run_controllers(store))]
    if kubelet:
        tasks.append(asyncio.create_task(pretend_kubelet(store)))
    try:
        await settle()
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def store() -> Store:
    """A store with three ready nodes in three zones."""
    made = Store()
    add_nodes(made)
    return made


@pytest.fixture
def reconciled(store: Store) -> Callable[..., None]:
    """Run steps one after the other, and after each the controllers and the kubelet until nothing more is due."""

    def play(*steps: Callable[[], object], kubelet: bool = True) -> None:
        async def live() -> None:
            async with running_controllers(store, kubelet=kubelet):
                for step in steps:
                    step()
                    await settle()

        asyncio.run(live())

    return play


def deployment(name: str = "shop", replicas: int = 6, **spec: object) -> Obj:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {
            "containers": [{"name": name, "image": "shop:good", "ports": [{"name": "http", "containerPort": 8080}]}]
        },
    }
    return {
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template, **spec},
    }


@pytest.fixture
def shop() -> Callable[..., Obj]:
    """A Deployment in the namespace default: `shop(name, replicas, **spec)`."""
    return deployment


@dataclass(frozen=True)
class Cluster:
    url: str
    kubeconfig: Path
    store: Store
    loop: asyncio.AbstractEventLoop


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A served cluster with three nodes, in a thread of its own, for blocking clients; KUBECONFIG leads to it."""
    made: list[Cluster] = []
    stop = asyncio.Event()
    ready = threading.Event()

    async def live() -> None:
        store = Store()
        add_nodes(store)
        server = await serve_api(store, pretend_logs)
        path = tmp_path / "kubeconfig"
        path.write_text(kubeconfig(server.url))
        made.append(Cluster(server.url, path, store, asyncio.get_running_loop()))
        async with running_controllers(store):
            ready.set()
            await stop.wait()
        await server.close()

    thread = threading.Thread(target=lambda: asyncio.run(live()), daemon=True)
    thread.start()
    assert ready.wait(30)
    monkeypatch.setenv("KUBECONFIG", str(made[0].kubeconfig))
    monkeypatch.setenv("HOME", str(tmp_path))
    yield made[0]
    made[0].loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    assert not thread.is_alive()
