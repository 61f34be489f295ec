"""
What every action here asks of the API server, and the RBAC objects that allow just that.

The preflight asks the cluster (SelfSubjectAccessReview) whether it would allow all of it, method and undo, before
anything is done. Run as a module this prints deploy/rbac.yaml: `python -m harness.drivers.faults.permissions`, with the
namespace of the service as its argument if that is not `shop`.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Any

import yaml

from harness.plan.actions import ROOM
from harness.plan.model import Observe

ACCOUNT = "load-chaos-harness"  # the service account
SYSTEM = "lch-system"  # its namespace, and the reaper's
SERVICE_NAMESPACE = "shop"

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Permission:
    """One verb on one kind of object: in the namespace of the fault, or in the whole cluster."""

    group: str  # API group; empty: core
    resource: str
    subresource: str = ""
    verb: str
    namespaced: bool = True  # False: objects without a namespace, or of all namespaces
    name: str = ""  # of the only object meant; empty: all

    def __str__(self) -> str:
        what = (
            self.resource + (f".{self.group}" if self.group else "") + (f"/{self.subresource}" * bool(self.subresource))
        )
        return f"{self.verb} {what}" + (f" '{self.name}'" * bool(self.name))


def _may(verbs: str, group: str, resource: str, *, namespaced: bool = True, name: str = "") -> tuple[Permission, ...]:
    kind, _, subresource = resource.partition("/")
    return tuple(
        Permission(group=group, resource=kind, subresource=subresource, verb=verb, namespaced=namespaced, name=name)
        for verb in verbs.split()
    )


_APPS, _BATCH, _LEASES = "apps", "batch", "coordination.k8s.io"
_NETWORK, _MESH = "networking.k8s.io", "chaos-mesh.org"

_LIST_NODES = _may("list", "", "nodes", namespaced=False)
_MARK_NODES = (*_LIST_NODES, *_may("get patch", "", "nodes", namespaced=False))
_LIST_PODS = _may("list", "", "pods")
_AIM = (*_LIST_PODS, *_may("list", _APPS, "replicasets"))  # see faults.aim
_DELETE_PODS = _may("get delete", "", "pods")  # and see them gone
_MARK_DEPLOYMENTS = _may("get patch", _APPS, "deployments")
_DEAD_MAN = _may("create get", _BATCH, "jobs")
_LET_GO = _may("delete", _BATCH, "jobs")
_HEAL_ZONE = (
    *_may("list delete", _NETWORK, "networkpolicies"),
    *_may("list get patch", "", "pods"),  # those that were given their zone
    *_LET_GO,
)
_RESTORE_NETWORK = (*_may("list delete", _MESH, "networkchaos"), *_LET_GO)
_BY_MESH = (*_DEAD_MAN, *_may("create get", _MESH, "networkchaos"), *_LIST_PODS, *_LIST_NODES, *_RESTORE_NETWORK)
_ZONE_OUTAGE = (*_MARK_NODES, *_AIM)

IDENTITY = _may("get", "", "namespaces", namespaced=False, name="kube-system")
"""To tell the cluster that was named from any other."""

OPTIONAL = _may("list", "", "pods", namespaced=False)
"""To know what else is where a fault strikes: reaper, Prometheus, others' pods. Without it a warning says so."""

HOLD = (
    *_may("get list create patch delete", _BATCH, "jobs"),
    *_may("get list create patch delete", _LEASES, "leases"),
)
"""To keep other harnesses away, and the cluster's own deadline from passing, while a run with faults lasts."""

SWEEP = (
    *_LIST_NODES,
    *_may("list delete", "", "pods"),
    *_may("list", _APPS, "deployments"),
    *_may("list", _NETWORK, "networkpolicies"),
)
"""To find whatever a dead run left in a namespace. Undoing it takes what the fault took."""

