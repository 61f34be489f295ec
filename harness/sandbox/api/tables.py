"""
Objects as the rows `kubectl get` prints: the usual columns of every kind, with the wide ones.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import MappingProxyType

from harness.sandbox.objects import condition, is_true
from harness.sandbox.resources import Obj, Resource
from harness.sandbox.store import seconds_since

Cell = Callable[[Obj], object]

_NUMBERS = ("Desired", "Current", "Available", "Up-to-date", "Count", "Data")


def table(resource: Resource, objects: Iterable[Obj], *, include: str = "Metadata") -> Obj:
    """The Table of some objects; `include` says what each row carries of its object: None, Metadata or Object."""
    columns = {"Name": _at("metadata.name"), **_COLUMNS[resource.kind]}
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": [_definition(name) for name in columns],
        "rows": [
            {"cells": [cell(obj) for cell in columns.values()], "object": _carried(obj, include)} for obj in objects
        ],
    }


def _definition(name: str) -> Obj:
    # A heading that begins with + is shown by `-o wide` only.
    kind, form = "integer" if name in _NUMBERS else "string", "name" if name == "Name" else ""
    priority = int(name.startswith("+"))
    return {"name": name.removeprefix("+"), "type": kind, "format": form, "description": "", "priority": priority}


def _carried(obj: Obj, include: str) -> Obj | None:
    if include == "Object":
        return obj
    bare = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
    return None if include == "None" else bare


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


def _selector(key: str) -> Cell:
    def cell(obj: Obj) -> str:
        found = obj["spec"].get(key) or {}
        parts = [f"{key}={value}" for key, value in sorted((found.get("matchLabels") or {}).items())]
        for item in found.get("matchExpressions") or ():
            values = f" ({','.join(item['values'])})" if item.get("values") else ""
            parts.append(f"{item['key']} {item['operator'].lower()}{values}")
        return ",".join(parts) or "<none>"

    return cell


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
    restarts = sum(status.get("restartCount", 0) for status in _statuses(pod))
    ends = [(status.get("lastState") or {}).get("terminated", {}).get("finishedAt") for status in _statuses(pod)]
    last = max(filter(None, ends), default=None)
    return f"{restarts} ({duration_text(seconds_since(last))} ago)" if restarts and last else str(restarts)


def _node_status(node: Obj) -> str:
    ready = condition(node, "Ready")
    text = "Unknown" if ready is None else "Ready" if ready["status"] == "True" else "NotReady"
    return text + (",SchedulingDisabled" if node["spec"].get("unschedulable") else "")


def _node_address(kind: str) -> Cell:
    def cell(node: Obj) -> str:
        addresses = node["status"].get("addresses") or ()
        return next((item["address"] for item in addresses if item["type"] == kind), "<none>")

    return cell


def _service_external(service: Obj) -> str:
    found = ",".join(item.get("ip", "") for item in service["status"]["loadBalancer"].get("ingress") or ())
    return found or ("<pending>" if service["spec"]["type"] == "LoadBalancer" else "<none>")


def _service_ports(service: Obj) -> str:
    return ",".join(f"{port['port']}/{port['protocol']}" for port in service["spec"]["ports"]) or "<none>"


def _service_selector(service: Obj) -> str:
    return ",".join(f"{key}={value}" for key, value in service["spec"].get("selector", {}).items()) or "<none>"


def _short_list(items: list[str], most: int = 3) -> str:
    more = f" + {len(items) - most} more..." if len(items) > most else ""
    return ",".join(items[:most]) + more if items else "<unset>"


def _slice_addresses(endpoints: Obj) -> str:
    return _short_list([address for item in endpoints["endpoints"] for address in item["addresses"]])


def _slice_ports(endpoints: Obj) -> str:
    return _short_list([str(port.get("port", "*")) for port in endpoints["ports"]])


def _job_status(job: Obj) -> str:
    ended = next((kind for kind in ("Complete", "Failed") if is_true(job, kind)), None)
    return ended or ("Suspended" if job["spec"]["suspend"] else "Running")


def _job_duration(job: Obj) -> str:
    start, end = job["status"].get("startTime"), job["status"].get("completionTime")
    return duration_text(seconds_since(start) - (seconds_since(end) if end else 0)) if start else ""


def _event_object(event: Obj) -> str:
    return f"{event['involvedObject'].get('kind', '').lower()}/{event['involvedObject'].get('name', '')}"


def _of_containers(key: str) -> Cell:
    return lambda obj: ",".join(item.get(key, "") for item in obj["spec"]["template"]["spec"]["containers"])


_AGE = {"Age": _since("metadata.creationTimestamp")}
_TEMPLATE = {
    "+Containers": _of_containers("name"),
    "+Images": _of_containers("image"),
    "+Selector": _selector("selector"),
}
_COLUMNS: MappingProxyType[str, dict[str, Cell]] = MappingProxyType(
    {
        "Namespace": {"Status": _at("status.phase"), **_AGE},
        "Node": {"Status": _node_status, "Roles": lambda _: "<none>", **_AGE}
        | {"Version": _at("status.nodeInfo.kubeletVersion")}
        | {"+Internal-IP": _node_address("InternalIP"), "+External-IP": _node_address("ExternalIP")}
        | {"+OS-Image": _at("status.nodeInfo.osImage", "<unknown>")}
        | {"+Kernel-Version": _at("status.nodeInfo.kernelVersion", "<unknown>")}
        | {"+Container-Runtime": _at("status.nodeInfo.containerRuntimeVersion", "<unknown>")},
        "Pod": {"Ready": _pod_ready, "Status": _pod_status, "Restarts": _pod_restarts, **_AGE}
        | {"+IP": _at("status.podIP"), "+Node": _at("spec.nodeName")}
        | {"+Nominated Node": lambda _: "<none>", "+Readiness Gates": lambda _: "<none>"},
        "Service": {"Type": _at("spec.type"), "Cluster-IP": _at("spec.clusterIP"), "External-IP": _service_external}
        | {"Port(s)": _service_ports, **_AGE, "+Selector": _service_selector},
        "Event": {"Last Seen": _since("lastTimestamp"), "Type": _at("type"), "Reason": _at("reason", "")}
        | {"Object": _event_object, "+Source": _at("source.component", ""), "Message": _at("message", "")}
        | {"+First Seen": _since("firstTimestamp"), "+Count": _at("count")},
        "ConfigMap": {"Data": lambda obj: len(obj.get("data") or ()), **_AGE},
        "Deployment": {
            "Ready": lambda obj: f"{obj['status'].get('readyReplicas', 0)}/{obj['spec']['replicas']}",
            "Up-to-date": _at("status.updatedReplicas", 0),
            "Available": _at("status.availableReplicas", 0),
        }
        | _AGE
        | _TEMPLATE,
        "ReplicaSet": {"Desired": _at("spec.replicas"), "Current": _at("status.replicas")}
        | {"Ready": _at("status.readyReplicas", "0")}
        | _AGE
        | _TEMPLATE,
        "Job": {"Status": _job_status}
        | {"Completions": lambda job: f"{job['status'].get('succeeded', 0)}/{job['spec'].get('completions', 1)}"}
        | {"Duration": _job_duration, **_AGE, **_TEMPLATE},
        "EndpointSlice": {
            "AddressType": _at("addressType"),
            "Ports": _slice_ports,
            "Endpoints": _slice_addresses,
            **_AGE,
        },
        "NetworkPolicy": {"Pod-Selector": _selector("podSelector"), **_AGE},
        "Lease": {"Holder": _at("spec.holderIdentity", ""), **_AGE},
    }
)
