"""The real clock: CLOCK_MONOTONIC, and waiting on file descriptors."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence


class MonotonicClock:
    """The host's clock, shared by every process of a run."""

    def mono_ns(self) -> int:
        """CLOCK_MONOTONIC, nanoseconds."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """Unix time, nanoseconds."""
        return time.time_ns()

    def wait(self, until_mono_ns: int, fds: Sequence[int]) -> None:
        """Return at `until_mono_ns`, or earlier when one of `fds` is readable."""
        timeout_ms = max(0, (until_mono_ns - time.monotonic_ns()) // 1_000_000)
        poller = select.poll()
        for fd in fds:
            poller.register(fd, select.POLLIN)
        poller.poll(timeout_ms)
