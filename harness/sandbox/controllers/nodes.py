"""
What a node's condition and taints mean for the pods on it.

Who finds out that a node is lost is not decided here: a kubelet, or whoever stops it, writes the node's Ready
condition; and the kubelet marks its pods ready again when the node comes back.
"""

from __future__ import annotations

from types import MappingProxyType

from harness.sandbox.controllers.scheduler import covering
from harness.sandbox.objects import condition, is_active, is_true, record_event, set_condition
from harness.sandbox.resources import NODES, PODS, Obj
from harness.sandbox.store import Store, seconds_since, timestamp

DEFAULT_TOLERATION_S = 300
"""How long a pod stays on a lost node unless it says otherwise, as the real API server gives every pod."""

_OUTAGE = MappingProxyType({"False": "node.kubernetes.io/not-ready", "Unknown": "node.kubernetes.io/unreachable"})
_CORDON = "node.kubernetes.io/unschedulable"


def reconcile_node(store: Store, _namespace: str, name: str) -> None:
    """Bring taints in line with readiness and cordon; pods of a lost node are not ready, of a deleted one gone."""
    node = store.find(NODES, name)
    pods = [pod for pod in store.list(PODS) if pod["spec"].get("nodeName") == name]
    if node is None:
        for pod in pods:
            store.remove(PODS, pod["metadata"]["name"], pod["metadata"]["namespace"], pod["metadata"]["uid"])
        return
    store.update(NODES, name, "", lambda obj: obj.update(spec=_tainted(obj)))
    if condition(node, "Ready") is None or is_true(node, "Ready"):
        return
    for pod in pods:
        if is_true(pod, "Ready"):
            store.update(
                PODS,
                pod["metadata"]["name"],
                pod["metadata"]["namespace"],
                lambda obj: set_condition(obj, "Ready", "False", "NodeNotReady", f"node {name} is not ready"),
            )


def evict_if_intolerant(store: Store, namespace: str, name: str) -> float | None:
    """Delete the pod when its node has a NoExecute taint it does not tolerate (any longer); seconds until then."""
    pod = store.find(PODS, name, namespace)
    node = store.find(NODES, pod["spec"].get("nodeName", "")) if pod else None
    if pod is None or node is None or not is_active(pod):
        return None
    taints = [taint for taint in node["spec"].get("taints") or () if taint.get("effect") == "NoExecute"]
    left_s = min((left for left in (_tolerated_s(pod, taint) for taint in taints) if left is not None), default=None)
    if left_s is None or left_s > 0:
        return left_s
    record_event(store, pod, "TaintManagerEviction", f"Marking for deletion Pod {namespace}/{name}", component="taint")
    store.delete(PODS, name, namespace)
    return None


def _tainted(node: Obj) -> Obj:
    """The node's spec with the taints that its state calls for, and without those it no longer does."""
    ready = condition(node, "Ready")
    wanted: list[Obj] = []
    if ready is not None and ready["status"] in _OUTAGE:
        wanted += [{"key": _OUTAGE[ready["status"]], "effect": effect} for effect in ("NoSchedule", "NoExecute")]
    if node["spec"].get("unschedulable"):
        wanted.append({"key": _CORDON, "effect": "NoSchedule"})
    managed = {_CORDON, *_OUTAGE.values()}
    kinds = [(taint["key"], taint["effect"]) for taint in wanted]
    present = node["spec"].get("taints") or []
    kept = [one for one in present if one["key"] not in managed or (one["key"], one.get("effect")) in kinds]
    names = [(taint["key"], taint.get("effect")) for taint in kept]
    taints = kept + [taint for taint in wanted if (taint["key"], taint["effect"]) not in names]
    # Tolerations with a time limit count from when the taint came.
    taints = [{"timeAdded": timestamp(), **one} if one.get("effect") == "NoExecute" else one for one in taints]
    spec = {key: value for key, value in node["spec"].items() if key != "taints"}
    return spec | ({"taints": taints} if taints else {})


def _tolerated_s(pod: Obj, taint: Obj) -> float | None:
    """Seconds the pod may stay in spite of the taint; None: for ever."""
    tolerations = covering(pod, taint)
    if not tolerations:
        limit_s: float = DEFAULT_TOLERATION_S if taint["key"] in _OUTAGE.values() else 0
    else:
        limits = [one["tolerationSeconds"] for one in tolerations if one.get("tolerationSeconds") is not None]
        if not limits:
            return None
        limit_s = min(limits)
    return limit_s - seconds_since(taint["timeAdded"]) if limit_s > 0 else 0
