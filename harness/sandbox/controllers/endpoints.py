"""The EndpointSlice controller: the addresses behind a service, whether they are ready, and their zones."""

from __future__ import annotations

from harness.sandbox.objects import ZONE, controlled_by, is_true, owner_reference
from harness.sandbox.resources import ENDPOINTSLICES, NODES, PODS, SERVICES, Obj
from harness.sandbox.selectors import selects
from harness.sandbox.store import Store


def reconcile_endpoints(store: Store, namespace: str, name: str) -> None:
    """Make the one slice of a service list its pods; a service without a selector is left to its owner."""
    service = store.find(SERVICES, name, namespace)
    if service is None or not service["spec"].get("selector"):
        return
    pods = [pod for pod in store.list(PODS, namespace) if _belongs(pod, service)]
    content = {"endpoints": [_endpoint(store, pod) for pod in pods], "ports": _ports(service, pods)}
    slices = controlled_by(store, ENDPOINTSLICES, service)
    if slices:
        store.update(ENDPOINTSLICES, slices[0]["metadata"]["name"], namespace, lambda obj: obj.update(content))
        return
    labels = {
        "kubernetes.io/service-name": name,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    meta = {"generateName": f"{name}-", "namespace": namespace, "labels": labels}
    store.create(
        ENDPOINTSLICES,
        {"metadata": meta | {"ownerReferences": [owner_reference(service)]}, "addressType": "IPv4", **content},
    )


def _belongs(pod: Obj, service: Obj) -> bool:
    labels = pod["metadata"].get("labels") or {}
    finished = pod["status"].get("phase") in ("Succeeded", "Failed")
    return (
        bool(pod["status"].get("podIP"))
        and not finished
        and selects({"matchLabels": service["spec"]["selector"]}, labels)
    )


def _endpoint(store: Store, pod: Obj) -> Obj:
    meta, node_name = pod["metadata"], pod["spec"].get("nodeName", "")
    node = store.find(NODES, node_name)
    zone = ((node or {}).get("metadata", {}).get("labels") or {}).get(ZONE)
    serving, terminating = is_true(pod, "Ready"), "deletionTimestamp" in meta
    endpoint: Obj = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": serving and not terminating, "serving": serving, "terminating": terminating},
        "targetRef": {"kind": "Pod", "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
        "nodeName": node_name,
    }
    return endpoint | ({"zone": zone} if zone else {})


def _ports(service: Obj, pods: list[Obj]) -> list[Obj]:
    named = {
        port["name"]: port["containerPort"]
        for pod in pods
        for container in pod["spec"]["containers"]
        for port in container.get("ports") or ()
        if "name" in port
    }
    ports = []
    for port in service["spec"]["ports"]:
        target = named.get(port["targetPort"]) if isinstance(port["targetPort"], str) else port["targetPort"]
        if target is not None:
            ports.append({"name": port.get("name", ""), "port": target, "protocol": port["protocol"]})
    return ports
