"""
What an object must look like to be let in; the rest is taken as it comes.

In Kubernetes a field's name says what it holds, whatever the kind around it. So flat tables of names are enough to keep
out what controllers, kubelets and the network could not read.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

from harness.sandbox.defaults import with_defaults
from harness.sandbox.network.chaos import problem_of
from harness.sandbox.resources import INERT, Obj, Resource, bad_request, invalid
from harness.sandbox.selectors import selects

_OBJECTS = (
    "metadata spec target template strategy rollingUpdate selector podSelector namespaceSelector involvedObject"
    " readinessProbe livenessProbe httpGet affinity labelSelector"
)
_LISTS = (
    "containers ports env matchExpressions ownerReferences ingress egress from to endpoints taints tolerations"
    " topologySpreadConstraints"
)
_MAPS = "labels annotations matchLabels nodeSelector nodeSelectors labelSelectors data"
_TEXTS = "name generateName namespace uid kind apiVersion image nodeName key type restartPolicy value path topologyKey"
_TEXT_LISTS = "command args values policyTypes addresses namespaces"
_COUNTS = (
    "replicas containerPort endPort parallelism activeDeadlineSeconds ttlSecondsAfterFinished"
    " terminationGracePeriodSeconds initialDelaySeconds periodSeconds timeoutSeconds successThreshold failureThreshold"
    " count maxSkew progressDeadlineSeconds revisionHistoryLimit"
)
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Equal")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_SHARE = re.compile(r"\d+%")
_PATH_SEGMENT = re.compile(r"[^/%]+")  # roles have names like system:reader
_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _every(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _is_map(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


_RULES = _every(lambda item: isinstance(item, dict))

_SHAPES: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    (_OBJECTS, "an object", lambda value: isinstance(value, dict)),
    (_LISTS, "a list of objects", _RULES),
    (_MAPS, "a map of texts", _is_map),
    (_TEXTS, "a text", _is_text),
    (_TEXT_LISTS, "a list of texts", _every(_is_text)),
    (_COUNTS, "a number of at least 0", _is_count),
    ("port targetPort", "a port's number or name", lambda value: _is_count(value) or _is_text(value)),
    (
        "maxSurge maxUnavailable minAvailable",
        "a number or a percentage",
        lambda v: _is_count(v) or bool(_SHARE.fullmatch(str(v))),
    ),
    ("ipBlock", "left out: the sandbox's policies know pods only", lambda _: False),
    ("minReadySeconds", "left out: a ready pod is available", lambda value: value == 0),
    ("operator", f"one of {', '.join(_OPERATORS)}", lambda value: value in _OPERATORS),
    (
        "podAntiAffinity",
        "an object with lists of objects",
        lambda v: isinstance(v, dict) and all(map(_RULES, v.values())),
    ),
    ("effect", f"one of {', '.join(_EFFECTS)}", lambda value: value in ("", *_EFFECTS)),
    ("tolerationSeconds", "a number", lambda value: isinstance(value, int)),
    ("unschedulable", "true or false", lambda value: isinstance(value, bool)),
    (
        "renewTime acquireTime",
        "a time with microseconds, like 2026-01-31T10:00:00.000000Z",
        lambda value: isinstance(value, str) and bool(_MICRO_TIME.fullmatch(value)),
    ),
)
_FIELDS = MappingProxyType({name: (wanted, fits) for names, wanted, fits in _SHAPES for name in names.split()})
# What an object under this name, or each item of the list, or an object of this kind must have.
_REQUIRED: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "containers": ("name",),
        "env": ("name",),
        "matchExpressions": ("key", "operator"),
        "ownerReferences": ("kind", "name", "uid"),
        "httpGet": ("port",),
        "taints": ("key", "effect"),
        "topologySpreadConstraints": ("maxSkew", "topologyKey", "whenUnsatisfiable"),
        "endpoints": ("addresses",),
        "Pod": ("spec.containers",),
        "Deployment": ("spec.template.spec.containers", "spec.selector"),
        "ReplicaSet": ("spec.template.spec.containers", "spec.selector"),
        "Job": ("spec.template.spec.containers",),
        "Event": ("involvedObject",),
    }
)


def checked(resource: Resource, obj: Any) -> Obj:
    """
    A copy of `obj`, when it is an object of this resource, without its nulls: null is how JSON writers say "not set".

    Without its status too: what is, only controllers and kubelets say. Raises ApiError 400 or 422 with what is wrong
    where.
    """
    new = _without_nulls(obj)
    if not isinstance(new, dict) or not isinstance(new.setdefault("metadata", {}), dict):
        raise bad_request("the body must be an object with metadata")
    wanted = (resource.kind, resource.api_version)
    named = (new.get("kind") or resource.kind, new.get("apiVersion") or resource.api_version)
    if named != wanted:
        raise bad_request(f"the object {named} is not of the kind that this address holds, {wanted}")
    new |= {"kind": resource.kind, "apiVersion": resource.api_version}
    new.pop("status", None)
    read = {"metadata": new["metadata"]} if resource in INERT else new
    problem = next(_mismatches(read, "", resource.kind), None) or _problem(resource, new)
    if problem:
        raise invalid(resource, str(new["metadata"].get("name", "")), problem)
    return new


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _mismatches(value: Any, path: str, name: str) -> Iterator[str]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _mismatches(item, f"{path}[{index}]", name)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        here = f"{path}.{key}".removeprefix(".")
        wanted, fits = _FIELDS.get(key, ("", lambda _: True))
        if not fits(item):
            yield f"{here}: Invalid value: {item!r}: must be {wanted}"
        elif key not in _MAPS.split():
            yield from _mismatches(item, here, key)
    for needed in _REQUIRED.get(name, ()):
        found: Any = value
        for key in needed.split("."):
            found = found.get(key) or {}
        if not found and needed != "port":
            yield f"{path}.{needed}: Required value".removeprefix(".")


def _problem(resource: Resource, obj: Obj) -> str:
    """What makes an object whose fields have the right types unfit for its readers; KeyError with what a port lacks."""
    name = obj["metadata"].get("name") or obj["metadata"].get("generateName", "") + "x"
    if not (_PATH_SEGMENT if resource in INERT else _DNS_NAME).fullmatch(name):
        return f'metadata.name: Invalid value: "{name}": must be a lowercase DNS name'
    with_defaults(resource, copy.deepcopy(obj))
    spec = obj.get("spec", {})
    template = obj if resource.kind == "Pod" else spec.get("template", {})
    for container in template.get("spec", {}).get("containers", ()):
        _ = [port["containerPort"] for port in container.get("ports", ())]
    if resource.kind == "NetworkChaos":
        return problem_of(spec)
    if {"minAvailable", "maxUnavailable"} <= spec.keys():
        return "spec: Invalid value: minAvailable and maxUnavailable cannot be both set"
    return _workload_problem(resource, spec, template)


def _workload_problem(resource: Resource, spec: Obj, template: Obj) -> str:
    if resource.kind == "Job" and spec.get("parallelism") != 0:
        return "spec.parallelism: must be 0: the sandbox runs no pods of jobs, it knows them as dead man's switches"
    if spec.get("strategy", {}).get("type", "RollingUpdate") != "RollingUpdate" or spec.get("paused"):
        return "spec: Invalid value: the sandbox knows the strategy RollingUpdate only, and no pause"
    if resource.kind in ("Deployment", "ReplicaSet"):
        labels = template.get("metadata", {}).get("labels", {})
        if not labels or not selects(spec["selector"], labels):
            return (
                f"spec.template.metadata.labels: Invalid value: {labels}: `selector` does not match template `labels`"
            )
    return ""
