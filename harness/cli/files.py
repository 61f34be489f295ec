"""The person's files: found by name, read, and turned into a plan or a list of problems."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import PlanError, Problem, RecordError
from harness.plan.baseline import SCENARIO, FindMeasured, Measured
from harness.plan.catalogue import scenario_path
from harness.plan.model import Plan
from harness.plan.parse import parse
from harness.plan.replay import Recording, recording_of
from harness.record import plan_bytes, read_plan
from harness.report import words
from harness.schedule import offered
from harness.schedule.load import latency_limits_us, stream_names
from harness.schedule.timeline import timeline
from harness.store import Store

SCENARIOS = Path("scenarios")
RESULTS = Path("results")
RUNS_MAX = 1000  # passing baseline runs looked through for the service's newest


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


def load_plan(scenario: str, *, results: Path = RESULTS, time_scale: float = 1.0) -> Plan:
    """
    The plan of a scenario given by name or path; raises PlanError with every problem in every file.

    What a service leaves to be measured is taken from the runs in `results`.
    """
    path = find_scenario(scenario)
    return parse(path, read, time_scale=time_scale, base=str(Path.cwd()), measured=measured_in(results))


def measured_in(results: Path) -> FindMeasured:
    """Finds a service's measured rate: ok arrivals per second in its newest passing run of the baseline scenario."""

    def find(service: str) -> Measured | None:
        for entry in Store(results).newest(RUNS_MAX, SCENARIO):
            if entry.verdict == "pass":
                measured = _measured(results / entry.run, service)
                if measured:
                    return measured
        return None

    return find


def recordings_of(plan: Plan) -> Mapping[str, Recording]:
    """The plan's replay files by path, as they were when it was parsed; raises PlanError when one has changed."""
    recordings: dict[str, Recording] = {}
    streams = [stream.name for stream in plan.service.load.streams]
    for phase in plan.phases:
        if phase.replay:
            recording, _ = recording_of(read(phase.replay.path) or "", streams)
            if recording is None or recording.sha256 != phase.replay.sha256:
                what = "has changed since it was checked; run the command again"
                raise PlanError((Problem(path=phase.replay.path, line=1, where="", what=what),))
            recordings[phase.replay.path] = recording
    return recordings


def plan_text(plan: Plan, *, per_second: bool) -> str:
    """What `harness plan` prints: when what happens, how the load is made, and each second's arrivals if asked for."""
    parts = [timeline(plan), offered.summary(plan)]
    if plan.time_scale != 1:
        parts.append(f"time scale {plan.time_scale:g}: times are scaled; so are `for` and `in any`, shown as written")
    if per_second:
        parts.append(offered.table(plan, recordings_of(plan)))
    return "\n\n".join(parts)


def plan_json(plan: Plan) -> str:
    """The plan as in plan.json, and under `arrivals` what follows from it for the load."""
    arrivals = {
        "streams": list(stream_names(plan)),
        "per_second": offered.per_second(plan, recordings_of(plan)),
        "latency_limits_us": latency_limits_us(plan),
    }
    return json.dumps(json.loads(plan_bytes(plan)) | {"arrivals": arrivals}, ensure_ascii=False)


def check_all(names: Sequence[str], results: Path) -> Sequence[str]:
    """A line for each scenario that is fine; raises PlanError with every problem of all of them."""
    paths = [find_scenario(name) for name in names] or [str(path) for path in sorted(SCENARIOS.glob("*.yaml"))]
    if not paths:
        raise PlanError((Problem(path=str(SCENARIOS), line=1, where="", what="holds no scenario to check"),))
    fine: list[str] = []
    problems: set[Problem] = set()
    for path in paths:
        try:
            plan = load_plan(path, results=results)
            counted = words.plural(len(plan.phases), "phase"), words.plural(len(plan.faults), "fault")
            fine.append(f"{path}: ok, {plan.end_s:g} s, {', '.join(counted)}")
        except PlanError as error:
            problems.update(error.problems)
    if problems:
        raise PlanError(tuple(problems))
    return fine


def _measured(directory: Path, service: str) -> Measured | None:
    """The rate that a passing run measured, when it was of this service."""
    try:
        plan = read_plan(directory)
        verdict = json.loads((directory / "verdict.json").read_text(encoding="utf-8"))
    except (RecordError, OSError, ValueError):  # a run that cannot be read is no evidence
        return None
    if plan.service.name != service:
        return None
    troubled = {fault.phase for fault in plan.faults}
    judged = {phase["name"]: phase for phase in verdict["phases"]}
    for phase in plan.phases:
        if phase.judge and phase.load_level == 1.0 and phase.name not in troubled and phase.name in judged:
            rate_per_s = judged[phase.name]["load"]["ok"] / (phase.end_s - phase.start_s)
            return Measured(rate_per_s=rate_per_s, run=verdict["run"]) if rate_per_s > 0 else None
    return None
