"""What a deployment's status says about its replica sets: counts, availability and the rollout's progress."""

from __future__ import annotations

from harness.sandbox.objects import condition, controlled_by, set_condition
from harness.sandbox.resources import DEPLOYMENTS, REPLICASETS, Obj
from harness.sandbox.store import Store, seconds_since, timestamp

_COUNTS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
_DEADLINE = "progressDeadlineSeconds"


def write_status(store: Store, deployment: Obj, new: Obj | None) -> float | None:
    """Bring the deployment's status up to date; seconds until its rollout misses the progress deadline, if it may."""
    meta = deployment["metadata"]
    owned = controlled_by(store, REPLICASETS, deployment)
    present = next((one for one in owned if new and one["metadata"]["uid"] == new["metadata"]["uid"]), None)
    counts = _counts(owned, present)

    def changed(obj: Obj) -> None:
        before = obj["status"]
        obj["status"] = {"observedGeneration": obj["metadata"]["generation"]}
        obj["status"] |= {key: count for key, count in counts.items() if count}
        obj["status"]["conditions"] = list(before.get("conditions") or ())
        _set_available(obj, counts["availableReplicas"])
        _set_progressing(obj, before, present)

    written = store.update(DEPLOYMENTS, meta["name"], meta["namespace"], changed)
    progress = condition(written, "Progressing")
    if progress is None or progress.get("reason") != "ReplicaSetUpdated":
        return None
    return float(written["spec"][_DEADLINE] - seconds_since(progress["lastUpdateTime"]))


def bounds(deployment: Obj) -> tuple[int, int]:
    """How many pods there may be above the wanted number, and how many below may be unavailable, during a rollout."""
    wanted = deployment["spec"]["replicas"]
    rolling = deployment["spec"]["strategy"].get("rollingUpdate")
    if rolling is None:
        return 0, wanted
    surge = _share(rolling["maxSurge"], wanted, round_up=True)
    unavailable = _share(rolling["maxUnavailable"], wanted, round_up=False)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def _share(value: int | str, whole: int, *, round_up: bool) -> int:
    if isinstance(value, int):
        return value
    hundredths = int(value.removesuffix("%")) * whole
    return -(-hundredths // 100) if round_up else hundredths // 100


def _counts(owned: list[Obj], new: Obj | None) -> dict[str, int]:
    def total(key: str) -> int:
        return sum(one["status"].get(key, 0) for one in owned)

    counts = {key: total(key) for key in ("replicas", "readyReplicas", "availableReplicas")}
    wanted = sum(one["spec"]["replicas"] for one in owned)
    return counts | {
        "updatedReplicas": new["status"].get("replicas", 0) if new else 0,
        "unavailableReplicas": max(0, wanted - counts["availableReplicas"]),
    }


def _set_available(deployment: Obj, available: int) -> None:
    if available >= deployment["spec"]["replicas"] - bounds(deployment)[1]:
        _set(deployment, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        message = "Deployment does not have minimum availability."
        _set(deployment, "Available", "False", "MinimumReplicasUnavailable", message)


def _set_progressing(deployment: Obj, before: Obj, new: Obj | None) -> None:
    status, spec, last = deployment["status"], deployment["spec"], condition(deployment, "Progressing")
    name = new["metadata"]["name"] if new else ""
    moved = any(status.get(key, 0) != before.get(key, 0) for key in (*_COUNTS, "observedGeneration"))
    if spec.get("paused"):
        _set(deployment, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
    elif all(status.get(key, 0) == spec["replicas"] for key in ("updatedReplicas", "replicas", "availableReplicas")):
        message = f'ReplicaSet "{name}" has successfully progressed.'
        _set(deployment, "Progressing", "True", "NewReplicaSetAvailable", message)
    elif last is None or moved or last.get("reason") == "DeploymentPaused":
        _set(deployment, "Progressing", "True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.', touch=True)
    elif last.get("reason") == "ReplicaSetUpdated" and seconds_since(last["lastUpdateTime"]) >= spec[_DEADLINE]:
        message = f'Deployment "{deployment["metadata"]["name"]}" has timed out progressing.'
        _set(deployment, "Progressing", "False", "ProgressDeadlineExceeded", message)


def _set(deployment: Obj, kind: str, status: str, reason: str, message: str, *, touch: bool = False) -> None:
    old = condition(deployment, kind) or {}
    set_condition(deployment, kind, status, reason, message)
    new = condition(deployment, kind) or {}
    same = {**old, "lastUpdateTime": ""} == {**new, "lastUpdateTime": ""}
    new["lastUpdateTime"] = old["lastUpdateTime"] if same and not touch else timestamp()
