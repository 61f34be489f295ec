"""
What lists and watch events of each kind of objects mean: only what is new of them becomes an event of the run. Pure,
but for `Warnings`, which reads the clock that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.drivers.kubernetes.objects import (
    LEASE,
    SERVICE_NAME,
    ZONE,
    Obj,
    controller_of,
    labels_of,
    name_of,
    node_of,
    ready,
    terminating,
    zone_of,
)
from harness.history.events import (
    Body,
    ClusterWarned,
    DeploymentSeen,
    EndpointsSeen,
    LeaseSeen,
    NodeGone,
    NodeSeen,
    PodGone,
    PodSeen,
    ReplicaSetSeen,
)

REVISION = "deployment.kubernetes.io/revision"
WARNINGS_PER_S = 10
SAME_S = 60.0  # a warning that is given again and again is told once in this time
REMEMBERED = 1000  # warnings told

ZoneOf = Callable[[str], str]
"""The zone of the node of that name; empty when it is not known."""


@dataclass(slots=True)
class Known:
    """
    A view of objects by UID: `seen` says what an object is now, `gone` what its end is.

    Either is None for what is not of interest. An object is told when it is first seen and when what is said of it
    changes.
    """

    seen: Callable[[Obj], Body | None]
    gone: Callable[[Any], Body | None]  # takes what `seen` gave last
    known: dict[str, Body] = field(default_factory=dict)

    def listed(self, found: Sequence[Obj]) -> Iterator[Body]:
        """See watch.View."""
        there = {obj["metadata"]["uid"] for obj in found}
        for uid in [uid for uid in self.known if uid not in there]:
            yield from self._end(uid)
        for obj in found:
            yield from self.changed("ADDED", obj)

    def changed(self, kind: str, obj: Obj) -> Iterator[Body]:
        """See watch.View."""
        uid = obj["metadata"]["uid"]
        if kind == "DELETED":
            yield from self._end(uid)
            return
        body = self.seen(obj)
        if body is not None and self.known.get(uid) != body:
            self.known[uid] = body
            yield body

    def _end(self, uid: str) -> Iterator[Body]:
        last = self.known.pop(uid, None)
        end = None if last is None else self.gone(last)
        if end is not None and end != last:
            yield end


def pods(zone_of_node: ZoneOf, claims: dict[str, object]) -> Known:
    """
    A view of pods. `zone_of_node` is asked for the zone of a node when a pod does not carry its zone.

    Of several views that share `claims`, a pod belongs to the one that saw it first.
    """
    me = object()

    def seen(pod: Obj) -> PodSeen | None:
        uid, node, zone = pod["metadata"]["uid"], node_of(pod), zone_of(pod, {})
        if claims.setdefault(uid, me) is not me:
            return None
        return PodSeen(
            pod=name_of(pod),
            uid=uid,
            zone=zone or (zone_of_node(node) if node else ""),
            node=node,
            phase=pod.get("status", {}).get("phase", "Unknown"),
            ready=ready(pod),
            terminating=terminating(pod),
            owner=(controller_of(pod) or {}).get("uid", ""),
        )

    return Known(seen, lambda last: PodGone(pod=last.pod, uid=last.uid))


def nodes() -> Known:
    """A view of nodes."""

    def seen(node: Obj) -> NodeSeen:
        spec = node.get("spec") or {}
        return NodeSeen(
            node=name_of(node),
            zone=labels_of(node).get(ZONE, ""),
            ready=ready(node),
            schedulable=not spec.get("unschedulable"),
            taints=tuple(sorted(taint["key"] for taint in spec.get("taints") or [])),
        )

    return Known(seen, lambda last: NodeGone(node=last.node))


def replica_sets(owners: set[str], deployments: set[str]) -> Known:
    """
    A view of the ReplicaSets of `deployments`, to which those are added whose ReplicaSets' UIDs are in `owners`.

    One that is deleted has no pods, and is told to have none.
    """

    def seen(replica_set: Obj) -> ReplicaSetSeen | None:
        meta, status = replica_set["metadata"], replica_set.get("status") or {}
        deployment = (controller_of(replica_set) or {}).get("name", "")
        if meta["uid"] in owners and deployment:
            deployments.add(deployment)
        if deployment not in deployments:
            return None
        return ReplicaSetSeen(
            replica_set=name_of(replica_set),
            uid=meta["uid"],
            deployment=deployment,
            revision=int((meta.get("annotations") or {}).get(REVISION) or 0),
            replicas=status.get("replicas", 0),
            ready=status.get("readyReplicas", 0),
        )

    return Known(seen, lambda last: replace(last, replicas=0, ready=0))


def deployments(names: set[str]) -> Known:
    """A view of the deployments of these names. One that is deleted wants nothing and has nothing."""

    def seen(deployment: Obj) -> DeploymentSeen | None:
        meta, status = deployment["metadata"], deployment.get("status") or {}
        if name_of(deployment) not in names:
            return None
        progress = [one["status"] for one in status.get("conditions") or [] if one["type"] == "Progressing"]
        return DeploymentSeen(
            deployment=name_of(deployment),
            generation=meta.get("generation", 0),
            observed=status.get("observedGeneration", 0),
            wanted=deployment["spec"].get("replicas", 1),
            replicas=status.get("replicas", 0),
            updated=status.get("updatedReplicas", 0),
            ready=status.get("readyReplicas", 0),
            available=status.get("availableReplicas", 0),
            stuck="False" in progress,
        )

    return Known(seen, lambda last: replace(last, wanted=0, replicas=0, updated=0, ready=0, available=0, stuck=False))


def leases() -> Known:
    """A view of leases and who holds them; the harness's own is not of interest."""

    def seen(lease: Obj) -> LeaseSeen | None:
        holder = (lease.get("spec") or {}).get("holderIdentity") or ""
        return None if name_of(lease) == LEASE else LeaseSeen(lease=name_of(lease), holder=holder)

    return Known(seen, lambda last: replace(last, holder=""))


