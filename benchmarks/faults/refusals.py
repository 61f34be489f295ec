"""
Undoing a partition against an API server that hangs or answers 409, 410, 429 or 500, on the sandbox.

    python benchmarks/faults/refusals.py [passing|lasting]

`passing`: it does so for PASSING_S from the moment the rollback is asked for, and the fault must be undone anyway.
`lasting`: it goes on (one hanging, one with 500): the rollback must be reported failed within LASTING_S, `heal` must
say that the fault is not undone, and undo it once the server works again. Without an argument both. Exit code 1
otherwise.
"""

from __future__ import annotations

import http.client
import sys
import tempfile
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from stage import Cluster, cluster, plan

from harness.drivers.chaos import heal
from harness.drivers.chaos.driver import ChaosDriver
from harness.drivers.chaos.ledger import State
from harness.history.events import Body, InjectCompleted, InjectFailed, RollbackCompleted, RollbackFailed
from harness.plan.model import Plan

PASSING_S = 3.0
LASTING_S = 60.0  # as long as the conductor waits for a rollback
HANG = 0  # instead of a status: no answer at all
MODES = (HANG, 409, 410, 429, 500)


class Proxy(ThreadingHTTPServer):
    """The API server as it is, or refusing everything with `status`."""

    daemon_threads = True

    def __init__(self, api_url: str) -> None:
        server = urlsplit(api_url)
        self.upstream = (str(server.hostname), int(server.port or 80))
        self.status: int | None = None  # None: it works
        super().__init__(("127.0.0.1", 0), Relay)


class Relay(BaseHTTPRequestHandler):
    """One request, passed on or refused."""

    protocol_version = "HTTP/1.0"
    server: Proxy

    def answer(self) -> None:
        """Pass on, refuse, or say nothing for a while."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status = self.server.status
        if status == HANG:
            until = time.monotonic() + 30
            while self.server.status == HANG and time.monotonic() < until:
                time.sleep(0.05)
            return
        if status is not None:
            self.reply(status, b'{"kind":"Status","status":"Failure","message":"as the test says"}')
            return
        upstream = http.client.HTTPConnection(*self.server.upstream, timeout=20)
        upstream.request(self.command, self.path, body or None, dict(self.headers))
        found = upstream.getresponse()
        self.reply(found.status, found.read())
        upstream.close()

    do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 - as the base class calls them

    def reply(self, status: int, body: bytes) -> None:
        """Send it."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def until(driver: ChaosDriver, *kinds: type, within_s: float) -> Body | None:
    """The first of these that is reported."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        for stamped in driver.poll():
            if isinstance(stamped.body, kinds):
                return stamped.body
        time.sleep(0.01)
    return None


def injected(chosen: Plan, directory: Path) -> ChaosDriver:
    """A driver whose fault is on."""
    found = chosen.service.cluster
    assert found is not None
    driver = ChaosDriver(
        chosen,
        run="/".join(directory.parts[-3:-1]),
        directory=directory,
        kubeconfig=found.kubeconfig,
        context=found.context,
    )
    driver.preflight()
    driver.inject(chosen.faults[0])
    body = until(driver, InjectCompleted, InjectFailed, within_s=30)
    if not isinstance(body, InjectCompleted):
        driver.close()
        raise SystemExit(f"the fault could not be injected: {body}")
    return driver


def passing(status: int, chosen: Plan, proxy: Proxy, place: Cluster, folder: Path) -> list[str]:
    """What is wrong when the server works again after PASSING_S."""
    driver = injected(chosen, folder / "passing" / f"{status}" / "chaos")
    proxy.status = status
    threading.Timer(PASSING_S, lambda: setattr(proxy, "status", None)).start()
    begun_s = time.monotonic()
    driver.rollback(chosen.faults[0])
    body = until(driver, RollbackCompleted, RollbackFailed, within_s=LASTING_S)
    took_s = time.monotonic() - begun_s
    left = place.faulty()
    driver.close()
    print(f"passing {status or 'hang'}: {type(body).__name__} after {took_s:.2f} s", flush=True)
    return [f"{body}"] * (not isinstance(body, RollbackCompleted)) + [f"left: {name}" for name in left]


def lasting(status: int, chosen: Plan, proxy: Proxy, place: Cluster, folder: Path) -> list[str]:
    """What is wrong when the server works again only after the run."""
    results = folder / f"lasting-{status}"
    driver = injected(chosen, results / "drill" / "1" / "chaos")
    proxy.status = status
    begun_s = time.monotonic()
    driver.rollback(chosen.faults[0])
    body = until(driver, RollbackCompleted, RollbackFailed, within_s=LASTING_S + 30)
    took_s = time.monotonic() - begun_s
    driver.close()
    print(f"lasting {status or 'hang'}: {type(body).__name__} after {took_s:.2f} s", flush=True)
    wrong = [f"{body}"] * (not isinstance(body, RollbackFailed)) + [f"took {took_s:.1f} s"] * (took_s > LASTING_S)
    refused = [one.outcome for one in heal.heal(results)]
    proxy.status = None
    healed = [one.outcome for one in heal.heal(results)]
    print(f"  heal said {[*map(str, refused)]}, and {[*map(str, healed)]} when the server worked again", flush=True)
    if (refused, healed) != ([State.NOT_UNDONE], [State.UNDONE]):
        wrong.append("heal")
    return wrong + [f"left: {name}" for name in place.faulty()]


def main(what: str) -> int:
    """Play them all; the exit code."""
    wrong: list[str] = []
    with cluster() as place, tempfile.TemporaryDirectory(prefix="lch-refusals-") as scratch:
        folder = Path(scratch)
        proxy = Proxy(place.endpoints.api_url)
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        config = Path(place.endpoints.kubeconfig).read_text(encoding="utf-8")
        rough = folder / "kubeconfig"
        rough.write_text(config.replace(place.endpoints.api_url.rpartition(":")[2], str(proxy.server_port)))
        chosen = plan(folder, "partition", place.endpoints)
        assert chosen.service.cluster is not None
        through = replace(chosen.service.cluster, kubeconfig=str(rough), dead_man_s=120)
        chosen = replace(chosen, service=replace(chosen.service, cluster=through))
        if what != "lasting":
            wrong += [one for status in MODES for one in passing(status, chosen, proxy, place, folder)]
        if what != "passing":
            wrong += [one for status in (HANG, 500) for one in lasting(status, chosen, proxy, place, folder)]
        proxy.shutdown()
    for one in wrong:
        print(f"FAIL: {one}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "all"))
