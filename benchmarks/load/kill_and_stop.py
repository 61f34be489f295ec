"""
Three load workers at 900/s: one is killed with SIGKILL, another one stands still for 3 s (SIGSTOP) and comes back.

    python benchmarks/load/kill_and_stop.py

Prints, for each second, the generator's account by intended time and what the server answered by its own clock.
Targets: nothing unaccounted for; the server sees the whole load again 2 s after each loss; and in no second more than
the plan asks for (1 % for what lay next to the second's edge), also when the stopped worker comes back.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter

from stage import Played, S, Targets, cores, nginx, phase, plan_of, play, stopped

from harness.drivers.base import LoadDriver
from harness.history.events import LoadStopped, WorkerJoined, WorkerLost

RATE = 900
SECONDS = 20
KILL_S, STOP_S = 4.0, 10.0
STOPPED_S = 3.0
RESTORED_S = 2
EDGE = 0.01


class Malice:
    """Kills one worker and stops another, each once, when its time has come."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self.t0_s = 0.0  # Unix time of run start
        self._thread: threading.Thread | None = None

    def __call__(self, driver: LoadDriver, now_ns: int) -> None:
        """Do what is due."""
        pids: tuple[int, ...] = driver.worker_pids  # type: ignore[attr-defined]
        self.t0_s = self.t0_s or time.time() - now_ns / S
        if now_ns >= KILL_S * S and "SIGKILL" not in self.at:
            self.at["SIGKILL"] = now_ns / S
            os.kill(pids[0], signal.SIGKILL)
        if now_ns >= STOP_S * S and "SIGSTOP" not in self.at:
            self.at["SIGSTOP"] = now_ns / S
            self._thread = threading.Thread(target=stopped, args=(pids[1], STOPPED_S))
            self._thread.start()

    def join(self) -> None:
        """Wait until the stopped one goes on."""
        if self._thread:
            self._thread.join()


def unbalanced(played: Played) -> dict[int, Counter[str]]:
    """The seconds whose counts do not add up."""
    return {
        second: counts
        for second, counts in played.by_second().items()
        if counts["planned"] != counts["sent"] + counts["dropped"] + counts["lost"]
        or counts["sent"] != counts["ok"] + counts["failed"] + counts["timed_out"]
    }


def restored_s(answered: Counter[int], at_s: float) -> int:
    """Whole seconds from the one in which something happened to the first from which on all are whole again."""
    short = [second for second in range(int(at_s), int(at_s) + 5) if answered[second] < RATE * (1 - EDGE)]
    return max((second + 1 - int(at_s) for second in short), default=0)


def main() -> int:
    """Measure, print, and say whether the targets are reached."""
    targets, malice = Targets(), Malice()
    with nginx(cores()[0], logging=True) as running:
        played = play(plan_of(running.url, RATE, (phase("steady", 0, SECONDS),), workers=3), midway=malice)
        malice.join()
        time.sleep(1.5)  # the server's log is written
        answered = Counter(int(instant - malice.t0_s) for instant in running.instants())
    for second, counts in played.by_second().items():
        account = ", ".join(f"{name} {n}" for name, n in counts.items() if n)
        print(f"      second {second:2}: the server answered {answered[second]:4}; {account}")
    for at_s, body in played.events:
        if isinstance(body, WorkerLost | WorkerJoined | LoadStopped):
            print(f"      {at_s:6.3f} s: {body}")
    wrong, totals = unbalanced(played), played.totals()
    targets.check("nothing unaccounted for", f"{len(wrong)} seconds do not add up: {wrong}", kept=not wrong)
    targets.check(
        "all planned", f"{totals['planned']}, {totals['lost']} lost", kept=totals["planned"] == RATE * SECONDS
    )
    for what, at_s in malice.at.items():
        took_s = restored_s(answered, at_s)
        targets.check(f"load whole {RESTORED_S} s after {what}", f"after {took_s} s", kept=took_s <= RESTORED_S)
    above = {second: n for second, n in answered.items() if n > RATE * (1 + EDGE)}
    targets.check("in no second more than the plan", f"above it: {above or 'none'}", kept=not above)
    return targets.exit_code


if __name__ == "__main__":
    sys.exit(main())
