"""
The observer child: watches pods, endpoints and canaries, and prints what it sees as JSON lines until stdin ends.

The first line of stdin is its orders. Lines on stdout are history bodies with their monotonic stamp, between them one
`{"ready": true}` once everything has been seen once, or one `{"error": ..., "hint": ...}` instead.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness.drivers.kubernetes import canary
from harness.drivers.kubernetes.client import ApiClient, ApiError
from harness.drivers.kubernetes.objects import (
    NODES_PATH,
    SERVICE_NAME,
    ZONE,
    labels_of,
    pods_path,
    services_path,
    slices_path,
)
from harness.drivers.kubernetes.watching import PAUSE_MAX_S, Endpoints, Pods, Watch, in_background, services_of
from harness.errors import DriverError
from harness.history.codec import body_line
from harness.history.events import Body, CanarySeen, WatchGap

SILENT_S = 5.0  # a canary says something every second
PATHS_S = 30.0  # for every path to have been seen open once


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What to watch: the pods that `selector` matches, their services, and cuts of the zones in `cut`."""

    kubeconfig: str
    context: str | None
    namespace: str
    selector: str
    cut: tuple[str, ...]
    run: str
    ttl_s: int


class _EndedError(Exception):
    """Stdin ended while the observer was still getting ready."""


class Observer:
    """One run's observation; `report` may be called from any thread."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.api = ApiClient(orders.kubeconfig, orders.context)
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._zones: dict[str, str] = {}
        self._awaited: set[tuple[str, str]] = set()
        self._all_open = threading.Event()

    def begin(self) -> None:
        """See everything once and start to watch; raises DriverError."""
        there = {"labelSelector": self.orders.selector}
        pods = Watch(self.api, pods_path(self.orders.namespace), there, Pods(self._zone_of_node), self.report)
        found = pods.first()
        services = services_of(self.api.items(services_path(self.orders.namespace)), found)
        watches = {"pods": pods}
        if services:
            mine = {"labelSelector": f"{SERVICE_NAME} in ({','.join(services)})"}
            slices = slices_path(self.orders.namespace)
            watches["endpoints"] = Watch(self.api, slices, mine, Endpoints(services), self.report)
            watches["endpoints"].first()
        for name, watch in watches.items():
            in_background(watch.run, name)
        if self.orders.cut:
            self._release_canaries()

    def report(self, body: Body, mono_ns: int) -> None:
        """Print what was seen."""
        if isinstance(body, CanarySeen) and body.ok and self._awaited:
            self._awaited.discard((body.from_zone, body.to_zone))
            if not self._awaited:
                self._all_open.set()
        self.say(body_line(body, mono_ns))

    def say(self, line: str) -> None:
        """Print a line whole."""
        with self._lock:
            try:
                os.write(sys.stdout.fileno(), line.encode() + b"\n")
            except BrokenPipeError:
                self.ended.set()  # nobody listens any more

    def clean_up(self) -> None:
        """Delete the canaries; the dead-man Job does it when this cannot."""
        if not self.orders.cut:
            return
        try:
            canary.stop(self.api, self.orders.namespace, self.orders.run)
        except DriverError as error:
            sys.stderr.write(f"canaries are left to the dead-man Job: {error}\n")

    def _zone_of_node(self, node: str) -> str:
        if node not in self._zones:
            try:
                self._zones[node] = labels_of(self.api.get(f"{NODES_PATH}/{node}")).get(ZONE, "")
            except ApiError as error:
                if error.status is None:
                    raise
                self._zones[node] = ""  # gone, or not ours to read: its zone stays unknown
        return self._zones[node]

    def _release_canaries(self) -> None:
        orders = self.orders
        flock = canary.start(self.api, orders.namespace, orders.cut, orders.run, orders.ttl_s, self._wait)
        self._awaited = set(canary.paths(flock))
        for one in flock:
            if not one.twin:
                in_background(partial(self._follow, one), one.name)
        deadline = time.monotonic() + PATHS_S
        while not self._all_open.wait(0.1):
            self._wait(0.0)
            if time.monotonic() > deadline:
                shut = ", ".join(f"{here} to {there}" for here, there in sorted(self._awaited))
                where = f"kubernetes {self.api.url}: canaries in namespace '{orders.namespace}'"
                raise DriverError(
                    f"{where} do not reach each other after {PATHS_S:g} s: {shut}; does a policy forbid it?"
                )

    def _wait(self, seconds: float) -> None:
        if self.ended.wait(seconds):
            raise _EndedError

    def _follow(self, one: canary.Canary) -> None:
        """Listen to a canary's log for ever, through the kubelet, which no network policy cuts off."""
        ear = canary.Ear()
        alive_ns, pause_s = time.monotonic_ns(), 0.5
        while not self.ended.is_set():
            why = "its log ended"
            try:
                path = f"{pods_path(self.orders.namespace, one.name)}/log"
                for line in self.api.lines(path, {"follow": "true"}, read_s=SILENT_S):
                    alive_ns, pause_s = time.monotonic_ns(), 0.5
                    seen = ear.heard(line, alive_ns)
                    if seen:
                        self.report(seen, alive_ns)
            except ApiError as error:
                why = str(error)
            if self.ended.wait(pause_s):
                return
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
            self.report(WatchGap(since_ns=alive_ns, detail=f"canary {one.name}: {why}"), time.monotonic_ns())


def main() -> int:
    """Play the orders on stdin until it ends; exit code 0 unless observation could not begin."""
    orders: dict[str, Any] = json.loads(sys.stdin.readline())
    try:
        observer = Observer(Orders(**orders | {"cut": tuple(orders["cut"])}))
    except DriverError as error:
        print(_refusal(error), flush=True)  # noqa: T201 - its way to the conductor
        return 1
    in_background(lambda: _until_stdin_ends(observer.ended), "stdin")
    code = 0
    try:
        observer.begin()
        observer.say('{"ready": true}')
        observer.ended.wait()
    except _EndedError:
        pass
    except DriverError as error:
        observer.say(_refusal(error))
        code = 1
    observer.clean_up()
    return code


def _until_stdin_ends(ended: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    ended.set()


def _refusal(error: DriverError) -> str:
    return json.dumps({"error": str(error), "hint": error.hint})


if __name__ == "__main__":
    exit_code = main()
    sys.stderr.flush()
    os._exit(exit_code)  # threads that wait for the server are not waited for
