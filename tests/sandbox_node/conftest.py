"""Real sandboxes for the tests marked real, and small clients for them."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster_at_rest import wait_for_rest

from harness import sandbox


@dataclass
class Client:
    """What a test asks a running sandbox."""

    endpoints: sandbox.Endpoints

    def get(self, path: str = "/items") -> tuple[int, str]:
        """Status and zone of a request through the front, on a connection of its own."""
        try:
            with urllib.request.urlopen(self.endpoints.url + path, timeout=30) as answer:
                return answer.status, answer.headers["x-zone"]
        except urllib.error.HTTPError as error:
            error.close()
            return error.code, ""

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON that the API answers with; None for plain text."""
        return self.send(method, path, None if body is None else json.dumps(body).encode())

    def send(self, method: str, path: str, data: bytes | None, kind: str = "application/json") -> Any:
        """The same for a body of any content type."""
        headers = {"Content-Type": kind}
        request = urllib.request.Request(self.endpoints.api_url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
        return json.loads(text) if answer.headers["content-type"].startswith("application/json") else text

    def pods(self, app: str = "shop") -> list[Any]:
        return list(self.api("GET", f"/api/v1/namespaces/shop/pods?labelSelector=app%3D{app}")["items"])

    def ready(self) -> set[str]:
        """Names of the shop's pods that are ready and stay."""
        return {
            pod["metadata"]["name"]
            for pod in self.pods()
            if "deletionTimestamp" not in pod["metadata"]
            and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
        }


def until(done: Callable[[], bool], seconds: float) -> float:
    """Seconds until `done` came true; fails after `seconds`, as they pass on a machine that is four times as slow."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < 4 * seconds, f"not within {4 * seconds} s"
        time.sleep(0.02)
    return time.monotonic() - began


def processes(endpoints: sandbox.Endpoints) -> list[psutil.Process]:
    """The control plane and everything it has started."""
    control = psutil.Process(endpoints.pid)
    return [control, *control.children(recursive=True)]


def alive(started: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in started if _lives(process)]


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # it ended between the two looks
        return False


@pytest.fixture(name="until")
def _until() -> Callable[[Callable[[], bool], float], float]:
    return until


@pytest.fixture(name="processes")
def _processes() -> Callable[[sandbox.Endpoints], list[psutil.Process]]:
    return processes


@pytest.fixture(name="alive")
def _alive() -> Callable[[list[psutil.Process]], list[psutil.Process]]:
    return alive


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sandbox")


@pytest.fixture(scope="module")
def shared(state_dir: Path) -> Iterator[Client]:
    """A good sandbox, shared by the tests of a module; each leaves it as it was."""
    endpoints = sandbox.up("good", state_dir, owned=True)
    yield Client(endpoints)
    sandbox.down(state_dir)


@pytest.fixture
def client(shared: Client) -> Client:
    """That sandbox, at rest."""
    wait_for_rest(shared.endpoints.kubeconfig)
    return shared
