"""
Nodes taken out for maintenance, as Chaos Toolkit actions: `drain_nodes` and its undo `undrain_nodes`.

A drain as `kubectl drain` does it: the node is cordoned, then its pods are evicted, which PodDisruptionBudgets may put
off. Pods of DaemonSets, the kubelet's own and the harness's stay.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from harness.drivers.faults.act import Act, Secrets, acting
from harness.drivers.faults.aim import Aim, aimed
from harness.drivers.faults.marks import Change
from harness.drivers.faults.radius import MIRROR, Ask, around, asked
from harness.drivers.kubernetes.client import ApiError
from harness.drivers.kubernetes.objects import (
    BESIDE,
    HARNESS,
    NODES_PATH,
    REAPER,
    RUN,
    ZONE,
    Obj,
    controller_of,
    labels_of,
    name_of,
    node_of,
    node_path,
    pods_path,
    ready,
    running,
    uid_of,
)
from harness.errors import DriverError

__all__ = ["drain_nodes", "undrain_nodes"]

DRAIN = "drain"  # the role of what a drain changes
AGAIN_S = 1.0  # between two tries to evict what a budget protects
GONE_S = 30.0  # for an evicted pod to be gone, above its own grace period
GRACE_S = 30  # a pod's that says nothing (Kubernetes' default)


def drain_nodes(
    *,
    namespace: str,
    selector: str,
    count: int = 1,
    node: str = "",
    zone: str = "",
    timeout_s: float = 120.0,
    seed: int | None = None,
    run: str = "manual",
    ttl_s: int = 120,
    secrets: Secrets = None,
) -> dict[str, object]:
    """
    Drain `count` nodes that bear the selector's pods, drawn at random; or the `node` named; or all of the `zone`.

    Cordons them, evicts their pods (tried again for `timeout_s` seconds while a PodDisruptionBudget forbids it), waits
    until those are gone. Returns the nodes and the pods evicted. ActivityFailed, and nothing is done, when that is more
    than the caps allow, when no other node could take the pods, or when a pod there has no controller to replace it.
    """
    with acting(namespace, run, ttl_s, secrets) as act:
        aim = aimed(act, selector)
        nodes = act.api.items(NODES_PATH)
        fit = _fit(nodes, aim.matched, node=node, zone=zone)
        ask = Ask(count=len(fit)) if node or zone else asked(count)
        limits = aim.radius if aim.frozen else replace(aim.radius, nodes=around((), fit).nodes, max_nodes=len(fit))
        chosen = limits.choose_nodes(ask, fit, Random(seed))
        _require_room(nodes, chosen)
        _require_allowed(aim, _evictable(act, chosen))
        for one in chosen:
            act.change(node_path(name_of(one)), [Change(path=("spec", "unschedulable"), ours=True, role=DRAIN)])
        evicted = _evictable(act, chosen)  # again: from here on none can come
        _evict(act, evicted, timeout_s)
        act.wait_gone(evicted, GONE_S + _longest_grace_s(evicted))
        return {"nodes": sorted(map(name_of, chosen)), "evicted": sorted(map(_full_name, evicted))}


def undrain_nodes(
    *, namespace: str, run: str = "manual", ttl_s: int = 120, secrets: Secrets = None
) -> dict[str, object]:
    """
    Uncordon the nodes that the run's drains cordoned; a node that was cordoned before stays so.

    Returns their names; fine when there are none. ActivityFailed when one cannot be changed back.
    """
    with acting(namespace, run, ttl_s, secrets) as act:
        marked = sorted(map(name_of, act.api.items(NODES_PATH, {"labelSelector": f"{RUN}={act.run}"})))
        return {"nodes": [name for name in marked if act.restore(node_path(name), DRAIN)]}


def _fit(nodes: Sequence[Obj], matched: Iterable[Obj], *, node: str, zone: str) -> list[Obj]:
    """The nodes that the arguments allow."""
    if node:
        fit = [one for one in nodes if name_of(one) == node]
    elif zone:
        fit = [one for one in nodes if labels_of(one).get(ZONE) == zone]
    else:
        bearing = {node_of(pod) for pod in matched if running(pod)}
        fit = [one for one in nodes if name_of(one) in bearing and _schedulable(one)]
    if not fit:
        what = (
            f"named '{node}'" if node else f"in zone '{zone}'" if zone else "that takes pods and bears the selector's"
        )
        raise DriverError(f"there is no node {what}; there are: {', '.join(sorted(map(name_of, nodes))) or 'none'}")
    return fit


def _evictable(act: Act, nodes: Iterable[Obj]) -> list[Obj]:
    """The pods on the nodes that a drain moves away. DriverError when nothing would bring one of them back."""
    found = [
        pod
        for one in nodes
        for pod in act.api.items("/api/v1/pods", {"fieldSelector": f"spec.nodeName={name_of(one)}"})
        if running(pod) and not _stays(pod)
    ]
    for pod in found:
        if controller_of(pod) is None:
            where = f"pod '{_full_name(pod)}' on node '{node_of(pod)}'"
            raise DriverError(f"{where} has no controller, so nothing would bring it back; choose another node")
    return found


def _stays(pod: Obj) -> bool:
    """Whether the pod belongs to its node (a DaemonSet's, the kubelet's own) or to the harness."""
    owner: dict[str, Any] = controller_of(pod) or {}
    ours = RUN in labels_of(pod) or labels_of(pod).get(BESIDE) in (HARNESS, REAPER)
    return ours or owner.get("kind") == "DaemonSet" or MIRROR in (pod["metadata"].get("annotations") or {})


def _require_room(nodes: Iterable[Obj], chosen: Sequence[Obj]) -> None:
    taken = {uid_of(one) for one in chosen}
    if not any(_schedulable(one) and ready(one) for one in nodes if uid_of(one) not in taken):
        names = ", ".join(sorted(map(name_of, chosen)))
        raise DriverError(f"no other node is left to take the pods of {names}; drain fewer")


def _require_allowed(aim: Aim, evicted: Iterable[Obj]) -> None:
    """The caps are about the selector's pods; what else runs on a node goes with it."""
    uids = {uid_of(pod) for pod in evicted}
    hit = [pod for pod in aim.matched if uid_of(pod) in uids]
    if not hit:
        raise DriverError("none of the selector's pods is on the nodes, so draining them would show nothing")
    aim.radius.require(hit, everyone=aim.everyone)


