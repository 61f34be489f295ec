"""The scheduler: which node a new pod goes to. Spread over zones first, then over nodes."""

from __future__ import annotations

from harness.sandbox.objects import ZONE, is_active, is_true, record_event, set_condition
from harness.sandbox.resources import NODES, PODS, Obj
from harness.sandbox.store import Store

_NOT_SHARED = ("pod-template-hash", ZONE)


def schedule(store: Store, namespace: str, name: str) -> None:
    """
    Bind a pod that has no node to the best one, and give it the node's zone label.

    Without a fitting node the pod stays Pending with PodScheduled=False, until a node changes.
    """
    pod = store.find(PODS, name, namespace)
    if pod is None or pod["spec"].get("nodeName") or not is_active(pod):
        return
    nodes = store.list(NODES)
    fitting = [node for node in nodes if _fits(node, pod)]
    if not fitting:
        message = f"0/{len(nodes)} nodes are available: none is ready, schedulable and tolerated."
        if not is_true(pod, "PodScheduled") and "conditions" not in pod["status"]:
            record_event(store, pod, "FailedScheduling", message, component="default-scheduler", severity="Warning")
        store.update(
            PODS, name, namespace, lambda obj: set_condition(obj, "PodScheduled", "False", "Unschedulable", message)
        )
        return
    _bind(store, pod, _least_crowded(store, pod, fitting))


def _fits(node: Obj, pod: Obj) -> bool:
    labels = node["metadata"].get("labels") or {}
    wanted = pod["spec"].get("nodeSelector") or {}
    if node["spec"].get("unschedulable") or not is_true(node, "Ready"):
        return False
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    taints = node["spec"].get("taints") or ()
    return all(covering(pod, taint) for taint in taints if taint.get("effect") != "PreferNoSchedule")


def covering(pod: Obj, taint: Obj) -> list[Obj]:
    """The pod's tolerations that cover the taint."""
    return [one for one in pod["spec"].get("tolerations") or () if _covers(one, taint)]


def _covers(toleration: Obj, taint: Obj) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return (toleration.get("key"), toleration.get("value", "")) == (taint["key"], taint.get("value", ""))


def _least_crowded(store: Store, pod: Obj, nodes: list[Obj]) -> Obj:
    zones = {node["metadata"]["name"]: _zone(node) for node in store.list(NODES)}
    others = [one for one in store.list(PODS) if is_active(one) and one["spec"].get("nodeName")]
    places = [one["spec"]["nodeName"] for one in others if _kin(one, pod)]

    def crowd(node: Obj) -> tuple[int, int, int, str]:
        name = node["metadata"]["name"]
        in_zone = sum(zones.get(place) == _zone(node) for place in places)
        on_node = sum(one["spec"]["nodeName"] == name for one in others)
        return in_zone, places.count(name), on_node, name

    return min(nodes, key=crowd)


def _zone(node: Obj) -> str:
    zone: str = (node["metadata"].get("labels") or {}).get(ZONE, "")
    return zone


def _kin(one: Obj, other: Obj) -> bool:
    """Whether two pods do the same work: same namespace and labels, whatever their template's revision."""

    def identity(pod: Obj) -> tuple[str, Obj]:
        labels = pod["metadata"].get("labels") or {}
        return pod["metadata"]["namespace"], {key: labels[key] for key in labels if key not in _NOT_SHARED}

    return identity(one) == identity(other)


def _bind(store: Store, pod: Obj, node: Obj) -> None:
    meta, node_name = pod["metadata"], node["metadata"]["name"]

    def bound(obj: Obj) -> None:
        obj["spec"]["nodeName"] = node_name
        if _zone(node):
            obj["metadata"].setdefault("labels", {})[ZONE] = _zone(node)
        set_condition(obj, "PodScheduled", "True")

    store.update(PODS, meta["name"], meta["namespace"], bound)
    message = f"Successfully assigned {meta['namespace']}/{meta['name']} to {node_name}"
    record_event(store, pod, "Scheduled", message, component="default-scheduler")
