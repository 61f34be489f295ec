"""
Losing a zone, as Chaos Toolkit actions, at three depths; each with its undo.

- `taint_zone` / `untaint_zone`, announced: the zone's nodes are cordoned and tainted, so their pods are evicted and get
  to end in good order. Shows rescheduling and spare capacity; not detection, for Kubernetes knows.
- `empty_zone` / `reopen_zone`, abrupt: the nodes are cordoned and the namespace's pods on them deleted without grace.
  No pod ends in good order; but endpoints vanish at once, which a real outage does not give.
- `stop_zone` / `start_zone`, real: the nodes lose power, by the annotation `lch.dev/power` if they have that switch
  (the sandbox's do), else by a command for each. Detection and eviction take as long as they take.

What is changed on a node is marked, with the action as role; the reaper undoes it when the run is dead. What a command
stopped only a command starts again: by the rollback, the watchdog, or `harness heal`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from harness.drivers.faults import command, radius
from harness.drivers.faults.act import Act, Secrets, acting
from harness.drivers.faults.marks import Change
from harness.drivers.faults.undoing import restoring, taken_back, undone
from harness.drivers.kubernetes.client import ApiError
from harness.drivers.kubernetes.objects import (
    BESIDE,
    HARNESS,
    NODES_PATH,
    POWER,
    PROMETHEUS,
    REAPER,
    RUN,
    STOPPED,
    ZONE,
    Obj,
    controller_of,
    labels_of,
    name_of,
    node_of,
    node_path,
    pods_path,
    ready,
    replica_sets_path,
    running,
    terminating,
    uid_of,
)
from harness.errors import DriverError

__all__ = ["empty_zone", "reopen_zone", "start_zone", "stop_zone", "taint_zone", "untaint_zone"]

OUTAGE = "lch.dev/zone-outage"  # the taint of an announced outage; its value is the run
EVICT_S = 45.0  # for pods to begin to end; they have their own grace to end in
GONE_S = 30.0
STOP_S = 120.0  # for Kubernetes to notice that a node is gone: 40-50 s by default
START_S = 240.0
WATCHED_START_S = 15.0  # less than the harness gives all rollbacks of a fault
AT_ONCE = 16  # requests

_TAINTED, _EMPTIED, _STOPPED = "zone-taint", "zone-empty", "zone-stop"  # roles of changes, each followed by the zone


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """What an outage of a zone will hit."""

    name: str
    nodes: tuple[Obj, ...]
    pods: tuple[Obj, ...]  # of the namespace, on these nodes, that would be replaced elsewhere


def taint_zone(
    zone: str, namespace: str, selector: str, run: str = "manual", ttl_s: int = 120, *, secrets: Secrets = None
) -> dict[str, object]:
    """
    Cordon and taint (NoExecute) the zone's nodes, and wait until the selected pods there have begun to end.

    Returns zone, nodes and pods (names). ActivityFailed, and nothing is left behind, when the zone has no node that may
    be touched, or more than the run's cap, when no other zone could take over, or when it holds the only reaper,
    Prometheus or harness.
    """
    with acting(namespace, run, ttl_s, secrets) as act, _outage(act, zone, selector, _TAINTED) as aim:
        taint = {"key": OUTAGE, "value": act.run, "effect": "NoExecute"}
        changes = [
            Change(path=("spec", "unschedulable"), ours=True, role=_role(_TAINTED, zone)),
            Change(path=("spec", "taints"), element=taint, role=_role(_TAINTED, zone)),
        ]

        def evicted() -> bool:
            return not [pod for pod in _selected(act, selector, aim) if not terminating(pod)]

        for node in aim.nodes:
            act.change(node_path(name_of(node)), changes)
        act.wait(evicted, f"pods of zone '{zone}' evicted; do they tolerate the taint {OUTAGE}?", timeout_s=EVICT_S)
        return _told(aim)


def untaint_zone(zone: str, namespace: str, run: str = "manual", secrets: Secrets = None) -> dict[str, object]:
    """Undo `taint_zone` of the same zone and run, where it is still as the run left it; fine when nothing is (left)."""
    with acting(namespace, run, 0, secrets) as act:
        return {"zone": zone, "undone": _restored(act, zone, _TAINTED)}


def empty_zone(
    zone: str, namespace: str, selector: str, run: str = "manual", ttl_s: int = 120, *, secrets: Secrets = None
) -> dict[str, object]:
    """
    Cordon the zone's nodes and delete the namespace's pods on them at once, without grace; wait until they are gone.

    Pods that nothing would replace elsewhere stay: those of a DaemonSet or of no controller, and our own. The rest is
    as in `taint_zone`.
    """
    with acting(namespace, run, ttl_s, secrets) as act, _outage(act, zone, selector, _EMPTIED) as aim:
        cordon = Change(path=("spec", "unschedulable"), ours=True, role=_role(_EMPTIED, zone))
        for node in aim.nodes:
            act.change(node_path(name_of(node)), [cordon])
        closed = aimed(act, zone, selector)  # again: from here on no pod can come
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda pod: _deleted(act, pod), closed.pods))
        act.wait_gone(closed.pods, GONE_S)
        return _told(closed)


def reopen_zone(zone: str, namespace: str, run: str = "manual", secrets: Secrets = None) -> dict[str, object]:
    """Undo `empty_zone` of the same zone and run: uncordon what it cordoned; fine when nothing is (left)."""
    with acting(namespace, run, 0, secrets) as act:
        return {"zone": zone, "undone": _restored(act, zone, _EMPTIED)}


def stop_zone(
    *,
    zone: str,
    namespace: str,
    selector: str,
    stop: Sequence[str] = (),
    start: Sequence[str] = (),
    run: str = "manual",
    ttl_s: int = 120,
    secrets: Secrets = None,
) -> dict[str, object]:
    """
    Take the power from the zone's nodes, and wait until Kubernetes has noticed that they are gone.

    By their annotation `lch.dev/power` if all have it, else by `stop`, a program and its arguments, once for each node,
    with {node} and {provider_id} filled in; what it stopped before it failed, the rollback starts. ActivityFailed with
    neither, or when a command could not be run: also `start`, which the rollback has to be given. The rest is as in
    `taint_zone`.
    """
    with acting(namespace, run, ttl_s, secrets) as act, _outage(act, zone, selector, _STOPPED) as aim:
        if all(POWER in _annotations(node) for node in aim.nodes):
            off = Change(path=("metadata", "annotations", POWER), ours="off", role=_role(_STOPPED, zone))
            for node in aim.nodes:
                act.change(node_path(name_of(node)), [off])
        else:
            _stop_each(act, aim, stop, start)
        names = {name_of(node) for node in aim.nodes}
        act.wait(
            lambda: not [node for node in act.api.items(NODES_PATH) if name_of(node) in names and ready(node)],
            f"nodes of zone '{zone}' seen to be gone",
            timeout_s=STOP_S,
        )
        return _told(aim)


def start_zone(
    zone: str, namespace: str, start: Sequence[str] = (), run: str = "manual", secrets: Secrets = None
) -> dict[str, object]:
    """
    Undo `stop_zone` of the same zone and run, and wait until the nodes are ready; fine when nothing is (left) stopped.

    `start` is the command for nodes that `stop` stopped. Returns which nodes, and whether they are ready: under the
    harness, whose observer waits for the same, nodes that take longer to start are no undo that failed. Else
    ActivityFailed when they are not ready after 240 seconds.
    """
    with acting(namespace, run, 0, secrets) as act:
        switched = _restored(act, zone, _STOPPED)
        stopped = [node for node in _nodes(act, zone) if _annotations(node).get(STOPPED) == act.run]
        if stopped and not start:
            raise DriverError(f"zone '{zone}': {len(stopped)} nodes were stopped by a command; give `start`")
        if not act.dry:
            command.for_each(start, stopped)
        names = {name_of(node) for node in stopped} | {name.removeprefix("node/") for name in switched}
        back = _back(act, zone, names)
        for node in stopped:
            act.api.patch(node_path(name_of(node)), {"metadata": {"annotations": {STOPPED: None}}})
        return {"zone": zone, "undone": sorted(f"node/{name}" for name in names), "ready": back}


@contextmanager
def _outage(act: Act, zone: str, selector: str, role: str) -> Iterator[Zone]:
    """What an outage is about to hit; what was changed under that role is changed back when it fails inside."""
    aim = aimed(act, zone, selector)
    with taken_back(lambda: _restored(act, zone, role)):
        yield aim


def aimed(act: Act, zone: str, selector: str) -> Zone:
    """What an outage of the zone may hit, by the frozen targets and the caps. DriverError when there must be none."""
    if not selector.strip():
        raise DriverError("the selector is empty, which would match every pod; write one")
    nodes = act.api.items(NODES_PATH)
    there = [node for node in nodes if labels_of(node).get(ZONE) == zone]
    everyone = act.api.items(pods_path(act.namespace))
    on = {name_of(node) for node in there}
    hit = [pod for pod in everyone if node_of(pod) in on]
    limits = radius.frozen(os.environ) or radius.around(hit, there)
    known = limits.following(act.api.items(replica_sets_path(act.namespace)))
    taken = tuple(node for node in there if uid_of(node) in known.nodes)
    names = {name_of(node) for node in taken}
    pods = tuple(pod for pod in hit if node_of(pod) in names and known.holds(pod) and _replaced(pod))
    aim = Zone(name=zone, nodes=taken, pods=pods)
    _require_allowed(aim, known.max_nodes, len(there))
    _require_rest(act, zone, nodes)
    if not _selected(act, selector, aim):
        raise DriverError(f"zone '{zone}': selector '{selector}' matches no running pod there; nothing would be lost")
    known.require(pods, everyone=everyone)
    return aim


def _require_allowed(aim: Zone, cap: int, there: int) -> None:
    if not aim.nodes:
        raise DriverError(f"zone '{aim.name}': none of its {there} nodes is a frozen target; nothing was done")
    if len(aim.nodes) > cap:
        raise DriverError(f"zone '{aim.name}': has {len(aim.nodes)} nodes, max_nodes allows {cap}; nothing was done")


def _require_rest(act: Act, zone: str, nodes: Sequence[Obj]) -> None:
    """Raise DriverError unless another zone has a node that can take over, and the run's own helpers have another."""
    able = {name_of(node) for node in nodes if ready(node) and not node.get("spec", {}).get("unschedulable")}
    elsewhere = {name_of(node) for node in nodes if labels_of(node).get(ZONE) not in {zone, None}}
    if not able & elsewhere:
        raise DriverError(f"zone '{zone}': no other zone has a node that is ready and not cordoned; nothing was done")
    selector = f"{BESIDE} in ({HARNESS},{REAPER},{PROMETHEUS})"
    try:
        beside = [pod for pod in act.api.items("/api/v1/pods", {"labelSelector": selector}) if running(pod)]
    except ApiError as error:
        if error.status != 403:
            raise
        return  # not ours to know
    for name in sorted({labels_of(pod)[BESIDE] for pod in beside}):
        of_name = [pod for pod in beside if labels_of(pod)[BESIDE] == name]
        if not any(node_of(pod) in elsewhere for pod in of_name):
            raise DriverError(f"zone '{zone}': is the only one with a pod of {name}; run another in another zone first")


