"""The network itself: its tables, kept in step with the store, and the listening sockets of fronts and pods."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random

from harness.sandbox.http import Connection
from harness.sandbox.network.balance import Balancer
from harness.sandbox.network.chaos import CUT, Fault, fault_of, id_of, records_of, seconds, way_between
from harness.sandbox.network.link import Links, Target, Ways
from harness.sandbox.network.policy import Peer, allowed
from harness.sandbox.network.proxy import Egress, Front
from harness.sandbox.objects import SERVICE_NAME, is_true, labels_of, named_ports, set_condition
from harness.sandbox.resources import (
    ENDPOINTSLICES,
    NAMESPACES,
    NETWORKCHAOS,
    NETWORKPOLICIES,
    NODES,
    PODS,
    SERVICES,
    Obj,
)
from harness.sandbox.store import Store, seconds_since

OUTSIDE = Peer(ip="203.0.113.1")
"""Every client of a front: no pod, in no zone. The address is one that documentation uses (RFC 5737)."""

IDLE_S = 3600.0
"""Nothing changes by itself for so long."""

ATTEMPT_TIMEOUT_S = 0.5
"""How long a front waits for an endpoint's answer before it says 504."""

POWER = "lch.dev/power"
"""Annotation of a node: while it is `off`, packets to and from its pods are dropped."""

_FrontKey = tuple[str, str, int]  # namespace, service, port


@dataclass(slots=True)
class _PodNetwork:
    """What a running pod has of the network."""

    links: Links
    egress: asyncio.Server
    ports: Mapping[int, int] = field(default_factory=dict)  # container port -> real port


