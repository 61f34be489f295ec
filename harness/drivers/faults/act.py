"""
What every action here stands on: a cluster that was named, the run's name, its dead-man Job, and what may be touched.

An action plays in a Chaos Toolkit process. Under the harness its environment says more than its arguments: LCH_RUN the
run, LCH_TARGETS a file with the frozen targets, LCH_CLUSTER_UID the only cluster it may touch, LCH_LEASED that a keeper
renews the run's Lease and dead-man Jobs, LCH_DRY that this is a rehearsal, in which the server checks every change and
makes none. Without them (plain `chaos run`) an action freezes its targets itself, and its dead-man Job ends after
`ttl_s`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from chaoslib.exceptions import ActivityFailed

from harness.drivers.faults import marks
from harness.drivers.kubernetes.client import ApiClient, ApiError
from harness.drivers.kubernetes.objects import (
    ROLE,
    RUN,
    Obj,
    dead_man_job,
    dead_man_name,
    jobs_path,
    labels_of,
    name_of,
    pods_path,
    run_label,
)
from harness.errors import DriverError

DEAD_MAN = "dead-man"
PAUSE_S = 0.1
CONFLICTS = 5  # how often a change is tried again when somebody else changes the same object
RESTORE_S = 15.0  # for how long an undo is tried again; half of what the harness gives all rollbacks of a fault

_CONFLICT = (409, 422)  # a JSON Patch whose test does not hold is the latter

Secrets = dict[str, str] | None
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One action on its cluster, in one namespace, for one run."""

    api: ApiClient
    namespace: str
    run: str  # as a label value
    ttl_s: int  # how long the cluster lets the fault stay by itself
    leased: bool  # a keeper renews Lease and dead-man Job; ttl_s is then only the last resort

    @property
    def dry(self) -> bool:
        """Whether this is a rehearsal: nothing changes, so there is nothing to wait for."""
        return self.api.dry

    def labels(self, role: str) -> dict[str, str]:
        """The labels of what the run creates for that role."""
        return {RUN: self.run, ROLE: role}

    def dead_man(self) -> Obj:
        """The run's dead-man Job in the namespace, which owns all that is created there; made when it is missing."""
        name = dead_man_name(self.run)
        job = dead_man_job(name, self.namespace, self.labels(DEAD_MAN), self.ttl_s)
        try:
            return self.api.create(jobs_path(self.namespace), job)
        except ApiError as error:
            if error.status != 409:
                raise
            return self.api.get(jobs_path(self.namespace, name))

    def change(self, path: str, changes: Iterable[marks.Change]) -> Obj:
        """
        Change the object at `path` and mark it with how to undo that, in one request; returns it as stored.

        Raises DriverError: also when another run is changing the object.
        """
        wanted = tuple(changes)
        return _persist(lambda: self._changed(path, wanted))

    def restore(self, path: str, role: str | None = None) -> bool:
        """
        Undo the run's changes of the object at `path`, with a `role` only those of that fault.

        False when there is nothing (left) to undo. Tried again for RESTORE_S seconds when it may pass; DriverError.
        """
        until = time.monotonic() + RESTORE_S
        while True:
            try:
                return restored(self.api, path, self.run, role)
            except ApiError as error:
                if not _may_pass(error) or time.monotonic() > until:
                    raise
                time.sleep(PAUSE_S)

    def wait(self, done: Callable[[], bool], what: str, *, timeout_s: float) -> None:
        """
        Return when `done` says so; at once in a rehearsal. DriverError when it takes longer than `timeout_s`.

        A server that does not answer for a moment only costs time.
        """
        until = time.monotonic() + timeout_s
        problem = f"after {timeout_s:g} s still not: {what}"
        while not self.dry:
            try:
                if done():
                    return
                why = f"kubernetes {self.api.url}: {problem}"
            except ApiError as error:
                if not _may_pass(error):
                    raise
                why = f"{error}; {problem}"
            if time.monotonic() > until:
                raise DriverError(why)
            time.sleep(PAUSE_S)

    def wait_gone(self, pods: Iterable[Obj], timeout_s: float) -> None:
        """Return when none of the pods is there any more, by UID; at once in a rehearsal. DriverError as `wait`."""
        left = {name_of(pod): pod for pod in pods}

        def gone() -> bool:
            for name, pod in tuple(left.items()):
                if not self._there(pod):
                    del left[name]
            return not left

        self.wait(gone, f"{len(left)} deleted pods gone ({', '.join(sorted(left))})", timeout_s=timeout_s)

    def _there(self, pod: Obj) -> bool:
        metadata = pod["metadata"]
        try:
            found = self.api.get(pods_path(metadata.get("namespace") or self.namespace, name_of(pod)))
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return bool(found["metadata"]["uid"] == metadata["uid"])

    def _changed(self, path: str, changes: tuple[marks.Change, ...]) -> Obj:
        found = self.api.get(path)
        try:
            operations = marks.marking(found, changes, run=self.run, ttl_s=self.ttl_s, leased=self.leased)
        except ValueError as problem:
            raise DriverError(f"kubernetes {self.api.url}: {path}: {problem}; heal that run first") from problem
        return self.api.edit(path, operations) if operations else found


