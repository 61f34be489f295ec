"""Ctrl-C and SIGTERM as something to poll: the conductor then brings the run down in order."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from types import FrameType, TracebackType

from harness.history.events import Interrupted, Stamped


class Signals:
    """
    While entered, SIGINT and SIGTERM are noted instead of ending the process.

    Every signal is reported; the conductor brings the run down at the first. A second Ctrl-C changes nothing: faults
    are being undone, and that is not skipped.
    """

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._write_fd, False)
        self._noted: list[Stamped] = []
        self._former: dict[int, object] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)  # type: ignore[arg-type]
        os.close(self._read_fd)
        os.close(self._write_fd)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted.append(Stamped(mono_ns=time.monotonic_ns(), body=Interrupted(signal=signal.Signals(number).name)))
        os.write(self._write_fd, b"!")

    def fds(self) -> Sequence[int]:
        """The descriptor that becomes readable when a signal came."""
        return (self._read_fd,)

    def poll(self) -> Sequence[Stamped]:
        """The signals that came since the last call."""
        noted, self._noted = self._noted, []
        if noted:
            os.read(self._read_fd, len(noted))
        return noted
