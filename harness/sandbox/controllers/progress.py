"""
The condition Progressing of a deployment: whether its rollout gets on, is done, or has missed its deadline. Pure.

The rules are the real controller's:
https://github.com/kubernetes/kubernetes/blob/v1.32.0/pkg/controller/deployment/progress.go
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.sandbox.objects import condition
from harness.sandbox.resources import Obj
from harness.sandbox.store import seconds_since

DONE, LATE, MOVING = "NewReplicaSetAvailable", "ProgressDeadlineExceeded", "ReplicaSetUpdated"

_GROWING = ("updatedReplicas", "readyReplicas", "availableReplicas")


def verdict(deployment: Obj, counts: Mapping[str, int]) -> str:
    """
    The reason that the condition should get now; empty when it stays as it is.

    `counts` are the replicas of the status to be; the deployment still has the status before. A rollout that was done
    stays done while only its pods come and go.
    """
    wanted, present = deployment["spec"]["replicas"], condition(deployment, "Progressing")
    before = present.get("reason") if present else None
    if before == DONE and counts["replicas"] == counts["updatedReplicas"]:
        return ""
    if all(counts[key] == wanted for key in ("updatedReplicas", "replicas", "availableReplicas")):
        return DONE
    if present is None or _moves(deployment["status"], counts):
        return MOVING
    left = left_s(deployment)
    return LATE if before != LATE and left is not None and left <= 0 else ""


def left_s(deployment: Obj) -> float | None:
    """Seconds until the rollout under way misses its deadline; None when none is, or when it has."""
    present = condition(deployment, "Progressing")
    if present is None or present.get("reason") in (DONE, LATE):
        return None
    return float(deployment["spec"]["progressDeadlineSeconds"] - seconds_since(present["lastUpdateTime"]))


def _moves(before: Mapping[str, int], counts: Mapping[str, int]) -> bool:
    old = before.get("replicas", 0) - before.get("updatedReplicas", 0)
    return counts["replicas"] - counts["updatedReplicas"] < old or any(
        counts[key] > before.get(key, 0) for key in _GROWING
    )