def restored(api: ApiClient, path: str, run: str | None, role: str | None = None) -> bool:
    """Undo the marked changes of the object at `path`, those of `run` and `role` only if given. Raises DriverError."""
    try:
        found = api.get(path)
        if run not in (None, labels_of(found).get(RUN)):
            return False
        operations = marks.undoing(found, role)
        if operations:
            api.edit(path, operations)
    except ApiError as error:
        if error.status == 404:  # deleted meanwhile, its changes with it
            return False
        raise
    except ValueError as problem:
        raise DriverError(f"kubernetes {api.url}: {path}: {problem}; change it back by hand") from problem
    return bool(operations)


@contextmanager
def acting(namespace: str, run: str, ttl_s: float, secrets: Secrets) -> Iterator[Act]:
    """
    An Act on the cluster of KUBECONFIG (else ~/.kube/config) and KUBERNETES_CONTEXT (else the current context).

    Both are taken from `secrets` before the environment. What fails inside is an ActivityFailed, the only exception
    that Chaos Toolkit takes as an activity's failure. Also when the cluster is not the one that is pinned.
    """
    known = {**os.environ, **(secrets or {})}
    kubeconfig = Path(known.get("KUBECONFIG") or "~/.kube/config").expanduser()
    try:
        api = ApiClient(str(kubeconfig), known.get("KUBERNETES_CONTEXT") or None, dry=bool(known.get("LCH_DRY")))
        try:
            _require_pinned(api, known.get("LCH_CLUSTER_UID"))
            yield Act(
                api=api,
                namespace=namespace,
                run=run_label(known.get("LCH_RUN") or run),
                ttl_s=int(ttl_s),
                leased=bool(known.get("LCH_LEASED")),
            )
        finally:
            api.close()
    except DriverError as error:
        raise ActivityFailed(str(error)) from error


def cluster_uid(api: ApiClient) -> str:
    """What tells this cluster from any other: the UID of its namespace kube-system. Raises ApiError."""
    return str(api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"])


def _require_pinned(api: ApiClient, uid: str | None) -> None:
    if uid and (found := cluster_uid(api)) != uid:
        raise DriverError(f"kubernetes {api.url}: is cluster {found}, the run is pinned to {uid}; nothing was done")


def _persist(attempt: Callable[[], T]) -> T:
    """Try again when the object was changed by somebody else between reading and writing it."""
    for _ in range(CONFLICTS - 1):
        try:
            return attempt()
        except ApiError as error:
            if error.status not in _CONFLICT:
                raise
            time.sleep(PAUSE_S)
    return attempt()


def _may_pass(error: ApiError) -> bool:
    """Whether the same request may succeed a moment later."""
    return error.status is None or error.status >= 500 or error.status in {*_CONFLICT, 429}
