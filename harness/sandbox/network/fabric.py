"""The network itself: its tables, kept in step with the store, and the listening sockets of fronts and pods."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.sandbox.http import Connection
from harness.sandbox.network.balance import Balancer
from harness.sandbox.network.link import Links, Target
from harness.sandbox.network.policy import Peer, allowed
from harness.sandbox.network.proxy import Egress, Front
from harness.sandbox.objects import SERVICE_NAME, labels_of, named_ports
from harness.sandbox.resources import ENDPOINTSLICES, NAMESPACES, NETWORKPOLICIES, PODS, SERVICES, Obj
from harness.sandbox.store import Store

OUTSIDE = Peer(ip="203.0.113.1")
"""Every client of a front: no pod, in no zone. The address is one that documentation uses (RFC 5737)."""

ATTEMPT_TIMEOUT_S = 0.5
"""How long a front waits for an endpoint's answer before it says 504."""

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
        self._outside = Links(lambda target: self._may_pass(OUTSIDE.ip, target))
        self._fronts: dict[_FrontKey, tuple[Front, asyncio.Server]] = {}
        self._turn = 0

    async def run(self) -> None:
        """Follow the store until cancelled."""
        watch = self._store.watch(PODS, SERVICES, ENDPOINTSLICES, NETWORKPOLICIES, NAMESPACES)
        try:
            while True:
                self._read_tables()
                await self._open_fronts()
                await watch.wait()
                watch.pending()
        finally:
            watch.close()

    async def attach(self, ip: str, namespace: str) -> int:
        """The real port of the egress proxy of the pod that has the virtual address `ip`; it has no ports yet."""
        links = Links(lambda target: self._may_pass(ip, target))
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
        for links in (self._outside, *(pod.links for pod in self._pods.values())):
            links.review()
        for (namespace, service, port), (front, _) in self._fronts.items():
            front.set_targets(self._ready(namespace, service, port))

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

    def _may_pass(self, source_ip: str, target: Target) -> bool:
        source = self._peers.get(source_ip) or Peer(ip=source_ip)
        other = self._peers.get(target.ip) or Peer(ip=target.ip)
        return allowed(self._policies, source, other, target.port)


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
