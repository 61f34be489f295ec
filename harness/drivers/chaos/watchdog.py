"""
The process that outlives the conductor and undoes what the conductor left behind.

It lives in a session of its own and ignores every signal that can be ignored. Its standard input is a pipe from the
conductor, which tells it what is armed and until when. It undoes what is armed when the pipe ends (the conductor was
killed), when a deadline is reached (the conductor hangs, or is stopped), and when it is told to (the child was killed).
It imports the standard library, psutil and the ledger, nothing else: it must be quick to start and hard to break. What
undoing takes is imported by a standby process that it keeps.
"""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from harness.drivers.chaos import ledger, undo

_PATIENCE_S = 0.5  # for the orphaned child, which saw the same end of its input, to play its own rollbacks
_AGAIN_S = 0.3  # after which a request that was under way when a child was killed has been carried out
_TICK_S = 1.0  # how often the standby is looked after
_BUDGET_S = 60.0  # for trying again; at a deadline that is then begun anew
_TRY_S = 35.0


def main() -> None:
    """Keep what standard input arms and disarms; when it ends, undo what is armed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    Watchdog().watch()


class Watchdog:
    """What is armed, and the undos that are being played, each in a thread of its own."""

    def __init__(self) -> None:
        self._armed: dict[Path, tuple[psutil.Process | None, float]] = {}  # entry -> child, CLOCK_MONOTONIC deadline
        self._undos: list[threading.Thread] = []
        self._one_at_a_time: dict[Path, threading.Lock] = {}
        self._standby = undo.Standby()
        self._modules: list[str] = []
        self._rest = b""

    def watch(self) -> None:
        """Until standard input has ended and nothing is left to be undone."""
        while True:
            for line in self._lines():
                if line is None:
                    self._leave()
                    return
                self._obey(json.loads(line))
            now_s = time.monotonic()
            for entry in [entry for entry, (_, deadline_s) in self._armed.items() if deadline_s <= now_s]:
                self._undo(entry, patience_s=0, budget_s=_BUDGET_S)
                self._armed[entry] = (None, now_s + _BUDGET_S)  # should it fail: nobody else may be left to try
            self._look_after()

    def _lines(self) -> list[bytes | None]:
        """The orders that came before the next deadline or tick; None among them: there will be no more."""
        wait_s = min([_TICK_S, *(deadline_s - time.monotonic() for _, deadline_s in self._armed.values())])
        if not select.select([0], [], [], max(0.0, wait_s))[0]:
            return []
        chunk = os.read(0, 65536)
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        return [*whole, *([] if chunk else [None])]

    def _leave(self) -> None:
        for entry in list(self._armed):
            self._undo(entry, patience_s=_PATIENCE_S, budget_s=_BUDGET_S)
        for thread in self._undos:
            thread.join()
        self._standby.close()

    def _obey(self, order: dict[str, Any]) -> None:
        """Carry out the order, and say why it could not be done; an undo is answered when it has ended."""
        number = order["id"]
        if order["do"] == "undo":
            told = partial(_answer, number)
            self._undo(Path(order["entry"]), patience_s=0, budget_s=order["within_s"], told=told)
            return
        problem = ""
        try:
            match order["do"]:
                case "warm":
                    self._modules += order["modules"]
                case "arm":
                    self._arm(Path(order["entry"]), order["child"], order["deadline_s"])
                case "disarm":
                    self._armed.pop(Path(order["entry"]), None)
        except (OSError, ValueError) as error:
            problem = str(error)
        _answer(number, problem)

    def _arm(self, entry: Path, child: int, deadline_s: float) -> None:
        ledger.read(entry)  # what cannot be read now could not be undone later
        process = None
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(child)
        self._armed[entry] = (process, deadline_s)

    def _look_after(self) -> None:
        with suppress(OSError):  # then an undo starts a process of its own
            self._standby.warm(self._modules)

    def _undo(
        self,
        entry: Path,
        *,
        patience_s: float,
        budget_s: float,
        told: Callable[[str], None] = lambda _problem: None,
    ) -> None:
        child, _ = self._armed.pop(entry, (None, 0.0))
        alone = self._one_at_a_time.setdefault(entry, threading.Lock())

        def play() -> None:
            if child is not None:
                _end(child, patience_s)
            with alone:
                self._play(entry, budget_s, told)

        self._undos.append(threading.Thread(target=play))
        self._undos[-1].start()

    def _play(self, entry: Path, budget_s: float, told: Callable[[str], None]) -> None:
        try:
            if ledger.read(entry).state is ledger.State.UNDONE:
                told("")
                return
            problem = undo.play(entry, budget_s=budget_s, timeout_s=_TRY_S, standby=self._standby)
            told(problem or "")
            if problem:
                return
            # The child was killed: a change that it had asked for may have been made after the undo had looked.
            time.sleep(_AGAIN_S)
            undo.play(entry, budget_s=budget_s, timeout_s=_TRY_S, standby=self._standby)
        except (OSError, ValueError) as error:
            told(str(error) or repr(error))


def _answer(number: int, problem: str) -> None:
    with suppress(BrokenPipeError):  # the conductor died while waiting; the end of the input follows
        os.write(1, json.dumps({"id": number, "problem": problem}).encode() + b"\n")


def _end(child: psutil.Process, patience_s: float) -> None:
    """Let the child end by itself for a while, then kill it; in any case kill what its activities left running."""
    until = time.monotonic() + patience_s
    while undo.alive(child) and time.monotonic() < until:
        time.sleep(undo.LOOK_S)
    if psutil.pid_exists(child.pid) and not child.is_running():
        return  # the number is somebody else's by now
    undo.end_group(child.pid)
    while undo.alive(child) and time.monotonic() < until + _PATIENCE_S:
        time.sleep(undo.LOOK_S)  # a process in the middle of a system call ends a little later


if __name__ == "__main__":
    main()
