"""
How long a sandbox takes until all is ready, and what its control plane costs while nothing happens.

Run: python benchmarks/sandbox_idle.py [SECONDS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil

from harness import sandbox

STARTS = 5


def main() -> None:
    """Start it some times; look at the last one while it idles."""
    idle_s = float(sys.argv[1]) if sys.argv[1:] else 10.0
    starts_s: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        state = Path(name)
        for number in range(STARTS):
            began_s = time.monotonic()
            endpoints = sandbox.up("good", state, owned=True)
            starts_s.append(time.monotonic() - began_s)
            if number < STARTS - 1:
                sandbox.down(state)
        time.sleep(3.0)  # what follows a start: the first scrapes, the last events
        control = psutil.Process(endpoints.pid)
        before = control.cpu_times()
        time.sleep(idle_s)
        after = control.cpu_times()
        busy_s = after.user + after.system - before.user - before.system
        print(f"start: {median(starts_s):.2f} s (median of {STARTS}: {', '.join(f'{one:.2f}' for one in starts_s)})")
        print(f"idle: {busy_s / idle_s:.2%} of a core over {idle_s:g} s, {control.memory_info().rss / 2**20:.0f} MiB")
        sandbox.down(state)


if __name__ == "__main__":
    main()
