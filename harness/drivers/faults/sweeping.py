"""`sweep` for processes that must not import the Kubernetes client: played in a child process."""

from __future__ import annotations

from collections.abc import Collection

from harness.drivers.piped import asked
from harness.errors import DriverError
from harness.plan.model import Cluster

CHILD_S = 120.0  # beyond the time that is waited for a Lease to be renewed


class LeftError(DriverError):
    """Something of ours is in the cluster, and could not be proven gone."""


def sweep_in_child(cluster: Cluster, *, run: str | None = None, over: Collection[str] = ()) -> tuple[str, ...]:
    """
    Undo everything of ours in the cluster's namespaces and on its nodes, see drivers.faults.sweep; what that was.

    Raises LeftError when it is not proven gone, DriverError when the cluster cannot be looked at, or is not the pinned
    one.
    """
    request = {
        "kubeconfig": cluster.kubeconfig,
        "context": cluster.context,
        "uid": cluster.uid,
        "namespaces": sorted({cluster.namespace, *(reach.namespace for reach in cluster.also)}),
        "run": run,
        "over": sorted(over),
    }
    within_s = CHILD_S + cluster.dead_man_s
    try:
        answer = asked("harness.drivers.faults.sweep", request, within_s=within_s)
    except TimeoutError as error:
        raise LeftError(f"kubernetes: what runs left was not undone within {within_s:g} s") from error
    if "error" in answer:
        raise (LeftError if answer["left"] else DriverError)(answer["error"], hint=answer["hint"])
    return tuple(answer["undone"])
