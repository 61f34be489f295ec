"""Child processes that are told, and tell, in JSON: once, or line by line for as long as they live."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.errors import DriverError


def asked(module: str, request: object, *, within_s: float) -> Any:
    """
    What `python -m module`, in a session of its own, answers to the request; both are JSON.

    Raises DriverError when it breaks, TimeoutError when there is no answer in time: then it has been killed.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-m", module],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{module}: no answer within {within_s:g} s") from error
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise DriverError(f"{module} ended with exit code {child.returncode}: {last}")
    return json.loads(child.stdout)


class Piped:
    """
    `python -m module` in a session of its own, its stderr in the file `log`, started when this is made.

    Nothing here blocks but `until` and `close`. A child that ended by itself is `gone` once all that it said was read.
    """

    def __init__(self, module: str, log: Path, *, close_s: float) -> None:
        self.gone = False
        self._close_s = close_s
        self._rest = b""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        os.set_blocking(self._out.fileno(), False)

    def tell(self, value: object) -> None:
        """A line to the child; when it has ended, reading tells so."""
        with suppress(BrokenPipeError):
            self._in.write(json.dumps(value).encode() + b"\n")
            self._in.flush()

    def fds(self) -> Sequence[int]:
        """What becomes readable when there are lines; nothing when there will be none."""
        return () if self._out.closed else (self._out.fileno(),)

    def lines(self) -> list[str]:
        """The whole lines that can be read now."""
        whole: list[bytes] = []
        while not self._out.closed:
            try:
                chunk = os.read(self._out.fileno(), 65536)
            except BlockingIOError:
                break
            if not chunk:
                self.gone = True
                self.close()
                break
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            whole += lines
        return [line.decode() for line in whole]

    def until(self, seconds: float) -> Iterator[list[str]]:
        """The lines as they come, until so many seconds have passed or the child has ended."""
        deadline_s = time.monotonic() + seconds
        while not self.gone and (left_s := deadline_s - time.monotonic()) > 0:
            if select.select(self.fds(), [], [], left_s)[0]:
                yield self.lines()

    def close(self) -> None:
        """End the child: its input ends, and after `close_s` seconds its whole session is killed. Idempotent."""
        self._out.close()  # it may no longer wait for us to read
        with suppress(BrokenPipeError):
            self._in.close()
        try:
            self.process.wait(self._close_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
