"""
Whether memory grows with time: the resident memory of every process of a run, over minutes at 2,000 arrivals a second.

    python benchmarks/load/soak.py [MINUTES]       30 by default

The whole run is conducted and recorded as `harness run` does it. Target: the mean of each process's last fifth is
within 5 % of that of its second fifth; the first fifth is for caches to fill.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

import psutil
from stage import Targets, conducted, cores, nginx, phase, plan_of

from harness.drivers.locust.driver import LocustDriver

RATE = 2_000
GROWTH_MAX = 0.05
EVERY_S = 1.0
MEGABYTE = 1 << 20


def main() -> int:
    """Measure, print, and say whether the target is reached."""
    minutes = float(sys.argv[1]) if sys.argv[1:] else 30.0
    length_s = minutes * 60
    targets, seen = Targets(), dict[str, list[float]]()

    def sample(_: LocustDriver) -> None:
        until_s = time.monotonic() + length_s - 5
        while time.monotonic() < until_s:
            for name, process in _processes():
                seen.setdefault(name, []).append(process.memory_info().rss / MEGABYTE)
            time.sleep(EVERY_S)

    with nginx(cores()[0]) as running, tempfile.TemporaryDirectory(prefix="lch-soak-") as results:
        plan = plan_of(running.url, RATE, (phase("soak", 0, length_s, ramp_s=2),), workers=2)
        run = conducted(plan, Path(results), sample, 3.0)
        disk = sum(file.stat().st_size for file in Path(results).rglob("*") if file.is_file()) / MEGABYTE
    ok, planned = sum(frame.ok for frame in run.frames), sum(frame.planned for frame in run.frames)
    targets.check(f"all arrivals of {minutes:g} minutes answered", f"{ok} of {planned}", kept=ok == planned)
    for name, megabytes in sorted(seen.items()):
        fifth = len(megabytes) // 5
        early, late = mean(megabytes[fifth : 2 * fifth]), mean(megabytes[-fifth:])
        found = f"{early:.1f} MB to {late:.1f} MB, {late / early - 1:+.1%}"
        targets.check(f"memory of {name} flat within 5 %", found, kept=abs(late / early - 1) <= GROWTH_MAX)
    print(f"      the record takes {disk / minutes:.2f} MB a minute")
    return targets.exit_code


def _processes() -> list[tuple[str, psutil.Process]]:
    """The conductor (this process), the master and the workers, by name."""
    own = psutil.Process()
    found = [("the conductor", own)]
    for child in own.children(recursive=True):
        command = " ".join(child.cmdline())
        for module, name in (("locust.master", "the master"), ("locust.worker", f"worker {child.pid}")):
            if module in command:
                found.append((name, child))
    return found


if __name__ == "__main__":
    sys.exit(main())
