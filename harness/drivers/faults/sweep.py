"""
Undoing from the cluster alone everything that runs left there: by the label `lch.dev/run`, and by the marks.

What was created (policies, Chaos Mesh objects, canary pods, dead-man Jobs, Leases) is deleted; what was changed (nodes,
deployments, pods) is changed back; and then the cluster is asked again, until it has nothing of ours any more.
Run as a module this file is the child of `sweeping`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from harness.drivers.faults.sweeping import LeftError
from harness.drivers.kubernetes.client import ApiClient, ApiError
from harness.drivers.kubernetes.objects import (
    NODES_PATH,
    ROLE,
    RUN,
    STOPPED,
    Obj,
    deployments_path,
    jobs_path,
    labels_of,
    leases_path,
    name_of,
    network_chaos_path,
    node_path,
    pods_path,
    policies_path,
    run_label,
    terminating,
    uid_of,
)
from harness.errors import DriverError

T = TypeVar("T")

GONE_S = 30.0  # for everything to be gone, beyond what it takes to see that a Lease is not renewed
PAUSE_S = 0.1
SETTLE_S = 2.0  # how long a run is looked for that has no Lease
STALE_S = 30.0  # how long a Lease lasts that does not say
_SYSTEM = "/api/v1/namespaces/kube-system"  # whose UID is the cluster's
_ALL_LEASES = "/apis/coordination.k8s.io/v1/leases"
_CHANGED = {"node", "deployment", "pod"}
_OTHERS = {"node", "deployment"}  # never created by a run
_PASSING = {409, 410, 422, 429}  # refusals that may be others a moment later; beside errors of the server and the line


@dataclass(frozen=True, slots=True, kw_only=True)
class _Left:
    """One object of ours."""

    kind: str
    path: str
    obj: Obj
    run: str
    marked: bool = False  # it is somebody else's, and to be changed back
    stopped: bool = False  # by a command, whose opposite only the run's ledger knows

    def __str__(self) -> str:
        return f"{self.kind}/{name_of(self.obj)}"


def sweep(
    api: ApiClient, namespaces: Collection[str], run: str | None = None, over: Collection[str] = ()
) -> tuple[str, ...]:
    """
    Undo everything of ours in the namespaces and on the nodes; what that was, as sorted `kind/name`.

    Of one `run`, whatever its Lease says; else of every run that is not alive: that holds no Lease, or one that is not
    renewed for as long as it says, by our clock (runs in `over` are known to have ended). Raises LeftError when it is
    not proven gone within GONE_S seconds, with why of each thing, DriverError when the cluster cannot be looked at.
    """
    runs = None if run is None else {run_label(run)}
    left = _patiently(lambda: list(_left(api, namespaces, runs)), time.monotonic() + GONE_S)
    if not left:
        return ()
    if run is None:
        found = {one.run for one in left}
        runs = found - _alive(api, namespaces, found - {run_label(name) for name in over})
    return () if runs == set() else _swept(api, namespaces, runs)


def _swept(api: ApiClient, namespaces: Collection[str], runs: Collection[str] | None) -> tuple[str, ...]:
    done: set[str] = set()
    until = time.monotonic() + GONE_S
    while True:
        try:
            left = _patiently(lambda: list(_left(api, namespaces, runs)), until)
        except ApiError as error:
            raise LeftError(f"kubernetes {api.url}: what a run left is not proven gone: {error}") from error
        if not left:
            return tuple(sorted(done))
        done |= {str(one) for one in left}
        refusals = [_refusal(api, one) for one in left]  # of all: one that cannot be undone keeps no other one on
        if time.monotonic() > until or not any(error is None or _may_pass(error) for error in refusals):
            whys = (error or f"still there after {GONE_S:g} s" for error in refusals)
            said = "; ".join(f"{one}: {why}" for one, why in zip(left, whys, strict=True))
            raise LeftError(f"kubernetes {api.url}: {said}")
        time.sleep(PAUSE_S)


def _refusal(api: ApiClient, one: _Left) -> DriverError | None:
    """Undo it; why that could not be done."""
    if one.stopped:
        how = f"start it, then: kubectl annotate node {name_of(one.obj)} {STOPPED}-"
        return DriverError(f"was stopped by a command of run '{one.run}', and its ledger is not here; {how}")
    try:
        if one.marked:
            from harness.drivers.faults.act import restored

            restored(api, one.path, one.run)
        elif not terminating(one.obj):
            api.delete(one.path, grace_s=0 if one.kind == "pod" else None, uid=uid_of(one.obj))
    except DriverError as error:
        return error
    return None


def _left(api: ApiClient, namespaces: Collection[str], runs: Collection[str] | None) -> Iterator[_Left]:
    """What is there of the runs, of all if None: first what hurts, last what says that a run holds the cluster."""
    for kind, listed, path in _kinds(namespaces):
        for obj in _listed(api, listed, optional=kind == "networkchaos"):
            labels = labels_of(obj)
            marked = ROLE not in labels  # what is created has a role, what is changed has not
            ours = kind in _CHANGED if marked else kind not in _OTHERS and (kind != "pod" or _of_our_job(obj))
            if ours and (runs is None or labels[RUN] in runs):
                yield _Left(kind=kind, path=path(name_of(obj)), obj=obj, run=labels[RUN], marked=marked)
    for node in api.items(NODES_PATH):
        by = (node["metadata"].get("annotations") or {}).get(STOPPED)
        if by and (runs is None or by in runs):
            yield _Left(kind="node", path=node_path(name_of(node)), obj=node, run=by, stopped=True)


def _kinds(namespaces: Collection[str]) -> Iterator[tuple[str, str, Callable[[str], str]]]:
    """Every kind that a run may create or change: its word, where it is listed, where one of that name is."""
    in_namespace = (
        ("networkpolicy", policies_path),
        ("networkchaos", network_chaos_path),
        ("deployment", deployments_path),
        ("pod", pods_path),
        ("job", jobs_path),
        ("lease", leases_path),
    )
    yield "node", NODES_PATH, node_path
    for kind, path in in_namespace:
        for namespace in sorted(namespaces):
            yield kind, path(namespace, ""), partial(path, namespace)


def _listed(api: ApiClient, path: str, *, optional: bool) -> list[Obj]:
    """
    What carries our label there.

    Nothing of an `optional` kind that the cluster does not serve, or not to us: before it says that it does not know a
    kind, it says that we may not ask.
    """
    try:
        return api.items(path, {"labelSelector": RUN})
    except ApiError as error:
        if optional and error.status in (403, 404):
            return []
        raise


def _of_our_job(pod: Obj) -> bool:
    """Whether a Job of ours owns the pod: one that merely carries our label is somebody else's."""
    owners = pod["metadata"].get("ownerReferences") or []
    return any(owner["kind"] == "Job" and owner["name"].startswith("lch-") for owner in owners)


