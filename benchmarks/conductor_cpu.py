"""
What the harness itself costs during a run: the conductor's CPU, beside that of everything else the run starts.

    .venv/bin/python benchmarks/conductor_cpu.py [scenario]

Starts `harness run` on a sandbox of its own and adds up CPU time per kind of process from load start to load end. The
baseline is the load workers: their CPU is the price of the load itself. Takes as long as the scenario does.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil

HARNESS = str(Path(sys.executable).parent / "harness")
KINDS = {
    "load workers": "harness.drivers.locust.worker",
    "load master": "harness.drivers.locust.master",
    "observer": "harness.drivers.kubernetes.observer",
    "chaos": "harness.drivers.chaos",
    "shop pods": "harness.sandbox.shop",
    "sandbox": "harness.sandbox",
    "prometheus": "prometheus",
}


def kind_of(process: psutil.Process, conductor: int) -> str:
    """Which of the run's kinds of process this is."""
    if process.pid == conductor:
        return "conductor"
    command = " ".join(process.cmdline())
    return next((kind for kind, mark in KINDS.items() if mark in command), "other")


def cpu_seconds(conductor: psutil.Process) -> dict[int, tuple[str, float]]:
    """Process id -> kind and CPU seconds so far, of the conductor and everything below it."""
    seen: dict[int, tuple[str, float]] = {}
    for process in (conductor, *conductor.children(recursive=True)):
        try:
            times = process.cpu_times()
            seen[process.pid] = (kind_of(process, conductor.pid), times.user + times.system)
        except psutil.Error:
            continue
    return seen


def main() -> None:
    """Run the scenario and print what each kind of process used."""
    scenario = sys.argv[1] if len(sys.argv) > 1 else "baseline"
    with tempfile.TemporaryDirectory() as results:
        command = [HARNESS, "run", scenario, "--plain", "--results", results]
        run = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        assert run.stderr is not None
        conductor = psutil.Process(run.pid)
        first: dict[int, tuple[str, float]] = {}
        last: dict[int, tuple[str, float]] = {}
        started = ended = 0.0
        for line in run.stderr:
            if not first and "started" in line:
                first, started = cpu_seconds(conductor), time.monotonic()
            if "told to stop" in line:
                last, ended = cpu_seconds(conductor), time.monotonic()
        code = run.wait()
    used: dict[str, float] = defaultdict(float)
    for pid, (kind, seconds) in last.items():
        used[kind] += seconds - first.get(pid, (kind, 0.0))[1]
    length_s = ended - started
    print(f"{scenario}: exit {code}, {length_s:.0f} s observed")
    for kind, seconds in sorted(used.items(), key=lambda item: -item[1]):
        ratio = seconds / used["load workers"]
        print(f"  {kind:<14} {seconds / length_s:7.1%} of a core   {ratio:6.2f} x load workers")


if __name__ == "__main__":
    main()
