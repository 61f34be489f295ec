"""Starting, finding and ending a sandbox from outside: what `harness.sandbox` offers."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from harness.errors import CannotRunError
from harness.sandbox.files import Endpoints, StateDir, Version, end_recorded, runs, wait_until

START_S = 30.0
"""How long a sandbox may take until everything is ready; on two idle cores it is about two seconds."""

END_S = 10.0
"""How long it may take to end before it is killed."""

LOG_TAIL = 20


def default_state_dir() -> Path:
    """$LCH_SANDBOX_DIR, or ~/.local/state/load-chaos-harness/sandbox."""
    given = os.environ.get("LCH_SANDBOX_DIR")
    return Path(given) if given else Path.home() / ".local/state/load-chaos-harness/sandbox"


def up(version: Version, state_dir: Path, *, owned: bool) -> Endpoints:
    """
    A running sandbox in `state_dir` with that version of the demo, all ready: started, unless it is up already.

    An owned one goes down by itself two seconds after this process has ended, however it ended. Blocks for a
    second or two, at most START_S. Raises CannotRunError when Prometheus is not installed, when the directory has a
    sandbox with another version, or when the start fails; nothing is left running then, nor after Ctrl-C.
    """
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        raise CannotRunError(
            "sandbox: no 'prometheus' on PATH; the sandbox runs the real server",
            hint="install it: `apt-get install prometheus` (Debian, Ubuntu) or `brew install prometheus` (macOS)",
        )
    state = StateDir(state_dir.expanduser().resolve())
    present = state.read_endpoints()
    if present is not None and present.version == version:
        return present
    if state.holder() is not None:
        what = f"runs version {present.version}" if present else "is starting or ending"
        raise CannotRunError(
            f"sandbox: the one in {state.root} {what}, version {version} was asked for",
            hint="end it with `harness sandbox down`, or name another directory in LCH_SANDBOX_DIR",
        )
    _clear(state)
    for directory in (state.root, state.records, state.logs):
        directory.mkdir(parents=True, exist_ok=True)
    pid = _spawn(state, [version, prometheus, *(["--owned"] if owned else [])], owned=owned)
    try:
        return _ready(state, pid)
    except BaseException:
        _end(state, pid)
        raise


def status(state_dir: Path) -> Endpoints | None:
    """The sandbox that is up in `state_dir`; None when there is none, or it is not ready yet."""
    return StateDir(state_dir.expanduser().resolve()).read_endpoints()


def down(state_dir: Path) -> bool:
    """
    End the sandbox in `state_dir` and return when every process of it is gone; whether there was one.

    Also cleans up after one that was killed. The logs stay.
    """
    state = StateDir(state_dir.expanduser().resolve())
    pid = state.holder()
    if pid is not None:
        _end(state, pid)
    else:
        _clear(state)
    return pid is not None


def _spawn(state: StateDir, arguments: list[str], *, owned: bool) -> int:
    log = state.logs / "control-plane.log"
    to_log = (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    # The pipe's writing end is never closed: it ends with this process, which is what an owned sandbox waits for.
    reading = os.pipe()[0] if owned else os.open(os.devnull, os.O_RDONLY)
    command = [sys.executable, "-m", "harness.sandbox", str(state.root), *arguments]
    pid = os.posix_spawn(
        sys.executable,
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0), to_log, (os.POSIX_SPAWN_DUP2, 1, 2)],
        setsid=True,  # so that Ctrl-C reaches only this process
    )
    os.close(reading)
    return pid


def _ready(state: StateDir, pid: int) -> Endpoints:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        endpoints = state.read_endpoints()
        if endpoints is not None:
            return endpoints
        if _reaped(pid):
            raise CannotRunError(f"sandbox: it ended while it started\n{_tail(state)}", hint=f"see {state.logs}")
        time.sleep(0.02)
    raise CannotRunError(f"sandbox: not ready within {START_S:g} s\n{_tail(state)}", hint=f"see {state.logs}")


def _tail(state: StateDir) -> str:
    logs = [state.logs / name for name in ("control-plane.log", "prometheus.log")]
    lines = [line for log in logs if log.exists() for line in log.read_text(errors="replace").splitlines()[-LOG_TAIL:]]
    return "\n".join(lines)


def _end(state: StateDir, pid: int) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        if wait_until(lambda: _reaped(pid), END_S):
            break
    _clear(state)


def _reaped(pid: int) -> bool:
    """Whether the process has ended; takes its exit status when it was our child."""
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    return not runs(pid, before_s=time.time())


def _clear(state: StateDir) -> None:
    """Remove what a dead sandbox has left, processes first. Not when another one has begun to live there."""
    if state.holder() is not None:
        return
    end_recorded(state.records)
    with suppress(FileNotFoundError, ValueError):
        guard, written_s = int(state.guard.read_text(encoding="utf-8")), state.guard.stat().st_mtime
        wait_until(lambda: not runs(guard, before_s=written_s), END_S)
    for path in (state.endpoints, state.kubeconfig, state.guard):
        path.unlink(missing_ok=True)
    for directory in (state.records, state.prometheus):
        shutil.rmtree(directory, ignore_errors=True)