ACTIONS: Mapping[str, tuple[Permission, ...]] = MappingProxyType(
    {
        "pods.delete_pods": (*_AIM, *_DELETE_PODS, *_LIST_NODES),
        "leader.delete_leader": (*_may("get", _LEASES, "leases"), *_AIM, *_DELETE_PODS),
        "rollouts.restart_rollout": (*_AIM, *_MARK_DEPLOYMENTS),
        "rollouts.set_image": (*_AIM, *_MARK_DEPLOYMENTS),
        "rollouts.undo_rollout": _MARK_DEPLOYMENTS,
        "rollouts.scale": (*_AIM, *_MARK_DEPLOYMENTS, *_may("list", "autoscaling", "horizontalpodautoscalers")),
        "rollouts.unscale": _MARK_DEPLOYMENTS,
        "partition.partition_zone": (
            *_DEAD_MAN,
            *_may("get create", _NETWORK, "networkpolicies"),
            *_LIST_NODES,
            *_HEAL_ZONE,  # when it cannot be completed
        ),
        "partition.heal_zone": _HEAL_ZONE,
        "partition.partition_zone_by_mesh": _BY_MESH,
        "partition.heal_zone_by_mesh": _RESTORE_NETWORK,
        "network.delay_zone": _BY_MESH,
        "network.lose_packets_of_zone": _BY_MESH,
        "network.restore_network": _RESTORE_NETWORK,
        "nodes.drain_nodes": (
            *_MARK_NODES,
            *_AIM,
            *_may("get list", "", "pods", namespaced=False),
            *_may("create", "", "pods/eviction", namespaced=False),
        ),
        "nodes.undrain_nodes": _MARK_NODES,
        "zones.taint_zone": _ZONE_OUTAGE,
        "zones.untaint_zone": _MARK_NODES,
        "zones.empty_zone": (*_ZONE_OUTAGE, *_DELETE_PODS),
        "zones.reopen_zone": _MARK_NODES,
        "zones.stop_zone": _ZONE_OUTAGE,
        "zones.start_zone": _MARK_NODES,
    }
)
"""What each action asks for, by its module and name within this room."""

_SEE_PODS = _may("list watch", "", "pods")
_SEE_DEPLOYMENTS = _may("list watch", _APPS, "deployments")
_SEE_PATHS = (*_may("create get list delete", "", "pods"), *_may("get", "", "pods/log"))  # by canaries

PROOF: Mapping[Observe, tuple[Permission, ...]] = MappingProxyType(
    {
        Observe.PODS_REPLACED: _SEE_PODS,
        Observe.NODES_OUT: (*_SEE_PODS, *_may("list watch", "", "nodes", namespaced=False)),
        Observe.ROLLED_OUT: (*_SEE_PODS, *_SEE_DEPLOYMENTS, *_may("list watch", _APPS, "replicasets")),
        Observe.SCALED_DOWN: _SEE_DEPLOYMENTS,
        Observe.ZONE_CUT: _SEE_PATHS,
        Observe.PATHS_DEGRADED: _SEE_PATHS,
    }
)
"""To see that a fault took effect, and that it is gone."""

_WATCH = "get list watch"
_OBSERVER = (
    *_may(_WATCH, "", "pods"),
    *_may(_WATCH, "", "services"),
    *_may(_WATCH, "", "events"),
    *_may(_WATCH, "discovery.k8s.io", "endpointslices"),
    *_may(_WATCH, _APPS, "deployments"),
    *_may(_WATCH, _APPS, "replicasets"),
    *_may(_WATCH, _LEASES, "leases"),
)
_CANARIES = (
    *_SEE_PATHS,
    *_may("create get list watch patch delete", _BATCH, "jobs"),  # a change of theirs measures how late the watch is
)
_PREFLIGHT = (  # beside what the faults themselves ask for
    *_may("list", _NETWORK, "networkpolicies"),
    *_may("list", "policy", "poddisruptionbudgets"),
    *_may("list", "autoscaling", "horizontalpodautoscalers"),
)
_READER = (
    *_may(_WATCH, "", "nodes", namespaced=False),
    *IDENTITY,
    *OPTIONAL,
)


def needed(module: str, function: str) -> tuple[Permission, ...] | None:
    """What the action asks for; None for one that is not of this room, of which nothing is known."""
    return ACTIONS.get(f"{module.removeprefix(ROOM)}.{function}") if module.startswith(ROOM) else None


