"""
How many pods may be evicted just now: PodDisruptionBudgets, computed from the present pods whenever somebody asks.

Real servers count by the status that the disruption controller wrote last. Here nothing can happen in between, so the
API server and the controller both compute. Source: https://kubernetes.io/docs/tasks/run-application/configure-pdb/
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.sandbox.objects import is_finished, is_true, labels_of, share
from harness.sandbox.resources import BY_KIND, PDBS, PODS, ApiError, Obj
from harness.sandbox.selectors import selects
from harness.sandbox.store import Store

VIOLATED = "Cannot evict pod as it would violate the pod's disruption budget."


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a budget comes to: all in pods."""

    expected: int
    healthy: int
    desired: int

    @property
    def allowed(self) -> int:
        """How many more may be disrupted."""
        return max(0, self.healthy - self.desired) if self.expected else 0


def budget_of(store: Store, pdb: Obj) -> Budget:
    """The budget by the present pods: healthy are those ready and not being deleted."""
    spec = pdb["spec"]
    pods = [pod for pod in store.list(PODS, pdb["metadata"]["namespace"]) if _covers(pdb, pod)]
    healthy = sum(is_true(pod, "Ready") and "deletionTimestamp" not in pod["metadata"] for pod in pods)
    if "maxUnavailable" in spec:
        expected = _wanted(store, pods)
        desired = max(0, expected - share(spec["maxUnavailable"], expected, round_up=True))
    elif isinstance(spec.get("minAvailable"), int):
        expected, desired = len(pods), spec["minAvailable"]
    else:
        expected = _wanted(store, pods)
        desired = share(spec.get("minAvailable", "0%"), expected, round_up=True)
    return Budget(expected=expected, healthy=healthy, desired=desired)


def permit_eviction(store: Store, pod: Obj) -> None:
    """
    Nothing, when no budget objects to the pod's eviction now.

    Raises ApiError 429 when one does, and 500 when the pod has two: Kubernetes does not count then.
    """
    if pod["status"].get("phase") in ("Pending", "Succeeded", "Failed") or "deletionTimestamp" in pod["metadata"]:
        return
    covering = [pdb for pdb in store.list(PDBS, pod["metadata"]["namespace"]) if _covers(pdb, pod)]
    if len(covering) > 1:
        why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise ApiError(500, "InternalError", why)
    for pdb in covering:
        budget = budget_of(store, pdb)
        always = pdb["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
        if not is_true(pod, "Ready") and (always or budget.healthy >= budget.desired > 0):
            continue
        if budget.allowed == 0:
            name = pdb["metadata"]["name"]
            message = (
                f"The disruption budget {name} needs {budget.desired} healthy pods and has {budget.healthy} currently"
            )
            causes = [{"reason": "DisruptionBudget", "message": message}]
            raise ApiError(429, "TooManyRequests", VIOLATED, {"causes": causes})


def _covers(pdb: Obj, pod: Obj) -> bool:
    selector = pdb["spec"].get("selector")
    return selector is not None and not is_finished(pod) and selects(selector, labels_of(pod))


def _wanted(store: Store, pods: list[Obj]) -> int:
    """How many pods their controllers want together: for a replica set of a deployment, that deployment's number."""
    wanted: dict[str, int] = {}
    for pod in pods:
        owner = _controller(store, pod)
        above = _controller(store, owner) if owner is not None else None
        top = above or owner
        if top is not None:
            wanted[top["metadata"]["uid"]] = top["spec"].get("replicas", 1)
    return sum(wanted.values())


def _controller(store: Store, obj: Obj) -> Obj | None:
    meta = obj["metadata"]
    for reference in meta.get("ownerReferences") or ():
        resource = BY_KIND.get(reference["kind"])
        if reference.get("controller") and resource is not None:
            found = store.find(resource, reference["name"], meta["namespace"])
            return found if found is not None and found["metadata"]["uid"] == reference["uid"] else None
    return None
