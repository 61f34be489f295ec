"""What a sandbox leaves on disk while it is up: its lock, its endpoints, and a record of every process it started."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

END_S = 5.0
"""How long recorded processes may take to vanish after SIGKILL."""

CLOCK_SLACK_S = 2.0
"""A process is another one than the recorded one when it began this much later than the record was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where a running sandbox is reached."""

    pid: int  # of the control plane
    url: str  # the front of the service `shop`
    kubeconfig: str  # absolute path
    api_url: str
    prometheus_url: str
    version: Literal["good", "bad"]  # of the shop, at the start
    state_dir: str  # absolute path


@dataclass(frozen=True, slots=True)
class StateDir:
    """The places in one state directory."""

    root: Path  # absolute

    @property
    def endpoints(self) -> Path:
        """Written when everything is ready."""
        return self.root / "endpoints.json"

    @property
    def kubeconfig(self) -> Path:
        """For kubectl and client libraries."""
        return self.root / "kubeconfig"

    @property
    def lock(self) -> Path:
        """Locked by the control plane as long as it lives, and holds its pid."""
        return self.root / "lock"

    @property
    def guard(self) -> Path:
        """Holds the pid of the guard."""
        return self.root / "guard.pid"

    @property
    def records(self) -> Path:
        """Directory with one file per pod process and for Prometheus: the pid."""
        return self.root / "processes"

    @property
    def prometheus(self) -> Path:
        """Directory of Prometheus' configuration and data."""
        return self.root / "prometheus"

    @property
    def logs(self) -> Path:
        """Directory of the logs of control plane and Prometheus; they stay after the end."""
        return self.root / "logs"

    def acquire(self) -> int | None:
        """The lock, taken for this process until it ends: a file descriptor. None when another process has it."""
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        os.truncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        return descriptor

    def holder(self) -> int | None:
        """The pid of the control plane that lives on this directory, starting, up or ending; None without one."""
        try:
            descriptor = os.open(self.lock, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            while not (text := os.read(descriptor, 20)):  # locked just now, written next
                time.sleep(0.001)
            return int(text)
        finally:
            os.close(descriptor)
        return None

    def read_endpoints(self) -> Endpoints | None:
        """The endpoints of the control plane that lives on this directory; None before it is ready, or without one."""
        try:
            endpoints = Endpoints(**json.loads(self.endpoints.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        return endpoints if endpoints.pid == self.holder() else None

    def write_endpoints(self, endpoints: Endpoints) -> None:
        """Say that everything is ready."""
        write_atomically(self.endpoints, json.dumps(asdict(endpoints), indent=2) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader sees the old text or the new, never a part."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def end_recorded(records: Path) -> None:
    """
    Kill every process that has a record here, with its session; return when they are gone and the records too.

    Only for use when the control plane is dead. A record names a process for certain: it was written by that process,
    so a process with the same pid that began later is somebody else's and is left alone.
    """
    deadline_s = time.monotonic() + END_S
    while time.monotonic() < deadline_s:
        left = list(records.glob("*")) if records.is_dir() else []
        for record in left:
            _end_one(record)
        if not left:
            return
        time.sleep(0.02)


def _end_one(record: Path) -> None:
    with suppress(FileNotFoundError):  # its process has just ended under a control plane that is ending too
        text, written_s = record.read_text(encoding="utf-8").strip(), record.stat().st_mtime
        if text:
            pid = int(text)
            if not _is_somebody_else(pid, written_s):
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)  # also what outlived its leader
            if runs(pid, before_s=written_s):
                return
        elif time.time() - written_s < 1.0:
            return  # being written
        record.unlink(missing_ok=True)


def _is_somebody_else(pid: int, written_s: float) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).create_time() > written_s + CLOCK_SLACK_S)
    except psutil.NoSuchProcess:
        return False


def runs(pid: int, *, before_s: float) -> bool:
    """Whether the process that had this pid at the time `before_s` (Unix seconds) still runs; a zombie does not."""
    import psutil

    try:
        process = psutil.Process(pid)
        return bool(process.create_time() <= before_s + CLOCK_SLACK_S and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until(done: Callable[[], bool], timeout_s: float) -> bool:
    """Whether `done` came true within `timeout_s`; asked 50 times a second."""
    deadline_s = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True
