"""
What a request costs the machine that sends it: ours beside wrk and hey, against one nginx, in one run.

    python benchmarks/load/rivals.py [SECONDS]            8 s each by default; wrk and hey come from Debian

All run on one core, the server on another. wrk (C) and hey (Go) are asked for as much as they can; ours is asked for
20,000/s and must send all of it. The ratios are of requests per CPU second. Neither rival measures from the intended
start nor says what it did not send: this is what that honesty costs beside compiled code.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys

from stage import Targets, cores, nginx, phase, plan_of, play

RATE = 20_000
CONNECTIONS = 50
WARM_UP_S = 3


def children_cpu_s() -> float:
    """CPU seconds of ended child processes so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def rival(name: str, arguments: list[str], pattern: str, on: set[int]) -> float:
    """Requests per CPU second of a program; prints them."""
    if shutil.which(name) is None:
        sys.exit(f"{name} is not installed: apt-get install {name}")
    before_s = children_cpu_s()
    command = ["taskset", "-c", ",".join(map(str, on)), name, *arguments]
    environment = os.environ | {"GOMAXPROCS": "1"}
    out = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment).stdout
    found = re.search(pattern, out)
    if found is None:
        sys.exit(f"{name} said nothing that is understood:\n{out}")
    cpu_s, requests = children_cpu_s() - before_s, int(found[1])
    print(f"      {name}: {requests} requests, {requests / cpu_s:.0f} per CPU second", flush=True)
    return requests / cpu_s


def main() -> int:
    """Measure, print the ratios, and say whether ours sent what it was asked for."""
    seconds = int(sys.argv[1]) if sys.argv[1:] else 8
    server, core = cores()
    targets, end_s = Targets(), WARM_UP_S + seconds
    os.sched_setaffinity(0, server)
    with nginx(server) as running:
        url = running.url
        wrk = rival("wrk", ["-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", f"{url}/"], r"(\d+) requests in", core)
        hey_options = ["-z", f"{seconds}s", "-c", str(CONNECTIONS), f"{url}/"]
        hey = rival("hey", hey_options, r"\[200\]\s+(\d+) responses", core)
        phases = (phase("warm-up", 0, WARM_UP_S, ramp_s=WARM_UP_S - 1), phase("steady", WARM_UP_S, end_s))
        played = play(plan_of(url, RATE, phases), on=core)
    counts = played.totals(WARM_UP_S)
    ours = counts["sent"] / played.cpu_s(WARM_UP_S, end_s)
    print(f"      ours: {dict(counts)}, {ours:.0f} per CPU second")
    print(f"      ours / wrk {ours / wrk:.2f}   ours / hey {ours / hey:.2f}")
    kept = counts["planned"] == counts["sent"] == counts["ok"]
    targets.check(f"ours sends all of {RATE}/s", f"{counts['ok']} ok of {counts['planned']}", kept=kept)
    return targets.exit_code


if __name__ == "__main__":
    sys.exit(main())
