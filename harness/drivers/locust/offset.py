"""
How far a remote worker's clock is from the master's, from messages that went there and back. Pure.

As in NTP (RFC 5905, section 8): of a message sent at t1, received at t2, answered at t3, and the answer received at t4,
the offset is ((t2 - t1) + (t3 - t4)) / 2, wrong by at most half of the time that the messages were under way. The
sample that was quickest tells most. Samples that cannot both be right tell that a clock stood still in between, as that
of a virtual machine does while it is moved: only what came after counts.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_NS = 10_000_000_000  # samples older than this no longer count
_DRIFT = 50e-6  # how much two crystals can part, per second


@dataclass(frozen=True, slots=True)
class _Sample:
    at_ns: int
    offset_ns: int
    half_ns: int

    def bound_ns(self, now_ns: int) -> int:
        """How far the offset can be from this one by now."""
        return self.half_ns + round((now_ns - self.at_ns) * _DRIFT)


class Offset:
    """The master's CLOCK_MONOTONIC minus this machine's, from what was measured in the last ten seconds."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()

    def measured(self, t1_ns: int, t2_ns: int, t3_ns: int, t4_ns: int) -> None:
        """A message went there (t1 to t2) and back (t3 to t4)."""
        half_ns = (max((t4_ns - t1_ns) - (t3_ns - t2_ns), 0) + 1) // 2
        new = _Sample(t4_ns, ((t2_ns - t1_ns) + (t3_ns - t4_ns)) // 2, half_ns)
        if any(abs(new.offset_ns - old.offset_ns) > new.half_ns + old.bound_ns(t4_ns) for old in self._samples):
            self._samples.clear()
        self._samples.append(new)
        while len(self._samples) > 1 and self._samples[0].at_ns < t4_ns - WINDOW_NS:
            self._samples.popleft()

    def best(self, now_ns: int) -> tuple[int, int] | None:
        """Offset and its uncertainty, nanoseconds; None before the first measurement."""
        if not self._samples:
            return None
        best = min(self._samples, key=lambda sample: sample.bound_ns(now_ns))
        return best.offset_ns, best.bound_ns(now_ns)
