"""The EndpointSlice controller: the addresses behind a service, whether they are ready, and their zones."""

from __future__ import annotations

from harness.sandbox.objects import (
    SERVICE_NAME,
    ZONE,
    is_finished,
    is_true,
    labels_of,
    named_ports,
    owned_by,
    owner_reference,
)
from harness.sandbox.resources import ENDPOINTSLICES, PODS, SERVICES, Obj
from harness.sandbox.selectors import selects
from harness.sandbox.store import Store


def reconcile_endpoints(store: Store, namespace: str, name: str) -> None:
    """Make the one slice of a service list its pods; a service without a selector is left to its owner."""
    service = store.find(SERVICES, name, namespace)
    if service is None or not service["spec"].get("selector"):
        return
    selector = {"matchLabels": service["spec"]["selector"]}
    pods = [
        pod
        for pod in store.list(PODS, namespace)
        if pod["status"].get("podIP") and not is_finished(pod) and selects(selector, labels_of(pod))
    ]
    content = {"endpoints": [_endpoint(pod) for pod in pods], "ports": _ports(service, pods)}
    for found in owned_by(store, ENDPOINTSLICES, service):
        store.update(ENDPOINTSLICES, found["metadata"]["name"], namespace, lambda obj: obj.update(content))
        return
    meta = {"generateName": f"{name}-", "namespace": namespace, "labels": {SERVICE_NAME: name}}
    store.create(ENDPOINTSLICES, {"metadata": meta | {"ownerReferences": [owner_reference(service)]}, **content})


def _endpoint(pod: Obj) -> Obj:
    meta, serving = pod["metadata"], is_true(pod, "Ready")
    terminating = "deletionTimestamp" in meta
    endpoint: Obj = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": serving and not terminating, "serving": serving, "terminating": terminating},
        "targetRef": {"kind": "Pod", "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
        "nodeName": pod["spec"].get("nodeName", ""),
    }
    return endpoint | ({"zone": labels_of(pod)[ZONE]} if ZONE in labels_of(pod) else {})


def _ports(service: Obj, pods: list[Obj]) -> list[Obj]:
    named = {name: port for pod in pods for name, port in named_ports(pod["spec"]).items()}
    targets = [(port, named.get(port["targetPort"], port["targetPort"])) for port in service["spec"]["ports"]]
    return [
        {"name": port.get("name", ""), "port": target, "protocol": port["protocol"]}
        for port, target in targets
        if isinstance(target, int)
    ]
