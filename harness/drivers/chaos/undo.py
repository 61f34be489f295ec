"""
Undoing a fault from outside the process that played it: a few tries, each in a process of its own, in bounded time.

Nothing is imported here that takes long: the watchdog uses it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import psutil

from harness.drivers.chaos import ledger

_PAUSE_S = 0.2  # after the first try, doubled after each: a cluster's hiccup should have time to pass
_PAUSE_MAX_S = 2.0
LOOK_S = 0.01  # between looks at a process that is somebody else's child
_FORK_S = 3.0  # for a standby to fork, also when it was started just now
_COMMAND = (sys.executable, "-m", "harness.drivers.chaos.standby")


class Standby:
    """A process that plays undos at once, because it has imported what they need. Thread-safe."""

    def __init__(self) -> None:
        self._modules: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._one_at_a_time = threading.Lock()

    def warm(self, modules: Sequence[str]) -> None:
        """Have the modules imported; start the process when there is none, also to replace a dead one."""
        with self._one_at_a_time:
            fresh = [module for module in modules if module not in self._modules]
            self._modules += tuple(fresh)
            if self._process is None or self._process.poll() is not None:
                self._start()
            elif fresh:
                self._tell({"warm": fresh})

    def fork(self, entry: Path) -> int | None:
        """The id of a process that has begun to undo the entry; None when the standby is of no use any more."""
        with self._one_at_a_time:
            process = self._process
            if process is None or process.poll() is not None:
                return None
            try:
                self._tell({"undo": str(entry)})
                return self._pid(process)
            except (OSError, ValueError, KeyError):
                process.kill()
                return None

    def close(self) -> None:
        """End the process; undos that it began go on."""
        with self._one_at_a_time:
            if self._process is not None:
                with self._process as process:
                    process.kill()

    def _start(self) -> None:
        self._process = subprocess.Popen(_COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._tell({"warm": self._modules})

    def _tell(self, order: dict[str, object]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it is dead, which is noticed when it is needed
            os.write(self._process.stdin.fileno(), json.dumps(order).encode() + b"\n")

    def _pid(self, process: subprocess.Popen[bytes]) -> int:
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], _FORK_S)[0]:
            raise TimeoutError(f"the standby did not fork within {_FORK_S:g} s")
        return int(json.loads(os.read(process.stdout.fileno(), 4096))["pid"])


def play(entry: Path, *, budget_s: float, timeout_s: float, standby: Standby | None = None) -> str | None:
    """
    Undo the fault of the ledger entry in `entry`, which is marked. None when it is undone, else why it is not.

    Tries again for `budget_s` (0: once); each try takes at most `timeout_s`, and the time a standby takes to fork: a
    `standby` plays it where there is one. An entry that cannot be read or marked is not known to be undone.
    """
    until = time.monotonic() + budget_s
    pause_s = _PAUSE_S
    while True:
        try:
            why = _tried(entry, timeout_s, standby)
        except (OSError, ValueError) as problem:  # on a full disk it may be undone, but the ledger cannot say so
            why = str(problem)
        if why is None or time.monotonic() + pause_s > until:
            return why
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _PAUSE_MAX_S)


def _tried(entry: Path, timeout_s: float, standby: Standby | None) -> str | None:
    pid = standby.fork(entry) if standby is not None else None
    problem = _fresh(entry, timeout_s) if pid is None else _forked(pid, entry, timeout_s)
    if problem is not None:
        ledger.mark(entry, ledger.State.NOT_UNDONE, problem)
    found = ledger.read(entry)
    return None if found.state is ledger.State.UNDONE else found.detail


def _forked(pid: int, entry: Path, timeout_s: float) -> str | None:
    """Why the standby's fork could not do its work; None when it did, and marked the entry itself."""
    until = time.monotonic() + timeout_s
    with suppress(psutil.NoSuchProcess):
        fork = psutil.Process(pid)
        while alive(fork):
            if time.monotonic() > until:
                return _killed(pid, entry, timeout_s)
            time.sleep(LOOK_S)
    return None if _decided(entry) else f"the undo ended without a word; see {log_of(entry)}"


def _fresh(entry: Path, timeout_s: float) -> str | None:
    """The same for a process that must import everything first."""
    with open_log(entry) as output:
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
        problem = _killed(child.pid, entry, timeout_s)
        child.wait()
        return problem
    return None if code in (0, 1) and _decided(entry) else f"the undo ended with code {code}; see {log_of(entry)}"


def _killed(pid: int, entry: Path, timeout_s: float) -> str:
    end_group(pid)  # its own session, hence its own group, with what its activities started
    return f"the undo did not end within {timeout_s:g} s and was killed; see {log_of(entry)}"


def end_group(leader: int) -> None:
    """Kill what is left of the process group, but for what runs as somebody else: that is not ours to kill."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def log_of(entry: Path) -> Path:
    """Where the processes that undo the entry write what they have to say."""
    return entry.parent.parent / f"{entry.stem}.undo.log"


def open_log(entry: Path) -> BinaryIO:
    """The same, to be appended to; nowhere when the disk does not let us, for an undo must not depend on it."""
    try:
        return log_of(entry).open("ab")
    except OSError:
        return Path(os.devnull).open("ab")


def alive(process: psutil.Process) -> bool:
    """Whether the process still does anything."""
    # is_running compares start times, so that a stranger with the same number is not taken for it; what is dead but not
    # yet collected (by whoever collects orphans, if anybody does) counts as running there.
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _decided(entry: Path) -> bool:
    return ledger.read(entry).state is not ledger.State.ARMED
