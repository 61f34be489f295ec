"""The data-loss audit as the conductor sees it: a child process that writes and reads, and the pipe it reports on."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from harness.drivers.audit.ledger import NAME
from harness.drivers.audit.reading import READ_BACK_S
from harness.drivers.piped import Piped
from harness.errors import DriverError
from harness.history.audit import AuditCompleted, AuditFailed
from harness.history.codec import event_of
from harness.history.events import Stamped
from harness.plan.model import Audit

READY_S = 30.0
SLACK_S = 25.0  # beyond READ_BACK_S, for the last writes to end and a slow last round
CLOSE_S = 5.0


class AuditDriver:
    """
    Audits while a run lasts. An AuditDriver (harness.drivers.base).

    `run` is the run's name; what was acknowledged goes to audit.jsonl in `directory`, the run's record.
    """

    def __init__(self, audit: Audit, *, run: str, directory: Path) -> None:
        self._orders = {
            "url": audit.url,
            "rate_per_s": audit.rate_per_s,
            "writers": audit.writers,
            "run": run.rpartition("/")[2],
            "ledger": str(directory / NAME),
        }
        self._log = directory / "logs" / "audit.log"
        self._child: Piped | None = None
        self._deadline_s = float("inf")
        self._done = False  # the result was reported

    def preflight(self) -> Sequence[Stamped]:
        """Start the child; returns when it has written, read and listed one entry. Raises DriverError."""
        self._child = child = Piped("harness.drivers.audit.child", self._log, close_s=CLOSE_S)
        child.tell(self._orders)
        for lines in child.until(READY_S):
            for said in map(json.loads, lines):
                if "ready" in said:
                    return ()
                if "error" in said:
                    self.close()
                    raise DriverError(said["error"], hint="docs/audit.md says what a service must answer")
        what = "the process ended by itself" if child.gone else f"not ready within {READY_S:g} s"
        self.close()
        raise DriverError(f"audit: {what}; see {self._log}")

    def start(self, t0_mono_ns: int) -> None:
        """Write from `t0_mono_ns` on. AuditStarted is polled."""
        self._running.tell({"t0_ns": t0_mono_ns})

    def read_back(self) -> None:
        """Write no more, read everything back. AuditCompleted or AuditFailed is polled, within a bounded time."""
        self._deadline_s = time.monotonic() + READ_BACK_S + SLACK_S
        self._running.tell({"read_back": True})

    def fds(self) -> Sequence[int]:
        """The child's stdout."""
        return self._child.fds() if self._child else ()

    def poll(self) -> Sequence[Stamped]:
        """What happened since the last call. A child that ended by itself, or takes too long, is an AuditFailed."""
        happened = []
        for line in self._running.lines():
            event = event_of(line)
            happened.append(Stamped(mono_ns=event.t_ns, body=event.body))
            self._done = self._done or isinstance(event.body, AuditCompleted | AuditFailed)
        if self._done:
            return happened
        if time.monotonic() > self._deadline_s:
            self.close()
            return [*happened, self._failed("it was not read back in time")]
        if self._running.gone:
            return [*happened, self._failed(f"the audit's process ended by itself; see {self._log}")]
        return happened

    def close(self) -> None:
        """End the child. What was acknowledged is on disk."""
        if self._child is not None:
            self._child.close()

    @property
    def _running(self) -> Piped:
        assert self._child is not None  # started by preflight
        return self._child

    def _failed(self, detail: str) -> Stamped:
        self._done = True
        return Stamped(mono_ns=time.monotonic_ns(), body=AuditFailed(detail=detail))
