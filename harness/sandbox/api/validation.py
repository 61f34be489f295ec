"""What an object must look like so that controllers and kubelets can rely on it; the rest is taken as it comes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

from harness.sandbox.resources import Obj, Resource, bad_request, invalid
from harness.sandbox.selectors import selects

# Leaves of a shape: what to say a value must be -> what its text must match. Booleans and numbers are told from texts.
_TEXT, _COUNT, _FLAG = "a text", "a number of at least 0", "true or false"
_SHARE, _PORT, _TIME = "a number or a percentage", "a port's number or name", "a time like 2026-01-31T10:00:00Z"
_PATTERNS = MappingProxyType(
    {
        _TEXT: r"(?s).*",
        _SHARE: r"\d+%",
        _PORT: r".+",
        _TIME: r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)",
    }
)

# Shapes: a dict for an object, whose keys may be left out unless they end in !, and * is any key; [shape] for a list.
_LABELS = {"*": _TEXT}
_PROBE = {"httpGet": {"port!": _PORT, "path": _TEXT}, "tcpSocket": {"port!": _PORT}} | dict.fromkeys(
    ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"), _COUNT
)
_CONTAINER = {
    "name!": _TEXT,
    "image": _TEXT,
    "command": [_TEXT],
    "args": [_TEXT],
    "env": [{"name!": _TEXT, "value": _TEXT}],
    "ports": [{"containerPort!": _COUNT, "name": _TEXT}],
} | dict.fromkeys(("readinessProbe", "livenessProbe", "startupProbe"), _PROBE)
_TOLERATION = {"tolerationSeconds": _COUNT} | dict.fromkeys(("key", "operator", "value", "effect"), _TEXT)
_POD_SPEC = {
    "containers!": [_CONTAINER],
    "nodeName": _TEXT,
    "nodeSelector": _LABELS,
    "tolerations": [_TOLERATION],
    "terminationGracePeriodSeconds": _COUNT,
}
_SELECTOR = {
    "matchLabels": _LABELS,
    "matchExpressions": [{"key!": _TEXT, "operator!": _TEXT, "values": [_TEXT]}],
}
_TEMPLATE = {"metadata": {"labels": _LABELS, "annotations": _LABELS}, "spec!": _POD_SPEC}
_SET_SPEC = {"replicas": _COUNT, "minReadySeconds": _COUNT, "template!": _TEMPLATE, "selector!": _SELECTOR}
_ROLLOUT = {"paused": _FLAG, "progressDeadlineSeconds": _COUNT, "revisionHistoryLimit": _COUNT} | {
    "strategy": {"type": _TEXT, "rollingUpdate": {"maxSurge": _SHARE, "maxUnavailable": _SHARE}}
}
_JOB_COUNTS = ("parallelism", "completions", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "backoffLimit")
_OWNER = {"kind!": _TEXT, "name!": _TEXT, "uid!": _TEXT, "controller": _FLAG}
_META = {"labels": _LABELS, "annotations": _LABELS, "ownerReferences": [_OWNER], "finalizers": [_TEXT]} | dict.fromkeys(
    ("name", "generateName", "namespace", "uid", "resourceVersion"), _TEXT
)
_STATUS = {"conditions": [{"type!": _TEXT, "status!": _TEXT, "lastTransitionTime": _TIME, "lastUpdateTime": _TIME}]}
_TAINT = {"key!": _TEXT, "value": _TEXT, "effect": _TEXT, "timeAdded": _TIME}

_SHAPES: MappingProxyType[str, Obj] = MappingProxyType(
    {
        "Node": {
            "spec": {"unschedulable": _FLAG, "taints": [_TAINT]},
            "status": {**_STATUS, "addresses": [{"type!": _TEXT, "address!": _TEXT}], "nodeInfo": _LABELS},
        },
        "Pod": {"spec!": _POD_SPEC, "status": _STATUS},
        "Service": {
            "spec": {
                "type": _TEXT,
                "selector": _LABELS,
                "ports": [{"port!": _COUNT, "name": _TEXT, "targetPort": _PORT}],
            }
        },
        "Deployment": {"spec!": {**_SET_SPEC, **_ROLLOUT}, "status": _STATUS},
        "ReplicaSet": {"spec!": _SET_SPEC},
        "Job": {
            "spec!": {"suspend": _FLAG, "template!": _TEMPLATE, **dict.fromkeys(_JOB_COUNTS, _COUNT)},
            "status": {**_STATUS, "startTime": _TIME, "completionTime": _TIME},
        },
        "EndpointSlice": {"endpoints": [{"addresses!": [_TEXT]}], "ports": [{"port": _COUNT, "name": _TEXT}]},
        "NetworkPolicy": {
            "spec": {"podSelector": _SELECTOR, "policyTypes": [_TEXT], "ingress": [{}], "egress": [{}]},
        },
        "ConfigMap": {"data": _LABELS},
        "Event": {"involvedObject": {}, "count": _COUNT, "firstTimestamp": _TIME, "lastTimestamp": _TIME},
    }
)
_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def checked(resource: Resource, obj: Any) -> Obj:
    """
    A copy of `obj`, when it is an object of this resource, without its nulls: null is how JSON writers say "not set".

    Raises ApiError 400 or 422 with what is wrong where.
    """
    new = _without_nulls(obj)
    if not isinstance(new, dict) or not isinstance(new.setdefault("metadata", {}), dict):
        raise bad_request("the body must be an object with metadata")
    wanted = (resource.kind, resource.api_version)
    named = (new.get("kind") or resource.kind, new.get("apiVersion") or resource.api_version)
    if named != wanted:
        raise bad_request(f"the object {named} is not of the kind that this address holds, {wanted}")
    new |= {"kind": resource.kind, "apiVersion": resource.api_version}
    problem = next(_problems(resource, new), None)
    if problem is not None:
        raise invalid(resource, str(new["metadata"].get("name", "")), problem)
    return new


def check_unchangeable(resource: Resource, old: Obj, new: Obj) -> None:
    """Raise ApiError 422 when `new` changes what may not change after creation."""
    keys = {"Deployment": ("selector",), "ReplicaSet": ("selector",), "Job": ("selector", "template", "completions")}
    for key in keys.get(resource.kind, ()):
        if old["spec"].get(key) != new.get("spec", {}).get(key, old["spec"].get(key)):
            raise invalid(resource, old["metadata"]["name"], f"spec.{key}: Invalid value: field is immutable")


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _problems(resource: Resource, obj: Obj) -> Iterator[str]:
    shape = {"metadata": _META, "spec": {}, "status": {}, **_SHAPES.get(resource.kind, {})}
    yield from _mismatches(obj, shape, "")
    name = obj["metadata"].get("name") or obj["metadata"].get("generateName", "") + "x"
    if not _DNS_NAME.fullmatch(name):
        yield f'metadata.name: Invalid value: "{name}": must be a lowercase DNS name'
    if resource.kind in ("Deployment", "ReplicaSet"):
        labels = obj["spec"]["template"].get("metadata", {}).get("labels", {})
        if not labels or not selects(obj["spec"]["selector"], labels):
            why = "`selector` does not match template `labels`"
            yield f"spec.template.metadata.labels: Invalid value: {labels}: {why}"


def _mismatches(value: Any, shape: Any, path: str) -> Iterator[str]:
    match shape:
        case dict() if isinstance(value, dict):
            for key, part in shape.items():
                name = key.removesuffix("!")
                if name != key and value.get(name) in (None, "", []):
                    yield f"{path}.{name}: Required value".removeprefix(".")
                for present in value if key == "*" else ({name} & value.keys()):
                    yield from _mismatches(value[present], part, f"{path}.{present}".removeprefix("."))
        case [item_shape] if isinstance(value, list):
            for index, item in enumerate(value):
                yield from _mismatches(item, item_shape, f"{path}[{index}]")
        case _ if not (isinstance(shape, str) and _is(value, shape)):
            wanted = "an object" if isinstance(shape, dict) else "a list" if isinstance(shape, list) else shape
            yield f"{path}: Invalid value: {value!r}: must be {wanted}"


def _is(value: Any, wanted: str) -> bool:
    if isinstance(value, bool) or wanted == _FLAG:
        return isinstance(value, bool) and wanted == _FLAG
    if isinstance(value, int):
        return wanted in (_COUNT, _SHARE, _PORT) and value >= 0
    return isinstance(value, str) and wanted in _PATTERNS and re.fullmatch(_PATTERNS[wanted], value) is not None
