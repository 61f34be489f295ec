"""
Events and series as JSON lines, and back. One line, one value; the format is part of the record's contract.

An event is `{"seq": 3, "t_ns": 65010203040, "event": "pod_gone", ...the body's fields}`.
"""

from __future__ import annotations

import json
import sys
from array import array
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from functools import lru_cache
from typing import Any, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError

from harness.errors import RecordError
from harness.history.events import Body, Event
from harness.history.load import WorkerHealth
from harness.history.series import Role, Samples, Series

Line = TypeVar("Line")

_BODIES: dict[str, TypeAdapter[Body]] = {body.kind: TypeAdapter(body) for body in get_args(Body)}
_HEALTH = TypeAdapter(WorkerHealth)
_ROLES = frozenset(get_args(Role))


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
    """
    A series as one line of JSON; its columns are base64 of little-endian float64, in `times` and `values`.

    Text would be as long, and an hour of fifty SLIs (7 million numbers) would take ten times as long to read; and NaN
    and infinities, which JSON does not have, need no spelling.
    """
    head = {name: value for name, value in _as_dict(series).items() if name != "samples"}
    columns = {"times": _column(series.samples.times), "values": _column(series.samples.values)}
    return json.dumps(head | columns, ensure_ascii=False, separators=(",", ":"))


def series_of(line: str) -> Series:
    """The series written on a line; raises ValueError when it is not one."""
    try:
        value = json.loads(line)
        samples = Samples(_times(value.pop("times")), _floats(value.pop("values")))
        labels = tuple((str(name), str(text)) for name, text in value.pop("labels"))
        series = Series(labels=labels, samples=samples, **value)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a series: {error!r:.200}") from error
    if series.role not in _ROLES or not all(isinstance(text, str) for text in (series.sli, series.phase, series.query)):
        raise ValueError(f"not a series: {value!s:.200}")
    return series


def _column(numbers: array[float]) -> str:
    return b2a_base64(_little_endian(numbers).tobytes(), newline=False).decode("ascii")


def _floats(text: str) -> array[float]:
    return _little_endian(array("d", a2b_base64(text, strict_mode=True)))


@lru_cache(maxsize=256)
def _times(text: str) -> array[float]:
    """Series of one target have the same times: they get one column, which nobody changes."""
    return _floats(text)


def _little_endian(numbers: array[float]) -> array[float]:
    if sys.byteorder == "little":
        return numbers
    swapped = array("d", numbers)
    swapped.byteswap()
    return swapped


def whole_lines(lines: Iterable[str], path: str) -> Iterator[tuple[int, str]]:
    """
    The numbered, complete, non-empty lines of an append-only file, of which `lines` are all with their newlines.

    A last line without its newline was torn by a crash and is left out; everything before it is whole.
    """
    for number, line in enumerate(lines, start=1):
        if line == "\n":
            raise RecordError(f"{path}:{number}: empty line in the record")
        if line.endswith("\n"):
            yield number, line[:-1]


def decoded(lines: Iterable[str], path: str, decode: Callable[[str], Line]) -> Iterator[Line]:
    """Every complete line of an append-only file decoded; raises RecordError naming the line that cannot be."""
    for number, line in whole_lines(lines, path):
        try:
            yield decode(line)
        except ValueError as error:
            raise RecordError(f"{path}:{number}: cannot be read: {error}") from error
