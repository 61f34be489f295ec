"""The network itself: its tables, kept in step with the store, and the listening sockets of fronts and pods."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from harness.sandbox.http import Connection
from harness.sandbox.network.balance import Balancer, Ejection
from harness.sandbox.network.link import Links, Target
from harness.sandbox.network.policy import Peer, allowed
from harness.sandbox.network.proxy import Egress, Front
from harness.sandbox.resources import ENDPOINTSLICES, NAMESPACES, NETWORKPOLICIES, PODS, SERVICES, Obj
from harness.sandbox.store import Store

OUTSIDE = Peer(ip="203.0.113.1")
"""Every client of a front: no pod, in no zone. The address is one that documentation uses (RFC 5737)."""

ATTEMPT_TIMEOUT = "lch.sandbox/attempt-timeout-s"
EJECT_AFTER = "lch.sandbox/eject-after-failures"
EJECT_FOR = "lch.sandbox/eject-for-s"
"""Annotations of a service of type LoadBalancer: how its front treats endpoints. Without the first it waits on."""

_FrontKey = tuple[str, str, int]  # namespace, service, port


@dataclass(frozen=True, slots=True)
class _PodNetwork:
    """What a running pod has of the network."""

    ports: Mapping[int, int]  # container port -> real port
    links: Links
    egress: asyncio.Server


class Network:
    """Knows every pod's sockets and every policy; opens and closes fronts as services come and go."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._pods: dict[str, _PodNetwork] = {}  # by virtual IP
        self._peers: dict[str, Peer] = {}
        self._policies: list[Obj] = []
        self._verdicts: dict[tuple[str, str], bool] = {}  # (source IP, target key) -> may pass; for the present tables
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
        self._pods[ip] = _PodNetwork({}, links, server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    def set_ports(self, ip: str, ports: Mapping[int, int]) -> None:
        """Which real port each container port of an attached pod is, from now on."""
        pod = self._pods[ip]
        self._pods[ip] = _PodNetwork(ports, pod.links, pod.egress)
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
        spaces = {obj["metadata"]["name"]: obj["metadata"].get("labels", {}) for obj in self._store.list(NAMESPACES)}
        pods = [pod for pod in self._store.list(PODS) if pod["status"].get("podIP")]
        self._peers = {pod["status"]["podIP"]: _peer(pod, spaces) for pod in pods}
        self._policies = self._store.list(NETWORKPOLICIES)
        self._verdicts.clear()
        for links in (self._outside, *(pod.links for pod in self._pods.values())):
            links.review()
        for (namespace, service, port), (front, _) in self._fronts.items():
            front.set_targets({target.key: target for target in self._ready(namespace, service, port)})

    async def _open_fronts(self) -> None:
        wanted: dict[_FrontKey, Obj] = {
            (service["metadata"]["namespace"], service["metadata"]["name"], port["port"]): service
            for service in self._store.list(SERVICES)
            if service["spec"]["type"] == "LoadBalancer"
            for port in service["spec"]["ports"]
        }
        for key in [key for key in self._fronts if key not in wanted]:
            self._fronts.pop(key)[1].close()
        for key, service in wanted.items():
            notes = service["metadata"].get("annotations") or {}
            if key not in self._fronts:
                await self._open_front(key, notes)
            self._fronts[key][0].attempt_timeout_s = _number(notes, ATTEMPT_TIMEOUT)

    async def _open_front(self, key: _FrontKey, notes: Mapping[str, str]) -> None:
        rule = Ejection()
        after, eject_s = _number(notes, EJECT_AFTER) or rule.failures, _number(notes, EJECT_FOR) or rule.eject_s
        front = Front(self._outside, Balancer(Ejection(failures=int(after), eject_s=eject_s)))
        front.set_targets({target.key: target for target in self._ready(*key)})
        server = await self._loop.create_server(lambda: Connection(front), "127.0.0.1", 0, backlog=1024)
        self._fronts[key] = (front, server)
        entry = {"ip": "127.0.0.1", "ports": [{"port": self.front_port(*key), "protocol": "TCP"}]}

        def publish(service: Obj) -> None:
            load_balancer = service["status"].setdefault("loadBalancer", {})
            load_balancer["ingress"] = [*load_balancer.get("ingress", ()), entry]

        if self._store.find(SERVICES, key[1], key[0]) is not None:
            self._store.update(SERVICES, key[1], key[0], publish)

    def _ready(self, namespace: str, service: str, port: int) -> list[Target]:
        """The ready endpoints behind one port of a service that have a real socket."""
        found = self._store.find(SERVICES, service, namespace)
        names = {item.get("name", "") for item in found["spec"]["ports"] if item["port"] == port} if found else set()
        targets = []
        for endpoints in self._store.list(ENDPOINTSLICES, namespace):
            if endpoints["metadata"].get("labels", {}).get("kubernetes.io/service-name") != service:
                continue
            numbers = [item["port"] for item in endpoints["ports"] or () if (item.get("name") or "") in names]
            ips = [ip for item in endpoints["endpoints"] if item["conditions"].get("ready") for ip in item["addresses"]]
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
        key = (source_ip, target.key)
        if key not in self._verdicts:
            source = self._peers.get(source_ip) or Peer(ip=source_ip)
            other = self._peers.get(target.ip) or Peer(ip=target.ip)
            self._verdicts[key] = allowed(self._policies, source, other, target.port)
        return self._verdicts[key]


def _peer(pod: Obj, namespaces: Mapping[str, Mapping[str, str]]) -> Peer:
    meta = pod["metadata"]
    ports = (port for container in pod["spec"]["containers"] for port in container.get("ports") or ())
    return Peer(
        ip=pod["status"]["podIP"],
        namespace=meta["namespace"],
        labels=meta.get("labels") or {},
        namespace_labels=namespaces.get(meta["namespace"], {}),
        port_names={port["name"]: port["containerPort"] for port in ports if "name" in port},
    )


def _names(service: Obj, from_namespace: str) -> tuple[str, ...]:
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    full = f"{name}.{namespace}"
    short = (name,) if namespace == from_namespace else ()
    return (service["spec"]["clusterIP"], full, f"{full}.svc", f"{full}.svc.cluster.local", *short)


def _number(annotations: Mapping[str, str], key: str) -> float | None:
    try:
        return float(annotations[key])
    except (KeyError, ValueError):  # as with any annotation that its reader does not understand
        return None
