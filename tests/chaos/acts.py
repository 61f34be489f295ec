"""Chaos Toolkit activities that only touch files: `thing` exists while the fault is on."""

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def put(thing: str) -> str:
    Path(thing).touch()
    return thing


def take(thing: str) -> None:
    """Idempotent, as an undo has to be."""
    Path(thing).unlink(missing_ok=True)


def put_slowly(thing: str, seconds: float) -> None:
    put(thing)
    time.sleep(seconds)


def put_and_leave_running(thing: str) -> None:
    """Starts a program and does not wait for it, as a stress tool may be started."""
    subprocess.Popen(["sleep", "60"])
    put(thing)


def put_stubbornly(thing: str, seconds: float) -> None:
    """Does not let itself be interrupted."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    put_slowly(thing, seconds)


def swallow_and_go_on(thing: str, seconds: float) -> None:
    """Takes an interruption for its own affair, as a bare `except:` does."""
    try:
        put_slowly(thing, seconds)
    except BaseException:
        return


def refuse(what: str) -> None:
    raise FileNotFoundError(what)


def refuse_while(thing: str) -> None:
    if Path(thing).exists():
        raise ConnectionError("no route to the cluster")


def crash_once(thing: str, crashed: str) -> None:
    """Takes its process down the first time, works the second."""
    if not Path(crashed).exists():
        put(crashed)
        os.kill(os.getpid(), signal.SIGKILL)
    take(thing)


def note_run(run: str, note: str) -> None:
    Path(note).write_text(run, encoding="utf-8")


def need(path: str) -> None:
    if not Path(path).is_file():
        raise FileNotFoundError(path)


def forget(module: str, path: str) -> None:
    """Make a module that was importable when the experiment was checked impossible to import."""
    Path(path).unlink()
    sys.modules.pop(module, None)
    importlib.invalidate_caches()
