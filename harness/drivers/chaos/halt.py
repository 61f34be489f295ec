"""Ending live runs from another process: their faults at once, then their load."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.drivers.chaos import heal, ledger

REACT_S = 2.0  # for the conductor to show that it has heard; then it is killed, and its watchdog undoes
WATCHDOG_S = 10.0  # for the watchdog of a dead conductor; then we undo
PROOF_S = 90.0  # for everything
_LOOK_S = 0.01
_SAME_S = 2.0  # two readings of when a process started differ by less
_HEARD = (b'"event":"interrupted"', b'"event":"run_ended"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Halted:
    """One live run that was told to end."""

    run: str
    faults: int  # how many were on
    took_s: float  # from the halt to the last fault proven undone
    killed: bool  # its conductor did not react
    problem: str  # why not all of its faults are proven undone; empty when they are


def halt(results_dir: Path) -> tuple[Halted, ...]:
    """
    End every live run under `results_dir`; returns when its faults are proven undone, while the load may still drain.

    What proves it is the run's ledger. A run that is not alive is none of our business: `heal` is for those.
    """
    begun_s = time.monotonic()
    runs = [_Run(folder, begun_s) for folder in heal.ledgers(results_dir) if not heal.over(folder)]
    for run in runs:
        run.tell()
    waiting = list(runs)
    while waiting:
        for run in waiting:
            run.look()
        waiting = [run for run in waiting if run.outcome is None]
        time.sleep(_LOOK_S)
    return tuple(run.outcome for run in runs if run.outcome is not None)


class _Run:
    """A live run that is being halted."""

    def __init__(self, folder: Path, begun_s: float) -> None:
        self._folder, self._begun_s = folder, begun_s
        self._name = heal.run_of(folder)
        self._conductor = _verified(ledger.owner(folder))
        self._on = len(self._not_undone())
        self._heard = False
        self._killed = False
        self._dead_s: float | None = None
        self.outcome: Halted | None = None

    def tell(self) -> None:
        """Have the conductor end its faults, then its load: that is what SIGTERM means to it."""
        self._signal(signal.SIGTERM)

    def look(self) -> None:
        """See how far it is since it was told; do more where that was not enough."""
        since_s = time.monotonic() - self._begun_s
        if self._dead_s is None and heal.over(self._folder):
            self._dead_s = since_s
        self._heard = self._heard or self._dead_s is not None or self._says_so()
        left = self._not_undone()  # looked at after that: whoever has heard begins no other fault
        if self._heard and not left:
            self._end("")
        elif since_s > PROOF_S:
            self._end(f"after {PROOF_S:g} s: {', '.join(sorted(left))}; when the run has ended: harness heal")
        elif not self._heard and since_s > REACT_S and not self._killed:
            self._kill()
        elif self._dead_s is not None and since_s - self._dead_s > WATCHDOG_S:
            failed = [one for one in heal.heal_ledger(self._folder) if one.outcome is not ledger.State.UNDONE]
            self._end("; ".join(f"{one.fault}: {one.detail}" for one in failed))

    def _kill(self) -> None:
        self._killed = True
        if self._conductor is None:
            self._end("its conductor cannot be reached from here; end it where it runs, then: harness heal")
        self._signal(signal.SIGKILL)

    def _end(self, problem: str) -> None:
        took_s = time.monotonic() - self._begun_s
        self.outcome = Halted(run=self._name, faults=self._on, took_s=took_s, killed=self._killed, problem=problem)

    def _signal(self, number: signal.Signals) -> None:
        if self._conductor is not None:
            with suppress(psutil.Error):  # it has just ended, or is not ours: what it does about it is looked at
                self._conductor.send_signal(number)

    def _says_so(self) -> bool:
        """Whether the run's history says that it is being brought down: then no other fault will begin."""
        try:
            history = (self._folder.parents[1] / "history.jsonl").read_bytes()
        except OSError:
            return False
        return any(word in history for word in _HEARD)

    def _not_undone(self) -> list[str]:
        return [path.stem for path in sorted(self._folder.glob("*.json")) if heal.left(path)]


def _verified(owner: ledger.Owner | None) -> psutil.Process | None:
    """The process that signed a ledger, when it is that process that has its number now."""
    if owner is None:
        return None
    try:
        process = psutil.Process(owner.pid)
        return process if abs(ledger.started_s(process) - owner.started_s) < _SAME_S else None
    except psutil.Error:
        return None
