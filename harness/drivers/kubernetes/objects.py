"""
What the harness knows of Kubernetes objects, as plain JSON: their paths, labels, and readings of their state. Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

Obj = dict[str, Any]
"""A Kubernetes object as plain JSON."""

ZONE = "topology.kubernetes.io/zone"
RUN = "lch.dev/run"  # on everything we create: which run it belongs to
ROLE = "lch.dev/role"  # on everything we create: what it is for
UNDO = "lch.dev/undo"  # annotation on everything we change: how to change it back; see drivers.faults.marks
LEASE = "lch-harness"  # the name of the Lease that one run at a time holds in the namespace of its service
SERVICE_NAME = "kubernetes.io/service-name"
STOPPED = "lch.dev/stopped-by"  # annotation of a node that a command stopped: by which run
POWER = "lch.dev/power"  # annotation of nodes that can be switched off: "on", "off"; the sandbox's have it
BESIDE = "app.kubernetes.io/name"  # label by which pods that a run depends on are known, wherever they are
HARNESS, REAPER, PROMETHEUS = "load-chaos-harness", "lch-reaper", "prometheus"  # its values

_DEAD_MAN_IMAGE = (
    "registry.k8s.io/pause:3.10"  # named because a template needs one; a Job of parallelism 0 starts nothing
)


def pods_path(namespace: str, name: str = "") -> str:
    """Where the namespace's pods, or one of them, are served."""
    return _path("/api/v1", namespace, "pods", name)


def services_path(namespace: str) -> str:
    """Where the namespace's services are served."""
    return _path("/api/v1", namespace, "services", "")


def slices_path(namespace: str) -> str:
    """Where the namespace's EndpointSlices are served."""
    return _path("/apis/discovery.k8s.io/v1", namespace, "endpointslices", "")


def policies_path(namespace: str, name: str = "") -> str:
    """Where the namespace's NetworkPolicies, or one of them, are served."""
    return _path("/apis/networking.k8s.io/v1", namespace, "networkpolicies", name)


def jobs_path(namespace: str, name: str = "") -> str:
    """Where the namespace's Jobs, or one of them, are served."""
    return _path("/apis/batch/v1", namespace, "jobs", name)


def events_path(namespace: str) -> str:
    """Where the namespace's events are served; those about nodes are in `default`."""
    return _path("/api/v1", namespace, "events", "")


def leases_path(namespace: str, name: str = "") -> str:
    """Where the namespace's Leases, or one of them, are served."""
    return _path("/apis/coordination.k8s.io/v1", namespace, "leases", name)


def deployments_path(namespace: str, name: str = "") -> str:
    """Where the namespace's Deployments, or one of them, are served."""
    return _path("/apis/apps/v1", namespace, "deployments", name)


def replica_sets_path(namespace: str, name: str = "") -> str:
    """Where the namespace's ReplicaSets, or one of them, are served."""
    return _path("/apis/apps/v1", namespace, "replicasets", name)


def budgets_path(namespace: str, name: str = "") -> str:
    """Where the namespace's PodDisruptionBudgets, or one of them, are served."""
    return _path("/apis/policy/v1", namespace, "poddisruptionbudgets", name)


def network_chaos_path(namespace: str, name: str = "") -> str:
    """Where the namespace's NetworkChaos objects of Chaos Mesh, or one of them, are served."""
    return _path("/apis/chaos-mesh.org/v1alpha1", namespace, "networkchaos", name)


def node_path(name: str) -> str:
    """Where the node is served."""
    return f"{NODES_PATH}/{quote(name, safe='')}"


NODES_PATH = "/api/v1/nodes"


def run_label(run: str) -> str:
    """
    The run's name as a label value; the same for a value that already is one.

    Label values hold at most 63 characters of A-Z a-z 0-9 - _ . and begin and end with a letter or digit (Kubernetes,
    "Labels and Selectors"). The end of a run's name tells it apart from others, so the end is kept.
    """
    return re.sub(r"[^A-Za-z0-9_.-]", "_", run)[-63:].strip("_.-")


