"""
Objects as the rows `kubectl get` prints: the usual columns of every kind, with the wide ones.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from harness.sandbox.objects import ZONE, is_true, labels_of
from harness.sandbox.resources import Obj, Resource
from harness.sandbox.store import seconds_since

Cell = Callable[[Obj], object]

_NUMBERS = ("Desired", "Current", "Available", "Up-to-date")


def table(resource: Resource, objects: Iterable[Obj], *, query: Mapping[str, str]) -> Obj:
    """The Table of some objects; a row carries its object, or the metadata only unless `query` wants more."""
    columns = {"Name": _at("metadata.name"), **_COLUMNS.get(resource.kind, _AGE)}
    whole = query.get("includeObject") == "Object"
    bare = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    rows = [
        {
            "cells": [cell(obj) for cell in columns.values()],
            "object": obj if whole else bare | {"metadata": obj["metadata"]},
        }
        for obj in objects
    ]
    definitions = [_definition(name) for name in columns]
    head = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}}
    return head | {"columnDefinitions": definitions, "rows": rows}


def _definition(name: str) -> Obj:
    # A heading that begins with + is shown by `-o wide` only.
    kind, form = "integer" if name in _NUMBERS else "string", "name" if name == "Name" else ""
    priority = int(name.startswith("+"))
    return {"name": name.removeprefix("+"), "type": kind, "format": form, "description": "", "priority": priority}


def duration_text(seconds: float) -> str:
    """A duration in the two biggest units that matter, as kubectl writes ages: 45s, 2m5s, 17m, 5h2m, 3d4h, 42d."""
    s = max(0, int(seconds))
    # (unit, how many of it, least to use it, below how many the smaller unit is shown too, how many of that, its name)
    for unit, count, least, exact_below, rest, smaller in (
        ("d", s // 86400, 2, 8, s // 3600 % 24, "h"),
        ("h", s // 3600, 3, 8, s // 60 % 60, "m"),
        ("m", s // 60, 2, 10, s % 60, "s"),
    ):
        if count >= least:
            return f"{count}{unit}" + (f"{rest}{smaller}" if rest and count < exact_below else "")
    return f"{s}s"


def _at(path: str, otherwise: object = "<none>") -> Cell:
    def cell(obj: Obj) -> object:
        value: object = obj
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return otherwise if value in (None, "") else value

    return cell


def _since(path: str) -> Cell:
    stamp = _at(path, None)
    return lambda obj: duration_text(seconds_since(str(stamp(obj)))) if stamp(obj) else "<unknown>"


def _equal(path: str) -> Cell:
    labels = _at(path, {})
    return lambda obj: ",".join(f"{key}={value}" for key, value in dict(labels(obj)).items()) or "<none>"  # type: ignore[call-overload]


def _statuses(pod: Obj) -> list[Obj]:
    return pod["status"].get("containerStatuses") or []


def _pod_ready(pod: Obj) -> str:
    return f"{sum(bool(status.get('ready')) for status in _statuses(pod))}/{len(pod['spec']['containers'])}"


def _pod_status(pod: Obj) -> str:
    if "deletionTimestamp" in pod["metadata"]:
        return "Terminating"
    states = [status.get("state") or {} for status in _statuses(pod)]
    reasons = [state.get(kind, {}).get("reason") for state in states for kind in ("waiting", "terminated")]
    own = pod["status"].get("reason") or pod["status"].get("phase", "Unknown")
    return str(next(filter(None, reasons), own))


def _pod_restarts(pod: Obj) -> str:
    return str(sum(status.get("restartCount", 0) for status in _statuses(pod)))


def _node_status(node: Obj) -> str:
    text = "Ready" if is_true(node, "Ready") else "NotReady"
    return text + (",SchedulingDisabled" if node["spec"].get("unschedulable") else "")


def _service_external(service: Obj) -> str:
    found = ",".join(item.get("ip", "") for item in service["status"]["loadBalancer"].get("ingress") or ())
    return found or ("<pending>" if service["spec"]["type"] == "LoadBalancer" else "<none>")


def _service_ports(service: Obj) -> str:
    return ",".join(f"{port['port']}/{port['protocol']}" for port in service["spec"]["ports"]) or "<none>"


def _deployment_ready(deployment: Obj) -> str:
    return f"{deployment['status'].get('readyReplicas', 0)}/{deployment['spec']['replicas']}"


def _slice_addresses(endpoints: Obj) -> str:
    return ",".join(address for item in endpoints["endpoints"] for address in item["addresses"]) or "<unset>"


def _slice_ports(endpoints: Obj) -> str:
    return ",".join(str(port.get("port", "*")) for port in endpoints["ports"]) or "<unset>"


def _event_object(event: Obj) -> str:
    return f"{event['involvedObject'].get('kind', '').lower()}/{event['involvedObject'].get('name', '')}"


def _of_containers(key: str) -> Cell:
    return lambda obj: ",".join(item.get(key, "") for item in obj["spec"]["template"]["spec"]["containers"])


_AGE = {"Age": _since("metadata.creationTimestamp")}
_TEMPLATE = {
    "+Containers": _of_containers("name"),
    "+Images": _of_containers("image"),
    "+Selector": _equal("spec.selector.matchLabels"),
}
_COLUMNS: MappingProxyType[str, dict[str, Cell]] = MappingProxyType(
    {
        "Node": {"Status": _node_status, "Roles": lambda _: "<none>", **_AGE}
        | {"Version": _at("status.nodeInfo.kubeletVersion"), "+Zone": lambda node: labels_of(node).get(ZONE, "<none>")},
        "Pod": {"Ready": _pod_ready, "Status": _pod_status, "Restarts": _pod_restarts, **_AGE}
        | {"+IP": _at("status.podIP"), "+Node": _at("spec.nodeName")},
        "Service": {"Type": _at("spec.type"), "Cluster-IP": _at("spec.clusterIP"), "External-IP": _service_external}
        | {"Port(s)": _service_ports, **_AGE, "+Selector": _equal("spec.selector")},
        "Event": {"Last Seen": _since("lastTimestamp"), "Type": _at("type"), "Reason": _at("reason", "")}
        | {"Object": _event_object, "Message": _at("message", "")},
        "Deployment": {"Ready": _deployment_ready, "Up-to-date": _at("status.updatedReplicas", 0)}
        | {"Available": _at("status.availableReplicas", 0), **_AGE, **_TEMPLATE},
        "ReplicaSet": {"Desired": _at("spec.replicas"), "Current": _at("status.replicas")}
        | {"Ready": _at("status.readyReplicas", "0"), **_AGE, **_TEMPLATE},
        "EndpointSlice": {"AddressType": _at("addressType"), "Ports": _slice_ports}
        | {"Endpoints": _slice_addresses, **_AGE},
        "PodDisruptionBudget": {"Min Available": _at("spec.minAvailable", "N/A")}
        | {
            "Max Unavailable": _at("spec.maxUnavailable", "N/A"),
            "Allowed Disruptions": _at("status.disruptionsAllowed"),
        }
        | _AGE,
        "Lease": {"Holder": _at("spec.holderIdentity", ""), **_AGE},
    }
)
