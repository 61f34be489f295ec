"""A worker's process on this machine, as the master sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from harness.drivers.locust.worker import Address, Seat


class Child:
    """A worker's process. `pipe` reads end-of-file when the process has ended, however it did."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self._killed = False
        self.pipe, held = os.pipe()
        with Path(seat.spec.log_dir, f"load-{seat.name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "harness.drivers.locust.worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(held,),
            )
        os.close(held)
        self._write(seat.to_json())

    def tell(self, address: Address) -> None:
        """Say where the master is."""
        self._write(address.to_json())

    def is_stopped(self) -> bool:
        """Whether the process stands still because of a signal (or a debugger); not when it is merely busy."""
        try:
            status = psutil.Process(self.process.pid).status()
        except psutil.NoSuchProcess:
            return False
        return status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)

    def kill(self) -> None:
        """End the process now."""
        if self.process.returncode is None:
            self._killed = True
            self.process.kill()

    def ending(self) -> str:
        """How the process ended; waits for it."""
        code = self.process.wait()
        if code == 0 and self._killed:  # gevent's event loop was quicker to reap it, and kept its status to itself
            code = -signal.SIGKILL
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    def _write(self, line: str) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it is dead, which its pipe tells
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
