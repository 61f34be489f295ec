"""
2,000 arrivals a second for 30 s from one load worker, against a trivial server on loopback.

Requires that every planned arrival is sent and that start lag p99 is at most 5 ms; exit code 1 otherwise. Beside it,
from the same machine in the same run: stock Locust (FastHttpUser with constant_throughput, asked for the same rate),
and how late gevent.sleep, which Locust waits with, is at that rate.

    python benchmarks/load_2000.py [seconds]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/load"))

from load_contract import play
from load_support import load_plan, phase, stub_server

from harness.drivers.clock import MonotonicClock
from harness.drivers.locust.driver import LocustDriver
from harness.history.histogram import Histogram

RATE = 2000
LAG_MS_P99 = 5.0

STOCK = """
import json, sys, time
import locust, gevent
from locust import FastHttpUser, constant_throughput, task
from locust.env import Environment

class Customer(FastHttpUser):
    host = sys.argv[1]
    wait_time = constant_throughput(int(sys.argv[2]) / 200)
    @task
    def browse(self):
        self.client.get("/items")

environment = Environment(user_classes=[Customer])
runner = environment.create_local_runner()
runner.start(200, 200)
gevent.sleep(3)
cpu_s, sent, began_s = time.process_time(), environment.stats.total.num_requests, time.monotonic()
gevent.sleep(8)
sent = environment.stats.total.num_requests - sent
took_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
runner.quit()

lags, start_ns = [], time.monotonic_ns()
for k in range(3 * int(sys.argv[2])):
    due_ns = start_ns + k * 1_000_000_000 // int(sys.argv[2])
    wait_ns = due_ns - time.monotonic_ns()
    if wait_ns > 0:
        gevent.sleep(wait_ns / 1e9)
    lags.append((time.monotonic_ns() - due_ns) / 1e6)
lags.sort()
print(json.dumps({"per_s": sent / took_s, "cpu_us": cpu_s / sent * 1e6, "cpu": cpu_s / took_s,
                  "sleep_p50": lags[len(lags) // 2], "sleep_p99": lags[len(lags) * 99 // 100]}))
"""


def ms(bucket: tuple[int, int]) -> float:
    """The upper edge of a bucket, milliseconds."""
    return bucket[1] / 1000


def main() -> int:
    """Measure, print, and say whether the requirement is kept."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    with stub_server() as stub, tempfile.TemporaryDirectory() as logs:
        plan = load_plan(stub.url, per_s=RATE, phases=(phase("steady", 0, seconds),), workers=1)
        driver = LocustDriver(plan, log_dir=Path(logs))
        try:
            began_s = time.monotonic()
            driver.prepare()
            prepare_s = time.monotonic() - began_s
            played = play(driver, MonotonicClock(), seconds)
        finally:
            driver.close()
        stock = subprocess.run(
            [sys.executable, "-c", STOCK, stub.url, str(RATE)], capture_output=True, text=True, check=True
        )
    lag = Histogram.merged(frame.lag for frame in played.frames)
    response = Histogram.merged(frame.response for frame in played.frames)
    cpu = sum(health.cpu_ratio for health in played.health) / len(played.health)
    stall_s = max(health.stall_s_max for health in played.health)
    planned, sent, ok = (played.total(name) for name in ("planned", "sent", "ok"))
    base = json.loads(stock.stdout)
    print(f"harness, one worker: {RATE}/s for {seconds:.0f} s; ready in {prepare_s:.2f} s")
    print(f"  planned {planned}  sent {sent}  ok {ok}")
    lag_p50, lag_p99 = ms(lag.quantile(0.5)), ms(lag.quantile(0.99))
    print(f"  start lag   p50 {lag_p50:.3f} ms  p99 {lag_p99:.3f} ms  max {lag.max / 1000} ms")
    print(f"  response    p50 {ms(response.quantile(0.5)):.3f} ms  p99 {ms(response.quantile(0.99)):.3f} ms")
    print(
        f"  CPU {cpu:.2f} of a core, {cpu / RATE * 1e6:.0f} us per request; longest loop stall {stall_s * 1000:.2f} ms"
    )
    print(f"stock Locust, FastHttpUser and constant_throughput, asked for {RATE}/s: {base['per_s']:.0f}/s")
    print(f"  CPU {base['cpu']:.2f} of a core, {base['cpu_us']:.0f} us per request")
    print(f"gevent.sleep at {RATE}/s: late by p50 {base['sleep_p50']:.3f} ms, p99 {base['sleep_p99']:.3f} ms")
    kept = planned == sent and lag_p99 <= LAG_MS_P99
    print(f"every arrival sent, start lag p99 <= {LAG_MS_P99:.0f} ms: {'kept' if kept else 'BREACHED'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
