"""What the load benchmarks share: servers of their own on loopback, plans, one play of a plan, and PASS or FAIL."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from harness.conductor.loop import Progress, conduct
from harness.drivers.base import Drivers, LoadDriver
from harness.drivers.clock import MonotonicClock
from harness.drivers.locust.driver import LocustDriver
from harness.drivers.signals import Signals
from harness.history.events import Body, LoadFailed, LoadStopped
from harness.history.histogram import Histogram
from harness.history.load import LoadFrame, WorkerHealth
from harness.history.run import Run
from harness.plan.model import Load, Phase, Plan, Service, Sli, Source, Threshold
from harness.record import Record, read
from harness.schedule.compile import compile_plan

S = 1_000_000_000
HERE = Source(path="benchmark", line=1)
PROBER = Path(__file__).parents[2] / "harness/drivers/locust/prober.py"
COUNTS = ("planned", "sent", "ok", "failed", "timed_out", "dropped", "lost")

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 20000; }}
http {{
  log_format instant "$msec";
  access_log {log};
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  server {{ listen 127.0.0.1:{port} backlog=8192; location / {{ return 200 "ok"; }} }}
}}
"""


# -- verdicts ---------------------------------------------------------------------------------------------------------


@dataclass
class Targets:
    """What a benchmark must show; each is printed with what was found."""

    missed: int = 0

    def check(self, what: str, found: str, *, kept: bool) -> None:
        """Print one target and whether it was reached."""
        self.missed += not kept
        print(f"{'PASS' if kept else 'FAIL'}  {what}: {found}", flush=True)

    @property
    def exit_code(self) -> int:
        """0 when all were reached."""
        return 1 if self.missed else 0


# -- servers ----------------------------------------------------------------------------------------------------------


def cores() -> tuple[set[int], set[int]]:
    """A core for the server and one for the load worker; the same one where there is no other."""
    usable = sorted(os.sched_getaffinity(0))
    return {usable[0]}, {usable[-1]}


def free_port() -> int:
    """A port of 127.0.0.1 below the range of outgoing connections, on which nobody listens."""
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")


@dataclass(frozen=True)
class Nginx:
    """A running nginx; what it logged of its requests is there until the end."""

    url: str
    worker_pid: int
    log: Path

    def instants(self) -> list[float]:
        """Unix times at which requests were answered, of all whose log line is written (at the latest after 1 s)."""
        return [float(line) for line in self.log.read_text(encoding="ascii").split()]


@contextmanager
def nginx(on: set[int], *, logging: bool = False) -> Iterator[Nginx]:
    """An nginx with one worker on these cores, which answers everything with "ok"; `logging` costs it a little."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        sys.exit("nginx is not installed: apt-get install nginx-light")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="lch-nginx-") as folder:
        config = Path(folder, "nginx.conf")
        text = NGINX.format(
            folder=folder, port=port, log=f"{folder}/access.log instant buffer=64k flush=1s" if logging else "off"
        )
        config.write_text(text, encoding="utf-8")
        command = [program, "-c", str(config), "-p", folder, "-e", f"{folder}/error.log"]
        process = subprocess.Popen(command, start_new_session=True)
        os.sched_setaffinity(process.pid, on)
        try:
            wait_for(lambda: bool(psutil.Process(process.pid).children()) and _answers(port), 5)
            (worker,) = psutil.Process(process.pid).children()
            os.sched_setaffinity(worker.pid, on)
            yield Nginx(f"http://127.0.0.1:{port}", worker.pid, Path(folder, "access.log"))
        finally:
            process.terminate()
            process.wait()


@contextmanager
def stub(delay_ms: float, on: set[int] | None = None) -> Iterator[tuple[str, int]]:
    """URL and process id of a server that answers everything after `delay_ms`."""
    command = [sys.executable, "-m", "harness.drivers.stub", f"{delay_ms:g}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if on:
            os.sched_setaffinity(process.pid, on)
        yield f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid
        process.stdin.close()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def wait_for(done: Callable[[], bool], seconds: float) -> None:
    """Return when `done` comes true; give up after `seconds`."""
    until_s = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until_s:
            sys.exit(f"waited {seconds} s in vain")
        time.sleep(0.02)


def stopped(pid: int, seconds: float) -> float:
    """Stop a process for so long; returns for how long it really was, in seconds. It may be killed meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    began_s = time.monotonic()
    time.sleep(seconds)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    return time.monotonic() - began_s


# -- plans ------------------------------------------------------------------------------------------------------------


def phase(name: str, begin_s: float, end_s: float, *, ramp_s: float = 0.0, level: float = 1.0, **more: object) -> Phase:
    """A phase of a plan; `more` are fields of the model."""
    fields: dict[str, object] = {"judge": True, "thresholds": (), "timings": (), "settle_s": 0.0, "source": HERE}
    edges = {"begin_s": begin_s, "ramp_s": ramp_s, "start_s": begin_s + ramp_s, "end_s": end_s}
    return Phase(name=name, load_level=level, **(fields | edges | more))  # type: ignore[arg-type]


