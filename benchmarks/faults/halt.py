"""
From `harness halt` to the last fault proven undone, on the sandbox: at most 2 s.

    python benchmarks/faults/halt.py [N]

Each of N runs (3) is a real `harness run` under load with a zone cut off; it is halted from another process while the
cut is on. The last one's conductor is stopped (SIGSTOP) first, so that it cannot react and has to be killed. Exit code
1 when one took longer (the stopped one: longer than the 2 s that it is given, and 2 s), or when a fault is left.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stage import Cluster, cluster, scenario

from harness.drivers.chaos.halt import REACT_S

LIMIT_S = 2.0
COMMAND = "from harness.cli.main import main; main()"


def halted(place: Cluster, folder: Path, state: Path, *, stopped: bool) -> tuple[float, list[str]]:
    """Seconds from the halt to the proof as the command says, and what is wrong."""
    results = folder / "results"
    environment = {**os.environ, "LCH_SANDBOX_DIR": str(state)}
    file = scenario(folder, "partition", duration_s=60, at_s=1, for_s=50)
    run = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "run", str(file), "--results", str(results), "--plain"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not place.faulty():
        if run.poll() is not None or time.monotonic() > until:
            assert run.stderr is not None
            return 0.0, [f"the run did not play its fault: {run.stderr.read()[-500:]}"]
        time.sleep(0.02)
    time.sleep(1)
    if stopped:
        run.send_signal(signal.SIGSTOP)
    halt = subprocess.run(
        [sys.executable, "-c", COMMAND, "halt", "--results", str(results)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    left = place.faulty()
    print(halt.stdout.strip() or halt.stderr.strip(), flush=True)
    run.communicate(timeout=90)
    wrong = [f"exit code {halt.returncode}"] * (halt.returncode != 0) + [f"left: {name}" for name in sorted(left)]
    said = re.search(r"after (\d+\.\d+) s", halt.stdout)
    took_s = float(said.group(1)) if said else 0.0
    if took_s > LIMIT_S + REACT_S * stopped:
        wrong.append(f"took {took_s:.2f} s")
    return took_s, wrong


def main(count: int) -> int:
    """Run and halt; the exit code."""
    failed = 0
    with cluster() as place, tempfile.TemporaryDirectory(prefix="lch-halt-") as scratch:
        state = Path(place.endpoints.kubeconfig).parent
        for number in range(count):
            _, wrong = halted(place, Path(scratch), state, stopped=number == count - 1)
            failed += bool(wrong)
            if wrong:
                print("FAIL: " + "; ".join(wrong), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
