"""
Kills a run that plays a fault, at random moments from arming to healing, and says how long until the fault was undone.

    python benchmarks/faults/kills.py [N] [SEED]

Who is killed with SIGKILL is drawn for each of N runs (100): the conductor, the chaos child, both, or the conductor's
process group; and in one of four the watchdog with them, which leaves it to the cluster's own deadline (3 s here). The
fault is a partition, which is created, or a deployment scaled down, which is changed and marked. Exit code 1 when one
was undone too late, when something of ours was left, or when a record cannot be read.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import psutil
from stage import DEAD_MAN_S, FAULTS, Cluster, cluster, plan_file

from harness import record
from harness.drivers.chaos import heal, ledger

KINDS = ("conductor", "child", "both", "group")
LIFE_S = 0.5  # from arming to the end of healing, about
WATCHDOG_LIMIT_S = 1.0
CLUSTER_LIMIT_S = DEAD_MAN_S + 5.0
QUIET_S = 0.8  # nothing may come back for so long
LOOK_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """Who is killed, and when after the fault was asked for."""

    fault: str
    kind: str
    watchdog: bool  # is killed as well
    after_s: float

    @property
    def limit_s(self) -> float:
        """How long the fault may stay."""
        return CLUSTER_LIMIT_S if self.watchdog else WATCHDOG_LIMIT_S

    def __str__(self) -> str:
        return f"{self.fault:<9} {self.kind + (' + watchdog' if self.watchdog else ''):<20}"


def drawn(dice: random.Random) -> Kill:
    """The next kill."""
    return Kill(
        fault=dice.choice(sorted(FAULTS)),
        kind=dice.choice(KINDS),
        watchdog=dice.random() < 0.25,
        after_s=dice.uniform(0, LIFE_S),
    )


def played(kill: Kill, place: Cluster, folder: Path) -> tuple[bool, float, list[str]]:
    """Whether the fault was on right before the kill, when it was proven gone, in seconds since, and what is wrong."""
    victim = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("victim.py")), str(folder / f"{kill.fault}.json"), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    assert victim.stdin is not None
    assert victim.stdout is not None
    name = victim.stdout.readline().strip()
    if not name:
        return False, 0.0, [f"the run did not start: exit code {victim.wait()}"]
    family = psutil.Process(victim.pid).children(recursive=True)
    victim.stdin.write("go\n")
    victim.stdin.flush()
    time.sleep(kill.after_s)
    on = bool(place.faulty())
    killed_s = time.monotonic()
    strike(kill, victim, family)
    last_s = watched(place, killed_s, kill.limit_s)
    wrong = [f"still faulty after {last_s:.2f} s"] if last_s > kill.limit_s else []
    victim.wait(20)
    return on, last_s, wrong + remains(place, folder / name)


def strike(kill: Kill, victim: subprocess.Popen[str], family: list[psutil.Process]) -> None:
    """Kill them, the ones that cannot react first."""
    if kill.watchdog:
        end(family, "chaos.watchdog", "chaos.standby")
    if kill.kind in ("child", "both"):
        end(family, "chaos.child")
    if kill.kind in ("conductor", "both"):
        victim.kill()
    if kill.kind == "group":
        os.killpg(victim.pid, signal.SIGKILL)


def end(family: list[psutil.Process], *modules: str) -> None:
    """Kill those processes of the run."""
    for process in family:
        try:
            if any(module in " ".join(process.cmdline()) for module in modules):
                process.kill()
        except psutil.NoSuchProcess:
            continue


def watched(place: Cluster, killed_s: float, limit_s: float) -> float:
    """
    When the fault was proven gone, in seconds since the kill.

    Looks until it has not been seen for QUIET_S: what was under way when its sender was killed may still arrive.
    """
    gone_s = seen_s = killed_s
    while time.monotonic() - seen_s < QUIET_S:
        on = bool(place.faulty())
        now_s = time.monotonic()
        if on:
            seen_s = now_s
        elif gone_s <= seen_s:
            gone_s = now_s
        if seen_s - killed_s > limit_s + 20:
            return seen_s - killed_s
        time.sleep(LOOK_S)
    return gone_s - killed_s


def remains(place: Cluster, directory: Path) -> list[str]:
    """What should not be there when the cluster has had its time: objects of ours, and a record that says nothing."""
    wrong = []
    until = time.monotonic() + CLUSTER_LIMIT_S
    while (left := place.left()) and time.monotonic() < until:
        time.sleep(0.05)
    if left:
        wrong.append(f"left in the cluster: {', '.join(sorted(left))}")
    try:
        record.read(directory)
        for entry in (directory / "chaos" / ledger.FOLDER).glob("*.json"):
            ledger.read(entry)
    except Exception as problem:  # whatever it is, it makes the record unreadable
        wrong.append(f"the record cannot be read: {problem}")
    return wrong


def main(count: int, seed: int) -> int:
    """Play and kill; the exit code."""
    dice = random.Random(seed)
    took: defaultdict[str, list[float]] = defaultdict(list)
    failed = 0
    with cluster() as place, tempfile.TemporaryDirectory(prefix="lch-kills-") as scratch:
        folder = Path(scratch)
        for fault in FAULTS:
            plan_file(folder, fault, place.endpoints)
        for number in range(count):
            kill = drawn(dice)
            on, last_s, wrong = played(kill, place, folder)
            took[str(kill)].append(last_s)
            failed += bool(wrong)
            said = f"{number + 1:>3} {kill} after {kill.after_s:4.2f} s: {'on ' if on else 'off'}"
            print(f"{said}, gone after {last_s:4.2f} s", *wrong, sep="; ", flush=True)
        healed = heal.heal(folder)
        failed += sum(one.outcome is not ledger.State.UNDONE for one in healed)
    print()
    for kind, all_s in sorted(took.items()):
        print(f"{kind} n {len(all_s):>3}  median {statistics.median(all_s):5.2f} s  most {max(all_s):5.2f} s")
    print(f"seed {seed}: {count - failed} of {count} as they should be" + (f"; FAIL: {failed}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    arguments = [int(text) for text in sys.argv[1:]] + [100, 1][len(sys.argv) - 1 :]
    sys.exit(main(*arguments))
