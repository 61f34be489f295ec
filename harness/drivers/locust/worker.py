"""
Entry module of a load worker's process.

Reads two lines of JSON from stdin: who it is and what to do (`Seat`), then where the master is (`Address`). Ends at
once when stdin closes, with EXPELLED when the master has given it up, with FORSAKEN when it hears nothing of it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from harness.drivers.locust.spec import Spec, spec_from_json

EXPELLED, FORSAKEN = 75, 76  # exit codes

_STDIN = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Which worker this is. `place` is the one it takes among those that begin together; a successor takes it over."""

    index: int
    place: int
    name: str
    remote: bool
    spec: Spec

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps({**asdict(self), "spec": self.spec.to_json()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the master is, and the token that opens its door."""

    host: str
    port: int
    token: str

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


def read_line() -> str:
    """The next line of stdin, read byte by byte: what follows belongs to the event loop. Empty at the end."""
    line = bytearray()
    while (byte := os.read(_STDIN, 1)) and byte != b"\n":
        line += byte
    return line.decode()


def main() -> None:
    """Run a worker until the master says quit or dies."""
    line = read_line()
    if not line:
        return
    values = json.loads(line)
    seat = Seat(**(values | {"spec": spec_from_json(values["spec"])}))
    # Locust patches the standard library on import and takes a second to do it: a pipe holds little meanwhile.
    from harness.drivers.locust.player import play

    play(seat, _address)


def _address() -> Address:
    line = read_line()
    if not line:
        raise SystemExit(0)
    return Address(**json.loads(line))


if __name__ == "__main__":
    main()
