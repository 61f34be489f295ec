"""Ctrl-C, SIGTERM and the terminal's end: an error where nothing is under way, else something to poll."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType

from harness.errors import StoppedError
from harness.history.events import Interrupted, Stamped

_Handler = Callable[[int, FrameType | None], None]


@contextmanager
def raising() -> Iterator[None]:
    """While entered, a signal raises StoppedError wherever the main thread is."""
    with _handled(_raise):
        yield


class Signals:
    """
    While entered, signals are noted instead of ending the process.

    Every signal is reported; the conductor brings the run down at the first. A second Ctrl-C changes nothing: faults
    are being undone, and that is not skipped.
    """

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._write_fd, False)
        self._noted: list[Stamped] = []
        self._handled = _handled(self._note)

    def __enter__(self) -> Signals:
        self._handled.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handled.__exit__(None, None, None)
        os.close(self._read_fd)
        os.close(self._write_fd)

    @contextmanager
    def raising(self) -> Iterator[None]:
        """While entered, a signal raises StoppedError after all, one that was noted before at once."""
        with raising():
            for stamped in self.poll():
                if isinstance(stamped.body, Interrupted):
                    raise _stopped(stamped.body.signal)
            yield

    def _note(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        self._noted.append(Stamped(mono_ns=time.monotonic_ns(), body=Interrupted(signal=name)))
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


@contextmanager
def _handled(handler: _Handler) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP go to the handler; SIGHUP not under nohup, which means to outlive the terminal."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    former = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in former.items():
            signal.signal(number, before)


def _raise(number: int, _frame: FrameType | None) -> None:
    raise _stopped(signal.Signals(number).name)


def _stopped(name: str) -> StoppedError:
    return StoppedError(f"stopped by {name}")
