"""
Taints and tolerations, and the taint manager, which evicts pods from nodes with NoExecute taints they don't tolerate.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from harness.sandbox.objects import is_active, record_event, set_condition
from harness.sandbox.resources import NODES, PODS, Obj
from harness.sandbox.store import Store


def tolerates(toleration: Obj, taint: Obj) -> bool:
    """Whether the toleration is for the taint: an empty key or effect is for all of them."""
    if toleration.get("effect", "") not in ("", taint["effect"]):
        return False
    if toleration.get("key", "") not in ("", taint["key"]):
        return False
    exists = toleration.get("operator", "Equal") == "Exists"
    return exists or bool(toleration.get("value", "") == taint.get("value", ""))


def untolerated(pod: Obj, taints: Iterable[Obj]) -> Obj | None:
    """The first of the taints that the pod does not tolerate."""
    tolerations = pod["spec"].get("tolerations") or ()
    return next((taint for taint in taints if not any(tolerates(one, taint) for one in tolerations)), None)


def tolerated_s(pod: Obj, taints: Iterable[Obj]) -> float | None:
    """How long the pod puts up with all the taints together, in seconds; None: for ever."""
    least: list[float] = []
    for taint in taints:
        found = next((one for one in pod["spec"].get("tolerations") or () if tolerates(one, taint)), None)
        if found is None:
            return 0.0
        if "tolerationSeconds" in found:
            least.append(max(0.0, found["tolerationSeconds"]))
    return min(least, default=None)


class TaintManager:
    """
    Evicts pods from tainted nodes when their time is up.

    It counts from when it first saw the taint, and keeps that in memory, as the real one does: taints have no usable
    time of their own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[tuple[str, str], tuple[str, float]] = {}  # namespace, name -> uid, when

    def reconcile(self, store: Store, namespace: str, name: str) -> float | None:
        """Evict the pod, or say in how many seconds; None when it may stay."""
        pod = store.find(PODS, name, namespace)
        left_s = self._left_s(store, pod) if pod is not None and is_active(pod) else None
        if left_s is None or pod is None:
            self._since.pop((namespace, name), None)
        elif left_s <= 0:
            self._since.pop((namespace, name), None)
            _evict(store, pod)
            return None
        return left_s

    def _left_s(self, store: Store, pod: Obj) -> float | None:
        node = store.find(NODES, pod["spec"].get("nodeName", ""))
        taints = [one for one in (node or {"spec": {}})["spec"].get("taints") or () if one["effect"] == "NoExecute"]
        whole_s = tolerated_s(pod, taints)
        if whole_s is None:
            return None
        meta = pod["metadata"]
        key, now_s = (meta["namespace"], meta["name"]), self._clock()
        uid, since_s = self._since.get(key, ("", now_s))
        if uid != meta["uid"]:
            since_s = now_s
            self._since[key] = (meta["uid"], since_s)
        return since_s + whole_s - now_s


def _evict(store: Store, pod: Obj) -> None:
    meta = pod["metadata"]
    because = ("DisruptionTarget", "True", "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
    store.update(PODS, meta["name"], meta["namespace"], lambda obj: set_condition(obj, *because))
    message = f"Marking for deletion Pod {meta['namespace']}/{meta['name']}"
    record_event(store, pod, "TaintManagerEviction", message, component="taint-eviction-controller")
    store.delete(PODS, meta["name"], meta["namespace"])
