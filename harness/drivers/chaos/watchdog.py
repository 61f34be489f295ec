"""
The process that outlives the conductor and undoes what the conductor left behind.

It lives in a session of its own and ignores every signal that can be ignored. Its standard input is a pipe from the
conductor, which tells it what is armed; when the pipe ends and something is still armed, the conductor was killed.
It imports the standard library, psutil and the ledger, nothing else: it must be quick to start and hard to break.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from harness.drivers.chaos import ledger, undo

_PATIENCE_S = 3.0  # for the orphaned child, which saw the same end of its input, to play its own rollbacks
_LOOK_S = 0.01
_TRIES = 3
_TRY_S = 35.0


def main() -> None:
    """Keep what standard input arms and disarms; when it ends, undo what is armed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    armed: dict[Path, psutil.Process | None] = {}
    for line in sys.stdin.buffer:
        _answer(_obeyed(json.loads(line), armed))
    if armed:
        with ThreadPoolExecutor(len(armed)) as pool:
            list(pool.map(_undo, armed.keys(), armed.values()))


def _obeyed(order: dict[str, Any], armed: dict[Path, psutil.Process | None]) -> str:
    """Carry out the order. Why it could not be done; empty when it could."""
    entry = Path(order["entry"])
    if order["do"] == "disarm":
        armed.pop(entry, None)
        return ""
    try:
        ledger.read(entry)  # what cannot be read now could not be undone later
        armed[entry] = psutil.Process(order["child"])
    except psutil.NoSuchProcess:
        armed[entry] = None
    except (OSError, ValueError) as problem:
        return str(problem)
    return ""


def _answer(problem: str) -> None:
    with suppress(BrokenPipeError):  # the conductor died while waiting; the end of the input follows
        os.write(1, json.dumps({"problem": problem}).encode() + b"\n")


def _undo(entry: Path, child: psutil.Process | None) -> None:
    if child is not None:
        _end(child)
    if ledger.read(entry).state is not ledger.State.UNDONE:
        undo.play(entry, tries=_TRIES, timeout_s=_TRY_S)


def _end(child: psutil.Process) -> None:
    """Let the child end by itself for a while, then kill it; in any case kill what its activities left running."""
    until = time.monotonic() + _PATIENCE_S
    while _alive(child) and time.monotonic() < until:
        time.sleep(_LOOK_S)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _alive(child: psutil.Process) -> bool:
    # is_running compares start times, so that a stranger with the same number is never killed; what is dead but not
    # yet collected (by whoever collects orphans, if anybody does) counts as running there.
    try:
        return bool(child.is_running() and child.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    main()
