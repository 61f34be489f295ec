"""What the preflight reads from a cluster, once, before it decides anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.drivers.kubernetes.objects import (
    BESIDE,
    HARNESS,
    NODES_PATH,
    PROMETHEUS,
    REAPER,
    Obj,
    budgets_path,
    deployments_path,
    labels_of,
    name_of,
    node_of,
    pods_path,
    policies_path,
    replica_sets_path,
    running,
    uid_of,
    zone_of,
    zones_of,
)
from harness.plan.model import Fault, Observe

if TYPE_CHECKING:
    from harness.drivers.kubernetes.client import ApiClient

ONE_BY_ONE = 20  # so many nodes are asked for their pods; for more of them all pods are listed once


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A cluster as it was before the run. Mappings are by namespace; a namespace that was not read has nothing."""

    nodes: tuple[Obj, ...] = ()
    pods: Mapping[str, tuple[Obj, ...]] = field(default_factory=dict)
    matching: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)  # UIDs by namespace and selector
    deployments: Mapping[str, tuple[Obj, ...]] = field(default_factory=dict)
    replica_sets: Mapping[str, tuple[Obj, ...]] = field(default_factory=dict)
    policies: Mapping[str, tuple[Obj, ...]] = field(default_factory=dict)
    budgets: Mapping[str, tuple[Obj, ...]] = field(default_factory=dict)
    autoscalers: Mapping[str, tuple[Obj, ...]] = field(default_factory=dict)
    beside: tuple[Obj, ...] | None = ()  # running pods of the harness, the reaper and Prometheus; None: not allowed
    crowd: Mapping[str, tuple[Obj, ...]] | None = field(default_factory=dict)  # running pods by node; None: not allowed
    version: tuple[int, int] = (1, 0)  # of the API server

    @property
    def zones(self) -> dict[str, str]:
        """Zone by node name."""
        return zones_of(self.nodes)

    def running(self, namespace: str) -> tuple[Obj, ...]:
        """The namespace's running pods."""
        return tuple(pod for pod in self.pods.get(namespace, ()) if running(pod))

    def matched(self, namespace: str, selector: str) -> tuple[Obj, ...]:
        """The running pods that the selector matches, by the server's word."""
        uids = self.matching.get((namespace, selector), frozenset())
        return tuple(pod for pod in self.running(namespace) if uid_of(pod) in uids)

    def zone(self, pod: Obj) -> str:
        """The pod's zone; empty when it is not known."""
        return zone_of(pod, self.zones)

    def deployment(self, namespace: str, name: str) -> Obj | None:
        """The deployment, if there is one."""
        return next((one for one in self.deployments.get(namespace, ()) if name_of(one) == name), None)


def read(api: ApiClient, faults: Sequence[Fault]) -> Seen:
    """What the cluster has to say about the faults. Raises ApiError; what RBAC hides beyond them is None."""
    asked = [fault.experiment for fault in faults]
    spaces = sorted({one.namespace for one in asked})
    pods = {space: tuple(api.items(pods_path(space))) for space in spaces}
    nodes = tuple(api.items(NODES_PATH))
    return Seen(
        nodes=nodes,
        pods=pods,
        matching={(one.namespace, one.selector): _matching(api, one.namespace, one.selector) for one in asked},
        deployments={space: tuple(api.items(deployments_path(space))) for space in spaces},
        replica_sets={space: tuple(api.items(replica_sets_path(space))) for space in spaces},
        policies={space: tuple(api.items(policies_path(space))) for space in spaces},
        budgets={space: tuple(api.items(budgets_path(space))) for space in spaces},
        autoscalers={space: _served(api, _autoscalers_path(space)) for space in spaces},
        beside=_running_beside(api),
        crowd=_crowd(api, _nodes_at_stake(faults, pods, nodes)),
        version=_version(api),
    )


def _matching(api: ApiClient, namespace: str, selector: str) -> frozenset[str]:
    """Empty for an empty selector, which a server takes for all."""
    if not selector.strip():
        return frozenset()
    return frozenset(map(uid_of, api.items(pods_path(namespace), {"labelSelector": selector})))


def _autoscalers_path(namespace: str) -> str:
    return f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"


def _served(api: ApiClient, path: str) -> tuple[Obj, ...]:
    """The items at `path`; none when the server does not serve that kind, for then there are none."""
    from harness.drivers.kubernetes.client import ApiError

    try:
        return tuple(api.items(path))
    except ApiError as error:
        if error.status != 404:
            raise
        return ()


def _running_beside(api: ApiClient) -> tuple[Obj, ...] | None:
    return _everywhere(api, {"labelSelector": f"{BESIDE} in ({HARNESS}, {PROMETHEUS}, {REAPER})"})


def _crowd(api: ApiClient, nodes: Sequence[str]) -> dict[str, tuple[Obj, ...]] | None:
    if len(nodes) > ONE_BY_ONE:
        everybody = _everywhere(api, {})
        return None if everybody is None else {n: tuple(pod for pod in everybody if node_of(pod) == n) for n in nodes}
    found = {node: _everywhere(api, {"fieldSelector": f"spec.nodeName={node}"}) for node in nodes}
    whole = {node: pods for node, pods in found.items() if pods is not None}
    return whole if len(whole) == len(found) else None


def _everywhere(api: ApiClient, query: Mapping[str, str]) -> tuple[Obj, ...] | None:
    """Running pods of all namespaces; None when the account may not see them."""
    from harness.drivers.kubernetes.client import ApiError

    try:
        return tuple(filter(running, api.items("/api/v1/pods", query)))
    except ApiError as error:
        if error.status != 403:
            raise
        return None


def _nodes_at_stake(faults: Sequence[Fault], pods: Mapping[str, Sequence[Obj]], nodes: Iterable[Obj]) -> list[str]:
    """The nodes that a fault on nodes may be about: those of its zone, else all that bear pods of its namespace."""
    zones = zones_of(nodes)
    out = [fault.experiment for fault in faults if fault.experiment.observe is Observe.NODES_OUT]
    bearing = {node_of(pod) for one in out for pod in pods[one.namespace] if one.zone in (None, zone_of(pod, zones))}
    inside = {node for one in out for node, zone in zones.items() if zone == one.zone}
    return sorted((bearing | inside) - {""})


def _version(api: ApiClient) -> tuple[int, int]:
    said = api.get("/version")
    major, minor = (str(said.get(key) or "0").rstrip("+") for key in ("major", "minor"))
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (1, 0)


def labelled(pods: Iterable[Obj], name: str) -> list[Obj]:
    """Those of the pods that are known by that name."""
    return [pod for pod in pods if labels_of(pod).get(BESIDE) == name]
