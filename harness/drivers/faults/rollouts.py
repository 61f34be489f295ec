"""
Changes of a Deployment, as Chaos Toolkit actions.

`restart_rollout` needs no undo; `set_image`, a bad rollout, is undone by `undo_rollout` and `scale` by `unscale`. What
is changed is marked on the Deployment in the same request, and changed back only where it is still ours. A template
that is changed back is the former one, so the Deployment goes back to its former ReplicaSet, as with
`kubectl rollout undo`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

from harness.drivers.faults.act import Act, Secrets, acting
from harness.drivers.faults.aim import Aim, aimed
from harness.drivers.faults.marks import Change
from harness.drivers.faults.radius import replicas_of, taken_at_once
from harness.drivers.kubernetes.client import ApiError
from harness.drivers.kubernetes.objects import Obj, deployments_path, labels_of, name_of, running, selects, uid_of
from harness.errors import DriverError

__all__ = ["restart_rollout", "scale", "set_image", "undo_rollout", "unscale"]

RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
IMAGE, REPLICAS = "image", "replicas"  # the roles of what is changed


def restart_rollout(
    *, deployment: str, namespace: str, selector: str, run: str = "manual", ttl_s: int = 120, secrets: Secrets = None
) -> dict[str, object]:
    """
    Begin a rolling restart, as `kubectl rollout restart` does; returns the deployment and its new generation.

    Does not wait for it. ActivityFailed when the deployment has pods that the selector does not match or that are no
    targets, when it is paused, or when its strategy takes more pods away at once than the caps allow.
    """
    with acting(namespace, run, ttl_s, secrets) as act:
        found = _rollable(act, deployment, selector)
        restarted_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        metadata = {"annotations": {RESTARTED_AT: restarted_at}}
        changed = act.api.patch(_path(act, found), {"spec": {"template": {"metadata": metadata}}})
        return {"deployment": deployment, "restarted_at": restarted_at, "generation": _generation(changed)}


def set_image(
    *,
    deployment: str,
    image: str,
    namespace: str,
    selector: str,
    container: str = "",
    run: str = "manual",
    ttl_s: int = 120,
    secrets: Secrets = None,
) -> dict[str, object]:
    """
    Roll out another image, for the container named or the only one; returns both images and the new generation.

    Does not wait for it. ActivityFailed as `restart_rollout`, and when the image is there already, or the deployment
    keeps no history to go back to.
    """
    with acting(namespace, run, ttl_s, secrets) as act:
        found = _rollable(act, deployment, selector)
        if found["spec"].get("revisionHistoryLimit") == 0:
            raise DriverError(
                f"deployment '{deployment}' has revisionHistoryLimit 0, so no revision to go back to; raise it"
            )
        index, before = _container(found, container)
        if before["image"] == image:
            raise DriverError(f"deployment '{deployment}' has image '{image}' already; give another")
        path = ("spec", "template", "spec", "containers", str(index), "image")
        changed = act.change(_path(act, found), [Change(path=path, ours=image, role=IMAGE)])
        return {
            "deployment": deployment,
            "container": before["name"],
            "image_before": before["image"],
            "image": image,
            "generation": _generation(changed),
        }


def undo_rollout(
    *,
    deployment: str,
    namespace: str,
    timeout_s: float = 15.0,
    run: str = "manual",
    ttl_s: int = 120,
    secrets: Secrets = None,
) -> dict[str, object]:
    """
    Undo `set_image` of the same deployment and run, where the image is still the one it set.

    Then waits, for `timeout_s` seconds, until all replicas are of the present template and available. Under the
    harness, whose observer waits for the same, a rollout that takes longer is no undo that failed. Returns whether
    there was something to undo, whether the rollout is complete, and the images. ActivityFailed when not undone.
    """
    with acting(namespace, run, ttl_s, secrets) as act:
        path = deployments_path(namespace, deployment)
        undone = act.restore(path, IMAGE)
        found = _found(act, path)
        done: dict[str, object] = {"deployment": deployment, "undone": undone}
        if found is None:
            return done | {"complete": True, "images": []}
        images = [str(one["image"]) for one in _containers(found)]
        return done | {"complete": _completed(act, found, timeout_s), "images": images}


def scale(
    *,
    deployment: str,
    namespace: str,
    selector: str,
    replicas: int = 0,
    run: str = "manual",
    ttl_s: int = 120,
    secrets: Secrets = None,
) -> dict[str, object]:
    """
    Scale the deployment down to `replicas`, 0 for none; returns both numbers and the new generation.

    Does not wait for it. ActivityFailed when the deployment has pods that the selector does not match or that are no
    targets, when the caps allow fewer pods to be taken, when a HorizontalPodAutoscaler would scale it back, or when it
    has no more than `replicas` now.
    """
    with acting(namespace, run, ttl_s, secrets) as act:
        aim, found = _targeted(act, deployment, selector)
        before, wanted = replicas_of(found), int(replicas)
        if not 0 <= wanted < before:
            raise DriverError(f"deployment '{deployment}' has {before} replicas; {replicas} is not fewer, from 0 on")
        aim.radius.require_count(before - wanted, before)
        _refuse_autoscaled(act, deployment)
        changed = act.change(_path(act, found), [Change(path=("spec", "replicas"), ours=wanted, role=REPLICAS)])
        return {
            "deployment": deployment,
            "replicas_before": before,
            "replicas": wanted,
            "generation": _generation(changed),
        }


def unscale(
    *, deployment: str, namespace: str, run: str = "manual", ttl_s: int = 120, secrets: Secrets = None
) -> dict[str, object]:
    """
    Undo `scale` of the same deployment and run, where the number is still the one it set; does not wait for the pods.

    Returns whether there was something to undo. ActivityFailed when it cannot be changed back.
    """
    with acting(namespace, run, ttl_s, secrets) as act:
        return {"deployment": deployment, "undone": act.restore(deployments_path(namespace, deployment), REPLICAS)}


def _targeted(act: Act, name: str, selector: str) -> tuple[Aim, Obj]:
    """The deployment, all of whose pods are the selector's and inside the radius, without caps if it was not frozen."""
    aim = aimed(act, selector)
    if not aim.frozen:
        aim = replace(aim, radius=replace(aim.radius, max_share=1.0))  # the arguments name the deployment themselves
    found = act.api.get(deployments_path(act.namespace, name))
    pods = [pod for pod in aim.everyone if running(pod) and selects(found["spec"]["selector"], labels_of(pod))]
    if not pods:
        raise DriverError(f"deployment '{name}' has no running pod, so the fault would show nothing; is it up?")
    matched = {uid_of(pod) for pod in aim.matched}
    for pod in pods:
        if uid_of(pod) not in matched or not aim.radius.holds(pod):
            why = "among the frozen targets" if uid_of(pod) in matched else f"matched by selector '{selector}'"
            raise DriverError(f"deployment '{name}': its pod '{name_of(pod)}' is not {why}; nothing was done")
    return aim, found


