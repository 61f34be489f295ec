"""
`python -m harness.drivers.stub DELAY_MS`: an HTTP server on loopback that answers every request after a fixed time.

What a load generator is held against: any other response time than DELAY_MS is the generator's own doing. Prints its
port, and ends when standard input closes. On Linux an answer leaves some ten microseconds late; elsewhere up to a
millisecond.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, cast

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
_HEAD_END = b"\r\n\r\n"
_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_SECOND_NS = 1_000_000_000


class _Alarm(Protocol):
    def set(self, mono_ns: int) -> None:
        """Ring at this instant of CLOCK_MONOTONIC."""


class _Timerfd:
    """An alarm on a Linux timerfd; the loop's own timers are whole milliseconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = (ctypes.c_long * 4)()
        self._ring = ring
        loop.add_reader(self._fd, self._on_readable)

    def set(self, mono_ns: int) -> None:
        self._spec[2], self._spec[3] = divmod(mono_ns, _SECOND_NS)
        self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, self._spec, None)

    def _on_readable(self) -> None:
        with suppress(BlockingIOError):  # set anew since the loop saw it ring
            os.read(self._fd, 8)
        self._ring()


class _LoopTimer:
    """An alarm on the loop's own timer, for systems without timerfd."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop, self._ring = loop, ring

    def set(self, mono_ns: int) -> None:
        self._loop.call_later(max(mono_ns - time.monotonic_ns(), 0) / _SECOND_NS, self._ring)


class _Answers:
    """Requests in the order in which they came, which is also the order in which they are due."""

    def __init__(self, loop: asyncio.AbstractEventLoop, delay_ns: int) -> None:
        self._delay_ns = delay_ns
        self._due: deque[tuple[int, asyncio.WriteTransport]] = deque()
        self._alarm: _Alarm = (_Timerfd if sys.platform == "linux" else _LoopTimer)(loop, self._ring)

    def owe(self, transport: asyncio.WriteTransport) -> None:
        if not self._delay_ns:
            transport.write(ANSWER)
            return
        self._due.append((time.monotonic_ns() + self._delay_ns, transport))
        if len(self._due) == 1:
            self._alarm.set(self._due[0][0])

    def _ring(self) -> None:
        now_ns = time.monotonic_ns()
        while self._due and self._due[0][0] <= now_ns:
            transport = self._due.popleft()[1]
            if not transport.is_closing():
                transport.write(ANSWER)
        if self._due:
            self._alarm.set(self._due[0][0])


class _Connection(asyncio.Protocol):
    """Takes requests without a body, one after another."""

    def __init__(self, answers: _Answers) -> None:
        self._answers = answers
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(_HEAD_END)
        for _ in requests:
            self._answers.owe(self._transport)


async def serve(delay_ns: int) -> None:
    """Print the port, and answer until standard input ends."""
    loop = asyncio.get_running_loop()
    answers = _Answers(loop, delay_ns)
    server = await loop.create_server(lambda: _Connection(answers), "127.0.0.1", 0, backlog=8192)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    loop.add_reader(0, lambda: ended.set() if not os.read(0, 4096) else None)
    await ended.wait()
    server.close()


def main() -> None:
    """Serve until standard input ends."""
    uvloop.run(serve(round(float(sys.argv[1]) * 1e6)))


if __name__ == "__main__":
    main()
