"""What the sandbox starts with: the demo shop, six pods over three zones behind one front; and the store, if asked."""

from __future__ import annotations

from collections.abc import Mapping

from harness.sandbox.files import Version
from harness.sandbox.prometheus import SCRAPE
from harness.sandbox.resources import DEPLOYMENTS, NAMESPACES, SERVICES, Obj, Resource

ZONES = ("zone-a", "zone-b", "zone-c")
REPLICAS = 6
STORE_REPLICAS = 3
PORT = 80
"""The port of the services `shop` and `store` inside the cluster."""

_NAMESPACE = "shop"
_IMAGES: Mapping[str, tuple[str, str]] = {
    "good": ("shop:good", ""),
    "bad": ("shop:bad", ""),
    "store": ("shop:good", "store:good"),
    "store-lossy": ("shop:good", "store:lossy"),
}

Objects = tuple[tuple[Resource, Obj], ...]


def has_store(version: Version) -> bool:
    """Whether the demo has a store, to which the shop writes its orders."""
    return bool(_IMAGES[version][1])


def replicas(version: Version) -> int:
    """How many pods there are in all."""
    return REPLICAS + (STORE_REPLICAS if has_store(version) else 0)


def demo(version: Version) -> Objects:
    """The namespace, services and deployments of that version, in the order in which they can be created."""
    shop, store = _IMAGES[version]
    env = {"STORE_URL": "http://store"} if store else {}
    objects: Objects = (
        (NAMESPACES, {"metadata": {"name": _NAMESPACE}}),
        *_workload("shop", shop, REPLICAS, env),
    )
    if not store:
        return objects
    service, (kind, deployment) = _workload("store", store, STORE_REPLICAS, {"NAMESPACE": _NAMESPACE})
    # A fourth replica could not become a member while three live: an old one goes before a new one comes.
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    return *objects, service, (kind, deployment | {"spec": deployment["spec"] | {"strategy": rolling}})


def _workload(name: str, image: str, count: int, env: Mapping[str, str]) -> Objects:
    """A service of type LoadBalancer and the deployment behind it."""
    labels = {"app": name}
    meta = {"name": name, "namespace": _NAMESPACE, "labels": labels}
    service = {
        "type": "LoadBalancer",
        "selector": labels,
        "ports": [{"name": "http", "port": PORT, "targetPort": 8080}],
    }
    template = {
        "metadata": {"labels": labels, "annotations": {SCRAPE: "true"}},
        "spec": _pod_spec(name, image, env),
    }
    deployment = {"replicas": count, "selector": {"matchLabels": labels}, "template": template}
    return (SERVICES, {"metadata": meta, "spec": service}), (DEPLOYMENTS, {"metadata": meta, "spec": deployment})


def _pod_spec(name: str, image: str, env: Mapping[str, str]) -> Obj:
    health = {"httpGet": {"path": "/healthz", "port": "http"}}
    # A replica of the store that waits for the others is not broken: it lives while it answers at all.
    alive = {"httpGet": {"path": "/metrics", "port": "http"}} if name == "store" else health
    container = {
        "name": name,
        "image": image,
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": health | {"periodSeconds": 1},
        "livenessProbe": alive | {"periodSeconds": 5, "timeoutSeconds": 2},
    }
    return {"containers": [container], "terminationGracePeriodSeconds": 10}
