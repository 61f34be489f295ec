"""
Whether the sandbox serves what it promises: response times of an open load on the good shop, level by level.

    python benchmarks/sandbox_capacity.py [SECONDS PER LEVEL]

Starts a sandbox of its own in a temporary directory, offers 100 %, 150 %, 200 % and 260 % of the baseline of 200
requests/s at even intervals, and ends it. Response times count from the intended start. Six pods serve 480/s (240 %);
beyond, the queue fills and requests are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import httptools
import psutil
import uvloop

from harness import sandbox

BASELINE_PER_S = 200
LEVELS = (1.0, 1.5, 2.0, 2.6)
REQUEST = b"GET /items HTTP/1.1\r\nhost: shop\r\n\r\n"


class Client(asyncio.Protocol):
    """One kept-alive connection; back in the pool after each answer."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport):
        """Asyncio: connected."""
        self._transport = transport

    def send(self, intended_s: float) -> None:
        """Send a request that was due at `intended_s` (monotonic)."""
        self._intended_s = intended_s
        self._transport.write(REQUEST)

    def data_received(self, data):
        """Asyncio: bytes of an answer."""
        self._parser.feed_data(data)

    def on_message_complete(self):
        """Httptools: the answer is whole."""
        self._load.answered(self, self._parser.get_status_code(), self._intended_s)


class Load:
    """An open load at one level, and what came of it."""

    def __init__(self, port: int) -> None:
        self.codes: Counter[int] = Counter()
        self.times_s: list[float] = []
        self._port = port
        self._idle: list[Client] = []

    def answered(self, client: Client, code: int, intended_s: float) -> None:
        """Take note of an answer."""
        self.codes[code] += 1
        self.times_s.append(time.monotonic() - intended_s)
        self._idle.append(client)

    async def offer(self, per_s: float, seconds: float) -> None:
        """Send `per_s` requests a second for `seconds`, then wait for the last answers."""
        loop = asyncio.get_running_loop()
        begin_s = time.monotonic() + 0.1
        for n in range(int(per_s * seconds)):
            intended_s = begin_s + n / per_s
            if (wait_s := intended_s - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            if not self._idle:
                _, client = await loop.create_connection(lambda: Client(self), "127.0.0.1", self._port)
                self._idle.append(client)
            self._idle.pop().send(intended_s)
        await asyncio.sleep(1.0)


def cpu_s(pid: int) -> tuple[float, float]:
    """CPU seconds so far: of the control plane, of all pods and Prometheus."""
    control = psutil.Process(pid)
    total = 0.0
    for child in control.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:2])
    return sum(control.cpu_times()[:2]), total


def main() -> None:
    """Run the benchmark."""
    seconds = float(sys.argv[1]) if sys.argv[1:] else 10.0
    state_dir = Path(tempfile.mkdtemp(prefix="sandbox-capacity-"))
    began = time.monotonic()
    endpoints = sandbox.up("good", state_dir, owned=True)
    print(f"ready after {time.monotonic() - began:.2f} s")
    try:
        for level in LEVELS:
            load, before = Load(urlsplit(endpoints.url).port or 80), cpu_s(endpoints.pid)
            uvloop.run(load.offer(level * BASELINE_PER_S, seconds))
            times_ms = sorted(1e3 * t for t in load.times_s)
            p50, p95, p99 = (times_ms[int(q * len(times_ms))] for q in (0.5, 0.95, 0.99))
            control, pods = (a - b for a, b in zip(cpu_s(endpoints.pid), before, strict=True))
            print(
                f"{level:4.0%} {level * BASELINE_PER_S:4.0f}/s: p50 {p50:4.0f} p95 {p95:4.0f} p99 {p99:4.0f} "
                f"max {times_ms[-1]:4.0f} ms, {dict(load.codes)}; CPU control plane {control / (seconds + 1.1):4.1%}, "
                f"pods and Prometheus {pods / (seconds + 1.1):4.1%}"
            )
    finally:
        sandbox.down(state_dir)
        shutil.rmtree(state_dir)


if __name__ == "__main__":
    main()
