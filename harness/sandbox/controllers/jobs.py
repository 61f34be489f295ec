"""
The Job controller, for dead man's switches: a job with parallelism 0 runs nothing.

It starts its clock at once, fails when its deadline passes, and is removed, with everything it owns, some time after
that. A patch of activeDeadlineSeconds puts the deadline off.
"""

from __future__ import annotations

from harness.sandbox.objects import condition, record_event, set_condition
from harness.sandbox.resources import JOBS, Obj
from harness.sandbox.store import Store, seconds_since, timestamp


def reconcile_job(store: Store, namespace: str, name: str) -> float | None:
    """Start, fail or remove the job; seconds until the next of these is due."""
    job = store.find(JOBS, name, namespace)
    if job is None:
        return None
    failed = condition(job, "Failed")
    if failed is not None:
        return _remove_when_due(store, job, failed["lastTransitionTime"])
    job = store.update(JOBS, name, namespace, lambda obj: obj["status"].setdefault("startTime", timestamp()))
    limit_s = job["spec"].get("activeDeadlineSeconds")
    if limit_s is None:
        return None
    # The start is kept in whole seconds, rounded down, so the deadline may come up to a second early; never late.
    left_s = float(limit_s - seconds_since(job["status"]["startTime"]))
    if left_s <= 0:
        why = "Job was active longer than specified deadline"
        store.update(JOBS, name, namespace, lambda obj: set_condition(obj, "Failed", "True", "DeadlineExceeded", why))
        record_event(store, job, "DeadlineExceeded", why, component="job-controller", warn=True)
    return left_s


def _remove_when_due(store: Store, job: Obj, ended: str) -> float | None:
    ttl_s = job["spec"].get("ttlSecondsAfterFinished")
    left_s = float(ttl_s - seconds_since(ended)) if ttl_s is not None else None
    if left_s is not None and left_s <= 0:
        store.delete(JOBS, job["metadata"]["name"], job["metadata"]["namespace"])
        return None
    return left_s
