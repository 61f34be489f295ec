"""
The process that has imported what undoing takes, and waits: importing it takes a second that nobody has afterwards.

The watchdog starts it and tells it what to import and which faults to undo, in lines of JSON. Every undo is played by a
fork of it, in a session of its own, so that one that hangs can be killed and the next begins from clean modules.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from harness.drivers.chaos import child, undo

_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT)


def main() -> None:
    """Do what standard input says until it ends: `{"warm": [modules]}`, or `{"undo": entry}`, answered with a pid."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a fork that ended leaves no zombie; how it went is in the ledger
    for line in _input_lines():
        order = json.loads(line)
        if "undo" in order:
            os.write(1, json.dumps({"pid": _forked(Path(order["undo"]))}).encode() + b"\n")
        else:
            _warm(order["warm"])


def _warm(modules: Iterable[str]) -> None:
    for module in modules:
        with suppress(Exception):  # whatever it raises it raises again in the fork, which reports it
            importlib.import_module(module)
    gc.freeze()


def _forked(entry: Path) -> int:
    """The process id of a fork that undoes the entry."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _detach(entry)
        code = 0 if child.undo(entry) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)  # nothing of the process it was forked from is to be torn down twice


def _detach(entry: Path) -> None:
    """Leave the watchdog's pipes; what activities print goes to the log."""
    with Path(os.devnull).open("rb") as nothing, undo.open_log(entry) as log:
        for file, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(file.fileno(), target)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=child.LOG_FORMAT)


def _input_lines() -> Iterator[bytes]:
    rest = b""
    while chunk := os.read(0, 65536):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole


if __name__ == "__main__":
    main()
