"""
The run directory: written in steps while the run goes on, read back for judging.

    results/<scenario>/<run-id>/
        scenario.yaml service.yaml   the files as given        plan.json          the plan as bound
        environment.json             versions, host, argv      history.jsonl      events as they happen
        load/frames.jsonl            the load record           load/health.jsonl  the workers' own health
        load/failures.jsonl          some failed requests
        audit.jsonl                  acknowledged writes of the data-loss audit
        series.jsonl                 Prometheus samples        chaos/ logs/       journals, ledger, children's output
        verdict.json report.html summary.md junit.xml load.hlog    what judging made of it

Everything is appended line by line and flushed, so a crash costs at most a torn last line, which reading tolerates.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter, ValidationError

from harness.errors import RecordError
from harness.history import codec
from harness.history.events import Body, Event, PhaseEnded, PhaseStarted, RunEnded, RunStarted
from harness.history.load import (
    FailedRequest,
    LoadFrame,
    WorkerHealth,
    failure_from_dict,
    failure_to_dict,
    frame_from_dict,
    frame_to_dict,
)
from harness.history.run import Run
from harness.history.series import Series
from harness.plan.model import Plan

FORMAT = 1

_HINT = "name a run directory, such as results/stress-150/latest"
_EDGES = (RunStarted, PhaseStarted, PhaseEnded, RunEnded)  # after these the history is forced to disk
_PLAN: TypeAdapter[Plan] = TypeAdapter(Plan)


def new_run_id(now: datetime) -> str:
    """A sortable, unique name for a run: `20261121-010203-ab12`."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


