"""
The Job controller: pods until enough have succeeded, deadlines, and removal some time after the end.

A job with parallelism 0 runs nothing; with a deadline it is a dead man's switch: it starts its clock at once, fails
when the deadline passes, is removed with everything it owns, and a patch of activeDeadlineSeconds puts that off.
"""

from __future__ import annotations

from harness.sandbox.controllers.replicasets import create_pod
from harness.sandbox.objects import condition, controlled_by, is_active, is_true, record_event, set_condition
from harness.sandbox.resources import JOBS, PODS, Obj
from harness.sandbox.store import Store, seconds_since, timestamp


def reconcile_job(store: Store, namespace: str, name: str) -> float | None:
    """Run, fail, complete or remove the job; seconds until its next deadline."""
    job = store.find(JOBS, name, namespace)
    if job is None or "deletionTimestamp" in job["metadata"]:
        return None
    pods = controlled_by(store, PODS, job)
    ended = _end_of(job)
    if ended is not None:
        return _remove_when_due(store, job, ended)
    counts = _counts(pods)
    verdict = _verdict(job, counts)
    if verdict is None:
        _run_pods(store, job, counts)
        counts = _counts(controlled_by(store, PODS, job))
    else:
        for pod in filter(is_active, pods):
            store.delete(PODS, pod["metadata"]["name"], namespace)
    job = store.update(JOBS, name, namespace, lambda obj: _write_status(obj, counts, verdict))
    if verdict is not None:
        kind, reason, message = verdict
        record_event(
            store,
            job,
            reason,
            message,
            component="job-controller",
            severity="Warning" if kind == "Failed" else "Normal",
        )
        return 0.0
    return _deadline_in_s(job)


def _counts(pods: list[Obj]) -> dict[str, int]:
    phases = [pod["status"].get("phase") for pod in pods]
    return {
        "active": sum(is_active(pod) for pod in pods),
        "succeeded": phases.count("Succeeded"),
        "failed": phases.count("Failed"),
        "ready": sum(is_active(pod) and is_true(pod, "Ready") for pod in pods),
    }


def _deadline_in_s(job: Obj) -> float | None:
    limit_s = job["spec"].get("activeDeadlineSeconds")
    if limit_s is None or job["spec"].get("suspend") or "startTime" not in job["status"]:
        return None
    # The start is kept in whole seconds, rounded down, so the deadline may come up to a second early; never late.
    return float(limit_s - seconds_since(job["status"]["startTime"]))


def _verdict(job: Obj, counts: dict[str, int]) -> tuple[str, str, str] | None:
    """The condition that ends the job, as (type, reason, message); None while it goes on."""
    spec = job["spec"]
    left_s = _deadline_in_s(job)
    if left_s is not None and left_s <= 0:
        return "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
    if counts["failed"] > spec["backoffLimit"]:
        return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    wanted = spec.get("completions")
    enough = counts["succeeded"] >= wanted if wanted is not None else counts["succeeded"] and not counts["active"]
    if enough:
        return "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
    return None


def _run_pods(store: Store, job: Obj, counts: dict[str, int]) -> None:
    spec = job["spec"]
    if spec["suspend"] or (spec.get("completions") is None and counts["succeeded"]):
        return
    left = spec["completions"] - counts["succeeded"] if spec.get("completions") is not None else spec["parallelism"]
    for _ in range(min(spec["parallelism"], left) - counts["active"]):
        pod = create_pod(store, job)
        message = f"Created pod: {pod['metadata']['name']}"
        record_event(store, job, "SuccessfulCreate", message, component="job-controller")


def _write_status(job: Obj, counts: dict[str, int], verdict: tuple[str, str, str] | None) -> None:
    status = job["status"]
    status |= {**counts, "active": 0, "ready": 0} if verdict else counts
    if not job["spec"]["suspend"]:
        status.setdefault("startTime", timestamp())
    if verdict is not None:
        kind, reason, message = verdict
        set_condition(job, kind, "True", reason, message)
        if kind == "Complete":
            status["completionTime"] = timestamp()


def _end_of(job: Obj) -> str | None:
    """When the job completed or failed; None while it goes on."""
    for kind in ("Complete", "Failed"):
        if is_true(job, kind):
            ended = condition(job, kind)
            return None if ended is None else str(ended["lastTransitionTime"])
    return None


def _remove_when_due(store: Store, job: Obj, ended: str) -> float | None:
    ttl_s = job["spec"].get("ttlSecondsAfterFinished")
    if ttl_s is None:
        return None
    left_s = float(ttl_s - seconds_since(ended))
    if left_s > 0:
        return left_s
    store.delete(JOBS, job["metadata"]["name"], job["metadata"]["namespace"])
    return None
