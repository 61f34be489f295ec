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

LATE_NS = 1_000_000_000  # an arrival later than this is not begun any more
NEAR_NS = 15_000  # going to sleep for less, and being woken, costs more than to look again
TURN_NS = 5_000_000  # for so long arrivals are begun before the event loop reads answers again


class Alarm(Protocol):
    """Calls back, in the event loop, when the instant it was set to is reached; perhaps a little sooner as well."""

    def set(self, mono_ns: int) -> None:
        """Ring at `mono_ns` of CLOCK_MONOTONIC (at once when that has passed), instead of what was set before."""


class TimerfdAlarm:
    """
    An alarm on a Linux timerfd: late by some ten microseconds, where the loop's own timers are by a millisecond.

    Setting one to a near instant is dear, in a virtual machine above all. When that is less than NEAR_NS ahead, the
    descriptor is left readable instead, and the alarm rings at every turn of the loop until it is set to a later one.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._settime = libc.timerfd_settime
        self._settime.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        # struct itimerspec: interval (never again), then the instant, each as seconds and nanoseconds.
        self._spec = (ctypes.c_long * 4)()
        self._spec_at = ctypes.addressof(self._spec)
        self._is_set = self._is_readable = False
        self._ring = ring
        loop = gevent.get_hub().loop
        self._watcher = loop.io(self._fd, _READABLE, priority=loop.MAXPRI)
        self._watcher.start(self._on_readable)

    def set(self, mono_ns: int) -> None:
        """See Alarm."""
        self._is_set = True
        if not self._is_readable or mono_ns - time.monotonic_ns() > NEAR_NS:
            # A zero would disarm the timer.
            self._arm(mono_ns if mono_ns > 0 else 1)

    def _arm(self, mono_ns: int) -> None:
        self._is_readable = False
        self._spec[2], self._spec[3] = divmod(mono_ns, _SECOND_NS)
        if self._settime(self._fd, _TFD_TIMER_ABSTIME, self._spec_at, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def _on_readable(self) -> None:
        # Setting it anew is what makes the descriptor unreadable again; reading it would be one call more.
        self._is_set, self._is_readable = False, True
        self._ring()
        if not self._is_set:
            self._arm(0)


class LoopAlarm:
    """An alarm on the event loop's own timer, for systems without timerfd."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._timer: Any = None

    def set(self, mono_ns: int) -> None:
        """See Alarm."""
        if self._timer is not None:
            self._timer.close()
        self._timer = gevent.get_hub().loop.timer(max(mono_ns - time.monotonic_ns(), 0) / _SECOND_NS)
        self._timer.start(self._ring, update=True)


def alarm(ring: Callable[[], None]) -> Alarm:
    """The best alarm this system has."""
    return TimerfdAlarm(ring) if sys.platform == "linux" else LoopAlarm(ring)


class Pacer:
    """
    Begins arrivals at their intended times, whatever became of earlier ones; late ones at once, none twice.

    An arrival that is more than LATE_NS late, because this process stood still, is skipped instead: what a generator
    missed it must not send to the service all at once. `begin` and `skip` are called with an arrival's intended time
    and stream, in the event loop's own greenlet, and must not wait.
    """

    def __init__(self, begin: Callable[[int, int], None], skip: Callable[[int, int], None]) -> None:
        self.t0_ns = 0  # run start on CLOCK_MONOTONIC; may be corrected at any time
        self.may_begin: Callable[[], bool] | None = None  # asked before anything is begun
        self._begin = begin
        self._skip = skip
        self._alarm = alarm(self._ring)
        self._times: Iterator[tuple[int, int]] = iter(())
        self._next: tuple[int, int] | None = None
        self._held = False

    @property
    def next_ns(self) -> int | None:
        """Intended time of the first arrival not begun, since run start; None when there is none left."""
        return None if self._next is None else self._next[0]

    def follow(self, times: Iterator[tuple[int, int]]) -> None:
        """Begin arrivals at `times` (since run start, in order, each with its stream) from now on, and no others."""
        self._times = times
        self._next = next(times, None)
        self._set()

    def release(self) -> None:
        """Go on after `may_begin` said no: what became due meanwhile is begun or skipped now."""
        if self._held:
            self._held = False
            self._set()

    def _set(self) -> None:
        if self._next is not None and not self._held:
            self._alarm.set(self.t0_ns + self._next[0])

    def _ring(self) -> None:
        try:
            # Only what is due now: answers that came meanwhile must be read before more is sent.
            now_ns = time.monotonic_ns() - self.t0_ns
            until_ns = now_ns + TURN_NS
            times, due = self._times, self._next
            self._held = self.may_begin is not None and not self.may_begin()
            while due is not None and due[0] <= now_ns and not self._held:
                (self._begin if now_ns - due[0] <= LATE_NS else self._skip)(*due)
                due = self._next = next(times, None)
                if time.monotonic_ns() - self.t0_ns > until_ns:
                    break
            self._set()
        except BaseException:
            # A worker that cannot pace must not live on and look healthy.
            traceback.print_exc()
            os._exit(70)
