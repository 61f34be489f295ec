"""The audit's shipped twin: acknowledges everything, and finds what it was told to find."""

from __future__ import annotations

from collections.abc import Sequence

from harness.drivers.base import Clock
from harness.errors import DriverError
from harness.history.audit import AuditCompleted, AuditFailed, AuditStarted
from harness.history.events import Stamped
from harness.plan.model import Audit

S = 1_000_000_000


class FakeAudit:
    """Reads back 50 ms after it was asked. `fail`: "preflight" refuses, "read_back" does not work, "poll" breaks."""

    def __init__(self, audit: Audit, clock: Clock, *, lost: int = 0, fail: str = "") -> None:
        self._audit, self._clock, self._lost, self._fail = audit, clock, lost, fail
        self._t0_ns = 0
        self._waiting: list[Stamped] = []
        self.asked = 0  # how often it was to read back
        self.closed = False

    def preflight(self) -> Sequence[Stamped]:
        """The service keeps the contract."""
        if self._fail == "preflight":
            raise DriverError("fake audit: scripted")
        return ()

    def start(self, t0_mono_ns: int) -> None:
        """Write."""
        self._t0_ns = t0_mono_ns
        body = AuditStarted(url=self._audit.url, rate_per_s=self._audit.rate_per_s, writers=self._audit.writers)
        self._waiting.append(Stamped(mono_ns=t0_mono_ns, body=body))

    def read_back(self) -> None:
        """Everything written until now."""
        self.asked += 1
        now_ns = self._clock.mono_ns()
        count = max(0, int((now_ns - self._t0_ns) / S * self._audit.rate_per_s))
        examples = tuple(("lost", f"w{number}", number + 1) for number in range(self._lost))
        body: AuditCompleted | AuditFailed = AuditCompleted(
            acknowledged=count, unknown=0, refused=0, lost=self._lost, duplicated=0, stale=0, examples=examples
        )
        if self._fail == "read_back":
            body = AuditFailed(detail="scripted")
        self._waiting.append(Stamped(mono_ns=now_ns + S // 20, body=body))

    def fds(self) -> Sequence[int]:
        """None: the clock jumps."""
        return ()

    def poll(self) -> Sequence[Stamped]:
        """What is due; raises DriverError once asked to read back, if it is to break."""
        if self._fail == "poll" and self.asked:
            raise DriverError("fake audit: scripted")
        now_ns = self._clock.mono_ns()
        due = [report for report in self._waiting if report.mono_ns <= now_ns]
        self._waiting = [report for report in self._waiting if report.mono_ns > now_ns]
        return due

    def close(self) -> None:
        """Nothing runs."""
        self.closed = True
