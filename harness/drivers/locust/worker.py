"""
Entry module of a load worker: Locust's WorkerRunner with our pool and pacer.

Started by the master with its index and the spec; reads the master's port as one line from stdin, and ends at once
when stdin closes.
"""

from __future__ import annotations

# Locust patches the standard library on import and must come first.
import locust  # isort: split

import gc
import json
import math
import os
import random
import resource
import sys
import time
from collections import Counter
from typing import Any

import gevent
from locust import runners
from locust.env import Environment
from locust.util.load_locustfile import load_locustfile

from harness.drivers.locust import hooks
from harness.drivers.locust.pacing import Pacer
from harness.drivers.locust.slots import Pool
from harness.drivers.locust.spec import Spec, spec_from_json
from harness.drivers.locust.stripes import Itinerary, Leg, beyond
from harness.drivers.locust.tally import Tally
from harness.history.load import frame_to_dict
from harness.schedule.load import SECOND_NS

TICK_S = 0.01  # how often deadlines are looked at and the event loop's stalls are measured
SHIP_AFTER_NS = 30_000_000  # a second is shipped this long after it ended
_STDIN = 0
_READABLE = 1


class Worker:
    """One load process: takes the plan and its changes from the master, and ships what became of its arrivals."""

    def __init__(self, index: int, spec: Spec, runner: Any) -> None:
        self._index = index
        self._spec = spec
        self._runner = runner
        self._arrivals = spec.arrivals()
        self._itinerary = Itinerary((Leg(0, index, spec.workers),), spec.end_ns)
        self._tally = Tally(spec.slow_ns)
        self._pool = Pool(runner.environment, spec.deadline_ns, self._tally, f"{spec.seed}/{index}")
        self._pacer: Pacer | None = None
        self._health = _Health()
        self._wanted = 0
        self._told_ready = False
        self._second = 0  # being measured; all before are shipped

    def install(self) -> None:
        """Take over Locust's tasks and messages."""
        environment = self._runner.environment
        environment.harness_pool = self._pool
        hooks.install(self._pool, environment)
        random.seed(f"{self._spec.seed}/{self._index}")  # Locust picks tasks with it
        self._pool.capacity = _capacity(self._spec)
        self._pool.on_parked = self._on_parked
        environment.events.user_error.add_listener(self._on_user_error)
        for name in ("expect", "begin", "restripe", "halt"):
            self._runner.register_message(name, getattr(self, f"_on_{name}"))
        self._runner.send_message("hello", {"index": self._index})

    # --- messages from the master ---

    def _on_expect(self, msg: Any, **_: object) -> None:
        self._wanted = msg.data["users"]
        self._on_parked()

    def _on_begin(self, msg: Any, **_: object) -> None:
        t0_ns = msg.data["t0_ns"]
        self._pool.t0_ns = t0_ns
        self._pool.on_parked = None
        self._pacer = Pacer(t0_ns, self._pool.begin)
        self._pacer.follow(self._itinerary.times(self._arrivals))
        self._health.start()
        ticks = gevent.get_hub().loop.timer(TICK_S, TICK_S)
        ticks.start(self._on_tick)
        gevent.spawn(self._ship_for_ever)
        self._send("begun", {})

    def _on_restripe(self, msg: Any, **_: object) -> None:
        leg = Leg(**msg.data)
        before, self._itinerary = self._itinerary, self._itinerary.with_leg(leg)
        self._change(before, leg.from_ns)

    def _on_halt(self, msg: Any, **_: object) -> None:
        before, self._itinerary = self._itinerary, self._itinerary.stopped(msg.data["until_ns"])
        self._change(before, msg.data["until_ns"])
        gevent.spawn(self._drain)

    def _change(self, before: Itinerary, from_ns: int) -> None:
        """Follow the new itinerary; what the old one had let through beyond `from_ns` is reported."""
        if self._pacer is None:
            return
        position_ns = before.until_ns if self._pacer.next_ns is None else self._pacer.next_ns
        begun = beyond(before, self._arrivals, from_ns, position_ns)
        if begun:
            self._send("exceeded", {"counts": list(begun.items())})
        self._pacer.follow(self._itinerary.times(self._arrivals, min(position_ns, from_ns)))

    # --- before the start ---

    def _on_parked(self) -> None:
        if self._wanted and self._pool.parked >= self._wanted and not self._told_ready:
            self._told_ready = True
            gevent.spawn(self._warm)

    def _warm(self) -> None:
        gc.collect()
        gc.freeze()  # so that no collection walks what the start-up left
        self._send("ready", {})

    def _on_user_error(self, exception: BaseException, **_: object) -> None:
        if not self._told_ready:
            self._send("unready", {"detail": f"{type(exception).__name__}: {exception}"})

    # --- while running ---

    def _on_tick(self) -> None:
        self._health.tick()
        self._pool.sweep()

    def _ship_for_ever(self) -> None:
        while True:
            due_ns = (self._second + 1) * SECOND_NS + SHIP_AFTER_NS
            gevent.sleep(max(due_ns - self._pool.now_ns(), 0) / SECOND_NS)
            self._ship(self._health.take(self._second, f"worker-{self._index}"))
            self._second += 1

    def _ship(self, health: dict[str, object] | None) -> None:
        frames = self._tally.take()
        settled: Counter[int] = Counter()
        encoded = []
        for frame in frames:
            settled[frame.second] += frame.sent + frame.dropped + frame.lost
            encoded.append(json.dumps(frame_to_dict(frame), separators=(",", ":")))
            gevent.sleep(0)  # encoding takes a millisecond; arrivals must not wait for all of it
        if encoded or health:
            data = {"settled": list(settled.items()), "frames": encoded, "health": [health] if health else []}
            self._send("frames", data)

    def _drain(self) -> None:
        """Wait until every arrival is settled, at the latest by its deadline; then say so."""
        while self._pacer is not None and (self._pacer.next_ns is not None or self._pool.unsettled):
            gevent.sleep(TICK_S)
        self._ship(self._health.take(self._second, f"worker-{self._index}") if self._pacer else None)
        self._send("drained", {})

    def _send(self, kind: str, data: dict[str, object]) -> None:
        self._runner.send_message(kind, {"index": self._index, **data})


