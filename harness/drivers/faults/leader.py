"""A leader that dies, as a Chaos Toolkit action: `delete_leader`. There is no undo: its controller replaces it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from random import Random

from harness.drivers.faults.act import Act, Secrets, acting
from harness.drivers.faults.aim import aimed
from harness.drivers.faults.pods import delete_one, grace_of
from harness.drivers.faults.radius import Ask
from harness.drivers.kubernetes.objects import Obj, leases_path, name_of, uid_of
from harness.errors import DriverError

__all__ = ["delete_leader"]

TAKEOVER_S = 60.0  # for the next leader, above the lease's own duration


def delete_leader(
    *,
    lease: str,
    namespace: str,
    selector: str,
    grace_s: int = 0,
    run: str = "manual",
    ttl_s: int = 120,
    secrets: Secrets = None,
) -> dict[str, object]:
    """
    Delete the pod that holds the Lease, and wait until another one does.

    The holder's identity is the pod's name, or begins with it (`store-1_7d2f`). `grace_s` is the time between SIGTERM
    and SIGKILL: 0 is a crash, after which the Lease runs out; with -1 (what the pod asks for) a leader may hand over.
    Returns lease, pod, uid, both holders, and `taken_over_s`: seconds from the deletion until another holder was seen.
    There is a look every PAUSE_S seconds. ActivityFailed when nobody holds the Lease, when the holder is not one of
    the selector's pods or may not be taken, or when no other takes over in time.
    """
    with acting(namespace, run, ttl_s, secrets) as act:
        grace = grace_of(grace_s)
        aim = aimed(act, selector)
        found = act.api.get(leases_path(namespace, lease))
        holder = _holder(found)
        pod = _pod_of(holder, lease, aim.matched)
        chosen = aim.radius.choose(Ask(count=1), among=[pod], everyone=aim.everyone, draw=Random(0))
        began = time.monotonic()
        if not delete_one(act, chosen[0], grace):
            raise DriverError(f"lease '{lease}': its holder '{name_of(pod)}' was gone before it could be deleted")
        successor = _successor(act, lease, holder, float(found["spec"].get("leaseDurationSeconds") or 0))
        took_s = None if act.dry else round(time.monotonic() - began, 3)
        return {
            "lease": lease,
            "namespace": namespace,
            "pod": name_of(pod),
            "uid": uid_of(pod),
            "holder_before": holder,
            "holder_after": successor,
            "taken_over_s": took_s,
        }


def _holder(lease: Obj) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def _pod_of(holder: str, lease: str, pods: Iterable[Obj]) -> Obj:
    """The pod that the holder's identity names."""
    if not holder:
        raise DriverError(f"lease '{lease}' has no holder, so there is no leader to delete; is the service up?")
    for pod in pods:
        # After the name, nothing that could still belong to one: 'store-1' is not meant by 'store-10'.
        if re.match(rf"{re.escape(name_of(pod))}(?![a-z0-9-])", holder):
            return pod
    raise DriverError(
        f"lease '{lease}' is held by '{holder}', which is none of the selector's pods; widen the selector"
    )


def _successor(act: Act, lease: str, former: str, lasts_s: float) -> str | None:
    """The next holder, once there is one; None in a rehearsal."""
    found: list[str] = []

    def taken_over() -> bool:
        holder = _holder(act.api.get(leases_path(act.namespace, lease)))
        if holder not in ("", former):
            found.append(holder)
        return bool(found)

    act.wait(taken_over, f"lease '{lease}' held by another than '{former}'", timeout_s=TAKEOVER_S + lasts_s)
    return found[0] if found else None
