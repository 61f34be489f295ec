"""
Whether the rate is a contract: arrivals sent in each second against the plan's own arithmetic, over ramps too.

    python benchmarks/load/total_error.py [SECONDS]       60 by default, with ramps of 10 s before and after

Targets at 5,000/s: the total is off by 0, and so is every single second.
"""

from __future__ import annotations

import sys

from stage import Targets, cores, ms, nginx, phase, plan_of, play

from harness.history.events import WorkerJoined, WorkerLost
from harness.schedule.load import arrivals_of

RATE = 5_000
RAMP_S = 10


def main() -> int:
    """Measure, print, and say whether the targets are reached."""
    seconds = int(sys.argv[1]) if sys.argv[1:] else 60
    down_s, end_s = RAMP_S + seconds, 2 * RAMP_S + seconds
    phases = (phase("up", 0, down_s, ramp_s=RAMP_S), phase("down", down_s, end_s, ramp_s=RAMP_S, level=0.5))
    targets = Targets()
    with nginx(cores()[0]) as running:
        plan = plan_of(running.url, RATE, phases, workers=2)
        played = play(plan)
    arrivals = arrivals_of(plan)
    sent = {second: counts["sent"] for second, counts in played.by_second().items()}
    off = {second: sent.get(second, 0) - arrivals.planned_in(second) for second in range(end_s)}
    wrong = {second: error for second, error in off.items() if error}
    total = sum(sent.values()) - arrivals.total
    lag = played.lag()
    print(f"      {arrivals.total} planned; {dict(played.totals())}; start lag p99 {ms(lag, 0.99):.2f} ms")
    for at_s, body in played.events:
        if isinstance(body, WorkerLost | WorkerJoined):
            print(f"      {at_s:6.3f} s: {body}")
    targets.check(f"total error at {RATE}/s for {seconds} s and in ramps is 0", str(total), kept=total == 0)
    targets.check("every second as planned, ramps too", f"{len(wrong)} off: {wrong}", kept=not wrong)
    targets.check("all answered", f"{played.totals()['ok']} ok", kept=played.totals()["ok"] == arrivals.total)
    return targets.exit_code


if __name__ == "__main__":
    sys.exit(main())