class Network:
    """Knows every pod's sockets and every policy; opens and closes fronts as services come and go."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._pods: dict[str, _PodNetwork] = {}  # by virtual IP
        self._peers: dict[str, Peer] = {}
        self._policies: list[Obj] = []
        self._faults: list[Fault] = []
        self._dark: dict[str, str] = {}  # addresses of pods, also of those that are gone, on nodes without power
        self._dice = Random(0)  # seeded: two sandboxes lose the same packets
        self._outside = Links(lambda target: self._ways(OUTSIDE.ip, target), self._dice)
        self._fronts: dict[_FrontKey, tuple[Front, asyncio.Server]] = {}
        self._turn = 0

    async def run(self) -> None:
        """Follow the store until cancelled."""
        watch = self._store.watch(PODS, SERVICES, ENDPOINTSLICES, NETWORKPOLICIES, NAMESPACES, NODES, NETWORKCHAOS)
        try:
            while True:
                again_s = self._inject()
                self._read_tables()
                await self._open_fronts()
                timer = self._loop.call_later(again_s, watch.wake)
                await watch.wait()
                timer.cancel()
                watch.pending()
        finally:
            watch.close()

    async def attach(self, ip: str, namespace: str) -> int:
        """The real port of the egress proxy of the pod that has the virtual address `ip`; it has no ports yet."""
        links = Links(lambda target: self._ways(ip, target), self._dice)
        egress = Egress(links, lambda host, port: self._resolve(host, port, namespace))
        server = await self._loop.create_server(lambda: Connection(egress), "127.0.0.1", 0)
        self._pods[ip] = _PodNetwork(links, server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    def set_ports(self, ip: str, ports: Mapping[int, int]) -> None:
        """Which real port each container port of an attached pod is, from now on."""
        self._pods[ip].ports = ports
        self._read_tables()

    def detach(self, ip: str) -> None:
        """The pod is gone. Idempotent."""
        pod = self._pods.pop(ip, None)
        if pod is not None:
            pod.egress.close()
            pod.links.close()

    def real_ports(self, ip: str) -> Mapping[int, int]:
        """Container port -> real port of the pod with that address; empty when it does not run."""
        pod = self._pods.get(ip)
        return pod.ports if pod else {}

    def front_port(self, namespace: str, service: str, port: int) -> int:
        """The real port of the front of a service of type LoadBalancer. KeyError before it is open."""
        real_port: int = self._fronts[namespace, service, port][1].sockets[0].getsockname()[1]
        return real_port

    def close(self) -> None:
        """Close every socket."""
        for _, server in self._fronts.values():
            server.close()
        self._outside.close()
        for ip in list(self._pods):
            self.detach(ip)

    def _read_tables(self) -> None:
        spaces = {obj["metadata"]["name"]: labels_of(obj) for obj in self._store.list(NAMESPACES)}
        pods = [pod for pod in self._store.list(PODS) if pod["status"].get("podIP")]
        self._peers = {pod["status"]["podIP"]: _peer(pod, spaces) for pod in pods}
        self._policies = self._store.list(NETWORKPOLICIES)
        addresses = {id_of(pod): pod["status"]["podIP"] for pod in pods}
        present = self._store.list(NETWORKCHAOS)
        self._faults = [fault_of(chaos, addresses) for chaos in present if is_true(chaos, "AllInjected")]
        off = {
            node["metadata"]["name"]
            for node in self._store.list(NODES)
            if (node["metadata"].get("annotations") or {}).get(POWER) == "off"
        }
        self._dark |= {pod["status"]["podIP"]: pod["spec"]["nodeName"] for pod in pods}
        self._dark = {ip: node for ip, node in self._dark.items() if node in off}
        for links in (self._outside, *(pod.links for pod in self._pods.values())):
            links.review()
        for (namespace, service, port), (front, _) in self._fronts.items():
            front.set_targets(self._ready(namespace, service, port))

    def _inject(self) -> float:
        """Inject NetworkChaos objects that are new, recover those whose time is over; seconds to the next of these."""
        next_s = IDLE_S
        nodes = {node["metadata"]["name"]: node for node in self._store.list(NODES)}
        for chaos in self._store.list(NETWORKCHAOS):
            meta, injected = chaos["metadata"], is_true(chaos, "AllInjected")
            left_s = IDLE_S
            if "duration" in chaos["spec"]:
                left_s = seconds(chaos["spec"]["duration"]) - seconds_since(meta["creationTimestamp"])
            records = [] if injected or left_s <= 0 else records_of(chaos, self._store.list(PODS), nodes)
            if records or left_s <= 0:
                self._store.update(NETWORKCHAOS, meta["name"], meta["namespace"], partial(_say, records=records))
            if left_s > 0:
                next_s = min(next_s, left_s)
        return next_s

    async def _open_fronts(self) -> None:
        wanted = {
            (service["metadata"]["namespace"], service["metadata"]["name"], port["port"])
            for service in self._store.list(SERVICES)
            if service["spec"]["type"] == "LoadBalancer"
            for port in service["spec"]["ports"]
        }
        for key in self._fronts.keys() - wanted:
            self._fronts.pop(key)[1].close()
        for key in wanted - self._fronts.keys():
            await self._open_front(key)

    async def _open_front(self, key: _FrontKey) -> None:
        namespace, name, _ = key
        front = Front(self._outside, Balancer(), ATTEMPT_TIMEOUT_S)
        front.set_targets(self._ready(*key))
        server = await self._loop.create_server(lambda: Connection(front), "127.0.0.1", 0, backlog=1024)
        self._fronts[key] = (front, server)
        entry = {"ip": "127.0.0.1", "ports": [{"port": self.front_port(*key), "protocol": "TCP"}]}

        def publish(service: Obj) -> None:
            service["status"]["loadBalancer"].setdefault("ingress", []).append(entry)

        if self._store.find(SERVICES, name, namespace) is not None:
            self._store.update(SERVICES, name, namespace, publish)

    def _ready(self, namespace: str, service: str, port: int) -> list[Target]:
        """The ready endpoints behind one port of a service that have a real socket."""
        found = self._store.find(SERVICES, service, namespace)
        names = {item.get("name", "") for item in found["spec"]["ports"] if item["port"] == port} if found else set()
        targets = []
        for endpoints in self._store.list(ENDPOINTSLICES, namespace):
            if labels_of(endpoints).get(SERVICE_NAME) != service:
                continue
            numbers = [item.get("port") for item in endpoints["ports"] if item.get("name", "") in names]
            ready = [item for item in endpoints["endpoints"] if (item.get("conditions") or {}).get("ready")]
            ips = [ip for item in ready for ip in item["addresses"]]
            targets += [target for ip in ips for number in numbers if (target := self._target(ip, number))]
        return targets

    def _target(self, ip: str, port: int) -> Target | None:
        real_port = self.real_ports(ip).get(port)
        if not real_port and ip in self._dark:  # nobody knows yet that there is no pod any more
            return Target(ip, port, 0)
        return Target(ip, port, real_port) if real_port else None

    def _resolve(self, host: str, port: int, from_namespace: str) -> Target | None:
        """What a pod reaches under `host`: a pod's address, or one ready endpoint of a service, in turn."""
        if host in self._pods:
            return self._target(host, port)
        service = next((obj for obj in self._store.list(SERVICES) if host in _names(obj, from_namespace)), None)
        if service is None:
            return None
        ready = self._ready(service["metadata"]["namespace"], service["metadata"]["name"], port)
        self._turn += 1
        return ready[self._turn % len(ready)] if ready else None

    def _ways(self, source_ip: str, target: Target) -> Ways:
        source = self._peers.get(source_ip) or Peer(ip=source_ip)
        other = self._peers.get(target.ip) or Peer(ip=target.ip)
        dark = source_ip in self._dark or target.ip in self._dark
        if dark or not allowed(self._policies, source, other, target.port):
            return CUT, CUT
        return way_between(self._faults, source_ip, target.ip), way_between(self._faults, target.ip, source_ip)


def _say(chaos: Obj, records: list[Obj]) -> None:
    """What the status of a NetworkChaos is with these pods affected; with none: that it is over."""
    chaos.setdefault("status", {}).setdefault("experiment", {})["desiredPhase"] = "Run" if records else "Stop"
    if records:
        chaos["status"]["experiment"]["containerRecords"] = records
    for record in chaos["status"]["experiment"].get("containerRecords", ()):
        record["phase"] = "Injected" if records else "Not Injected"
    set_condition(chaos, "Selected", "True")
    set_condition(chaos, "AllInjected", str(bool(records)))
    set_condition(chaos, "AllRecovered", str(not records))


def _peer(pod: Obj, namespaces: Mapping[str, Mapping[str, str]]) -> Peer:
    namespace = pod["metadata"]["namespace"]
    return Peer(
        ip=pod["status"]["podIP"],
        namespace=namespace,
        labels=labels_of(pod),
        namespace_labels=namespaces.get(namespace, {}),
        port_names=named_ports(pod["spec"]),
    )


def _names(service: Obj, from_namespace: str) -> tuple[str, ...]:
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    full = f"{name}.{namespace}"
    short = (name,) if namespace == from_namespace else ()
    return (service["spec"]["clusterIP"], full, f"{full}.svc", f"{full}.svc.cluster.local", *short)
