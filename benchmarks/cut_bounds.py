"""
How closely canaries tell when a zone is cut off and when it is connected again, and what watching costs.

Cuts a zone of the sandbox off again and again by a NetworkPolicy. A cut's start must lie within what the canaries tell
of it, and so must its end; the truth is known from when the calls were made. PASS: every cut was seen on every path and
in both lanes, 95 % of all bounds are at most 100 ms apart, and 99 % hold the truth.

Run: python benchmarks/cut_bounds.py [CUTS]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil

from harness import sandbox
from harness.drivers.faults.partition import heal_zone, partition_zone
from harness.drivers.kubernetes.driver import KubernetesObserver
from harness.history.events import CanarySeen
from harness.plan.bind import bound
from harness.plan.model import Plan
from harness.plan.parse import parse

ROOT = Path(__file__).parents[1]
RUN = "benchmark/cut-bounds"
WIDTH_MS, WITHIN_S = 100.0, 10.0
MS = 1_000_000
Span = tuple[int, int]


def plan(endpoints: sandbox.Endpoints) -> Plan:
    """The shipped scenario that cuts a zone off, on this sandbox."""

    def read(path: str) -> str | None:
        file = ROOT / path
        return file.read_text(encoding="utf-8") if file.is_file() else None

    shipped = parse("scenarios/zone-partition.yaml", read, base=str(ROOT))
    here = {"url": endpoints.url, "kubeconfig": endpoints.kubeconfig, "prometheus_url": endpoints.prometheus_url}
    return bound(shipped, **here)


class Watcher:
    """The observer of a run, and what it said of paths across the cut since it was last asked."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.zone = plan.faults[0].experiment.zone or ""
        self.observer = KubernetesObserver(plan, run=RUN, log_dir=folder)
        first = [stamped.body for stamped in self.observer.preflight()]
        self.lanes = len({(one.from_zone, one.to_zone, one.via) for one in first if self._across(one)})

    def _across(self, body: object) -> bool:
        return isinstance(body, CanarySeen) and (body.from_zone == self.zone) != (body.to_zone == self.zone)

    def changes(self, act: Callable[[], object], *, ok: bool) -> tuple[Span, list[CanarySeen]]:
        """When `act` was under way, and what the lanes said of it."""
        began_ns = time.monotonic_ns()
        act()
        span, seen = (began_ns, time.monotonic_ns()), list[CanarySeen]()
        until_s = time.monotonic() + WITHIN_S
        while len(seen) < self.lanes and time.monotonic() < until_s:
            time.sleep(0.05)
            bodies = [stamped.body for stamped in self.observer.poll()]
            seen += [one for one in bodies if isinstance(one, CanarySeen) and self._across(one) and one.ok is ok]
        return span, seen


def told(name: str, found: list[tuple[Span, list[CanarySeen]]], lanes: int) -> bool:
    """Print the figures of all starts, or of all ends; whether they are good enough."""
    bounds = [(span, one) for span, seen in found for one in seen]
    widths = sorted((one.hi_ns - one.lo_ns) / MS for _, one in bounds)
    held = sum(one.lo_ns <= span[1] and one.hi_ns >= span[0] for span, one in bounds)
    p95, wanted = widths[int(0.95 * (len(widths) - 1))], lanes * len(found)
    good = len(bounds) == wanted and p95 <= WIDTH_MS and held >= 0.99 * len(bounds)
    print(
        f"{'PASS' if good else 'FAIL'} {name}: {len(bounds)} of {wanted} seen, {held} hold the truth, "
        f"bounds {widths[len(widths) // 2]:.0f} ms apart (p95 {p95:.0f}, most {widths[-1]:.0f})"
    )
    return good


def cost(pid: int, seconds: float) -> str:
    """CPU of the sandbox's control plane and its network, of all canaries, and of the observer, as shares of a core."""
    parts = {"sandbox": [psutil.Process(pid)], "canaries": list[psutil.Process](), "observer": list[psutil.Process]()}
    for process in {*psutil.Process().children(recursive=True), *psutil.Process(pid).children(recursive=True)}:
        line = " ".join(process.cmdline())
        if "canary pod" in line:
            parts["canaries"].append(process)
        elif "kubernetes.observer" in line:
            parts["observer"].append(process)

    def spent(group: list[psutil.Process]) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in group)

    before = {name: spent(group) for name, group in parts.items()}
    time.sleep(seconds)
    return ", ".join(f"{name} {(spent(group) - before[name]) / seconds:.1%}" for name, group in parts.items())


def main() -> int:
    """Cut and heal; exit code 1 when something is not good enough."""
    cuts = int(sys.argv[1]) if sys.argv[1:] else 10
    with tempfile.TemporaryDirectory() as name:
        state = Path(name) / "sandbox"
        endpoints = sandbox.up("good", state, owned=True)
        os.environ |= {"KUBECONFIG": endpoints.kubeconfig, "LCH_LEASED": "1"}  # the Job is not the fault's to end
        try:
            watcher = Watcher(plan(endpoints), Path(name))
            cut = partial(partition_zone, watcher.zone, "shop", "app=shop", run=RUN, ttl_s=300)
            heal = partial(heal_zone, watcher.zone, "shop", run=RUN)
            print(f"cost of a core while nothing happens: {cost(endpoints.pid, 5.0)}")
            starts, ends = list[tuple[Span, list[CanarySeen]]](), list[tuple[Span, list[CanarySeen]]]()
            for _ in range(cuts):
                starts.append(watcher.changes(cut, ok=False))
                ends.append(watcher.changes(heal, ok=True))
                time.sleep(1.0)
            watcher.observer.close()
        finally:
            sandbox.down(state)
    good = [told("starts", starts, watcher.lanes), told("ends", ends, watcher.lanes)]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
