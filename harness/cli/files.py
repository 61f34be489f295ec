"""The person's files: found by name, read, and turned into a plan or a list of problems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import PlanError, Problem
from harness.plan.catalogue import scenario_path
from harness.plan.model import Plan
from harness.plan.parse import parse

SCENARIOS = Path("scenarios")


def read(path: str) -> str | None:
    """The text of a file, None when there is none; OSError and UnicodeDecodeError are the parser's to report."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        return None


def find_scenario(name: str) -> str:
    """The path of a scenario given by name or path; raises PlanError naming the scenarios there are."""
    path = scenario_path(name)
    try:
        if Path(path).is_file():
            return path
    except OSError as error:  # such as a name that is too long
        raise PlanError((Problem(path=path, line=1, where="", what=f"no such scenario: {error.strerror}"),)) from error
    known = ", ".join(sorted(found.stem for found in SCENARIOS.glob("*.yaml"))) or "none here"
    raise PlanError((Problem(path=path, line=1, where="", what=f"no such scenario; {SCENARIOS}/ has: {known}"),))


def load_plan(scenario: str, *, time_scale: float = 1.0) -> Plan:
    """The plan of a scenario given by name or path; raises PlanError with every problem in every file."""
    return parse(find_scenario(scenario), read, time_scale=time_scale, base=str(Path.cwd()))


def check_all(names: Sequence[str]) -> Sequence[str]:
    """A line for each scenario that is fine; raises PlanError with every problem of all of them."""
    paths = [find_scenario(name) for name in names] or [str(path) for path in sorted(SCENARIOS.glob("*.yaml"))]
    if not paths:
        raise PlanError((Problem(path=str(SCENARIOS), line=1, where="", what="holds no scenario to check"),))
    fine: list[str] = []
    problems: set[Problem] = set()
    for path in paths:
        try:
            plan = parse(path, read, base=str(Path.cwd()))
            fine.append(f"{path}: ok, {plan.end_s:g} s, {len(plan.phases)} phases, {len(plan.faults)} faults")
        except PlanError as error:
            problems.update(error.problems)
    if problems:
        raise PlanError(tuple(problems))
    return fine
