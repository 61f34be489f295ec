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


Version = Literal["good", "bad", "store", "store-lossy"]
"""What a sandbox starts with: the shop or a bad release of it; the shop with the demo store, or with a lossy one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where a running sandbox is reached."""

    pid: int  # of the control plane
    url: str  # the front of the service `shop`
    kubeconfig: str  # absolute path
    api_url: str
    prometheus_url: str
    version: Version  # at the start
    state_dir: str  # absolute path
    store_url: str = ""  # the front of the service `store`; "" without one


class StateDir:
    """The places in one state directory, whose absolute path is `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.endpoints = root / "endpoints.json"  # written when everything is ready
        self.kubeconfig = root / "kubeconfig"
        self.lock = root / "lock"  # locked by the control plane as long as it lives, and holds its pid
        self.guard = root / "guard.pid"
        self.records = root / "processes"  # one file per pod process and for Prometheus: the pid
        self.prometheus = root / "prometheus"  # its configuration and data
        self.guests = self.prometheus / "guests"  # *.json: targets beyond the pods that Prometheus is to scrape
        self.logs = root / "logs"  # of control plane and Prometheus; they stay after the end

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
        if not text and time.time() - written_s < 1.0:
            return  # being written
        began_s = _began_s(int(text)) if text else None
        if text and (began_s is None or began_s <= written_s + CLOCK_SLACK_S):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(int(text), signal.SIGKILL)  # also what outlived its leader
            if began_s is not None:
                return
        record.unlink(missing_ok=True)


def _began_s(pid: int) -> float | None:
    """When the process began, in Unix seconds; None when it does not run (any more): a zombie does not."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None


def runs(pid: int, *, before_s: float) -> bool:
    """Whether the process that had this pid at the time `before_s` (Unix seconds) still runs; a zombie does not."""
    began_s = _began_s(pid)
    return began_s is not None and began_s <= before_s + CLOCK_SLACK_S


def wait_until(done: Callable[[], bool], timeout_s: float) -> bool:
    """Whether `done` came true within `timeout_s`; asked 50 times a second."""
    deadline_s = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True
