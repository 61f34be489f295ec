"""The data-loss audit as the conductor sees it: a child process that writes and reads, and the pipe it reports on."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness.drivers.audit.ledger import NAME
from harness.drivers.audit.reading import READ_BACK_S
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
        self._child: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self._deadline_s = float("inf")
        self._done = False  # the result was reported

    def preflight(self) -> Sequence[Stamped]:
        """Start the child; returns when it has written, read and listed one entry. Raises DriverError."""
        self._child = self._start()
        deadline_s = time.monotonic() + READY_S
        while (left_s := deadline_s - time.monotonic()) > 0:
            if not select.select(self.fds(), [], [], left_s)[0]:
                break
            for line in self._lines():
                said = json.loads(line)
                if "ready" in said:
                    return ()
                if "error" in said:
                    self.close()
                    raise DriverError(said["error"], hint="docs/audit.md says what a service must answer")
            if self._child is None:
                raise DriverError(f"audit: the process ended by itself; see {self._log}")
        self.close()
        raise DriverError(f"audit: not ready within {READY_S:g} s; see {self._log}")

    def start(self, t0_mono_ns: int) -> None:
        """Write from `t0_mono_ns` on. AuditStarted is polled."""
        self._tell({"t0_ns": t0_mono_ns})

    def read_back(self) -> None:
        """Write no more, read everything back. AuditCompleted or AuditFailed is polled, within a bounded time."""
        self._deadline_s = time.monotonic() + READ_BACK_S + SLACK_S
        self._tell({"read_back": True})

    def fds(self) -> Sequence[int]:
        """The child's stdout."""
        child = self._child
        return (child.stdout.fileno(),) if child and child.stdout and not child.stdout.closed else ()

    def poll(self) -> Sequence[Stamped]:
        """What happened since the last call. A child that ended by itself, or takes too long, is an AuditFailed."""
        happened = []
        for line in self._lines():
            event = event_of(line)
            happened.append(Stamped(mono_ns=event.t_ns, body=event.body))
            self._done = self._done or isinstance(event.body, AuditCompleted | AuditFailed)
        if self._done:
            return happened
        if time.monotonic() > self._deadline_s:
            self.close()
            return [*happened, self._failed("it was not read back in time")]
        if self._child is None:
            return [*happened, self._failed(f"the audit's process ended by itself; see {self._log}")]
        return happened

    def close(self) -> None:
        """End the child. What was acknowledged is on disk."""
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.close()
        with suppress(BrokenPipeError):
            child.stdin.close()
        try:
            child.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _failed(self, detail: str) -> Stamped:
        self._done = True
        return Stamped(mono_ns=time.monotonic_ns(), body=AuditFailed(detail=detail))

    def _start(self) -> subprocess.Popen[bytes]:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "harness.drivers.audit.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert child.stdout is not None
        os.set_blocking(child.stdout.fileno(), False)
        self._child = child
        self._tell(self._orders)
        return child

    def _tell(self, value: dict[str, object]) -> None:
        """A line to the child; when it is gone, `poll` finds that out."""
        if self._child is not None:
            assert self._child.stdin is not None
            with suppress(BrokenPipeError):
                self._child.stdin.write(json.dumps(value).encode() + b"\n")
                self._child.stdin.flush()

    def _lines(self) -> list[str]:
        """The whole lines that can be read now; a child whose output has ended is let go."""
        whole: list[bytes] = []
        while self._child and self._child.stdout:
            try:
                chunk = os.read(self._child.stdout.fileno(), 65536)
            except BlockingIOError:
                break
            if not chunk:
                self.close()
                break
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            whole += lines
        return [line.decode() for line in whole]