# -- which runs are alive ---------------------------------------------------------------------------------------------


def _alive(api: ApiClient, namespaces: Collection[str], runs: Collection[str]) -> set[str]:
    """
    Those of the runs whose Lease is renewed while we look, each for as long as its Lease says that it lasts.

    By our own clock, as client-go's leader election judges: other machines' clocks are not compared. A run that has no
    Lease may be about to take it: a run's Jobs are there before its Lease, which they own.
    """
    first = _leases(api, namespaces)
    waiting = {run: first.get(run, ("", SETTLE_S)) for run in runs}
    alive: set[str] = set()
    begun_s = time.monotonic()
    while waiting:
        time.sleep(PAUSE_S)
        now = _leases(api, namespaces)
        for run, (renewed, lasts_s) in list(waiting.items()):
            if run in now and now[run][0] != renewed:
                alive.add(run)
                del waiting[run]
            elif time.monotonic() - begun_s > lasts_s or (renewed and run not in now):
                del waiting[run]
    return alive


def _leases(api: ApiClient, namespaces: Collection[str]) -> dict[str, tuple[str, float]]:
    """When each run's Lease was renewed (as it says), and how long it then lasts, in seconds."""
    return _patiently(lambda: _renewals(api, namespaces), time.monotonic() + GONE_S)


def _renewals(api: ApiClient, namespaces: Collection[str]) -> dict[str, tuple[str, float]]:
    try:
        leases = _listed(api, _ALL_LEASES, optional=False)  # a run on another service may have marked a node as well
    except ApiError as error:
        if error.status != 403:
            raise
        leases = [lease for namespace in namespaces for lease in _listed(api, leases_path(namespace), optional=False)]
    return {
        labels_of(lease)[RUN]: (
            f"{lease['spec'].get('holderIdentity')} {lease['spec'].get('renewTime')}",
            float(lease["spec"].get("leaseDurationSeconds") or STALE_S),
        )
        for lease in leases
    }


def _patiently(look: Callable[[], T], until: float) -> T:
    """What looking finds; refusals that may pass are waited out until then."""
    while True:
        try:
            return look()
        except ApiError as error:
            if not _may_pass(error) or time.monotonic() > until:
                raise
            time.sleep(PAUSE_S)


def _may_pass(error: DriverError) -> bool:
    return isinstance(error, ApiError) and (error.status is None or error.status >= 500 or error.status in _PASSING)


def _require(api: ApiClient, uid: str | None) -> None:
    """Neither undo anything in a cluster that was not meant, nor say that nothing is left there."""
    if uid and (found := uid_of(_patiently(partial(api.get, _SYSTEM), time.monotonic() + GONE_S))) != uid:
        hint = "name the context of that cluster, or correct cluster.uid in the service file"
        raise DriverError(f"kubernetes {api.url}: is cluster {found}, the service pins {uid}", hint=hint)


def main() -> None:
    """Read a request from stdin, write the answer (what was undone, or an error) to stdout."""
    request = json.loads(sys.stdin.read())
    try:
        api = ApiClient(request["kubeconfig"], request["context"])
        _require(api, request["uid"])
        answer: dict[str, object] = {"undone": sweep(api, request["namespaces"], request["run"], request["over"])}
    except DriverError as error:
        answer = {"error": str(error), "hint": error.hint, "left": isinstance(error, LeftError)}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
