"""Small Kubernetes objects, and a cluster that is a dict: what the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from plan_values import CLUSTER, SERVICE, phase, plan_of

from harness.drivers.kubernetes.client import ApiClient, ApiError
from harness.plan.model import Fault, Plan

Obj = dict[str, Any]
ZONE = "topology.kubernetes.io/zone"
URL = "http://127.0.0.1:1"


def pod(name: str, zone: str = "", *, node: str = "", app: str = "shop", **state: Any) -> Obj:
    """A running, ready pod; `state` may be phase, ready, terminating, labels, annotations, uid."""
    labels = {"app": app} | ({ZONE: zone} if zone else {}) | state.get("labels", {})
    metadata = {"name": name, "uid": state.get("uid", f"uid-{name}"), "labels": labels, "resourceVersion": "7"}
    if state.get("terminating"):
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    conditions = [{"type": "Ready", "status": "True" if state.get("ready", True) else "False"}]
    return {
        "metadata": metadata | {"annotations": state.get("annotations", {})},
        "spec": {"nodeName": node or (f"node-{zone[-1]}" if zone else "")},
        "status": {"phase": state.get("phase", "Running"), "conditions": conditions},
    }


def node(name: str, zone: str) -> Obj:
    return {"metadata": {"name": name, "labels": {ZONE: zone}}}


def plan(faults: tuple[Fault, ...] = (), *, kubeconfig: str | None, selector: str = "app=shop") -> Plan:
    """A plan of one 30 s phase against the cluster."""
    cluster = replace(CLUSTER, kubeconfig=kubeconfig, selector=selector)
    return plan_of(phase(end_s=30.0), service=replace(SERVICE, cluster=cluster), faults=faults)


def kubeconfig(folder: Path, server: str | None, *, current: str | None = "here") -> str:
    """The path of a kubeconfig whose context `here` leads to the server."""
    cluster = {} if server is None else {"server": server}
    path = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(yaml.safe_dump(config | ({"current-context": current} if current else {})))
    return str(path)


class ScriptedApi(ApiClient):
    """
    A cluster in a dict of path to object. `refuse` maps (method, path) to the status of its one refusal.

    Deletions are immediate; a Job's dependents go with it. `answers` are what successive `get`s of a list and `lines`
    return when the script is given: an object, a sequence of lines, or an ApiError to raise.
    """

    def __init__(self, objects: Mapping[str, Sequence[Obj]] = {}, answers: Sequence[Any] = ()) -> None:
        self.url = URL
        self.stored = {f"{path}/{one['metadata']['name']}": deepcopy(one) for path in objects for one in objects[path]}
        self.answers = list(answers)
        self.refuse: dict[tuple[str, str], int] = {}
        self.asked: list[dict[str, str]] = []

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Obj:
        if self.answers:
            return self._next(query)
        self._refused("GET", path)
        if path in self.stored:
            return self.stored[path]
        under = [one for where, one in self.stored.items() if where.rsplit("/", 1)[0] == path]
        return {"metadata": {"resourceVersion": "1"}, "items": [one for one in under if _selected(one, query or {})]}

    def create(self, path: str, body: Obj) -> Obj:
        self._refused("POST", path)
        where = f"{path}/{body['metadata']['name']}"
        if where in self.stored:
            raise ApiError(f"{where} exists", 409)
        self.stored[where] = deepcopy(body)
        self.stored[where]["metadata"]["uid"] = f"uid-{body['metadata']['name']}"
        return self.stored[where]

    def patch(self, path: str, body: Obj) -> Obj:
        self._refused("PATCH", path)
        for part, values in body["metadata"].items():
            known = self.stored[path]["metadata"].setdefault(part, {})
            for key, value in values.items():
                known.pop(key, None)
                if value is not None:
                    known[key] = value
        return self.stored[path]

    def delete(self, path: str, grace_s: int | None = None) -> bool:
        self._refused("DELETE", path)
        return self.stored.pop(path, None) is not None

    def lines(self, path: str, query: Mapping[str, str], *, read_s: float) -> Iterator[bytes]:
        return iter(self._next(query))

    def names(self) -> list[str]:
        """What is stored, as `plural/name`, sorted."""
        return sorted("/".join(path.rsplit("/", 2)[1:]) for path in self.stored)

    def _next(self, query: Mapping[str, str] | None) -> Any:
        self.asked.append(dict(query or {}))
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _refused(self, method: str, path: str) -> None:
        status = self.refuse.pop((method, path), None)
        if status is not None:
            raise ApiError(f"{method} {path}: {status}", status)


def _selected(one: Obj, query: Mapping[str, str]) -> bool:
    labels = one["metadata"].get("labels") or {}
    wanted = [part.split("=") for part in query.get("labelSelector", "").split(",") if part]
    return all(labels.get(key) == value for key, value in wanted)