class Record:
    """Writes one run directory. Every method but `close` raises OSError when the disk does not take it."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.name = name  # "<scenario>/<run-id>"
        self._events: list[Event] = []
        for folder in ("load", "chaos", "logs"):
            (directory / folder).mkdir(parents=True, exist_ok=True)
        self._history = self._open("history.jsonl")
        self._frames = self._open("load/frames.jsonl")
        self._health = self._open("load/health.jsonl")
        self._failures = self._open("load/failures.jsonl")
        self._series = self._open("series.jsonl")

    @classmethod
    def create(
        cls, results: Path, plan: Plan, *, given: Mapping[str, str], environment: Mapping[str, object]
    ) -> Record:
        """
        Make a new run directory with the files as given, the plan and the environment in it.

        Args:
            results: the folder of all runs; made if missing.
            plan: the plan that will run, bound to its target.
            given: file name in the record -> text as the person wrote it.
            environment: what a reader needs to reproduce the run; JSON values.

        """
        run_id = new_run_id(datetime.now(UTC))
        directory = results / plan.scenario / run_id
        directory.mkdir(parents=True)
        for name, text in given.items():
            (directory / name).write_text(text, encoding="utf-8")
        (directory / "plan.json").write_bytes(plan_bytes(plan))
        _write_json(directory / "environment.json", {"format": FORMAT, **environment})
        return cls(directory, f"{plan.scenario}/{run_id}")

    def _open(self, name: str) -> IO[str]:
        return (self.directory / name).open("a", encoding="utf-8", buffering=1 << 16)

    @property
    def events(self) -> list[Event]:
        """Every event written so far, in order."""
        return self._events

    def event(self, t_ns: int, body: Body) -> Event:
        """Append what happened at `t_ns` (since run start) to the history; returns it with its sequence number."""
        event = Event(seq=len(self._events), t_ns=t_ns, body=body)
        self._events.append(event)  # first, so that the conductor still knows it when the disk is full
        self._history.write(codec.event_line(event) + "\n")
        self._history.flush()
        if isinstance(body, _EDGES):
            os.fsync(self._history.fileno())
        return event

    def load(
        self, frames: Iterable[LoadFrame], health: Iterable[WorkerHealth], failures: Iterable[FailedRequest] = ()
    ) -> None:
        """Append load frames, worker health and sampled failures."""
        _append(self._frames, (_compact(frame_to_dict(frame)) for frame in frames))
        _append(self._health, (codec.health_line(item) for item in health))
        _append(self._failures, (_compact(failure_to_dict(failure)) for failure in failures))

    def series(self, series: Iterable[Series]) -> None:
        """Append Prometheus samples."""
        _append(self._series, (codec.series_line(item) for item in series))

    def point_latest(self) -> None:
        """Make `results/<scenario>/latest` point here, atomically."""
        link = self.directory.parent / "latest"
        fresh = self.directory.parent / f".latest-{self.directory.name}"
        fresh.symlink_to(self.directory.name)
        fresh.replace(link)

    def close(self) -> None:
        """Close all files. Idempotent; a full disk was told when it was written to."""
        for file in (self._history, self._frames, self._health, self._failures, self._series):
            with suppress(OSError):
                file.close()


def plan_bytes(plan: Plan) -> bytes:
    """The plan as it stands in plan.json."""
    return _PLAN.dump_json(plan, indent=1) + b"\n"


def read(directory: Path) -> Run:
    """The run recorded in a directory; raises RecordError when it is missing, unreadable or of another format."""
    environment = read_environment(directory)
    if environment.get("format") != FORMAT:
        raise RecordError(f"{directory}: record format {environment.get('format')!r}, this harness reads {FORMAT}")
    events = _whole(directory / "history.jsonl")
    started = (event.body.run for event in events if isinstance(event.body, RunStarted))
    return Run(
        name=next(started, "/".join(directory.resolve().parts[-2:])),  # its own, wherever it was copied to
        plan=read_plan(directory),
        events=events,
        frames=tuple(_lines(directory / "load/frames.jsonl", _frame_of)),
        health=tuple(_lines(directory / "load/health.jsonl", codec.health_of)),
        series=tuple(_lines(directory / "series.jsonl", codec.series_of)),
        failures=tuple(_failures(directory / "load/failures.jsonl")),
    )


def read_plan(directory: Path) -> Plan:
    """The plan of a recorded run; raises RecordError as `read` does."""
    try:
        return _PLAN.validate_json(_text(directory / "plan.json"))
    except ValidationError as error:
        raise RecordError(
            f"{directory / 'plan.json'}: not a plan of this format: {error.errors()[0]['msg']}"
        ) from error


def read_environment(directory: Path) -> dict[str, object]:
    """What environment.json says; raises RecordError when the directory holds no run."""
    try:
        value = json.loads(_text(directory / "environment.json"))
    except ValueError as error:
        raise RecordError(f"{directory / 'environment.json'}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RecordError(f"{directory / 'environment.json'}: not an object")
    return value


def write_reports(directory: Path, texts: Mapping[str, str]) -> None:
    """Write each text beside the record under its name, whole or not at all."""
    for name, text in texts.items():
        fresh = directory / f".{name}"
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(directory / name)


def _whole(history: Path) -> tuple[Event, ...]:
    events = tuple(_lines(history, codec.event_of))
    for number, event in enumerate(events):
        if event.seq != number:
            raise RecordError(f"{history}:{number + 1}: event {event.seq} stands where event {number} belongs")
    return events


def _frame_of(line: str) -> LoadFrame:
    try:
        return frame_from_dict(json.loads(line))
    except RecordError as error:
        raise ValueError(str(error)) from error  # the caller says where


def _failure_of(line: str) -> FailedRequest:
    try:
        return failure_from_dict(json.loads(line))
    except RecordError as error:
        raise ValueError(str(error)) from error  # the caller says where


def _failures(path: Path) -> Iterator[FailedRequest]:
    """A sample, which nothing is judged by: a record without one is whole."""
    return _lines(path, _failure_of) if path.exists() else iter(())


def _compact(value: Mapping[str, object]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _append(file: IO[str], lines: Iterable[str]) -> None:
    for line in lines:
        file.write(line + "\n")
    file.flush()


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RecordError(f"{path}: missing", hint=_HINT) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error


def _lines(path: Path, decode: Callable[[str], codec.Line]) -> Iterator[codec.Line]:
    """Every whole line decoded, one at a time: an hour's record is larger than what is made of it."""
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from codec.decoded(file, str(path), decode)
    except FileNotFoundError as error:
        raise RecordError(f"{path}: missing", hint=_HINT) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error
