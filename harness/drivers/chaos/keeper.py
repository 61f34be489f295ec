"""
The process that holds the cluster for one run, and lets go of it when the conductor is gone.

It takes the Lease `lch-harness` in the service's namespace (one run at a time per target) and makes the run's dead-man
Job in every namespace of the plan; it renews both while its standard input, a pipe from the conductor, is open. When
that ends without a word it just leaves: the cluster's own controllers then delete the Jobs and all that they own, the
Lease included, and the reaper undoes what is marked. Whoever deletes a Job or the Lease ends the run's faults.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from harness.drivers.chaos.holding import Holding
from harness.drivers.kubernetes.client import ApiClient, ApiError
from harness.drivers.kubernetes.objects import (
    LEASE,
    ROLE,
    RUN,
    Obj,
    dead_man_job,
    dead_man_name,
    jobs_path,
    labels_of,
    leases_path,
    owned_by,
    run_label,
    terminating,
)
from harness.errors import DriverError

LOOK_S = 1.0  # how often somebody's having deleted a Job or the Lease is looked for
SETTLE_S = 0.25  # between looks at somebody else's Lease
CONNECT_S = 2.0
READ_S = 4.0
_RELEASE_S = 8.0
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class LostError(Exception):
    """The run no longer holds the cluster, and why."""


class HeldError(DriverError):
    """Another run holds the cluster."""


@dataclass(slots=True)
class Keeper:
    """The hold on the cluster: `take`, then `renew` and `look` while it lasts, then `release`."""

    api: ApiClient
    order: Holding
    pause: Callable[[float], None] = time.sleep
    jobs: dict[str, str] = field(default_factory=dict)  # namespace -> UID
    since_s: float = 0.0  # CLOCK_MONOTONIC before the Jobs were made
    renewed_s: float = 0.0  # CLOCK_MONOTONIC before the last renewal that was answered

    def take(self) -> None:
        """Raises HeldError, naming the holder, when another run holds the cluster; DriverError for anything else."""
        self._require_cluster()
        self._wait_for_the_dead()
        self.renewed_s = time.monotonic()
        self.since_s = self.renewed_s if self.order.since_s is None else self.order.since_s
        for namespace in self.order.namespaces:
            self.jobs[namespace] = _uid(self._job(namespace))
        try:
            self._acquire()
        except DriverError:
            with suppress(DriverError):
                self._delete_jobs()
            raise

    def look(self) -> None:
        """Raises LostError when a Job or the Lease is not ours any more, ApiError when the cluster does not say."""
        for namespace, uid in self.jobs.items():
            self._require(jobs_path(namespace, self._name()), f"the dead-man Job in namespace '{namespace}'", uid)
        self._require_lease()

    def renew(self) -> None:
        """Put off the end of the Jobs and the Lease. Raises as `look` does."""
        begun_s = time.monotonic()
        deadline_s = self._deadline_s()
        for namespace in self.jobs:
            try:
                self.api.patch(jobs_path(namespace, self._name()), {"spec": {"activeDeadlineSeconds": deadline_s}})
            except ApiError as error:
                if error.status == 404:
                    raise LostError(f"the dead-man Job in namespace '{namespace}' was deleted") from error
                raise
        lease = self._require_lease()
        self.api.edit(self._lease_path(), [*_same(lease), _put("/spec/renewTime", _now())])
        self.renewed_s = begun_s

    def release(self) -> None:
        """Delete the Lease and the Jobs, and with them what they own. Raises DriverError."""
        with suppress(LostError):
            lease = self._require_lease()
            self.api.delete(self._lease_path(), uid=_uid(lease))
        self._delete_jobs()

    def _delete_jobs(self) -> None:
        for namespace, uid in self.jobs.items():
            try:
                self.api.delete(jobs_path(namespace, self._name()), uid=uid)
            except ApiError as error:
                if error.status != 409:  # another object has its name: ours is gone
                    raise

    def _require_cluster(self) -> None:
        """Change nothing in a cluster that was not meant."""
        wanted = self.order.uid
        if wanted is not None and (found := _uid(self.api.get("/api/v1/namespaces/kube-system"))) != wanted:
            hint = "name the context of that cluster, or correct cluster.uid in the service file"
            raise DriverError(f"kubernetes {self.api.url}: is cluster {found}, the plan pins {wanted}", hint=hint)

    def _wait_for_the_dead(self) -> None:
        """
        Return when the Lease is nobody's, ours, or was not renewed for as long as it says.

        Judged by our own clock from the moment we first saw it (as client-go's leader election does): other machines'
        clocks say nothing about how old a renewal is.
        """
        seen: object = None
        seen_s = 0.0
        while (lease := self._lease()) is not None and (holder := _holder(lease)) not in ("", self._run()):
            said = (holder, lease["spec"].get("renewTime"))
            if seen is not None and said != seen:
                raise _held(self.api, self.order.namespace, lease)
            if seen is None:
                seen, seen_s = said, time.monotonic()
            elif time.monotonic() - seen_s > float(lease["spec"].get("leaseDurationSeconds") or self.order.dead_man_s):
                return
            self.pause(SETTLE_S)

    def _job(self, namespace: str) -> Obj:
        """The run's Job in the namespace: made, or an earlier keeper's put off."""
        path, labels = jobs_path(namespace), {RUN: self._run(), ROLE: "dead-man"}
        try:
            return self.api.create(path, dead_man_job(self._name(), namespace, labels, self._deadline_s()))
        except ApiError as error:
            if error.status != 409:
                raise
        renewal = {"spec": {"activeDeadlineSeconds": self._deadline_s()}}
        return self.api.patch(jobs_path(namespace, self._name()), renewal)

    def _acquire(self) -> None:
        wanted = self._wanted()
        try:
            found = self._lease()
            if found is None:
                self.api.create(leases_path(self.order.namespace), wanted)
            else:
                meta = wanted["metadata"]
                labels = {**labels_of(found), **meta["labels"]}
                changes = [_put("/metadata/labels", labels), _put("/metadata/ownerReferences", meta["ownerReferences"])]
                self.api.edit(self._lease_path(), [*_same(found), _put("/spec", wanted["spec"]), *changes])
        except ApiError as error:
            if error.status not in (409, 422):
                raise
            raise _held(self.api, self.order.namespace, self._lease() or wanted) from error

    def _wanted(self) -> Obj:
        job = {"metadata": {"name": self._name(), "uid": self.jobs[self.order.namespace]}}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": LEASE,
                "namespace": self.order.namespace,
                "labels": {RUN: self._run(), ROLE: "lease"},
                "ownerReferences": owned_by(job),
            },
            "spec": {
                "holderIdentity": self._run(),
                "leaseDurationSeconds": math.ceil(self.order.dead_man_s),
                "acquireTime": _now(),
                "renewTime": _now(),
            },
        }

    def _require_lease(self) -> Obj:
        lease = self._lease()
        if lease is None:
            raise LostError(f"the Lease {LEASE} in namespace '{self.order.namespace}' was deleted")
        if _holder(lease) != self._run():
            raise LostError(f"the Lease {LEASE} in namespace '{self.order.namespace}' is held by '{_holder(lease)}'")
        return lease

    def _require(self, path: str, what: str, uid: str) -> None:
        found = _found(self.api, path)
        if found is None or terminating(found) or _uid(found) != uid:
            raise LostError(f"{what} was deleted")

    def _lease(self) -> Obj | None:
        found = _found(self.api, self._lease_path())
        return None if found is None or terminating(found) else found

    def _lease_path(self) -> str:
        return leases_path(self.order.namespace, LEASE)

    def _deadline_s(self) -> int:
        """The Jobs' deadline, which counts from their creation, when they are renewed now."""
        return math.ceil(time.monotonic() - self.since_s + self.order.dead_man_s)

    def _name(self) -> str:
        return dead_man_name(self.order.run)

    def _run(self) -> str:
        return run_label(self.order.run)


def main() -> None:
    """Hold what the first line of standard input says until the input ends; `release` on the second lets go of it."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    order = Holding(**json.loads(_line()))
    try:
        read_s = min(READ_S, order.dead_man_s / 3)
        api = ApiClient(order.kubeconfig, order.context, connect_s=CONNECT_S, read_s=read_s)
        keeper = Keeper(api, order, _pause)
        keeper.take()
    except DriverError as error:
        _say("refused", detail=str(error), hint=error.hint)
        return
    _say("held", since_s=keeper.since_s)
    if _kept(keeper):
        _let_go(keeper)


def _pause(seconds: float) -> None:
    """Wait, unless the input ends meanwhile: then nobody wants the hold any more."""
    if select.select([0], [], [], seconds)[0]:
        raise DriverError("chaos: the keeper was told to leave before it held the cluster")


def _kept(keeper: Keeper) -> bool:
    """Renew until the input says something. False when it ended, or when the hold was lost, which is said."""
    period_s = keeper.order.dead_man_s / 3
    next_s = time.monotonic() + period_s
    trouble = ""
    while not select.select([0], [], [], min(LOOK_S, period_s))[0]:
        try:
            if time.monotonic() >= next_s:
                keeper.renew()
                _say("renewed")
                next_s = time.monotonic() + period_s
            else:
                keeper.look()
        except LostError as lost:
            _say("lost", detail=str(lost))
            return bool(_line())  # the conductor ends its faults, then tells us to tidy up
        except DriverError as error:
            trouble = str(error)
        if time.monotonic() - keeper.renewed_s > keeper.order.dead_man_s:
            _say("lost", detail=f"not renewed for {keeper.order.dead_man_s:g} s: {trouble}")
            return bool(_line())
    return bool(_line())


def _let_go(keeper: Keeper) -> None:
    until = time.monotonic() + _RELEASE_S
    while True:
        try:
            keeper.release()
        except DriverError as error:
            if time.monotonic() < until:
                time.sleep(SETTLE_S)
                continue
            _say("kept", detail=str(error))
            return
        _say("released")
        return


def _line() -> bytes:
    """The next line of standard input; empty at its end."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return line


def _say(event: str, **more: object) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.write(json.dumps({"event": event, **more}) + "\n")
        sys.stdout.flush()


def _found(api: ApiClient, path: str) -> Obj | None:
    try:
        return api.get(path)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def _uid(obj: Obj) -> str:
    return str(obj["metadata"]["uid"])


def _holder(lease: Obj) -> str:
    return str(lease["spec"].get("holderIdentity") or "")


def _held(api: ApiClient, namespace: str, lease: Obj) -> HeldError:
    what = f"run '{_holder(lease)}' holds the Lease {LEASE} in namespace '{namespace}' and renews it"
    return HeldError(
        f"kubernetes {api.url}: {what}; one run at a time may play faults there",
        hint="wait for that run, or end it: harness halt where it runs, or kubectl -n "
        f"{namespace} delete job -l {RUN}={_holder(lease)}",
    )


def _now() -> str:
    """The wall clock as a Lease writes it, for people: nobody judges by it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _same(obj: Obj) -> list[dict[str, Any]]:
    return [{"op": "test", "path": "/metadata/resourceVersion", "value": obj["metadata"]["resourceVersion"]}]


def _put(path: str, value: object) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


if __name__ == "__main__":
    main()