def _selected(act: Act, selector: str, aim: Zone) -> list[Obj]:
    """The running pods that the selector matches on the zone's nodes, those that are ending included."""
    names = {name_of(node) for node in aim.nodes}
    pods = act.api.items(pods_path(act.namespace), {"labelSelector": selector})
    return [pod for pod in pods if node_of(pod) in names and pod.get("status", {}).get("phase") == "Running"]


def _replaced(pod: Obj) -> bool:
    owner = controller_of(pod)
    return owner is not None and owner["kind"] not in {"DaemonSet", "Node"} and RUN not in labels_of(pod)


def _deleted(act: Act, pod: Obj) -> None:
    try:
        act.api.delete(pods_path(act.namespace, name_of(pod)), grace_s=0, uid=uid_of(pod))
    except ApiError as error:
        if error.status != 409:  # another one has its name by now
            raise


def _stop_each(act: Act, aim: Zone, stop: Sequence[str], start: Sequence[str]) -> None:
    if not (stop and start):
        raise DriverError(
            f"zone '{aim.name}': its nodes have no annotation {POWER}; give the commands `stop` and `start`, such as "
            "[my-cloud, stop, '{node}']"
        )
    command.require(stop)
    command.require(start)  # before anything is stopped that nothing could start
    for node in aim.nodes:  # said on the node first: whoever finds it stopped can tell by whom
        act.api.patch(node_path(name_of(node)), {"metadata": {"annotations": {STOPPED: act.run}}})
    if not act.dry:
        command.for_each(stop, aim.nodes)


def _back(act: Act, zone: str, names: set[str]) -> bool:
    """Wait for the nodes to be ready; whether they are. DriverError when not, and nobody else is watching them."""
    try:
        act.wait(
            lambda: all(ready(node) for node in _nodes(act, zone) if name_of(node) in names),
            f"nodes of zone '{zone}' ready",
            timeout_s=WATCHED_START_S if act.leased else START_S,
        )
    except DriverError:
        if act.leased:
            return False
        raise
    return True


def _nodes(act: Act, zone: str) -> list[Obj]:
    return act.api.items(NODES_PATH, {"labelSelector": f"{ZONE}={zone}"})


def _annotations(obj: Obj) -> dict[str, str]:
    return obj["metadata"].get("annotations") or {}


def _restored(act: Act, zone: str, role: str) -> list[str]:
    return undone(act, lambda: restoring(act, "node", NODES_PATH, node_path, _role(role, zone)))


def _role(role: str, zone: str) -> str:
    return f"{role}-{zone}"


def _told(aim: Zone) -> dict[str, object]:
    return {"zone": aim.name, "nodes": sorted(map(name_of, aim.nodes)), "pods": sorted(map(name_of, aim.pods))}