def run_hash(run: str) -> str:
    """Eight characters that tell the run apart, for use in object names."""
    return hashlib.sha256(run_label(run).encode()).hexdigest()[:8]


def name_of(obj: Obj) -> str:
    """The object's name."""
    return str(obj["metadata"]["name"])


def uid_of(obj: Obj) -> str:
    """The object's UID."""
    return str(obj["metadata"]["uid"])


def controller_of(obj: Obj) -> Obj | None:
    """The ownerReference of what controls the object."""
    references = obj["metadata"].get("ownerReferences") or []
    return next((one for one in references if one.get("controller")), None)


def labels_of(obj: Obj) -> dict[str, str]:
    """The object's labels."""
    return obj["metadata"].get("labels") or {}


def node_of(pod: Obj) -> str:
    """The node the pod is bound to; empty while it is not."""
    return str(pod["spec"].get("nodeName") or "")


def zone_of(pod: Obj, zones: Mapping[str, str]) -> str:
    """The pod's zone: its own label (Kubernetes 1.35 and later), else that of its node in `zones`, else empty."""
    return labels_of(pod).get(ZONE) or zones.get(node_of(pod), "")


def zones_of(nodes: Iterable[Obj]) -> dict[str, str]:
    """Zone by node name, for the nodes that carry one."""
    return {name_of(node): labels_of(node)[ZONE] for node in nodes if labels_of(node).get(ZONE)}


def terminating(obj: Obj) -> bool:
    """Whether the object's deletion has begun."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def running(pod: Obj) -> bool:
    """Whether the pod is in phase Running and not being deleted."""
    return pod.get("status", {}).get("phase") == "Running" and not terminating(pod)


def ready(pod: Obj) -> bool:
    """Whether the pod's Ready condition is true."""
    conditions = pod.get("status", {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def selects(selector: Obj, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector (matchLabels and matchExpressions, all of which must hold; empty: everything) matches."""
    equal = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    return equal and all(_holds(one, labels) for one in selector.get("matchExpressions") or [])


def _holds(expression: Obj, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:  # DoesNotExist
            return key not in labels


def lets_through(policy_spec: Obj) -> bool:
    """Whether a NetworkPolicy allows anything but name lookups; policies add up, so no cut of its pods would hold."""
    ingress, egress = policy_spec.get("ingress") or [], policy_spec.get("egress") or []
    types = policy_spec.get("policyTypes") or (["Ingress", "Egress"] if egress else ["Ingress"])
    return ("Ingress" in types and bool(ingress)) or ("Egress" in types and not all(map(_only_lookups, egress)))


def _only_lookups(rule: Obj) -> bool:
    ports = rule.get("ports") or []
    return bool(ports) and all(str(one.get("port")) == "53" and "endPort" not in one for one in ports)


def dead_man_job(name: str, namespace: str, labels: Mapping[str, str], ttl_s: int) -> Obj:
    """
    A Job that starts nothing, fails `ttl_s` seconds after its creation and is then deleted with all that it owns.

    The cluster's own controllers do this (activeDeadlineSeconds also counts for parallelism 0, then the TTL controller,
    then the garbage collector), so it happens even when every process of ours and this machine are gone.
    """
    container = {"name": "nothing", "image": _DEAD_MAN_IMAGE}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            "parallelism": 0,
            "activeDeadlineSeconds": ttl_s,
            "ttlSecondsAfterFinished": 0,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        },
    }


def dead_man_name(run: str) -> str:
    """The name of the run's dead-man Job, one in each namespace that it touches."""
    return f"lch-dead-man-{run_hash(run)}"


def owned_by(job: Obj) -> list[Obj]:
    """The ownerReferences of an object we create so that it goes when `job` goes."""
    return [
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": name_of(job),
            "uid": job["metadata"]["uid"],
            "controller": False,
            "blockOwnerDeletion": False,
        }
    ]


def _path(group: str, namespace: str, plural: str, name: str) -> str:
    path = f"{group}/namespaces/{quote(namespace, safe='')}/{plural}"
    return f"{path}/{quote(name, safe='')}" if name else path
