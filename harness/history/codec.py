"""
Events and series as JSON lines, and back. One line, one value; the format is part of the record's contract.

An event is `{"seq": 3, "t_ns": 65010203040, "event": "pod_gone", ...the body's fields}`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError

from harness.errors import RecordError
from harness.history.events import Body, Event
from harness.history.load import WorkerHealth
from harness.history.series import Series

Line = TypeVar("Line")

_BODIES: dict[str, TypeAdapter[Body]] = {body.kind: TypeAdapter(body) for body in get_args(Body)}
_HEALTH = TypeAdapter(WorkerHealth)
_SERIES = TypeAdapter(Series)


def _as_dict(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def event_line(event: Event) -> str:
    """The event as one line of JSON, without the newline."""
    head = {"seq": event.seq, "t_ns": event.t_ns, "event": event.body.kind}
    return json.dumps(head | _as_dict(event.body), ensure_ascii=False, separators=(",", ":"))


def event_of(line: str) -> Event:
    """The event written on a line; raises ValueError when the line is not one."""
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("not an event")
    try:
        seq, t_ns, kind = value.pop("seq"), value.pop("t_ns"), value.pop("event")
        body = _BODIES[kind].validate_python(value)
    except (KeyError, ValidationError) as error:
        raise ValueError(f"not an event: {error}") from error
    return Event(seq=int(seq), t_ns=int(t_ns), body=body)


def body_line(body: Body, mono_ns: int) -> str:
    """A driver child's report as one line of JSON: the body and its absolute monotonic stamp."""
    return event_line(Event(seq=0, t_ns=mono_ns, body=body))


def health_line(health: WorkerHealth) -> str:
    """Worker health as one line of JSON."""
    return json.dumps(_as_dict(health), separators=(",", ":"))


def health_of(line: str) -> WorkerHealth:
    """The worker health written on a line; raises ValueError when it is not one."""
    try:
        return _HEALTH.validate_json(line)
    except ValidationError as error:
        raise ValueError(f"not a worker's health: {error.errors()[0]['msg']}") from error


def series_line(series: Series) -> str:
    """A series as one line of JSON. NaN and infinities are written as the strings Prometheus uses."""
    value = _as_dict(series)
    value["samples"] = [[t_s, number if _finite(number) else _spelled(number)] for t_s, number in series.samples]
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def series_of(line: str) -> Series:
    """The series written on a line; raises ValueError when it is not one."""
    try:
        value = json.loads(line)
        value["samples"] = tuple((float(t_s), float(number)) for t_s, number in value["samples"])
        return _SERIES.validate_python(value)
    except (KeyError, TypeError, ValidationError) as error:
        raise ValueError(f"not a series: {error!r:.200}") from error


def _finite(number: float) -> bool:
    return number - number == 0.0


def _spelled(number: float) -> str:
    if number != number:  # noqa: PLR0124 - NaN is the one value unequal to itself
        return "NaN"
    return "+Inf" if number > 0 else "-Inf"


def whole_lines(text: str, path: str) -> Iterator[tuple[int, str]]:
    """
    The numbered, complete, non-empty lines of an append-only file.

    A last line without its newline was torn by a crash and is left out; everything before it is whole.
    """
    lines = text.split("\n")
    for number, line in enumerate(lines[:-1], start=1):
        if line:
            yield number, line
        else:
            raise RecordError(f"{path}:{number}: empty line in the record")


def decoded(text: str, path: str, decode: Callable[[str], Line]) -> Iterator[Line]:
    """Every complete line of an append-only file decoded; raises RecordError naming the line that cannot be."""
    for number, line in whole_lines(text, path):
        try:
            yield decode(line)
        except ValueError as error:
            raise RecordError(f"{path}:{number}: cannot be read: {error}") from error
