"""What the driver and its child processes say to each other: JSON lines, stamped by whoever speaks."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import IO, Any, Literal, get_args

Told = Literal[
    "rehearsed",  # an activity; the cluster would do it, or `detail` says why that could not be found out
    "loaded",  # the experiment is valid and its modules are imported
    "refused",  # it will not be played, `detail` says why; nothing was touched
    "ready",  # its `configuration` is resolved; the method waits for "go"
    "activity_started",
    "activity_completed",
    "method_ended",  # `detail` says why it cannot count as played; empty when it can
    "rollbacks_started",  # `detail` says who asked for them
    "rollbacks_ended",  # `detail` says what failed; empty when nothing did. The ledger and the journal are written
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One line of the child playing an experiment. `mono_ns` is CLOCK_MONOTONIC when it happened."""

    event: Told
    mono_ns: int
    activity: str = ""
    status: str = ""
    detail: str = ""
    configuration: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """
    One line to the child: load an experiment, begin to run it, go on to its method, play its rollbacks.

    The end of the child's input means the same as "rollback": whoever could have asked for it is dead.
    """

    do: Literal["load", "begin", "go", "rollback"]
    experiment: dict[str, Any] = field(default_factory=dict)  # load
    journal: str = ""  # load: the file Chaos Toolkit's journal goes to
    entry: str = ""  # go: the ledger entry that says how to undo it


def encode(value: Said | Command) -> bytes:
    """`value` as one line. Raises TypeError when it holds something JSON cannot."""
    return json.dumps(asdict(value)).encode() + b"\n"


def said(line: bytes) -> Said:
    """The value of one line of the child. Raises ValueError when it is none."""
    fields = _fields(line)
    if fields.get("event") not in get_args(Told):
        raise ValueError(f"not a line of a chaos child: {line!r}")
    return Said(**fields)


def command(line: bytes) -> Command:
    """The value of one line to the child. Raises ValueError when it is none."""
    return Command(**_fields(line))


def _fields(line: bytes) -> dict[str, Any]:
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise ValueError(f"not a JSON object: {line!r}")
    return fields


class Speaker:
    """The child's side of its output. Chaos Toolkit's background activities speak from threads of their own."""

    def __init__(self, output: IO[bytes]) -> None:
        self._output = output
        self._one_at_a_time = threading.Lock()

    def say(self, event: Told, **fields: Any) -> None:
        """
        Say it, stamped now.

        When nobody listens any more the words are lost and the work goes on: the ledger tells the rest.
        """
        line = encode(Said(event=event, mono_ns=time.monotonic_ns(), **fields))
        with self._one_at_a_time:
            try:
                self._output.write(line)
                self._output.flush()
            except BrokenPipeError:
                return
