"""Pods that die, as a Chaos Toolkit action: `delete_pods`. There is nothing to undo: their controllers replace them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from random import Random

from harness.drivers.faults.act import Act, Secrets, acting
from harness.drivers.faults.aim import Aim, aimed, in_zone
from harness.drivers.faults.radius import Ask, asked
from harness.drivers.kubernetes.client import ApiError
from harness.drivers.kubernetes.objects import Obj, name_of, pods_path, uid_of
from harness.errors import DriverError

__all__ = ["delete_pods"]

GONE_S = 30.0  # for a deleted pod to be gone, above its own grace period
LONGEST_S = 3600.0  # for all rounds together
GRACE_S = 30  # a pod's that says nothing (Kubernetes' default)


def delete_pods(
    *,
    namespace: str,
    selector: str,
    count: int = 1,
    share: float | str = "",
    zone: str = "",
    grace_s: int = 0,
    rounds: int = 1,
    every_s: float = 10.0,
    seed: int | None = None,
    max_share: float | str | None = None,
    run: str = "manual",
    ttl_s: int = 120,
    secrets: Secrets = None,
) -> dict[str, object]:
    """
    Delete `count` of the ready pods that the selector matches (in `zone`), drawn at random, `seed` for the same again.

    A `share` of them ("50%", rounded up) wins over the count. `grace_s` is the time between SIGTERM and SIGKILL: 0 is a
    crash, -1 what each pod asks for. With `rounds`, the same again every `every_s` seconds; a later round takes fewer,
    possibly none, while those of earlier rounds have no ready successor and the caps leave no more. Never takes all
    pods of a workload unless `max_share` is 1. Does not wait for replacements, but until the deleted pods are gone.

    Returns their names and UIDs by round. ActivityFailed when the caps forbid the first round or a deletion fails.
    """
    with acting(namespace, run, ttl_s, secrets) as act:
        wait_s = _interval(rounds, every_s)
        grace = grace_of(grace_s)
        ask, draw = asked(count, share), Random(seed)
        aim = aimed(act, selector, max_share)
        taken = [_round(act, aim, ask, draw, zone=zone, grace_s=grace)]
        began = time.monotonic()
        for number in range(1, 1 if act.dry else int(rounds)):
            time.sleep(max(0.0, began + number * wait_s - time.monotonic()))
            before = Counter(aim.radius.workload(pod) for pods in taken for pod in pods)
            now = aim.again(act, selector)
            taken.append(_round(act, now, ask, draw, zone=zone, grace_s=grace, touched=before))
        everything = [pod for pods in taken for pod in pods]
        act.wait_gone(everything, _patience_s(everything, grace))
        return {
            "namespace": namespace,
            "rounds": [[{"name": name_of(pod), "uid": uid_of(pod)} for pod in pods] for pods in taken],
            "deleted": len(everything),
        }


def delete_one(act: Act, pod: Obj, grace_s: int | None) -> bool:
    """Delete this very pod; False when it was gone already, or another has its name. Raises ApiError."""
    try:
        return act.api.delete(pods_path(act.namespace, name_of(pod)), grace_s=grace_s, uid=uid_of(pod))
    except ApiError as error:
        if error.status != 409:
            raise
        return False


def grace_of(grace_s: int) -> int | None:
    """The grace period as the API server wants it: None for what each pod asks for. Raises DriverError."""
    if int(grace_s) < -1:
        raise DriverError(f"grace_s {grace_s} is neither a number of seconds nor -1, what each pod asks for")
    return None if int(grace_s) == -1 else int(grace_s)


def _round(
    act: Act,
    aim: Aim,
    ask: Ask,
    draw: Random,
    *,
    zone: str,
    grace_s: int | None,
    touched: Counter[str] | None = None,
) -> list[Obj]:
    """One round of deletions; the pods that it deleted."""
    among = in_zone(act, aim.matched, zone, some=touched is None)
    chosen = aim.radius.choose(ask, among=among, everyone=aim.everyone, draw=draw, touched=touched)
    deleted = [pod for pod in chosen if delete_one(act, pod, grace_s)]
    if touched is None and not deleted:
        raise DriverError(f"the chosen pods were gone before they could be deleted: {', '.join(map(name_of, chosen))}")
    return deleted


def _interval(rounds: int, every_s: float) -> float:
    if int(rounds) < 1 or float(every_s) < 0 or (int(rounds) - 1) * float(every_s) > LONGEST_S:
        raise DriverError(
            f"{rounds} rounds every {every_s} s: give 1 round or more, every 0 s or more, within {LONGEST_S:g} s in all"
        )
    return float(every_s)


def _patience_s(pods: Iterable[Obj], grace_s: int | None) -> float:
    own = (int(pod["spec"].get("terminationGracePeriodSeconds", GRACE_S)) for pod in pods)
    return GONE_S + (max(own, default=0) if grace_s is None else grace_s)