@dataclass(slots=True)
class Endpoints:
    """How many endpoints of each service are ready, over all its EndpointSlices (of all address families)."""

    services: tuple[str, ...]
    zone_of_node: ZoneOf
    slices: dict[str, Obj] = field(default_factory=dict)
    said: dict[str, EndpointsSeen] = field(default_factory=dict)

    def listed(self, found: Sequence[Obj]) -> Iterator[Body]:
        """See watch.View."""
        self.slices = {name_of(one): one for one in found}
        yield from self._news()

    def changed(self, kind: str, obj: Obj) -> Iterator[Body]:
        """See watch.View."""
        if kind == "DELETED":
            self.slices.pop(name_of(obj), None)
        else:
            self.slices[name_of(obj)] = obj
        yield from self._news()

    def _news(self) -> Iterator[Body]:
        for service in self.services:
            mine = [one for one in self.slices.values() if labels_of(one).get(SERVICE_NAME) == service]
            ready = {
                _target(one): self._zone(one) for each in mine for one in each.get("endpoints") or [] if _serves(one)
            }
            before = self.said.get(service)
            zones = {zone for zone, _ in before.zones} if before else set()
            found = list(ready.values())
            counts = tuple((zone, found.count(zone)) for zone in sorted(zones | set(found) - {""}))
            now = EndpointsSeen(service=service, ready=len(ready), zones=counts)
            if now != before:
                self.said[service] = now
                yield now

    def _zone(self, endpoint: Obj) -> str:
        return endpoint.get("zone") or self.zone_of_node(endpoint.get("nodeName") or "")


def _serves(endpoint: Obj) -> bool:
    # An unknown state is to be read as ready (Kubernetes API reference, EndpointConditions.ready).
    return (endpoint.get("conditions") or {}).get("ready") is not False


def _target(endpoint: Obj) -> str:
    return str((endpoint.get("targetRef") or {}).get("uid") or endpoint["addresses"][0])


def services_of(services: Sequence[Obj], pods: Sequence[Obj]) -> tuple[str, ...]:
    """The names of the services whose selector matches at least one of the pods, sorted."""
    named = []
    for service in services:
        wanted = (service["spec"].get("selector") or {}).items()
        if wanted and any(wanted <= labels_of(pod).items() for pod in pods):
            named.append(name_of(service))
    return tuple(sorted(named))


@dataclass(slots=True)
class Warnings:
    """
    Kubernetes events of type Warning that happen from the first list on: each told once in SAME_S.

    No more than WARNINGS_PER_S are told in a second; that more were left out is told in their place.
    """

    now_s: Callable[[], float]
    versions: dict[str, str] | None = None  # by UID: an event that happens again gets a new one
    told: dict[ClusterWarned, float] = field(default_factory=dict)
    recent: list[float] = field(default_factory=list)  # when the latest ones were told

    def listed(self, found: Sequence[Obj]) -> Iterator[Body]:
        """See watch.View."""
        before, self.versions = self.versions, {_uid(event): _version(event) for event in found}
        for event in found:
            if before is not None and before.get(_uid(event)) != _version(event):
                yield from self._tell(event)

    def changed(self, kind: str, obj: Obj) -> Iterator[Body]:
        """See watch.View."""
        versions = self.versions = {} if self.versions is None else self.versions
        if kind == "DELETED":  # it is old
            versions.pop(_uid(obj), None)
            return
        versions[_uid(obj)] = _version(obj)
        yield from self._tell(obj)

    def _tell(self, event: Obj) -> Iterator[Body]:
        about, now = event.get("involvedObject") or {}, self.now_s()
        body = ClusterWarned(
            about=f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}",
            reason=str(event.get("reason") or ""),
            message=str(event.get("message") or ""),
        )
        if now - self.told.get(body, -SAME_S) < SAME_S:
            return
        self.recent = [at for at in self.recent if now - at < 1.0]
        if len(self.recent) > WARNINGS_PER_S:
            return
        self.recent.append(now)
        if len(self.recent) > WARNINGS_PER_S:
            more = f"more than {WARNINGS_PER_S} warnings in a second; some are left out"
            yield ClusterWarned(about="", reason="TooMany", message=more)
            return
        self.told.pop(body, None)  # so that the oldest come first
        self.told[body] = now
        for old in list(self.told)[:-REMEMBERED]:
            del self.told[old]
        yield body


def _uid(event: Obj) -> str:
    return str(event["metadata"]["uid"])


def _version(event: Obj) -> str:
    return str(event["metadata"]["resourceVersion"])
