"""
One load worker on one core against nginx on another: how much it drives, and what that costs beside plain Locust.

    python benchmarks/load/one_core.py [SECONDS]          30 by default; ends with 1 when a target is missed

Targets: 20,000 arrivals/s, all sent, start lag p99 at most 5 ms; 3 times the throughput of plain Locust's FastHttpUser;
and the same FastHttpUser as a slot of the engine, with its accounting, at 85 % of its throughput. Plain Locust is a
closed loop of 50 users at full tilt on the same core, before and after: its throughput is its requests per CPU second.
Ours is asked for a rate, and has that throughput when it keeps up: all is answered, and nothing is put off (start lag
p99 at most 100 ms), so that no second's work is done in another. It has one core, so what it does is per core.

What is printed per CPU second is of the whole play, its ramp included. A generator that is not busy spends more CPU on
an arrival, because it sleeps and is woken twice for each; that is what the last line but one tells.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from stage import PROBER, Played, Targets, cores, ms, nginx, phase, plan_of, play

RATE = 20_000
LAG_MS_P99 = 5.0
TIMES_FAST = 3.0
SLOT_COST = 0.15
KEPT_UP_MS = 100.0
WARM_UP_S = 3
PLAIN_S = 5
SLOTS = Path(__file__).with_name("stock_slots.py")


def plain(kind: str, url: str, on: set[int]) -> float:
    """Requests per CPU second of plain Locust with this user class; prints them."""
    command = [sys.executable, str(Path(__file__).with_name("plain.py")), kind, url, str(PLAIN_S)]
    pinned = ["taskset", "-c", ",".join(map(str, on)), *command]
    out = subprocess.run(pinned, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True).stdout
    found = json.loads(out)
    if found["failures"] or not found["per_s"]:
        sys.exit(f"plain Locust did not work: {found}")
    print(f"      plain Locust, {kind}: {found['per_s']:.0f}/s, {found['per_cpu_s']:.0f} per CPU second", flush=True)
    return float(found["per_cpu_s"])


def ours(url: str, per_s: float, seconds: int, locustfile: Path, on: set[int]) -> tuple[Played, float]:
    """What one worker did at this rate, and its answered requests per CPU second, from the start until all were."""
    end_s = WARM_UP_S + seconds
    phases = (phase("warm-up", 0, WARM_UP_S, ramp_s=WARM_UP_S - 1), phase("steady", WARM_UP_S, end_s))
    played = play(plan_of(url, per_s, phases, locustfile=locustfile), on=on)
    return played, played.totals()["ok"] / played.cpu_s(0, 1 << 40)


def lag_ms(played: Played, first_s: int) -> float:
    """Start lag p99 from this second on."""
    steady = Played(frames=[frame for frame in played.frames if frame.second >= first_s])
    return ms(steady.lag(), 0.99)


def answered(played: Played) -> bool:
    """Whether every planned arrival was answered well."""
    counts = played.totals()
    return counts["planned"] == counts["ok"]


def kept_up(played: Played) -> bool:
    """Whether it was answered, and none of it was put off to a later second."""
    return answered(played) and lag_ms(played, WARM_UP_S) <= KEPT_UP_MS


def told(played: Played, times: float) -> str:
    """What was asked for and how well it kept up; and its requests per CPU second as a multiple of FastHttpUser's."""
    steady = played.totals(WARM_UP_S)
    seconds = len({frame.second for frame in played.frames if frame.second >= WARM_UP_S})
    rate, lag = steady["ok"] / seconds, lag_ms(played, WARM_UP_S)
    return f"{rate:.0f}/s answered, start lag p99 {lag:.1f} ms; {times:.2f} x its requests per CPU second"


def main() -> int:
    """Measure, print, and say whether the targets are reached."""
    seconds = int(sys.argv[1]) if sys.argv[1:] else 30
    server, core = cores()
    targets, short = Targets(), max(seconds // 3, 5)
    os.sched_setaffinity(0, server)
    with nginx(server) as running:
        url = running.url
        before = plain("fast", url, core)
        played, per_cpu_s = ours(url, RATE, seconds, PROBER, core)
        fast = (before + plain("fast", url, core)) / 2
        most, most_per_cpu_s = ours(url, round(TIMES_FAST * fast), short, PROBER, core)
        busy, busy_per_cpu_s = ours(url, round((1 - SLOT_COST) * fast), short, SLOTS, core)
        _, idle_per_cpu_s = ours(url, round(0.6 * fast), short, SLOTS, core)
        http = plain("http", url, core)
    lag_ms_p99 = lag_ms(played, WARM_UP_S)
    targets.check(f"{RATE}/s for {seconds} s, all sent", str(dict(played.totals(WARM_UP_S))), kept=answered(played))
    targets.check(f"start lag p99 <= {LAG_MS_P99:g} ms", f"{lag_ms_p99:.2f} ms", kept=lag_ms_p99 <= LAG_MS_P99)
    print(f"      {per_cpu_s:.0f} per CPU second at {RATE}/s: {per_cpu_s / fast:.2f} x FastHttpUser")
    targets.check(f"{TIMES_FAST:g} x FastHttpUser on one core", told(most, most_per_cpu_s / fast), kept=kept_up(most))
    print(f"      {most_per_cpu_s / http:.1f} x HttpUser per CPU second")
    name = f"FastHttpUser slots cost <= {SLOT_COST:.0%} of its throughput"
    targets.check(name, told(busy, busy_per_cpu_s / fast), kept=kept_up(busy))
    print(f"      at 60 % of it, where it sleeps between arrivals, {idle_per_cpu_s / fast:.2f} x")
    return targets.exit_code


if __name__ == "__main__":
    sys.exit(main())
