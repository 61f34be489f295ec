"""
What the cluster showed while a run went on: pods, endpoints, nodes, rollouts, leases, and what canaries found.

A part of the events of a run; see `events`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class CanarySeen:
    """
    A canary's view of one path changed (or was seen first): probes from `from_zone` to `to_zone` now succeed or fail.

    The change lies in [lo_ns, hi_ns]: from the last probe sent with the old result to the first with the new one.
    """

    kind: ClassVar[str] = "canary_seen"
    from_zone: str
    to_zone: str
    ok: bool
    lo_ns: int
    hi_ns: int
    via: str = "new"  # over "new" connections, or over one that is kept "open": a cut need not end those


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryCounted:
    """
    About a second of a canary's probes of one path: how many were sent in [lo_ns, hi_ns), failed, and were slow.

    Slow is answered, but later than the plan's faults allow (Experiment.slow_s, the smallest).
    """

    kind: ClassVar[str] = "canary_counted"
    from_zone: str
    to_zone: str
    lo_ns: int
    hi_ns: int
    sent: int
    failed: int
    slow: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSeen:
    """The Kubernetes watch showed a pod, new or changed. `phase` is Kubernetes' pod phase."""

    kind: ClassVar[str] = "pod_seen"
    pod: str
    uid: str
    zone: str
    node: str
    phase: str
    ready: bool
    terminating: bool
    owner: str = ""  # UID of the object that controls it


@dataclass(frozen=True, slots=True, kw_only=True)
class PodGone:
    """The Kubernetes watch showed a pod deleted."""

    kind: ClassVar[str] = "pod_gone"
    pod: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointsSeen:
    """The endpoints in service changed: how many are ready."""

    kind: ClassVar[str] = "endpoints_seen"
    service: str
    ready: int
    zones: tuple[tuple[str, int], ...] = ()  # the same by zone, sorted; a zone that never had one is left out


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSeen:
    """The Kubernetes watch showed a node, new or changed."""

    kind: ClassVar[str] = "node_seen"
    node: str
    zone: str
    ready: bool  # its Ready condition is True; False and Unknown are both not
    schedulable: bool  # not cordoned
    taints: tuple[str, ...]  # keys, sorted


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGone:
    """The Kubernetes watch showed a node deleted."""

    kind: ClassVar[str] = "node_gone"
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSeen:
    """The Kubernetes watch showed a deployment, new or changed: how far its rollout has come."""

    kind: ClassVar[str] = "deployment_seen"
    deployment: str
    generation: int  # of the specification
    observed: int  # the generation that the status below is about
    wanted: int  # replicas
    replicas: int  # of all revisions
    updated: int  # of the newest revision
    ready: int
    available: int
    stuck: bool  # it gave up: Progressing is False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSetSeen:
    """The Kubernetes watch showed a ReplicaSet, new or changed: one revision of a deployment."""

    kind: ClassVar[str] = "replica_set_seen"
    replica_set: str
    uid: str
    deployment: str
    revision: int  # the deployment's; undoing a rollout gives an old ReplicaSet a new number
    replicas: int
    ready: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSeen:
    """The Kubernetes watch showed a lease in new hands; an empty holder: in nobody's."""

    kind: ClassVar[str] = "lease_seen"
    lease: str
    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterWarned:
    """A Kubernetes event of type Warning about the namespace's objects or a node."""

    kind: ClassVar[str] = "cluster_warned"
    about: str  # "pod/shop-1"
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchGap:
    """The watch was blind from `since_ns` until this event."""

    kind: ClassVar[str] = "watch_gap"
    since_ns: int
    detail: str
