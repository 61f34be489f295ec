"""What the sandbox starts with: the demo shop, six pods over three zones behind one front."""

from __future__ import annotations

from typing import Literal

from harness.sandbox.prometheus import SCRAPE
from harness.sandbox.resources import DEPLOYMENTS, NAMESPACES, SERVICES, Obj, Resource

ZONES = ("zone-a", "zone-b", "zone-c")
REPLICAS = 6
PORT = 80
"""The port of the service `shop` inside the cluster."""

_LABELS = {"app": "shop"}


def shop(version: Literal["good", "bad"]) -> tuple[tuple[Resource, Obj], ...]:
    """The namespace, service and deployment `shop`, in the order in which they can be created."""
    meta = {"name": "shop", "namespace": "shop", "labels": _LABELS}
    service = {
        "type": "LoadBalancer",
        "selector": _LABELS,
        "ports": [{"name": "http", "port": PORT, "targetPort": 8080}],
    }
    template = {
        "metadata": {"labels": _LABELS, "annotations": {SCRAPE: "true"}},
        "spec": _pod_spec(f"shop:{version}"),
    }
    deployment = {"replicas": REPLICAS, "selector": {"matchLabels": _LABELS}, "template": template}
    return (
        (NAMESPACES, {"metadata": {"name": "shop"}}),
        (SERVICES, {"metadata": meta, "spec": service}),
        (DEPLOYMENTS, {"metadata": meta, "spec": deployment}),
    )


def _pod_spec(image: str) -> Obj:
    health = {"httpGet": {"path": "/healthz", "port": "http"}}
    container = {
        "name": "shop",
        "image": image,
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": health | {"periodSeconds": 1},
        "livenessProbe": health | {"periodSeconds": 5, "timeoutSeconds": 2},
    }
    return {"containers": [container], "terminationGracePeriodSeconds": 10}
