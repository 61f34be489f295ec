"""Undoing a fault from outside the process that played it: a fresh child, a few tries, bounded time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness.drivers.chaos import ledger

_PAUSE_S = 0.5  # between tries: a cluster's hiccup should have time to pass


def play(entry: Path, *, tries: int, timeout_s: float) -> str | None:
    """
    Undo the fault of the ledger entry in `entry`, which is marked. None when it is undone, else why it is not.

    Takes at most `tries` * (`timeout_s` + 1) seconds. Raises OSError or ValueError when the entry cannot be read.
    """
    for attempt in range(tries):
        if attempt:
            time.sleep(_PAUSE_S)
        problem = _play_once(entry, timeout_s)
        if problem is not None:
            ledger.mark(entry, ledger.State.NOT_UNDONE, problem)
        if ledger.read(entry).state is ledger.State.UNDONE:
            return None
    return ledger.read(entry).detail


def _play_once(entry: Path, timeout_s: float) -> str | None:
    """Why the child could not do its work; None when it did, and marked the entry itself."""
    log = entry.parent.parent / f"{entry.stem}.undo.log"
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "harness.drivers.chaos.child", "--undo", str(entry.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            start_new_session=True,
        )
    try:
        code = child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)  # its own session, hence its own group, with what its activities started
        child.wait()
        return f"the undo did not end within {timeout_s:g} s and was killed; see {log}"
    return None if code in (0, 1) and _decided(entry) else f"the undo ended with code {code}; see {log}"


def _decided(entry: Path) -> bool:
    return ledger.read(entry).state is not ledger.State.ARMED
