"""
`harness doctor SCENARIO`: whether its faults may be played, from the run's own preflight alone.

Everything a run does in its cluster before load starts: it is held, targets are frozen, checks made, every action is
rehearsed with changes that the cluster only checks. No load is made and no fault injected.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from harness.cli.files import load_plan
from harness.cli.run import at_target
from harness.drivers.chaos.driver import ChaosDriver
from harness.drivers.signals import Signals
from harness.errors import CannotRunError, ExitCode, PlanError, Problem
from harness.history.events import Body, PreflightChecked, TargetsFrozen
from harness.plan.model import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What the preflight of a scenario found; `problems` forbid the run."""

    scenario: str
    targets: tuple[TargetsFrozen, ...] = ()
    checks: tuple[PreflightChecked, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """0 when nothing but warnings was found, 4 when the run would be refused."""
        return ExitCode.ENVIRONMENT if self.problems else ExitCode.PASS

    @property
    def document(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "scenario": self.scenario,
            "ready": not self.problems,
            "targets": [
                {"fault": one.fault, "pods": list(one.names), "nodes": list(one.nodes)} for one in self.targets
            ],
            "checks": [{"check": one.check, "ok": one.ok, "detail": one.detail} for one in self.checks],
            "problems": [
                {"path": one.path, "line": one.line, "where": one.where, "what": one.what} for one in self.problems
            ],
        }

    @property
    def text(self) -> str:
        """The same as a short table, the answer last."""
        lines = [f"{self.scenario}, before its load would start:"]
        for one in self.targets:
            lines += _row("may touch", "", f"{one.fault}: {_listed('pod', one.names)}{_nodes(one.nodes)}")
        for check in self.checks:
            lines += _row(check.check, "ok" if check.ok else "warn", check.detail)
        for problem in self.problems:
            lines += _row("refused", "NO", str(problem))
        return "\n".join([*lines, self._answer()])

    def _answer(self) -> str:
        warnings = sum(not one.ok for one in self.checks)
        if self.problems:
            return f"no: {_many(len(self.problems), 'problem')} to solve first"
        if not self.targets:
            return "yes: it has no faults, so there is nothing to check in a cluster"
        return "yes: every fault may be played" + (f", with {_many(warnings, 'warning')}" if warnings else "")


def examine(scenario: str, *, results: Path) -> Examined:
    """
    Play the preflight of a scenario given by name or path, in a sandbox of its own if it wants one.

    Raises PlanError when its files are wrong, DriverError when the cluster does not answer or another run holds it,
    StoppedError on Ctrl-C.
    """
    plan = load_plan(scenario, results=results)
    if not plan.faults:
        return Examined(scenario=plan.scenario)
    with Signals() as signals, at_target(plan, signals) as (ready, _), signals.raising():
        try:
            found = _played(ready)
        except PlanError as error:
            return Examined(scenario=plan.scenario, problems=error.problems)
    return Examined(
        scenario=plan.scenario,
        targets=tuple(one for one in found if isinstance(one, TargetsFrozen)),
        checks=tuple(one for one in found if isinstance(one, PreflightChecked)),
    )


def _played(plan: Plan) -> Sequence[Body]:
    cluster = plan.service.cluster
    if cluster is None:
        raise CannotRunError(f"doctor: the service '{plan.service.name}' has no cluster")
    with tempfile.TemporaryDirectory(prefix="lch-doctor-") as record:
        driver = ChaosDriver(
            plan,
            run=f"doctor/{plan.scenario}-{secrets.token_hex(4)}",
            directory=Path(record) / "chaos",
            kubeconfig=cluster.kubeconfig,
            context=cluster.context,
        )
        (Path(record) / "chaos").mkdir()
        with closing(driver):
            return [stamped.body for stamped in driver.preflight()]


def _row(name: str, mark: str, detail: str) -> list[str]:
    return [f"  {name:<18}  {mark:<4}  {detail}"]


def _listed(what: str, names: Sequence[str]) -> str:
    return f"{_many(len(names), what)} ({', '.join(names)})"


def _nodes(names: Sequence[str]) -> str:
    return f" on {_listed('node', names)}" if names else ""


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("s" if count != 1 else "")