def plan_of(
    url: str,
    per_s: float,
    phases: Sequence[Phase],
    *,
    workers: int = 1,
    locustfile: Path = PROBER,
    slis: tuple[Sli, ...] = (),
) -> Plan:
    """A plan of these phases; 100 % is `per_s`."""
    load = Load(
        baseline_per_s=per_s,
        locustfile=str(locustfile),
        arrivals="uniform",
        seed=1,
        deadline_s=5.0,
        slow_s=1.0,
        workers=workers,
    )
    service = Service(
        name="server",
        title="a server on loopback",
        url=url,
        load=load,
        cluster=None,
        prometheus=None,
        slis=slis,
        sandbox=None,
        source=HERE,
    )
    return Plan(
        scenario="benchmark",
        title="benchmark",
        service=service,
        phases=tuple(phases),
        faults=(),
        end_s=phases[-1].end_s,
        time_scale=1.0,
        source=HERE,
    )


def threshold(sli: str, tier: object, rule: object) -> Threshold:
    """A threshold of a phase."""
    return Threshold(sli=sli, tier=tier, rule=rule, source=HERE)  # type: ignore[arg-type]


# -- playing ----------------------------------------------------------------------------------------------------------


@dataclass
class Played:
    """What the driver reported of one play."""

    events: list[tuple[float, Body]] = field(default_factory=list)  # seconds since run start
    frames: list[LoadFrame] = field(default_factory=list)
    health: list[WorkerHealth] = field(default_factory=list)

    def totals(self, first_s: int = 0, end_s: int = 1 << 40) -> Counter[str]:
        """The counts of the seconds in [first_s, end_s)."""
        found: Counter[str] = Counter()
        for frame in self.frames:
            if first_s <= frame.second < end_s:
                found.update({name: getattr(frame, name) for name in COUNTS})
        return found

    def by_second(self) -> dict[int, Counter[str]]:
        """Second -> counts, in order."""
        seconds = sorted({frame.second for frame in self.frames})
        return {second: self.totals(second, second + 1) for second in seconds}

    def lag(self) -> Histogram:
        """Start lags of all arrivals."""
        return Histogram.merged(frame.lag for frame in self.frames)

    def response(self) -> Histogram:
        """Response times of all ok arrivals."""
        return Histogram.merged(frame.response for frame in self.frames)

    def cpu_s(self, first_s: int, end_s: int) -> float:
        """CPU seconds that the workers used in [first_s, end_s)."""
        return sum(one.cpu_ratio for one in self.health if first_s <= one.second < end_s)


Midway = Callable[[LoadDriver, int], None]  # told the driver and nanoseconds since run start, 20 times a second


def play(plan: Plan, *, on: set[int] | None = None, midway: Midway | None = None) -> Played:
    """Play a plan's load with its workers on these cores; a line of it goes wrong, and the process ends."""
    clock, played, ended = MonotonicClock(), Played(), False
    with tempfile.TemporaryDirectory(prefix="lch-benchmark-") as folder:
        driver = LocustDriver(plan, log_dir=Path(folder))
        try:
            driver.prepare()
            for pid in driver.worker_pids if on else ():
                os.sched_setaffinity(pid, on or ())
            t0_ns = clock.mono_ns() + S // 2
            driver.start(t0_ns)
            asked = False
            while not ended:
                clock.wait(clock.mono_ns() + S // 20, driver.fds())
                now_ns = clock.mono_ns() - t0_ns
                if midway:
                    midway(driver, now_ns)
                if now_ns >= plan.end_s * S and not asked:
                    asked = True
                    driver.stop()
                if now_ns > (plan.end_s + 20) * S:
                    sys.exit("the load did not stop")
                ended = _taken(driver, played, t0_ns)
        finally:
            driver.close()
    return played


def _taken(driver: LoadDriver, played: Played, t0_ns: int) -> bool:
    """Take what the driver has; whether it has stopped."""
    events = [((stamped.mono_ns - t0_ns) / S, stamped.body) for stamped in driver.poll()]
    batch = driver.take()
    played.events += events
    played.frames += batch.frames
    played.health += batch.health
    for _, body in events:
        if isinstance(body, LoadFailed):
            told = "".join(f"\n      {at_s:.3f} s: {one}" for at_s, one in played.events)
            sys.exit(f"the load failed: {body.detail}{told}")
    return any(isinstance(body, LoadStopped) for _, body in events)


def conducted(plan: Plan, results: Path, act: Callable[[LocustDriver], None], at_s: float) -> Run:
    """The recorded run of a whole plan, in which `act` happens at `at_s`, on a thread of its own."""
    record = Record.create(results, plan, given={}, environment={})
    driver = LocustDriver(plan, log_dir=record.directory / "logs")
    drivers = Drivers(load=driver, faults=None, metrics=None, cluster=None)
    acts: list[threading.Thread] = []

    def watch(progress: Progress) -> None:
        if progress.t_s >= at_s and not acts:
            acts.append(threading.Thread(target=act, args=(driver,)))
            acts[0].start()

    try:
        with Signals() as signals:
            cues = compile_plan(plan)
            conduct(plan, cues, drivers, MonotonicClock(), record, signals=signals, watch=watch)
        for thread in acts:
            thread.join()
    finally:
        drivers.close()
        record.close()
    return read(record.directory)


def ms(histogram: Histogram, q: float) -> float:
    """A quantile's bucket's upper edge, milliseconds."""
    return histogram.quantile(q)[1] / 1000