def _rollable(act: Act, name: str, selector: str) -> Obj:
    """The deployment, if a rollout of it begins at once and stays within the caps."""
    aim, found = _targeted(act, name, selector)
    if found["spec"].get("paused"):
        raise DriverError(f"deployment '{name}' is paused, so nothing would roll out; resume it")
    aim.radius.require_count(taken_at_once(found), replicas_of(found))
    return found


def _container(deployment: Obj, name: str) -> tuple[int, Obj]:
    """Place and specification of the container named, or of the only one."""
    containers = _containers(deployment)
    for index, one in enumerate(containers):
        if one["name"] == name or (not name and len(containers) == 1):
            return index, one
    names = ", ".join(str(one["name"]) for one in containers)
    raise DriverError(f"deployment '{name_of(deployment)}' has no container '{name}'; give one of: {names}")


def _refuse_autoscaled(act: Act, deployment: str) -> None:
    path = f"/apis/autoscaling/v2/namespaces/{quote(act.namespace, safe='')}/horizontalpodautoscalers"
    try:
        scalers = act.api.items(path)
    except ApiError as error:
        if error.status != 404:
            raise
        return  # the server does not know the kind, so there is none
    for one in scalers:
        target = one["spec"]["scaleTargetRef"]
        if (target["kind"], target["name"]) == ("Deployment", deployment):
            why = f"HorizontalPodAutoscaler '{name_of(one)}' would scale deployment '{deployment}' back"
            raise DriverError(f"{why}; remove it for the experiment")


def _completed(act: Act, deployment: Obj, timeout_s: float) -> bool:
    """Wait for the rollout; whether it is complete. DriverError when it is not, and nobody else is watching it."""
    path = _path(act, deployment)
    what = f"deployment '{name_of(deployment)}' with all replicas of its former template, available"
    paused = "; it is paused: resume it" if deployment["spec"].get("paused") else ""
    try:
        act.wait(lambda: _complete(_found(act, path)), what + paused, timeout_s=timeout_s)
    except DriverError:
        if act.leased and not paused:
            return False
        raise
    return True


def _complete(deployment: Obj | None) -> bool:
    """Whether all replicas are of the present template and available; a deployment that is gone is done with."""
    if deployment is None:
        return True
    status = deployment.get("status") or {}
    counts = {status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")}
    return status.get("observedGeneration", 0) >= _generation(deployment) and counts == {replicas_of(deployment)}


def _found(act: Act, path: str) -> Obj | None:
    try:
        return act.api.get(path)
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def _containers(deployment: Obj) -> Sequence[Obj]:
    return list(deployment["spec"]["template"]["spec"]["containers"])


def _generation(deployment: Obj) -> int:
    return int(deployment["metadata"].get("generation", 0))


def _path(act: Act, deployment: Obj) -> str:
    return deployments_path(act.namespace, name_of(deployment))
