"""
A thousand load workers report 1,500,000 arrivals a second: what that costs the master, and the disk.

    python benchmarks/load/collector.py [workers [seconds]]

The master is the real one, with its books, on the encrypted channel. The workers are played by one process that sends
for each of them what a real one would: a second's counts and values of 1,500 arrivals in five series (response times
log-normal around 10 ms, start lags of 10 to 400 us), and a sign of life in between. The record is written as in a run.
Targets: the master keeps up on half a core and 500 MB, everything is counted, and a series takes at most 1 MB a minute.
"""

from __future__ import annotations

import json
import os
import random
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import msgpack
import psutil
import zmq
from stage import PROBER, Played, S, Targets, free_port, phase, plan_of

from harness.drivers.clock import MonotonicClock
from harness.drivers.locust.channel import TOKEN_VARIABLE, keys_of, secure_worker
from harness.drivers.locust.driver import LocustDriver
from harness.drivers.locust.guests import versions
from harness.drivers.locust.reports import BEAT_NS
from harness.drivers.locust.tally import Tally
from harness.history.events import LoadStopped
from harness.plan.model import Plan, Remote
from harness.record import Record

EACH = 1500  # arrivals per second and worker
SERIES = 5
VARIANTS = 10  # different seconds that the workers report in turn
LIMITS_US = (1_000_000,)
CORE, MEMORY_MB, DISK_MB = 0.5, 500, 1.0


# -- the workers ------------------------------------------------------------------------------------------------------


def counts_of(second: int, seed: int) -> bytes:
    """What a worker sends of a second."""
    tally, chance = Tally(S, LIMITS_US), random.Random(seed)
    for k in range(EACH):
        intended_ns = second * S + k * S // EACH
        sent_ns = intended_ns + chance.randint(10_000, 400_000)
        tally.ok("", f"GET /{k % SERIES}", intended_ns, sent_ns, sent_ns + int(chance.lognormvariate(16.1, 0.5)))
    return tally.take()


class Crowd:
    """All workers, played by this process."""

    def __init__(self, port: int, workers: int, seconds: int, token: str) -> None:
        self._context = zmq.Context()
        self._context.max_sockets = 2 * workers + 100
        self._poller = zmq.Poller()
        self._sockets: list[zmq.Socket[bytes]] = []
        self._names: dict[zmq.Socket[bytes], str] = {}
        self._index: dict[zmq.Socket[bytes], int] = {}
        self._epoch: dict[zmq.Socket[bytes], int] = {}
        self._number: dict[zmq.Socket[bytes], int] = {}
        self._t0_ns: int | None = None
        self._counts = [[counts_of(second, seed) for seed in range(VARIANTS)] for second in range(seconds)]
        keys = keys_of(token)
        for _ in range(workers):
            socket = self._context.socket(zmq.DEALER)
            self._names[socket] = f"crowd-{secrets.token_hex(8)}"
            socket.identity = self._names[socket].encode()
            secure_worker(socket, keys)
            socket.connect(f"tcp://127.0.0.1:{port}")
            self._poller.register(socket, zmq.POLLIN)
            self._sockets.append(socket)

    def run(self) -> None:
        """Join, and report until this process is ended."""
        for socket in self._sockets:
            self._say(socket, "join", {"versions": versions(), "host": "crowd"})
            self._hear(0.001)
        while len(self._index) < len(self._sockets):
            self._hear(0.1)
        beat = 0
        while True:
            for place, socket in enumerate(self._sockets):
                self._report(socket, place, beat)
                if place % 20 == 0:
                    self._hear(0.0)
            beat = self._next(beat)

    def _next(self, beat: int) -> int:
        """Wait for the next beat; before the start they have no number."""
        began = self._t0_ns is not None
        until_ns = self._t0_ns + (beat + 1) * BEAT_NS if self._t0_ns is not None else time.monotonic_ns() + BEAT_NS
        while (left_ns := until_ns - time.monotonic_ns()) > 0:
            self._hear(left_ns / S)
        return beat + 1 if began else 0

    def _report(self, socket: zmq.Socket[bytes], place: int, beat: int) -> None:
        body: dict[str, object] = {"number": None}
        ended = beat // 2 - 1
        if self._t0_ns is not None and beat % 2 == 0 and 0 <= ended < len(self._counts):
            self._number[socket] = self._number.get(socket, 0) + 1
            body = {"number": self._number[socket], "data": self._counts[ended][place % VARIANTS]}
            body |= {"health": [], "failures": [], "exceeded": []}
        drained = self._t0_ns is not None and ended >= len(self._counts)
        head = {"index": self._index[socket], "epoch": self._epoch.get(socket, 0), "ready": True, "drained": drained}
        self._say(socket, "report", {**head, "t1": time.monotonic_ns(), **body})

    def _say(self, socket: zmq.Socket[bytes], kind: str, data: dict[str, object]) -> None:
        socket.send(msgpack.dumps((kind, data, self._names[socket])))

    def _hear(self, seconds: float) -> None:
        for socket, _ in self._poller.poll(int(seconds * 1000)):
            while socket.poll(0):
                kind, data, _ = msgpack.loads(socket.recv())
                if kind == "welcome":
                    self._index[socket] = data["index"]
                elif kind == "orders":
                    self._epoch[socket] = data["epoch"]
                    self._t0_ns = data["t0_ns"]
                elif kind in ("refused", "expelled"):
                    sys.exit(f"{kind}: {data}")


