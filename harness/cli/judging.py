"""Judging a run directory and writing what comes of it; the same for a run just ended and for one of last year."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from harness import record
from harness.cli.files import load_plan
from harness.errors import ExitCode, RecordError
from harness.history.events import Status
from harness.history.run import Run
from harness.plan.transfer import with_rules
from harness.report import hlog, html, junit, markdown, terminal
from harness.store import Store
from harness.verdict.document import text as verdict_text
from harness.verdict.judge import judge
from harness.verdict.model import Outcome, Verdict

_BY_VERDICT = {
    Outcome.PASS: ExitCode.PASS,
    Outcome.WARN: ExitCode.PASS,
    Outcome.FAIL: ExitCode.FAIL,
    Outcome.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A run and its verdict, ready to be shown."""

    run: Run
    verdict: Verdict
    directory: Path
    colour: bool
    width: int
    unwritten: str | None = None  # why the reports could not be written

    @property
    def text(self) -> str:
        """The terminal summary."""
        return terminal.text(
            self.run, self.verdict, colour=self.colour, width=self.width, directory=str(self.directory)
        )

    @property
    def json(self) -> str:
        """verdict.json."""
        return verdict_text(self.verdict)

    def exit_code(self, *, strict: bool) -> ExitCode:
        """The exit code: not restored outranks interrupted, interrupted outranks crashed, and that the verdict."""
        if not self.verdict.restored:
            return ExitCode.NOT_RESTORED
        if self.verdict.status is Status.INTERRUPTED:
            return ExitCode.INTERRUPTED
        if self.unwritten or (self.verdict.status is Status.CRASHED and self.verdict.verdict is not Outcome.FAIL):
            return ExitCode.ENVIRONMENT
        if strict and self.verdict.verdict is Outcome.WARN:
            return ExitCode.FAIL
        return _BY_VERDICT[self.verdict.verdict]


def judge_directory(directory: Path) -> Judged:
    """Judge the recorded run, write verdict.json and the reports beside it, and put it into the index."""
    judged = _judged(directory)
    try:
        record.write_reports(directory, {name: _form(judged, form) for form, name in _due(directory)})
        resolved = directory.resolve()
        if resolved.parent.parent.is_dir():
            Store(resolved.parent.parent).add(resolved)
    except (OSError, RecordError) as error:
        return replace(judged, unwritten=f"{directory}: {error}")
    return judged


def judge_by(directory: Path, scenario: str) -> Judged:
    """The recorded run judged by the rules of another scenario; writes nothing."""
    run = record.read(directory)
    plan = with_rules(run.plan, load_plan(scenario, time_scale=run.plan.time_scale))
    return _shown(replace(run, plan=plan), directory)


def report_of(directory: Path, form: str) -> str:
    """One report of a recorded run as text; `form` is text or a key of the files a run directory holds."""
    judged = _judged(directory)
    return judged.text + "\n" if form == "text" else _form(judged, form)


_FILES = {
    "json": "verdict.json",
    "html": "report.html",
    "markdown": "summary.md",
    "junit": "junit.xml",
    "hlog": "load.hlog",
}


def _due(directory: Path) -> list[tuple[str, str]]:
    """Forms and files to write. The histogram log says nothing of the verdict and is long: it is written once."""
    written = (directory / _FILES["hlog"]).exists()
    return [(form, name) for form, name in _FILES.items() if form != "hlog" or not written]


def _judged(directory: Path) -> Judged:
    return _shown(record.read(directory), directory)


def _shown(run: Run, directory: Path) -> Judged:
    from rich.console import Console

    console = Console()
    width = console.width if console.is_terminal else 120
    return Judged(
        run=run,
        verdict=judge(run),
        directory=directory,
        colour=console.is_terminal and not console.no_color,
        width=width,
    )


def _form(judged: Judged, form: str) -> str:
    match form:
        case "json":
            return judged.json
        case "junit":
            return junit.xml(judged.verdict)
        case "hlog":
            return hlog.text(judged.run)
        case "markdown":
            return markdown.summary(judged.run, judged.verdict, str(judged.directory))
        case _:
            given = judged.directory / "scenario.yaml"
            text = given.read_text(encoding="utf-8") if given.exists() else ""
            environment = {key: fact(value) for key, value in record.read_environment(judged.directory).items()}
            return html.page(judged.run, judged.verdict, environment=environment, scenario_text=text)


def fact(value: object) -> str:
    """A value of environment.json as a person writes it: a list as a command, an object as names and values."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return shlex.join(map(str, value)) if isinstance(value, list) else str(value)
