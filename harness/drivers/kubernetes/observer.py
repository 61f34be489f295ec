"""
The observer child: watches what the plan needs, and canaries, and prints what it sees as JSON lines until stdin ends.

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

from harness.drivers.kubernetes import canary, kinds, lag
from harness.drivers.kubernetes.client import ApiClient, ApiError
from harness.drivers.kubernetes.objects import (
    NODES_PATH,
    ROLE,
    RUN,
    SERVICE_NAME,
    ZONE,
    Obj,
    controller_of,
    dead_man_job,
    dead_man_name,
    deployments_path,
    events_path,
    jobs_path,
    labels_of,
    leases_path,
    name_of,
    node_path,
    pods_path,
    replica_sets_path,
    run_label,
    services_path,
    slices_path,
)
from harness.drivers.kubernetes.watch import Pace, View, Watch, in_background
from harness.errors import DriverError
from harness.history.codec import body_line
from harness.history.events import Body, CanarySeen, PreflightChecked, WatchGap

SILENT_S = 5.0  # a canary says something every second
PATHS_S = 30.0  # for every path to have been seen open once
DEFAULT = "default"  # the namespace of events about nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """
    What to watch: the pods and services of (`namespace`, `selector`), the pods of the `others`, and their deployments.

    `deployments` are (namespace, name) of further ones. With faults ahead there are `cut`, the zones that faults of the
    namespace `cut_in` cut off or degrade, and a dead-man Job, which is made for `ttl_s` where it is missing.
    """

    kubeconfig: str
    context: str | None
    namespace: str
    selector: str
    others: tuple[tuple[str, str], ...]
    deployments: tuple[tuple[str, str], ...]
    faults: bool
    cut: tuple[str, ...]
    cut_in: str
    slow_s: float | None
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
        self._zones: dict[str, str] = {"": ""}
        self._watches: list[Watch] = []
        self._awaited: set[tuple[str, str, str]] = set()
        self._all_open = threading.Event()

    def begin(self) -> None:
        """See everything once and start to watch; raises DriverError."""
        for node in self._may("the cluster", NODES_PATH, kinds.nodes()):
            self._zones[name_of(node)] = labels_of(node).get(ZONE, "")
        owners = self._begin_pods()
        namespaces = sorted({self.orders.namespace, *owners, *(space for space, _ in self.orders.deployments)})
        for namespace in namespaces:
            self._begin_workloads(namespace, owners.get(namespace, set()))
            self._may(namespace, leases_path(namespace), kinds.leases())
            self._may(namespace, events_path(namespace), self._warnings(), {"fieldSelector": "type=Warning"})
        if DEFAULT not in namespaces:
            about_nodes = {"fieldSelector": "type=Warning,involvedObject.kind=Node"}
            self._may(DEFAULT, events_path(DEFAULT), self._warnings(), about_nodes)
        for number, watch in enumerate(self._watches):
            in_background(watch.run, f"watch-{number}")
        if self.orders.faults:
            self._measure_lag()
        if self.orders.cut:
            self._release_canaries()

    def report(self, body: Body, mono_ns: int) -> None:
        """Print what was seen."""
        if isinstance(body, CanarySeen) and body.ok and self._awaited:
            self._awaited.discard((body.from_zone, body.to_zone, body.via))
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
            canary.stop(self.api, self.orders.cut_in, self.orders.run)
        except DriverError as error:
            sys.stderr.write(f"canaries are left to the dead-man Job: {error}\n")

    def _begin_pods(self) -> dict[str, set[str]]:
        """The UIDs of what controls the pods watched, by namespace."""
        orders, claims = self.orders, dict[str, object]()
        owners: dict[str, set[str]] = {}
        for namespace, selector in ((orders.namespace, orders.selector), *orders.others):
            there = {"labelSelector": selector} if selector else {}
            found = self._must(pods_path(namespace), kinds.pods(self._zone_of_node, claims), there)
            owners.setdefault(namespace, set()).update(owner["uid"] for pod in found if (owner := controller_of(pod)))
            if (namespace, selector) == (orders.namespace, orders.selector):
                self._begin_endpoints(found)
        return owners

    def _begin_endpoints(self, pods: list[Obj]) -> None:
        services = kinds.services_of(self.api.items(services_path(self.orders.namespace)), pods)
        if services:
            mine = {"labelSelector": f"{SERVICE_NAME} in ({','.join(services)})"}
            self._must(slices_path(self.orders.namespace), kinds.Endpoints(services, self._zone_of_node), mine)

    def _begin_workloads(self, namespace: str, owners: set[str]) -> None:
        names = {name for space, name in self.orders.deployments if space == namespace}
        self._may(namespace, replica_sets_path(namespace), kinds.replica_sets(owners, names))  # fills in the names
        self._may(namespace, deployments_path(namespace), kinds.deployments(names))

    def _must(self, path: str, view: View, query: dict[str, str]) -> list[Obj]:
        """List what the run cannot do without; it is watched from then on."""
        watch = Watch(self.api, path, query, view, self.report)
        found = watch.first()
        self._watches.append(watch)
        return found

    def _may(self, where: str, path: str, view: View, query: dict[str, str] | None = None) -> list[Obj]:
        """List what the run can do without: what is forbidden or unknown is left out, and the record says so."""
        try:
            return self._must(path, view, query or {})
        except ApiError as error:
            if error.status not in (403, 404):
                raise
            what = f"{path.rsplit('/', 1)[-1]} of {where} are not watched: {error}"
            self.report(PreflightChecked(check="observer", ok=False, detail=what), time.monotonic_ns())
            return []

    def _warnings(self) -> View:
        return kinds.Warnings(time.monotonic)

    def _zone_of_node(self, node: str) -> str:
        if node not in self._zones:
            try:
                self._zones[node] = labels_of(self.api.get(node_path(node))).get(ZONE, "")
            except ApiError as error:
                if error.status is None:
                    raise
                self._zones[node] = ""  # gone, or not ours to read: its zone stays unknown
        return self._zones[node]

    def _dead_man(self, namespace: str) -> Obj:
        """The run's dead-man Job; made when it is missing, for whoever holds the cluster to renew."""
        name, labels = dead_man_name(self.orders.run), {RUN: run_label(self.orders.run), ROLE: "dead-man"}
        try:
            return self.api.create(jobs_path(namespace), dead_man_job(name, namespace, labels, self.orders.ttl_s))
        except ApiError as error:
            if error.status != 409:
                raise
            return self.api.get(jobs_path(namespace, name))

    def _measure_lag(self) -> None:
        namespace = self.orders.cut_in
        try:
            lag_s = lag.watch_lag_s(self.api, jobs_path(namespace), name_of(self._dead_man(namespace)))
            found = PreflightChecked(check="watch_latency", ok=True, detail=lag.told(lag_s))
        except ApiError as error:
            found = PreflightChecked(check="watch_latency", ok=False, detail=f"not measured: {error}")
        self.report(found, time.monotonic_ns())

    def _release_canaries(self) -> None:
        orders = self.orders
        job = self._dead_man(orders.cut_in)
        nest = canary.Nest(namespace=orders.cut_in, run=orders.run, slow_s=orders.slow_s, job=job)
        flock = canary.start(self.api, orders.cut, nest, self._wait)
        self._awaited = {(here, there, via) for here, there in canary.paths(flock) for via in canary.LANES}
        for one in flock:
            if not one.twin:
                in_background(partial(self._follow, one), one.name)
        deadline = time.monotonic() + PATHS_S
        while not self._all_open.wait(0.1):
            self._wait(0.0)
            if time.monotonic() > deadline:
                shut = ", ".join(sorted({f"{here} to {there}" for here, there, _ in self._awaited}))
                where = f"kubernetes {self.api.url}: canaries in namespace '{orders.cut_in}'"
                raise DriverError(
                    f"{where} do not reach each other after {PATHS_S:g} s: {shut}; does a policy forbid it?"
                )

    def _wait(self, seconds: float) -> None:
        if self.ended.wait(seconds):
            raise _EndedError

    def _follow(self, one: canary.Canary) -> None:
        """Listen to a canary's log for ever, through the kubelet, which no network policy cuts off."""
        ear, pace = canary.Ear(), Pace(pause_s=0.5)
        alive_ns, failures = time.monotonic_ns(), 0
        while not self.ended.is_set():
            why = "its log ended"
            try:
                path = f"{pods_path(self.orders.cut_in, one.name)}/log"
                for line in self.api.lines(path, {"follow": "true"}, read_s=SILENT_S):
                    alive_ns, failures = time.monotonic_ns(), 0
                    seen = ear.heard(line, alive_ns)
                    if seen:
                        self.report(seen, alive_ns)
            except ApiError as error:
                why = str(error)
            if self.ended.wait(pace.pause(failures)):
                return
            failures += 1
            self.report(WatchGap(since_ns=alive_ns, detail=f"canary {one.name}: {why}"), time.monotonic_ns())


def main() -> int:
    """Play the orders on stdin until it ends; exit code 0 unless observation could not begin."""
    orders: dict[str, Any] = json.loads(sys.stdin.readline())
    pairs = {name: tuple(tuple(pair) for pair in orders[name]) for name in ("others", "deployments")}
    try:
        observer = Observer(Orders(**orders | pairs | {"cut": tuple(orders["cut"])}))
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
