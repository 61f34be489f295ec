"""The scheduler: which node a new pod goes to. Spread over zones first, then over nodes."""

from __future__ import annotations

from collections import Counter

from harness.sandbox.controllers.placement import obstacle
from harness.sandbox.objects import ZONE, condition, is_active, is_finished, labels_of, record_event, set_condition
from harness.sandbox.resources import NODES, PODS, Obj
from harness.sandbox.store import Store

_NOT_SHARED = ("pod-template-hash", ZONE)


def schedule(store: Store, namespace: str, name: str) -> None:
    """
    Bind a pod that has no node to the best one, and give it the node's zone label.

    Without a fitting node the pod stays Pending with PodScheduled=False, until a node changes or a pod goes.
    """
    pod = store.find(PODS, name, namespace)
    if pod is None or pod["spec"].get("nodeName") or not is_active(pod):
        return
    nodes = store.list(NODES)
    others = [one for one in store.list(PODS) if one["spec"].get("nodeName") and not is_finished(one)]
    obstacles = {node["metadata"]["name"]: obstacle(pod, node, nodes, others) for node in nodes}
    fitting = [node for node in nodes if not obstacles[node["metadata"]["name"]]]
    if fitting:
        node = min(fitting, key=lambda one: _crowd(store, pod, one))
        store.update(PODS, name, namespace, lambda obj: _bind(obj, node))
        message = f"Successfully assigned {namespace}/{name} to {node['metadata']['name']}"
        record_event(store, pod, "Scheduled", message, component="default-scheduler")
        return
    reasons = ", ".join(f"{count} node(s) {why}" for why, count in sorted(Counter(obstacles.values()).items()))
    message = f"0/{len(nodes)} nodes are available: {reasons or 'there are none'}."
    if condition(pod, "PodScheduled") is None:
        record_event(store, pod, "FailedScheduling", message, component="default-scheduler", warn=True)
    store.update(
        PODS, name, namespace, lambda obj: set_condition(obj, "PodScheduled", "False", "Unschedulable", message)
    )


def _crowd(store: Store, pod: Obj, node: Obj) -> tuple[int, int, int, str]:
    """How full the node is for this pod: pods of its kind in the zone, on the node, and any pods on the node."""
    zones = {one["metadata"]["name"]: labels_of(one).get(ZONE) for one in store.list(NODES)}
    others = [one for one in store.list(PODS) if is_active(one) and one["spec"].get("nodeName")]
    kin = [one["spec"]["nodeName"] for one in others if _identity(one) == _identity(pod)]
    name = node["metadata"]["name"]
    in_zone = sum(zones.get(place) == zones[name] for place in kin)
    return in_zone, kin.count(name), sum(one["spec"]["nodeName"] == name for one in others), name


def _identity(pod: Obj) -> tuple[str, Obj]:
    """What pods that do the same work have in common: namespace and labels, whatever their template's revision."""
    labels = {key: value for key, value in labels_of(pod).items() if key not in _NOT_SHARED}
    return pod["metadata"]["namespace"], labels


def _bind(pod: Obj, node: Obj) -> None:
    pod["spec"]["nodeName"] = node["metadata"]["name"]
    if ZONE in labels_of(node):
        pod["metadata"].setdefault("labels", {})[ZONE] = labels_of(node)[ZONE]
    set_condition(pod, "PodScheduled", "True")