def _evict(act: Act, pods: Iterable[Obj], timeout_s: float) -> None:
    """Ask for the eviction of each pod, again and again while a PodDisruptionBudget says no."""
    left = list(pods)
    until = time.monotonic() + timeout_s
    while left := [pod for pod in left if not _evicted(act, pod)]:
        if act.dry or time.monotonic() > until:
            waited = "now" if act.dry else f"for {timeout_s:g} s"
            names = ", ".join(sorted(map(_full_name, left)))
            raise DriverError(f"a PodDisruptionBudget forbids {waited} to evict {names}; is the service whole?")
        time.sleep(AGAIN_S)


def _evicted(act: Act, pod: Obj) -> bool:
    """Whether the pod is gone or on its way; False when a budget forbids it for now."""
    metadata = {"name": name_of(pod), "namespace": _namespace(pod)}
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": metadata,
        "deleteOptions": {"preconditions": {"uid": uid_of(pod)}},
    }
    try:
        act.api.create(f"{pods_path(_namespace(pod), name_of(pod))}/eviction", eviction)
    except ApiError as error:
        if error.status in (404, 409):  # it is gone; another may have its name
            return True
        if error.status != 429:
            raise
        return False
    return True


def _schedulable(node: Obj) -> bool:
    return not (node.get("spec") or {}).get("unschedulable")


def _longest_grace_s(pods: Iterable[Obj]) -> float:
    return float(max((pod["spec"].get("terminationGracePeriodSeconds", GRACE_S) for pod in pods), default=0))


def _namespace(pod: Obj) -> str:
    return str(pod["metadata"]["namespace"])


def _full_name(pod: Obj) -> str:
    return f"{_namespace(pod)}/{name_of(pod)}"
