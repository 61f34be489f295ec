"""
The node controller: a node whose kubelet is silent is not ready, and so are its pods; and the taints that say so.

Source: https://kubernetes.io/docs/concepts/architecture/nodes/#node-controller. When no node at all is heard, the
silence says more about the listener: nothing is evicted then.
"""

from __future__ import annotations

from harness.sandbox.objects import condition, is_true, record_event, set_condition
from harness.sandbox.resources import LEASES, NODES, PODS, Obj
from harness.sandbox.store import Store, seconds_since, timestamp

NODE_LEASES = "kube-node-lease"
"""The namespace of the leases that kubelets renew as their heartbeat; each is called like its node."""

GRACE_S = 4.0
"""How long a kubelet may be silent; real clusters wait 40 s or 50 s (node-monitor-grace-period)."""

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_OWN = (NOT_READY, UNREACHABLE, UNSCHEDULABLE)


def reconcile_node(store: Store, namespace: str, name: str) -> float | None:
    """Judge the node by its heartbeat, and its pods and taints by that; seconds until it must have been heard again."""
    node = store.find(NODES, name, namespace)
    if node is None:
        return None
    left_s = _left_s(store, name)
    if left_s is not None and left_s <= 0:
        node, left_s = _lose(store, node), None  # its kubelet itself says when it is back
    _taint(store, node)
    if not is_true(node, "Ready"):
        _mark_pods(store, node)
    return left_s


def _left_s(store: Store, name: str) -> float | None:
    lease = store.find(LEASES, name, NODE_LEASES)
    return GRACE_S - seconds_since(lease["spec"]["renewTime"]) if lease is not None else None


def _lose(store: Store, node: Obj) -> Obj:
    ready = condition(node, "Ready")
    if ready is not None and ready["status"] == "Unknown":
        return node
    name = node["metadata"]["name"]
    record_event(store, node, "NodeNotReady", f"Node {name} status is now: NodeNotReady", component="node-controller")
    unknown = ("Ready", "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
    return store.update(NODES, name, "", lambda obj: set_condition(obj, *unknown))


def _taint(store: Store, node: Obj) -> None:
    """Put the node's own taints in order; those that people put there stay."""
    present = node["spec"].get("taints") or []
    old = {(taint["key"], taint["effect"]): taint for taint in present if taint["key"] in _OWN}
    heard = any(is_true(one, "Ready") for one in store.list(NODES))
    own = [old.get(one) or _taint_of(*one) for one in _wanted(node, evict=heard)]
    taints = [taint for taint in present if taint["key"] not in _OWN] + own
    if taints != present:
        store.update(NODES, node["metadata"]["name"], "", lambda obj: _set_taints(obj["spec"], taints))


def _taint_of(key: str, effect: str) -> Obj:
    return {"key": key, "effect": effect} | ({"timeAdded": timestamp()} if effect == "NoExecute" else {})


def _set_taints(spec: Obj, taints: list[Obj]) -> None:
    spec.pop("taints", None)
    if taints:
        spec["taints"] = taints


def _wanted(node: Obj, *, evict: bool) -> list[tuple[str, str]]:
    ready = condition(node, "Ready")
    key = {"False": NOT_READY, "Unknown": UNREACHABLE}.get(ready["status"] if ready else "True")
    taints = [(UNSCHEDULABLE, "NoSchedule")] if node["spec"].get("unschedulable") else []
    if key is not None:
        taints += [(key, effect) for effect in ("NoSchedule", *(["NoExecute"] if evict else []))]
    return taints


def _mark_pods(store: Store, node: Obj) -> None:
    for pod in store.list(PODS):
        meta = pod["metadata"]
        if pod["spec"].get("nodeName") == node["metadata"]["name"] and is_true(pod, "Ready"):
            record_event(store, pod, "NodeNotReady", "Node is not ready", component="node-controller", warn=True)
            store.update(PODS, meta["name"], meta["namespace"], lambda obj: set_condition(obj, "Ready", "False"))
