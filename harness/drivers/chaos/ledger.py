"""
The ledger: what must be undone, on disk before anything is done.

One JSON file per fault in `<record>/chaos/ledger/`. An entry is written as `armed` and made durable before the first
mutating call; the process that played the undo marks it `undone` or `not_undone`. As long as the owner of a ledger
lives, it holds a lock on the folder, which the kernel lets go however the owner dies: a lock tells a live run from a
dead one where a process id, which may be reused or belong to another container, cannot. In the locked file stands who
it is, for `halt`.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

FOLDER = "ledger"
ENVIRONMENT = (
    "KUBECONFIG",
    "KUBERNETES_CONTEXT",
    "LCH_RUN",
    "LCH_CLUSTER_UID",
    "LCH_TARGETS",
    "LCH_LEASED",
    "PYTHONPATH",
)
"""What of the environment of a fault's process its undo needs as it was: set or not set."""

_LOCK = "owner.lock"


class State(StrEnum):
    """How far a fault's undo has come."""

    ARMED = "armed"  # the fault may be on
    UNDONE = "undone"  # all of its rollbacks have returned
    NOT_UNDONE = "not_undone"  # a rollback failed; the fault may be on


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    Everything needed to undo one fault from another process, later, elsewhere on the same host.

    `undo` is a Chaos Toolkit experiment with an empty method, its configuration resolved; `environment` and `folder`
    are those in which the fault was played, the cluster's UID among them. A fault on a `sandbox` dies with it. At
    `deadline_s` (CLOCK_MONOTONIC, of this boot) the watchdog undoes the fault, whoever is alive; None: never. `detail`
    says why when the state is `not_undone`.
    """

    fault: str
    run: str
    conductor: int  # process id, for people
    environment: dict[str, str]
    folder: str
    undo: dict[str, Any]
    sandbox: bool = False
    deadline_s: float | None = None
    state: State = State.ARMED
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that owns a live run's ledger."""

    pid: int
    started_s: float  # after the machine's start, which no clock that is set changes: tells it from a later process


def path_of(directory: Path, fault: str) -> Path:
    """Where the entry of `fault` lies below the record's `chaos/` folder."""
    return directory / FOLDER / f"{fault}.json"


def targets_path(directory: Path, fault: str) -> Path:
    """Where what `fault` may touch lies below the record's `chaos/` folder; see drivers.faults.radius."""
    return directory / f"{fault}.targets.json"


def write(path: Path, entry: Entry) -> None:
    """Put `entry` on disk, whole or not at all, and durable when this returns. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(asdict(entry), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync_folder(path.parent)


def read(path: Path) -> Entry:
    """The entry in `path`. Raises OSError, or ValueError when the file is not an entry."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return Entry(**{**fields, "state": State(fields["state"])})
    except (KeyError, TypeError) as problem:
        raise ValueError(f"{path}: not an entry of the undo ledger ({problem})") from problem


def mark(path: Path, state: State, detail: str = "") -> None:
    """Change the state of the entry in `path`, durably. Raises as `read` and `write` do."""
    write(path, replace(read(path), state=state, detail=detail))


@contextmanager
def owned(folder: Path) -> Iterator[bool]:
    """Own the ledger in `folder` while entered. False, and nothing owned, when a live process owns it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def is_owned(folder: Path) -> bool:
    """Whether a live process owns the ledger in `folder`; looking does not get in the way of others that look."""
    try:
        with (folder / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def sign(folder: Path) -> None:
    """Write down that this process, which owns the ledger in `folder`, is the conductor of its run. Raises OSError."""
    this = psutil.Process()
    (folder / _LOCK).write_text(json.dumps(asdict(Owner(pid=this.pid, started_s=started_s(this)))), encoding="utf-8")


def started_s(process: psutil.Process) -> float:
    """When the process was started, in seconds after the machine was. Raises psutil.Error."""
    return float(process.create_time() - psutil.boot_time())  # both move when the clock is set


def owner(folder: Path) -> Owner | None:
    """Who last signed the ledger in `folder`; None when nobody did. It may be dead: `owned` tells."""
    try:
        return Owner(**json.loads((folder / _LOCK).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _sync_folder(folder: Path) -> None:
    """A rename is durable only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
