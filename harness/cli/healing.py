"""`harness heal` and `harness halt`, and what every run does first: undo what dead runs left behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness.cli.files import SCENARIOS, read
from harness.drivers.chaos import heal as healing
from harness.drivers.chaos.halt import Halted, halt
from harness.drivers.chaos.ledger import State
from harness.drivers.faults.sweeping import LeftError, sweep_in_child
from harness.errors import CannotRunError, DriverError, ExitCode, HarnessError, PlanError, Problem
from harness.plan.catalogue import is_path
from harness.plan.files import Files
from harness.plan.model import Cluster
from harness.plan.service import service_of
from harness.record import read_plan
from harness.sandbox import default_state_dir
from harness.sandbox import status as sandbox_status

SERVICES = SCENARIOS / "services"
NOTHING = "nothing to heal"


class NotRestoredError(HarnessError):
    """Faults could not be proven undone; nothing new may be injected before they are."""

    exit_code = ExitCode.NOT_RESTORED


def heal_leftovers(results: Path) -> Sequence[str]:
    """Undo what dead runs left in their ledgers, a line for each; NotRestoredError when one could not be undone."""
    healed = healing.heal(results)
    lines = [f"heal: {item.run}: {item.fault}: {item.detail or 'undone'}" for item in healed]
    if any(item.outcome is not State.UNDONE for item in healed):
        raise NotRestoredError("\n".join(lines), hint="see that the cluster answers, then: harness heal")
    return lines


def heal_cluster(cluster: Cluster, results: Path, run: str | None = None) -> Sequence[str]:
    """
    Undo what dead runs of any machine left in the plan's namespaces and on its nodes, a line for each.

    Of one `run`, whatever its Lease says. Raises NotRestoredError when something of ours is there and could not be
    proven gone, DriverError when the cluster cannot be looked at.
    """
    over = [healing.run_of(folder) for folder in healing.ledgers(results) if healing.over(folder)]
    try:
        undone = sweep_in_child(cluster, run=run, over=over)
    except LeftError as error:
        raise NotRestoredError(f"heal: {error}", hint="see what keeps it there, then: harness heal --service …") from (
            error
        )
    return [f"heal: {name}: undone" for name in undone]


def heal_all(results: Path, services: Sequence[str], run: str | None) -> Sequence[str]:
    """
    What `harness heal` does: the ledgers under `results`, then the clusters of the services.

    With a `run` and no service, the cluster of that run's plan. What cannot be undone in one place does not keep the
    others from being healed. Raises PlanError, NotRestoredError and DriverError.
    """
    clusters = [_cluster_of(name) for name in services]
    if run is not None and not services:
        clusters = [_cluster_of_run(results / run)]
    lines: list[str] = []
    refusals: list[HarnessError] = []
    places = [partial(heal_leftovers, results), *(partial(_heal_place, cluster, results, run) for cluster in clusters)]
    for heal in places:
        try:
            lines += heal()
        except (NotRestoredError, DriverError) as error:
            refusals.append(error)
    if refusals:
        worst = [error for error in refusals if isinstance(error, NotRestoredError)] or refusals
        kind = NotRestoredError if isinstance(worst[0], NotRestoredError) else DriverError
        raise kind("\n".join([*lines, *map(str, refusals)]), hint=worst[0].hint)
    return lines or [NOTHING]


def _heal_place(cluster: Cluster | None, results: Path, run: str | None) -> Sequence[str]:
    return heal_cluster(cluster, results, run) if cluster else ["heal: the sandbox is not up, nothing is left"]


def heal_before(cluster: Cluster | None, results: Path, *, faults: bool) -> Sequence[str]:
    """
    What a run does about its cluster before anything else.

    A run that plays `faults` is refused when the cluster cannot be looked at; another says so, and goes on.
    """
    if cluster is None or cluster.kubeconfig is None:
        return ()
    try:
        return heal_cluster(cluster, results)
    except DriverError as error:
        if faults:
            raise
        return [f"heal: whether faults were left in the cluster is not known: {error}"]


def halt_runs(results: Path) -> Sequence[str]:
    """End the live runs under `results`, a line for each; NotRestoredError when a fault is not proven undone."""
    halted = halt(results)
    lines = [_said(one) for one in halted]
    if any(one.problem for one in halted):
        raise NotRestoredError("\n".join(lines), hint="see that the cluster answers, then: harness heal")
    return lines or ["No run is going on"]


def _said(one: Halted) -> str:
    how = ", its conductor did not react and was killed" if one.killed else ""
    if one.problem:
        return f"halt: {one.run}: not proven undone{how}: {one.problem}"
    what = f"{one.faults} fault{'s' * (one.faults != 1)} undone" if one.faults else "no fault was on"
    return f"halt: {one.run}: {what} after {one.took_s:.2f} s{how}"


def _cluster_of(name: str) -> Cluster | None:
    """The cluster of a service given by name or path; None for a sandbox that is not up. Raises PlanError."""
    path = name if is_path(name) else str(SERVICES / f"{name}.yaml")
    files = Files(read=read, base=str(Path.cwd()))
    text = files.text(path)
    if text is None:
        known = ", ".join(sorted(found.stem for found in SERVICES.glob("*.yaml"))) or "none here"
        raise PlanError((Problem(path, 1, "", f"no such service; {SERVICES}/ has: {known}"),))
    root = files.document(path, text)
    service = service_of(root, files) if root else None
    if service is None or files.problems:
        raise PlanError(tuple(files.problems))
    if service.cluster is None:
        raise PlanError((Problem(path, 1, "cluster", "is missing; a service without a cluster has no faults"),))
    if "sandbox" not in service.given:
        return _at_home(service.cluster)
    running = sandbox_status(default_state_dir())
    return replace(service.cluster, kubeconfig=running.kubeconfig) if running else None


def _cluster_of_run(directory: Path) -> Cluster | None:
    """The cluster of a recorded run's plan; None for a sandbox that is gone. Raises RecordError, CannotRunError."""
    service = read_plan(directory).service
    if service.cluster is None or service.cluster.kubeconfig is None:
        raise CannotRunError(f"{directory}: its service has no cluster, so nothing can be left in one")
    if service.sandbox is not None and not healing.answers(service.cluster.kubeconfig):
        return None
    return _at_home(service.cluster)


def _at_home(cluster: Cluster) -> Cluster:
    """The cluster with `~` in its kubeconfig's path spelled out."""
    return replace(cluster, kubeconfig=str(Path(cluster.kubeconfig or "").expanduser()))