def objects(namespace: str) -> list[tuple[str, Obj]]:
    """The RBAC objects for a service in the namespace, each with what it is for."""
    mesh = {permission for permission in chain.from_iterable(ACTIONS.values()) if permission.group == _MESH}
    faults = {one for one in chain.from_iterable(ACTIONS.values()) if one.namespaced} - mesh
    wide = {one for one in chain.from_iterable(ACTIONS.values()) if not one.namespaced} - set(_READER)
    watching = (*_OBSERVER, *_CANARIES, *_PREFLIGHT)
    account = {"name": ACCOUNT, "namespace": SYSTEM}
    return [
        (
            "Where the harness runs if it runs in the cluster, and where the reaper does.",
            _object("v1", "Namespace", {"name": SYSTEM}),
        ),
        ("Who the harness is there.", _object("v1", "ServiceAccount", account)),
        *_role(
            f"{ACCOUNT}-observer",
            "To watch the service, and to probe the paths between its zones.",
            watching,
            namespace,
        ),
        *_role(
            f"{ACCOUNT}-faults",
            "To play and undo faults on the service's pods, deployments and network, one run at a time.",
            (*faults, *HOLD, *SWEEP),
            namespace,
        ),
        *_role(
            f"{ACCOUNT}-chaos-mesh", "To have Chaos Mesh play some. Leave it out without Chaos Mesh.", mesh, namespace
        ),
        *_role(f"{ACCOUNT}-reader", "To know nodes and their zones, and the cluster itself.", _READER, None),
        *_role(f"{ACCOUNT}-nodes", "To take nodes out. Leave it out where no fault may.", wide, None),
    ]


def rbac(namespace: str) -> str:
    """The text of deploy/rbac.yaml."""
    head = (
        "# What the harness may do in a cluster, and no more. Generated, edit nothing here:\n"
        f"#   python -m harness.drivers.faults.permissions {namespace} > deploy/rbac.yaml\n"
        f"# The service under test is in the namespace '{namespace}'. deploy/README.md says how to use this.\n"
    )
    documents = (f"# {purpose}\n{yaml.safe_dump(obj, sort_keys=False)}" for purpose, obj in objects(namespace))
    return head + "---\n" + "---\n".join(documents)


def _role(name: str, purpose: str, permissions: Iterable[Permission], namespace: str | None) -> list[tuple[str, Obj]]:
    """A Role in the namespace, or a ClusterRole without one, and its binding to the account."""
    wide, api = namespace is None, "rbac.authorization.k8s.io"
    kind = "ClusterRole" if wide else "Role"
    metadata = {"name": name} if wide else {"name": name, "namespace": namespace}
    role = _object(f"{api}/v1", kind, metadata) | {"rules": _rules(permissions)}
    binding = _object(f"{api}/v1", f"{kind}Binding", metadata) | {
        "roleRef": {"apiGroup": api, "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": SYSTEM}],
    }
    return [(purpose, role), (f"Gives {name} to the harness.", binding)]


def _object(api_version: str, kind: str, metadata: Mapping[str, Any]) -> Obj:
    return {"apiVersion": api_version, "kind": kind, "metadata": dict(metadata)}


def _rules(permissions: Iterable[Permission]) -> list[Obj]:
    """One rule for all resources of a group that have the same verbs."""
    verbs: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for one in permissions:
        resource = f"{one.resource}/{one.subresource}" if one.subresource else one.resource
        verbs[(one.group, resource, one.name)].add(one.verb)
    alike: defaultdict[tuple[str, str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (group, resource, name), allowed in sorted(verbs.items()):
        alike[(group, name, tuple(sorted(allowed)))].append(resource)
    return [
        {"apiGroups": [group], "resources": resources}
        | ({"resourceNames": [name]} if name else {})
        | {"verbs": list(allowed)}
        for (group, name, allowed), resources in alike.items()
    ]


if __name__ == "__main__":
    sys.stdout.write(rbac(sys.argv[1] if len(sys.argv) > 1 else SERVICE_NAMESPACE))
