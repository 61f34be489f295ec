"""A cluster as the preflight sees it, built from a few words, and a plan's cluster to hold against it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import plan_values
from kube_doubles import node, pod

from harness.drivers.kubernetes.objects import uid_of
from harness.drivers.preflight.seen import Seen
from harness.plan.model import Fault, Reach

Obj = dict[str, Any]

CLUSTER = replace(plan_values.CLUSTER, max_nodes=1)
ALSO = replace(CLUSTER, also=(Reach(namespace="db", selector="app=db"),))
ZONES = ("a", "b", "c")


def owned(one: Obj, name: str, kind: str = "ReplicaSet") -> Obj:
    """The object, controlled by what has that name."""
    reference = {"kind": kind, "name": name, "uid": f"uid-{name}", "controller": True}
    return {**one, "metadata": {**one["metadata"], "ownerReferences": [reference]}}


def member(name: str, zone: str, *, app: str = "shop", namespace: str = "shop", **state: Any) -> Obj:
    """A running pod of the Deployment `app`, by way of its ReplicaSet."""
    made = owned(pod(name, zone, app=app, **state), f"{app}-rs")
    made["metadata"]["namespace"] = namespace
    return made


def replica_set(name: str, deployment: str, namespace: str = "shop") -> Obj:
    made = owned({"metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"}}, deployment, "Deployment")
    return made | {"spec": {}}


def deployment(name: str, replicas: int = 6, **spec: Any) -> Obj:
    selector = {"selector": {"matchLabels": {"app": name}}}
    return {"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": {"replicas": replicas, **selector, **spec}}


def shop(count: int = 6) -> list[Obj]:
    """That many pods of the shop, zone by zone."""
    return [member(f"shop-{index + 1}", ZONES[index % 3]) for index in range(count)]


def cluster(*pods: Obj, **more: Any) -> Seen:
    """Three zones with a node each; the pods; a deployment for each `app`. `more` replaces fields of Seen."""
    spaces = {one["metadata"].get("namespace", "shop") for one in pods} | {"shop"}
    apps = {(one["metadata"].get("namespace", "shop"), one["metadata"]["labels"]["app"]) for one in pods}
    by_space = {
        space: tuple(one for one in pods if one["metadata"].get("namespace", "shop") == space) for space in spaces
    }
    matching = {
        (space, f"app={app}"): frozenset(
            uid_of(one) for one in by_space[space] if one["metadata"]["labels"]["app"] == app
        )
        for space, app in apps
    }
    standing = {
        "nodes": tuple({**node(f"node-{zone}", zone)} for zone in ZONES),
        "pods": by_space,
        "matching": matching,
        "deployments": {
            space: tuple(deployment(app) for where, app in sorted(apps) if where == space) for space in spaces
        },
        "replica_sets": {
            space: tuple(replica_set(f"{app}-rs", app, space) for where, app in sorted(apps) if where == space)
            for space in spaces
        },
    }
    return Seen(**{**standing, **more})


def planned(
    name: str = "pod-delete",
    *,
    configuration: Mapping[str, Any] = {},
    method: Sequence[str] = (),
    **asked: Any,
) -> Fault:
    """A fault whose method calls the functions, each written `module.function` of harness.drivers.faults or in full."""
    document = {"configuration": dict(configuration), "method": [_action(one) for one in method], "rollbacks": []}
    return plan_values.fault(name, document=json.dumps(document), **asked)


def _action(function: str) -> Obj:
    module, _, name = function.rpartition(".")
    whole = module if "." in module else f"harness.drivers.faults.{module}"
    return {"type": "action", "name": name, "provider": {"type": "python", "module": whole, "func": name}}
