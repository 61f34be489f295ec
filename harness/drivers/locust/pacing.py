"""Waking up at absolute instants of CLOCK_MONOTONIC, and beginning every arrival that is due."""

from __future__ import annotations

import ctypes
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import gevent

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_READABLE = 1
_SECOND_NS = 1_000_000_000


class Alarm(Protocol):
    """Calls back once, in the event loop, when the instant it was set to is reached."""

    def set(self, mono_ns: int) -> None:
        """Ring at `mono_ns` of CLOCK_MONOTONIC (at once when that has passed), instead of what was set before."""

    def close(self) -> None:
        """Never ring again."""


class TimerfdAlarm:
    """An alarm on a Linux timerfd: late by some ten microseconds, where the loop's own timers are by a millisecond."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        # struct itimerspec: interval (never again), then the instant, each as seconds and nanoseconds.
        self._spec = (ctypes.c_long * 4)()
        self._ring = ring
        loop = gevent.get_hub().loop
        self._watcher = loop.io(self._fd, _READABLE, priority=loop.MAXPRI)
        self._watcher.start(self._on_readable)

    def set(self, mono_ns: int) -> None:
        """See Alarm."""
        # A zero would disarm the timer.
        self._spec[2], self._spec[3] = divmod(max(mono_ns, 1), _SECOND_NS)
        if self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, self._spec, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def _on_readable(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # set anew since the loop saw it ring
            return
        self._ring()

    def close(self) -> None:
        """See Alarm."""
        if self._fd >= 0:
            self._watcher.close()
            os.close(self._fd)
            self._fd = -1


class LoopAlarm:
    """An alarm on the event loop's own timer, for systems without timerfd."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._timer: Any = None

    def set(self, mono_ns: int) -> None:
        """See Alarm."""
        self.close()
        self._timer = gevent.get_hub().loop.timer(max(mono_ns - time.monotonic_ns(), 0) / _SECOND_NS)
        self._timer.start(self._ring, update=True)

    def close(self) -> None:
        """See Alarm."""
        if self._timer is not None:
            self._timer.close()
            self._timer = None


def alarm(ring: Callable[[], None]) -> Alarm:
    """The best alarm this system has."""
    return TimerfdAlarm(ring) if sys.platform == "linux" else LoopAlarm(ring)


class Pacer:
    """
    Begins arrivals at their intended times, whatever became of earlier ones; late ones at once, none twice.

    `begin` is called in the event loop's own greenlet and must not wait.
    """

    def __init__(self, t0_ns: int, begin: Callable[[int], None]) -> None:
        self._t0_ns = t0_ns
        self._begin = begin
        self._alarm = alarm(self._ring)
        self._times: Iterator[int] = iter(())
        self._next_ns: int | None = None

    @property
    def next_ns(self) -> int | None:
        """Intended time of the first arrival not begun, since run start; None when there is none left."""
        return self._next_ns

    def follow(self, times: Iterator[int]) -> None:
        """Begin arrivals at `times` (since run start, in order) from now on, instead of what was to follow."""
        self._times = times
        self._advance()

    def close(self) -> None:
        """Begin nothing more."""
        self._times = iter(())
        self._next_ns = None
        self._alarm.close()

    def _advance(self) -> None:
        self._next_ns = next(self._times, None)
        if self._next_ns is not None:
            self._alarm.set(self._t0_ns + self._next_ns)

    def _ring(self) -> None:
        try:
            # Only what is due now: answers that came meanwhile must be read before more is sent.
            now_ns = time.monotonic_ns() - self._t0_ns
            while self._next_ns is not None and self._next_ns <= now_ns:
                self._begin(self._next_ns)
                self._next_ns = next(self._times, None)
            if self._next_ns is not None:
                self._alarm.set(self._t0_ns + self._next_ns)
        except BaseException:
            # A worker that cannot pace must not live on and look healthy.
            traceback.print_exc()
            os._exit(70)
