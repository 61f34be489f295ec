"""The master's conversation with the driver: commands as JSON lines on stdin, reports as JSON lines on a pipe."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

import gevent
from gevent.os import make_nonblocking, nb_read, nb_write
from gevent.queue import SimpleQueue

from harness.history.load import FailedRequest, LoadFrame, failure_to_dict, frame_to_dict

_STDIN = 0


class Voice:
    """Says what there is to say on the descriptor `out`; `gone` is called when the driver is no more."""

    def __init__(self, out: int, gone: Callable[[], None]) -> None:
        self._out_fd = out
        self._gone = gone
        self._out: SimpleQueue[bytes] = SimpleQueue()
        self._unheard = False
        self.over = False  # the load is drained: users may still log out when the driver goes

    def say(self, kind: str, *, mono_ns: int | None = None, **values: object) -> None:
        """Something happened, now or at `mono_ns`."""
        stamp = time.monotonic_ns() if mono_ns is None else mono_ns
        self._put({"type": kind, "mono_ns": stamp, **values})

    def batch(
        self,
        frames: Sequence[LoadFrame],
        health: Sequence[dict[str, object]] = (),
        failures: Sequence[FailedRequest] = (),
    ) -> None:
        """A part of the load record."""
        if frames or health or failures:
            self._put(
                {
                    "type": "batch",
                    "frames": [frame_to_dict(frame) for frame in frames],
                    "health": list(health),
                    "failures": [failure_to_dict(failure) for failure in failures],
                }
            )

    def obey(self, start: Callable[[int], None], stop: Callable[[], None]) -> None:
        """Do what the driver says until it is gone."""
        make_nonblocking(_STDIN)
        buffer = b""
        while chunk := nb_read(_STDIN, 65536):
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                command = json.loads(line)
                if command["do"] == "start":
                    start(command["t0_ns"])
                else:
                    stop()
        if not self.over:
            self._gone()

    def write_for_ever(self) -> None:
        """Write what is said until nobody listens: then the driver is gone, also when stdin does not tell it yet."""
        make_nonblocking(self._out_fd)
        try:
            while True:
                data = self._out.peek()
                while data:
                    data = data[nb_write(self._out_fd, data) :]
                self._out.get()
        except BrokenPipeError:
            self._unheard = True
            if not self.over:
                self._gone()

    def finish(self) -> None:
        """Wait until everything is written, or nobody listens any more."""
        while not self._out.empty() and not self._unheard:
            gevent.sleep(0.01)

    def _put(self, value: dict[str, object]) -> None:
        self._out.put(json.dumps(value, separators=(",", ":")).encode() + b"\n")
