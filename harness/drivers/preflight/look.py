"""
The cluster's side of a run's preflight: what each fault may touch, frozen, and whether it may be played at all.

`resolve_in_child` is for processes that must not import the Kubernetes client library; run as a module this file is
that child: JSON on stdin, JSON on stdout. Everything is read once, then decided; nothing is changed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from harness.drivers.kubernetes.objects import name_of, uid_of
from harness.drivers.piped import asked
from harness.drivers.preflight.checks import Case, Scope, findings, identity, permissions, scopes
from harness.drivers.preflight.seen import Seen, read
from harness.drivers.preflight.targets import frozen
from harness.errors import DriverError, PlanError, Problem
from harness.history.events import PreflightChecked, TargetsFrozen
from harness.plan.model import Cluster, Fault

if TYPE_CHECKING:
    from harness.drivers.kubernetes.client import ApiClient

CHILD_S = 45.0
REVIEWS_PATH = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What looking at the cluster before the run found."""

    bodies: tuple[TargetsFrozen | PreflightChecked, ...] = ()
    uid: str | None = None  # the cluster's; None: no cluster was looked at
    nodes: Mapping[str, str] = field(default_factory=dict)  # name by UID


def preflight(
    faults: Sequence[Fault],
    seen: Seen,
    cluster: Cluster,
    *,
    denied: frozenset[Scope] = frozenset(),
) -> tuple[TargetsFrozen | PreflightChecked, ...]:
    """
    What each fault may touch, and what was checked, in the faults' order. Pure.

    Raises PlanError with every problem of every fault, each where the fault is written.

    Args:
        faults: of the plan.
        seen: the cluster.
        cluster: how far the faults may reach.
        denied: what the account is not allowed, of `checks.scopes`.

    """
    problems: list[Problem] = []
    targets: dict[str, TargetsFrozen] = {}
    for fault in faults:
        try:
            targets[fault.name] = frozen(fault, faults, seen, cluster)
        except PlanError as error:
            problems += error.problems
    cases = [Case(fault=fault, targets=targets[fault.name], seen=seen) for fault in faults if fault.name in targets]
    found = [*permissions(faults, denied), *findings(cases)]
    problems += (one for one in found if isinstance(one, Problem))
    if problems:
        raise PlanError(tuple(problems))
    return (*targets.values(), *(one for one in found if isinstance(one, PreflightChecked)))


def look(faults: Sequence[Fault], cluster: Cluster, kubeconfig: str, context: str | None) -> Found:
    """
    `preflight` of the cluster that kubeconfig and context name; the UID and the nodes of it.

    Raises PlanError with every problem; DriverError when the cluster is not the pinned one or does not answer in time.
    """
    from harness.drivers.kubernetes.client import ApiClient

    if not faults:
        return Found()
    api = ApiClient(kubeconfig, context)
    try:
        uid = _identified(api, cluster)
        seen = read(api, faults)
        denied = frozenset(scope for scope in scopes(faults) if not _allowed(api, scope))
        bodies = preflight(faults, seen, cluster, denied=denied)
        nodes = {uid_of(node): name_of(node) for node in seen.nodes}
        return Found(bodies=(identity(cluster, uid, api.url), *bodies), uid=uid, nodes=nodes)
    finally:
        api.close()


def resolve_in_child(faults: Sequence[Fault], cluster: Cluster, *, kubeconfig: str, context: str | None) -> Found:
    """`look`, played in a child process, so that the caller need not import the Kubernetes client; same errors."""
    request: dict[str, object] = {"kubeconfig": kubeconfig, "context": context, "cluster": asdict(cluster)}
    request["faults"] = [asdict(fault) for fault in faults]
    try:
        return _answer(asked("harness.drivers.preflight.look", request, within_s=CHILD_S))
    except TimeoutError as error:
        raise DriverError(f"kubernetes: the targets were not found within {CHILD_S:g} s") from error


def _answer(answer: dict[str, Any]) -> Found:
    if "error" in answer:
        raise DriverError(answer["error"], hint=answer["hint"])
    if "problems" in answer:
        raise PlanError(tuple(Problem(**problem) for problem in answer["problems"]))
    return TypeAdapter(Found).validate_python(answer["found"])


def _identified(api: ApiClient, cluster: Cluster) -> str:
    uid = str(api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"])
    if cluster.uid not in (None, uid):
        hint = "name the context of that cluster, or correct cluster.uid in the service file"
        raise DriverError(f"kubernetes {api.url}: is cluster {uid}, the service file pins {cluster.uid}", hint=hint)
    return uid


def _allowed(api: ApiClient, scope: Scope) -> bool:
    """Whether the API server would let the account do it."""
    namespace, permission = scope
    attributes = {
        "namespace": namespace,
        "verb": permission.verb,
        "group": permission.group,
        "resource": permission.resource,
        "subresource": permission.subresource,
        "name": permission.name,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
    }
    return bool((api.ask(REVIEWS_PATH, review).get("status") or {}).get("allowed"))


def main() -> None:
    """Read a request from stdin, write the answer (what was found, problems or an error) to stdout."""
    request = json.loads(sys.stdin.read())
    faults = TypeAdapter(tuple[Fault, ...]).validate_python(request["faults"])
    cluster = TypeAdapter(Cluster).validate_python(request["cluster"])
    try:
        answer: dict[str, Any] = {"found": asdict(look(faults, cluster, request["kubeconfig"], request["context"]))}
    except PlanError as error:
        answer = {"problems": [asdict(problem) for problem in error.problems]}
    except DriverError as error:
        answer = {"error": str(error), "hint": error.hint}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
