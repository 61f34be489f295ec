"""
The kinds of objects the sandbox serves, as one table, and the error an API caller sees.

A subset of Kubernetes: what an experiment, an observer or a `kubectl` habit needs, and nothing else.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

Obj = dict[str, Any]
"""A Kubernetes object as plain JSON. What the store hands out is shared: never change it in place."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object: where it lives in the API and what people call it."""

    group: str  # "" for the core group
    plural: str
    kind: str
    short: str = ""  # what people may type instead
    subresources: tuple[str, ...] = ()
    _: KW_ONLY
    namespaced: bool = True
    in_all: bool = False  # whether `kubectl get all` shows it
    version: str = "v1"
    stored: bool = True  # False: a question that is answered when it is posted, and then forgotten

    @property
    def api_version(self) -> str:
        """`v1`, or `group/v1`: what objects of this kind carry as apiVersion."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`pods`, or `deployments.apps`: how error messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


NAMESPACES = Resource("", "namespaces", "Namespace", "ns", namespaced=False)
NODES = Resource("", "nodes", "Node", "no", namespaced=False)
PODS = Resource("", "pods", "Pod", "po", ("log", "eviction"), in_all=True)
SERVICES = Resource("", "services", "Service", "svc", in_all=True)
EVENTS = Resource("", "events", "Event", "ev")
CONFIGMAPS = Resource("", "configmaps", "ConfigMap", "cm")
SERVICEACCOUNTS = Resource("", "serviceaccounts", "ServiceAccount", "sa")
DEPLOYMENTS = Resource("apps", "deployments", "Deployment", "deploy", ("scale",), in_all=True)
REPLICASETS = Resource("apps", "replicasets", "ReplicaSet", "rs", ("scale",), in_all=True)
JOBS = Resource("batch", "jobs", "Job", in_all=True)
ENDPOINTSLICES = Resource("discovery.k8s.io", "endpointslices", "EndpointSlice")
NETWORKPOLICIES = Resource("networking.k8s.io", "networkpolicies", "NetworkPolicy", "netpol")
LEASES = Resource("coordination.k8s.io", "leases", "Lease")
NETWORKCHAOS = Resource("chaos-mesh.org", "networkchaos", "NetworkChaos", version="v1alpha1")
PDBS = Resource("policy", "poddisruptionbudgets", "PodDisruptionBudget", "pdb")
ACCESS_REVIEWS = Resource(
    "authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False, stored=False
)

_RBAC = "rbac.authorization.k8s.io"
INERT = (
    SERVICEACCOUNTS,
    Resource(_RBAC, "roles", "Role"),
    Resource(_RBAC, "rolebindings", "RoleBinding"),
    Resource(_RBAC, "clusterroles", "ClusterRole", namespaced=False),
    Resource(_RBAC, "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    Resource("scheduling.k8s.io", "priorityclasses", "PriorityClass", "pc", namespaced=False),
)
"""Kept and shown so that manifests can be applied; nothing here asks them. What is forbidden, api/access.py says."""

_CORE = (NAMESPACES, NODES, PODS, SERVICES, EVENTS, CONFIGMAPS)
RESOURCES = (
    *_CORE,
    DEPLOYMENTS,
    REPLICASETS,
    JOBS,
    ENDPOINTSLICES,
    NETWORKPOLICIES,
    LEASES,
    NETWORKCHAOS,
    PDBS,
    ACCESS_REVIEWS,
    *INERT,
)
BY_KIND = {resource.kind: resource for resource in RESOURCES}

VERSION = "v1.32.0-sandbox"
"""Of the Kubernetes API that this is a part of; what the API server and the kubelets say."""


@dataclass
class ApiError(Exception):
    """A request the API refuses: HTTP status code, the machine-readable reason, and the message people read."""

    code: int
    reason: str
    message: str
    details: Obj | None = None  # of the Status that the caller gets

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


def not_found(resource: Resource, name: str) -> ApiError:
    """The 404 for an object that does not exist."""
    return ApiError(404, "NotFound", f'{resource.qualified} "{name}" not found')


def already_exists(resource: Resource, name: str) -> ApiError:
    """The 409 for a name that is taken."""
    return ApiError(409, "AlreadyExists", f'{resource.qualified} "{name}" already exists')


def conflict(resource: Resource, name: str, why: str) -> ApiError:
    """The 409 for a write that was decided upon an older version of the object, or another object of that name."""
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message)


def gone(version: int, oldest: int) -> ApiError:
    """The 410 for a watch that wants to resume where the history no longer reaches."""
    return ApiError(410, "Expired", f"too old resource version: {version} ({oldest})")


def invalid(resource: Resource, name: str, why: str) -> ApiError:
    """The 422 for an object that breaks a rule of its kind."""
    return ApiError(422, "Invalid", f'{resource.kind} "{name}" is invalid: {why}')


def forbidden(resource: Resource, name: str, why: str) -> ApiError:
    """The 403 for what the caller may not do."""
    return ApiError(403, "Forbidden", f'{resource.qualified} "{name}" is forbidden: {why}')


def bad_request(why: str) -> ApiError:
    """The 400 for a request that cannot be understood."""
    return ApiError(400, "BadRequest", why)