class _Health:
    """CPU and event loop stalls since the last `take`."""

    def __init__(self) -> None:
        self._stall_s = 0.0
        self._ticked_s = self._taken_s = self._cpu_s = 0.0

    def start(self) -> None:
        self._ticked_s = self._taken_s = time.monotonic()
        self._cpu_s = time.process_time()

    def tick(self) -> None:
        now_s = time.monotonic()
        self._stall_s = max(self._stall_s, now_s - self._ticked_s - TICK_S)
        self._ticked_s = now_s

    def take(self, second: int, worker: str) -> dict[str, object]:
        now_s, cpu_s = time.monotonic(), time.process_time()
        ratio = (cpu_s - self._cpu_s) / max(now_s - self._taken_s, 1e-6)
        stall_s = self._stall_s
        self._taken_s, self._cpu_s, self._stall_s = now_s, cpu_s, 0.0
        return {"second": second, "worker": worker, "cpu_ratio": round(ratio, 4), "stall_s_max": round(stall_s, 6)}


def _capacity(spec: Spec) -> int:
    """Slots enough for every arrival to hang until its deadline, as far as file descriptors allow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    # Not divided by the workers: a survivor takes over the arrivals of the dead.
    return min(math.ceil(spec.peak_per_s * spec.deadline_ns / 1e9 * 1.1) + 10, most - 100)


def _watch_stdin() -> None:
    """End the process at once when the master is gone."""
    watcher = gevent.get_hub().loop.io(_STDIN, _READABLE)
    watcher.start(lambda: os._exit(0) if not os.read(_STDIN, 4096) else None)


def main() -> None:
    """Run a worker until the master says quit or dies."""
    index = int(sys.argv[1])
    spec = spec_from_json(sys.argv[2])
    user_classes, _ = load_locustfile(spec.locustfile)
    line = sys.stdin.buffer.readline()
    if not line:
        return
    runners.WORKER_REPORT_INTERVAL = 86_400  # Locust's own statistics are not used
    runners.WORKER_LOG_REPORT_INTERVAL = -1
    environment = Environment(
        user_classes=list(user_classes.values()), events=locust.events, host=spec.host, locustfile=spec.locustfile
    )
    _watch_stdin()
    runner = environment.create_worker_runner("127.0.0.1", int(line))
    environment.events.init.fire(environment=environment, runner=runner, web_ui=None)  # type: ignore[no-untyped-call]
    Worker(index, spec, runner).install()
    runner.greenlet.join()


if __name__ == "__main__":
    main()