def crowd() -> None:
    """The process that plays the workers: its port, their number and the seconds come on stdin."""
    given = json.loads(sys.stdin.readline())
    Crowd(given["port"], given["workers"], given["seconds"], os.environ[TOKEN_VARIABLE]).run()


# -- the measurement --------------------------------------------------------------------------------------------------


def plan(port: int, workers: int, seconds: int) -> Plan:
    """A plan that asks for as much as the crowd reports."""
    made = plan_of("http://127.0.0.1:9", workers * EACH, (phase("steady", 0, seconds),), locustfile=PROBER)
    load = replace(made.service.load, workers=0, remote=Remote(listen=f"127.0.0.1:{port}", workers=workers))
    return replace(made, service=replace(made.service, load=load))


def measured(workers: int, seconds: int) -> tuple[Played, float, float, float, float]:
    """What was reported; the master's CPU per second and MB; MB a minute and series on disk; seconds until the end."""
    port, clock, played = free_port(), MonotonicClock(), Played()
    os.environ[TOKEN_VARIABLE] = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="lch-benchmark-") as folder:
        wanted = plan(port, workers, seconds)
        record = Record.create(Path(folder), wanted, given={}, environment={})
        driver = LocustDriver(wanted, log_dir=record.directory / "logs")
        with subprocess.Popen([sys.executable, __file__, "--crowd"], stdin=subprocess.PIPE) as playing:
            assert playing.stdin is not None
            given = {"port": port, "workers": workers, "seconds": seconds}
            playing.stdin.write(json.dumps(given).encode() + b"\n")
            playing.stdin.flush()
            try:
                driver.prepare()
                assert driver._child is not None  # noqa: SLF001 - whose CPU is asked for
                master = psutil.Process(driver._child.process.pid)  # noqa: SLF001
                t0_ns = clock.mono_ns() + S // 2
                driver.start(t0_ns)
                clock.wait(t0_ns, ())
                cpu_s, memory_mb, asked = sum(master.cpu_times()[:2]), 0.0, False
                while not any(isinstance(body, LoadStopped) for _, body in played.events):
                    clock.wait(clock.mono_ns() + S // 10, driver.fds())
                    memory_mb = max(memory_mb, master.memory_info().rss / 1e6)
                    now_s = (clock.mono_ns() - t0_ns) / S
                    if now_s >= seconds and not asked:
                        used_s, asked = sum(master.cpu_times()[:2]) - cpu_s, True
                        driver.stop()
                    played.events += [(now_s, stamped.body) for stamped in driver.poll()]
                    batch = driver.take()
                    record.load(batch.frames, batch.health, batch.failures)
                    played.frames += batch.frames
                took_s = (clock.mono_ns() - t0_ns) / S
            finally:
                driver.close()
                playing.kill()
                record.close()
        disk_mb = (record.directory / "load/frames.jsonl").stat().st_size / 1e6
    return played, used_s / seconds, memory_mb, disk_mb / (seconds / 60) / SERIES, took_s


def main() -> int:
    """Measure, print, and say whether the targets are reached."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
    if "--crowd" in sys.argv:
        crowd()
        return 0
    workers, seconds = (int(text) for text in (sys.argv[1:] + ["1000", "20"][len(sys.argv) - 1 :]))
    targets = Targets()
    played, cores, memory_mb, disk_mb, took_s = measured(workers, seconds)
    totals = played.totals()
    per_s = totals["ok"] / seconds
    print(
        f"{workers} workers, {per_s:,.0f} arrivals a second for {seconds} s; {cores / per_s * 1e9:.0f} ns of CPU each"
    )
    planned = workers * EACH * seconds
    counted = f"{totals['planned']:,} planned, {totals['ok']:,} ok, {totals['lost']:,} lost"
    targets.check("everything is counted", counted, kept=totals["planned"] == totals["ok"] == planned)
    targets.check("the master keeps up", f"done {took_s - seconds:.1f} s after the end", kept=took_s < seconds + 5)
    targets.check(f"on {CORE} of a core", f"{cores:.2f}", kept=cores <= CORE)
    targets.check(f"in {MEMORY_MB} MB", f"{memory_mb:.0f} MB", kept=memory_mb <= MEMORY_MB)
    targets.check(f"with {DISK_MB} MB a minute and series", f"{disk_mb:.2f} MB", kept=disk_mb <= DISK_MB)
    return targets.exit_code


if __name__ == "__main__":
    sys.exit(main())
