"""
The cluster that the conformance suite plays on, and the small workloads that it plays with.

KUBECONFIG (and KUBERNETES_CONTEXT) name it once LCH_TEST_NAMESPACE names an existing namespace of it that nobody else
uses; otherwise it is a sandbox of its own. Nodes of a named cluster are cordoned, tainted and emptied only when
LCH_TEST_NODES=yes says that nobody else uses them either.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.drivers.kubernetes.client import ApiClient, ApiError
from harness.drivers.kubernetes.objects import (
    NODES_PATH,
    ZONE,
    deployments_path,
    labels_of,
    name_of,
    node_of,
    pods_path,
    ready,
    running,
    terminating,
)

Obj = dict[str, Any]
WITHIN_S = 60.0
IMAGE = "python:3.11-alpine"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A cluster and a namespace of it; what is made through it is deleted again by `clear`."""

    api: ApiClient
    dry: ApiClient
    kubeconfig: str
    context: str | None
    namespace: str
    service_namespace: str  # where the demo's pods are, labelled app=shop
    sandbox: bool
    made: list[str] = field(default_factory=list)  # paths

    def make(self, collection: str, obj: Obj) -> Obj:
        """Create the object; it is deleted after the test."""
        made = self.api.create(collection, obj)
        self.made.append(f"{collection}/{name_of(made)}")
        return made

    def pod(self, name: str, **spec: Any) -> Obj:
        """A pod that sleeps, once it runs; `spec` are further fields of its specification, or `labels`."""
        meta = {"name": name, "labels": {"lch-conformance": name} | spec.pop("labels", {})}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": sleeping() | spec}
        return self.make(pods_path(self.namespace), body)

    def deployment(self, name: str, replicas: int) -> Obj:
        """A deployment of sleeping pods, all ready, and a service of its name in front of them."""
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": sleeping()}
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
        made = self.make(deployments_path(self.namespace), body)
        service = {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}
        services = f"/api/v1/namespaces/{self.namespace}/services"
        self.make(services, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service})
        until(lambda: len(self.ready_pods(f"app={name}")) == replicas, f"{replicas} ready pods of {name}")
        return made

    def pods(self, selector: str) -> list[Obj]:
        return self.api.items(pods_path(self.namespace), {"labelSelector": selector})

    def ready_pods(self, selector: str) -> list[Obj]:
        return [one for one in self.pods(selector) if running(one) and ready(one)]

    def there(self, path: str) -> bool:
        """Whether the object exists and is not on its way out."""
        try:
            return not terminating(self.api.get(path))
        except ApiError as error:
            if error.status != 404:
                raise
            return False

    def zones(self) -> dict[str, str]:
        """Zone by the name of each node that has one."""
        nodes = self.api.items(NODES_PATH)
        return {name_of(node): labels_of(node)[ZONE] for node in nodes if ZONE in labels_of(node)}

    def zone_of(self, pod: Obj) -> str:
        return self.zones().get(node_of(pod), "")

    def spare_node(self) -> str:
        """A node that may be cordoned, tainted and emptied; skips the test where there is none."""
        self.require_nodes()
        workers = [node for node in self.api.items(NODES_PATH) if CONTROL_PLANE not in labels_of(node)]
        free = sorted(name_of(node) for node in workers if ready(node) and not node["spec"].get("taints"))
        if len(free) < 2:
            pytest.skip("fewer than two untainted worker nodes: emptying one would leave nowhere to go")
        return free[-1]

    def require_nodes(self) -> None:
        if not self.sandbox and os.environ.get("LCH_TEST_NODES") != "yes":
            pytest.skip("touches nodes: LCH_TEST_NODES=yes allows it, where nobody else uses the cluster")

    def clear(self) -> None:
        """Delete what was made, the latest first."""
        while self.made:
            path = self.made.pop()
            self.api.delete(path, grace_s=0 if "/pods/" in path else None)


def place_at(kubeconfig: str, context: str | None, namespace: str, service_namespace: str, *, sandbox: bool) -> Place:
    return Place(
        api=ApiClient(kubeconfig, context),
        dry=ApiClient(kubeconfig, context, dry=True),
        kubeconfig=kubeconfig,
        context=context,
        namespace=namespace,
        service_namespace=service_namespace,
        sandbox=sandbox,
    )


def named_cluster() -> tuple[str, str | None, str] | None:
    """Kubeconfig, context and namespace that the environment names; None: a sandbox is to be used."""
    namespace = os.environ.get("LCH_TEST_NAMESPACE")
    if not namespace:
        return None
    kubeconfig = Path(os.environ.get("KUBECONFIG") or "~/.kube/config").expanduser()
    return str(kubeconfig), os.environ.get("KUBERNETES_CONTEXT") or None, namespace


def sleeping() -> Obj:
    """The specification of a pod that does nothing, and ends at once."""
    container = {
        "name": "sleeping",
        "image": IMAGE,
        "command": ["sleep", "600"],
        "resources": {"requests": {"cpu": "5m", "memory": "8Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    secured = {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "containers": [container],
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "securityContext": secured,
    }


def until(done: Callable[[], bool], what: str, within_s: float = WITHIN_S) -> float:
    """Wait for it; returns the seconds that it took."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < within_s, f"not within {within_s:g} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - began


def refused(call: Callable[[], object]) -> int | None:
    """The status with which the server refuses the call."""
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value.status
