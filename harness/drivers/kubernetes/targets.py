"""
What each planned fault may touch, decided before the run: the pods, by name, or why the fault must not be played.

`resolve_in_child` is for processes that must not import the Kubernetes client library; run as a module this file is
that child: JSON on stdin, JSON on stdout.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from harness.drivers.kubernetes.objects import (
    NODES_PATH,
    RUN,
    Obj,
    labels_of,
    name_of,
    pods_path,
    running,
    zone_of,
    zones_of,
)
from harness.errors import DriverError, PlanError, Problem
from harness.history.events import TargetsFrozen
from harness.plan.model import Fault, Observe

CHILD_S = 45.0

Pods = Callable[[str, str], Sequence[Obj]]
"""Lists the pods of a namespace that match a label selector; an empty selector matches all."""


def resolve(faults: Sequence[Fault], kubeconfig: str, context: str | None, max_pods: int) -> tuple[TargetsFrozen, ...]:
    """
    The pods that each fault may touch, in the faults' order: running, not terminating, matched by its selector.

    A zone cut touches every running pod of its zone in the namespace, whatever the selector, so all are named and
    counted. Raises PlanError with every problem (no match, more than `max_pods` touched, no zone left to serve),
    DriverError when the cluster does not answer in time.
    """
    from harness.drivers.kubernetes.client import ApiClient

    if not faults:
        return ()
    api = ApiClient(kubeconfig, context)
    try:
        cuts = any(fault.experiment.observe is Observe.ZONE_CUT for fault in faults)
        zones = zones_of(api.items(NODES_PATH)) if cuts else {}

        def pods(namespace: str, selector: str) -> Sequence[Obj]:
            return api.items(pods_path(namespace), {"labelSelector": selector} if selector else None)

        return frozen(faults, pods, zones, max_pods)
    finally:
        api.close()


def frozen(faults: Sequence[Fault], pods: Pods, zones: dict[str, str], max_pods: int) -> tuple[TargetsFrozen, ...]:
    """What `resolve` returns, given how to list pods and the zone of each node; raises PlanError."""
    targets: list[TargetsFrozen] = []
    problems: list[Problem] = []
    for fault in faults:
        try:
            names = _names(fault, faults, pods, zones)
            _within_cap(fault, names, max_pods)
            targets.append(TargetsFrozen(fault=fault.name, names=names))
        except PlanError as error:
            problems.extend(error.problems)
    if problems:
        raise PlanError(tuple(problems))
    return tuple(targets)


def resolve_in_child(
    faults: Sequence[Fault], *, kubeconfig: str, context: str | None, max_pods: int
) -> tuple[TargetsFrozen, ...]:
    """`resolve`, played in a child process, so that the caller need not import the Kubernetes client; same errors."""
    request: dict[str, object] = {"kubeconfig": kubeconfig, "context": context, "max_pods": max_pods}
    request["faults"] = [asdict(fault) for fault in faults]
    argv = [sys.executable, "-m", "harness.drivers.kubernetes.targets"]
    try:
        child = subprocess.run(
            argv,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=CHILD_S,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise DriverError(f"kubernetes: the targets were not found within {CHILD_S:g} s") from error
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise DriverError(f"kubernetes: finding the targets ended with exit code {child.returncode}: {last}")
    return _answer(json.loads(child.stdout))


def _answer(answer: dict[str, Any]) -> tuple[TargetsFrozen, ...]:
    if "error" in answer:
        raise DriverError(answer["error"], hint=answer["hint"])
    if "problems" in answer:
        raise PlanError(tuple(Problem(**problem) for problem in answer["problems"]))
    return tuple(TargetsFrozen(fault=one["fault"], names=tuple(one["names"])) for one in answer["targets"])


def _names(fault: Fault, faults: Sequence[Fault], pods: Pods, zones: dict[str, str]) -> tuple[str, ...]:
    """The pods that the fault may touch, sorted."""
    asked = fault.experiment
    place = f"namespace '{asked.namespace}'"
    matched = [pod for pod in pods(asked.namespace, asked.selector) if running(pod)]
    if not matched:
        remedy = "correct the selector or the namespace, or deploy the service"
        raise _problem(fault, f"selector '{asked.selector}' matches no pod in {place}; {remedy}")
    if asked.observe is not Observe.ZONE_CUT:
        return _sorted_names(matched)
    inside = [pod for pod in matched if zone_of(pod, zones) == asked.zone]
    if not inside:
        known = ", ".join(sorted({zone_of(pod, zones) for pod in matched} - {""})) or "none known"
        raise _problem(
            fault,
            f"selector '{asked.selector}' matches no pod of zone '{asked.zone}' in {place}; its pods' zones: {known}",
        )
    cut = _zones_cut_with(fault, faults)
    if all(zone_of(pod, zones) in cut for pod in matched):
        remedy = "spread the service over more zones, or cut fewer at once"
        raise _problem(
            fault, f"cutting {', '.join(sorted(cut))} would cut off all {len(matched)} pods in {place}; {remedy}"
        )
    everything = [pod for pod in pods(asked.namespace, "") if running(pod) and zone_of(pod, zones) == asked.zone]
    return _sorted_names(pod for pod in everything if RUN not in labels_of(pod))


def _zones_cut_with(fault: Fault, faults: Sequence[Fault]) -> set[str]:
    """The zones that are cut off at some moment of the fault, its own included."""
    return {
        other.experiment.zone
        for other in faults
        if other.experiment.zone and other.experiment.namespace == fault.experiment.namespace
        if other.experiment.observe is Observe.ZONE_CUT
        if other is fault or (other.at_s < fault.until_s and fault.at_s < other.until_s)
    }


def _within_cap(fault: Fault, names: tuple[str, ...], max_pods: int) -> None:
    count = fault.experiment.max_targets
    touched = len(names) if count is None or fault.experiment.observe is Observe.ZONE_CUT else min(count, len(names))
    if touched > max_pods:
        remedy = "touch fewer, or raise cluster.max_pods in the service file"
        raise _problem(fault, f"would touch {touched} pods, at most {max_pods} allowed; {remedy}")


def _sorted_names(pods: Iterable[Obj]) -> tuple[str, ...]:
    return tuple(sorted(name_of(pod) for pod in pods))


def _problem(fault: Fault, what: str) -> PlanError:
    return PlanError((Problem(fault.source.path, fault.source.line, f"fault '{fault.name}'", what),))


def main() -> None:
    """Read a request from stdin, write the answer (targets, problems or an error) to stdout."""
    request = json.loads(sys.stdin.read())
    faults = TypeAdapter(tuple[Fault, ...]).validate_python(request["faults"])
    try:
        found = resolve(faults, request["kubeconfig"], request["context"], request["max_pods"])
        answer: dict[str, Any] = {"targets": [asdict(one) for one in found]}
    except PlanError as error:
        answer = {"problems": [asdict(problem) for problem in error.problems]}
    except DriverError as error:
        answer = {"error": str(error), "hint": error.hint}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
