"""
`harness doctor`: whether a scenario's faults may be played (cli.preflight), and whether this machine can drive a load.

For the load it plays the rate for some seconds against a stub that answers after a fixed time, through the same engine,
conductor and validity checks as a run: whatever the checks find, and every deviation from the stub's time, is this
machine's doing.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from harness import record as records
from harness.cli.preflight import Examined, examine
from harness.conductor.loop import conduct
from harness.drivers.base import Drivers
from harness.drivers.clock import MonotonicClock
from harness.drivers.locust.driver import LocustDriver
from harness.drivers.signals import Signals
from harness.errors import CannotRunError, ExitCode, StoppedError
from harness.history.events import RunEnded, Status
from harness.history.histogram import Histogram
from harness.history.run import Run
from harness.plan.model import Limits, Load, Phase, Plan, Service, Source
from harness.record import Record
from harness.schedule.compile import compile_plan
from harness.units import show
from harness.verdict.judge import judge
from harness.verdict.model import Check, Outcome

WARM_UP_S = 2.0
STEADY_S = 10.0  # as long as CPU is averaged over
DELAY_S = 0.010  # of the stub's answers
BIAS_S = 0.002  # how far the p95 response time may be from the stub's
DEADLINE_S = 5.0  # what services have when they say nothing
LAG_S = 0.005
BUSY = 0.9  # share of a core beyond which a process is taken to be the bottleneck
SPARE_FILES = 100  # what a worker has open beside its connections
PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
PROBER = Path(__file__).parents[1] / "drivers/locust/prober.py"
_SOURCE = Source(path="harness doctor", line=1)
_US = 1e6
_MARKS = {Outcome.PASS: "ok", Outcome.WARN: "warn", Outcome.INCONCLUSIVE: "NO", Outcome.FAIL: "NO"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured in the steady seconds. Times in seconds; CPU as shares of one core, by process."""

    planned: int
    sent: int
    ok: int
    lag_s_p50: float
    lag_s_p99: float
    lag_s_max: float
    response_s_p95: float
    stall_s_max: float
    cpu: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Whether the machine can drive the rate, and what speaks for and against it."""

    per_s: float
    workers: int
    figures: Figures
    checks: tuple[Check, ...]
    advice: str

    @property
    def able(self) -> bool:
        """Whether no check says no."""
        return all(check.outcome in (Outcome.PASS, Outcome.WARN) for check in self.checks)

    @property
    def exit_code(self) -> ExitCode:
        """0 for yes, 3 for no."""
        return ExitCode.PASS if self.able else ExitCode.INCONCLUSIVE

    @property
    def document(self) -> dict[str, object]:
        """The diagnosis for programs."""
        checks = [{"check": one.check, "outcome": one.outcome, "detail": one.detail} for one in self.checks]
        head = {"able": self.able, "load_per_s": self.per_s, "workers": self.workers}
        return {**head, **asdict(self.figures), "checks": checks, "advice": self.advice}

    @property
    def text(self) -> str:
        """The diagnosis as a short table."""
        figures = self.figures
        lags = (figures.lag_s_p50, figures.lag_s_p99, figures.lag_s_max)
        rows = (
            ("arrivals", f"{figures.planned} planned, {figures.sent} sent, {figures.ok} ok in {STEADY_S:g} s"),
            ("start lag", "p50 {}, p99 {}, max {}".format(*(show(lag, "s") for lag in lags))),
            ("response", f"p95 {show(figures.response_s_p95, 's')}; the stub takes {show(DELAY_S, 's')}"),
            ("loop stall", f"longest {show(figures.stall_s_max, 's')}"),
            ("CPU", ", ".join(f"{name} {share:.0%}" for name, share in figures.cpu.items())),
        )
        lines = [f"{self.per_s:g}/s from {_workers(self.workers)} on this machine:"]
        lines += [f"  {name:<14}  {value}" for name, value in rows]
        lines += [f"  {one.check:<14}  {_MARKS[one.outcome]:<4}  {one.detail}" for one in self.checks]
        lines.append(f"{'yes' if self.able else 'no'}: {self.advice}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What the doctor says: of a scenario, of a load, or of both."""

    examined: Examined | None
    diagnosis: Diagnosis | None

    @property
    def exit_code(self) -> ExitCode:
        """Of the two the one of higher concern: a refusal, then an inability."""
        codes = [found.exit_code for found in (self.examined, self.diagnosis) if found]
        return next((code for code in codes if code is not ExitCode.PASS), ExitCode.PASS)

    @property
    def json(self) -> str:
        """As one JSON document: the load's, or with a scenario `preflight` and `load`, which is null if not asked."""
        load = self.diagnosis.document if self.diagnosis else None
        whole = {"preflight": self.examined.document, "load": load} if self.examined else load
        return json.dumps(whole, indent=1, ensure_ascii=False)

    @property
    def text(self) -> str:
        """As short tables."""
        return "\n\n".join(found.text for found in (self.examined, self.diagnosis) if found)


def consult(scenario: str | None, *, results: Path, per_s: float | None, workers: int | None) -> Advice:
    """Examine the scenario and try the load, where they are given; raises HarnessError when one cannot be tried."""
    examined = examine(scenario, results=results) if scenario is not None else None
    diagnosis = diagnose(per_s, workers) if per_s is not None else None
    return Advice(examined=examined, diagnosis=diagnosis)


def diagnose(per_s: float, workers: int | None) -> Diagnosis:
    """
    Drive `per_s` arrivals a second from this machine for some ten seconds; `workers` as in a service file.

    Raises CannotRunError when it cannot be tried, StoppedError on Ctrl-C.
    """
    with tempfile.TemporaryDirectory(prefix="lch-doctor-") as results, _stub() as (url, stub):
        plan = _plan(url, per_s, workers)
        before_s = _cpu_s(stub)
        run = _played(plan, Path(results))
        stub_cpu = (_cpu_s(stub) - before_s) / (WARM_UP_S / 2 + 0.5 + STEADY_S)  # the ramp costs half
    figures = _figures(run, stub_cpu)
    steady = [check for check in judge(run).validity if check.phase == "steady"]
    checks = (*steady, _bias(figures), _files(per_s), _ports(per_s))
    count = workers or os.cpu_count() or 1
    able = all(check.outcome in (Outcome.PASS, Outcome.WARN) for check in checks)
    return Diagnosis(
        per_s=per_s, workers=count, figures=figures, checks=checks, advice=advice(per_s, count, figures, able=able)
    )


def advice(per_s: float, workers: int, figures: Figures, *, able: bool) -> str:
    """What to do, from the CPU that an arrival costs and the cores there are."""
    cores = os.cpu_count() or 1
    used = sum(share for name, share in figures.cpu.items() if name != "stub")
    carried = min(workers, cores) * BUSY * figures.sent / STEADY_S / used if used else math.inf
    if able:
        return f"{_workers(workers)} can; by their CPU up to about {carried:,.0f}/s of so short a task"
    if figures.cpu["stub"] > BUSY:
        return "the stub itself was too busy: two machines are needed to tell"
    if workers < cores:
        wanted = math.ceil(per_s * used / max(figures.sent / STEADY_S, 1) / BUSY)
        return f"try --workers {min(max(wanted, workers + 1), cores)} (load.workers in the service file)"
    if workers > cores:
        return f"try --workers {cores}: more workers than cores take turns, and arrivals wait for theirs"
    return f"{cores} cores are not enough, or busy with something else: lower the rate, or add machines (load.remote)"


def _workers(count: int) -> str:
    return f"{count} worker" + ("s" if count > 1 else "")


def _played(plan: Plan, results: Path) -> Run:
    record = Record.create(results, plan, given={}, environment={})
    driver = LocustDriver(plan, log_dir=record.directory / "logs")
    drivers = Drivers(load=driver, faults=None, metrics=None, cluster=None)
    try:
        with Signals() as signals:
            cues = compile_plan(plan)
            status = conduct(
                plan, cues, drivers, MonotonicClock(), record, signals=signals, watch=lambda _progress: None
            )
    finally:
        drivers.close()
        record.close()
    if status is Status.INTERRUPTED:
        raise StoppedError("stopped")
    run = records.read(record.directory)
    if status is not Status.COMPLETED:
        detail = next((event.body.detail for event in run.events if isinstance(event.body, RunEnded)), "")
        raise CannotRunError(f"doctor: {detail}")
    return run


@contextmanager
def _stub() -> Iterator[tuple[str, psutil.Process]]:
    """The stub's URL and process."""
    command = [sys.executable, "-m", "harness.drivers.stub", f"{DELAY_S * 1000:g}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = process.stdout.readline().strip().decode()
        if not port:
            raise CannotRunError(f"doctor: the stub ended with {process.wait()}")
        try:
            yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
        finally:
            process.stdin.close()


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _figures(run: Run, stub_cpu: float) -> Figures:
    steady = [frame for frame in run.frames if WARM_UP_S <= frame.second < WARM_UP_S + STEADY_S]
    health = [one for one in run.health if WARM_UP_S <= one.second < WARM_UP_S + STEADY_S]
    lag = Histogram.merged(frame.lag for frame in steady)
    response = Histogram.merged(frame.response for frame in steady)
    if not lag.total or not response.total:
        raise CannotRunError("doctor: not one arrival was answered by the stub")
    cpu = {name: [one.cpu_ratio for one in health if one.worker == name] for name in sorted({h.worker for h in health})}
    return Figures(
        planned=sum(frame.planned for frame in steady),
        sent=sum(frame.sent for frame in steady),
        ok=sum(frame.ok for frame in steady),
        lag_s_p50=_quantile(lag, 0.5),
        lag_s_p99=_quantile(lag, 0.99),
        lag_s_max=(lag.max or 0) / _US,
        response_s_p95=_quantile(response, 0.95),
        stall_s_max=max((one.stall_s_max for one in health), default=0.0),
        cpu={**{name: sum(shares) / len(shares) for name, shares in cpu.items()}, "stub": stub_cpu},
    )


def _quantile(histogram: Histogram, q: float) -> float:
    return sum(histogram.quantile(q)) / 2 / _US


def _bias(figures: Figures) -> Check:
    bias_s = figures.response_s_p95 - DELAY_S
    kept = abs(bias_s) <= BIAS_S
    detail = (
        f"p95 is {show(abs(bias_s), 's')} {'above' if bias_s >= 0 else 'below'} the stub's, {show(BIAS_S, 's')} allowed"
    )
    return _check("bias", detail, Outcome.PASS if kept else Outcome.INCONCLUSIVE)


def _files(per_s: float) -> Check:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = hard if hard != resource.RLIM_INFINITY else 1 << 20
    return _headroom("files", "open files per process", files - SPARE_FILES, per_s, "raise ulimit -Hn")


def _ports(per_s: float) -> Check:
    if not PORTS.exists():
        return _check("ports", "this system does not say how many local ports it has", Outcome.WARN)
    first, last = (int(word) for word in PORTS.read_text(encoding="ascii").split())
    remedy = "widen net.ipv4.ip_local_port_range"
    return _headroom("ports", "local ports to one address", last - first + 1, per_s, remedy)


def _headroom(name: str, what: str, available: int, per_s: float, remedy: str) -> Check:
    """Every arrival that hangs holds one, until its deadline."""
    lasts_s = available / per_s
    text = f"{available} {what}: enough for a service that hangs for {show(lasts_s, 's')}"
    if lasts_s >= DEADLINE_S:
        return _check(name, text, Outcome.PASS)
    return _check(name, f"{text}, the deadline is {show(DEADLINE_S, 's')}; {remedy}", Outcome.WARN)


def _check(name: str, detail: str, outcome: Outcome) -> Check:
    return Check(check=name, phase="steady", outcome=outcome, detail=detail)


def _plan(url: str, per_s: float, workers: int | None) -> Plan:
    """A ramp that nobody judges, then the steady seconds."""
    load = Load(
        baseline_per_s=per_s,
        locustfile=str(PROBER),
        arrivals="uniform",
        seed=1,
        deadline_s=DEADLINE_S,
        slow_s=1.0,
        workers=workers,
        limits=Limits(start_lag_s=LAG_S, cpu_ratio=BUSY),
    )
    service = Service(
        name="stub",
        title="a stub on loopback",
        url=url,
        load=load,
        cluster=None,
        prometheus=None,
        slis=(),
        sandbox=None,
        source=_SOURCE,
    )
    end_s = WARM_UP_S + STEADY_S
    phases = (
        _phase("warm-up", begin_s=0.0, ramp_s=WARM_UP_S - 1, end_s=WARM_UP_S, judged=False),
        _phase("steady", begin_s=WARM_UP_S, ramp_s=0.0, end_s=end_s, judged=True),
    )
    return Plan(
        scenario="doctor",
        title="can this machine drive this?",
        service=service,
        phases=phases,
        faults=(),
        end_s=end_s,
        time_scale=1.0,
        source=_SOURCE,
    )


def _phase(name: str, *, begin_s: float, ramp_s: float, end_s: float, judged: bool) -> Phase:
    return Phase(
        name=name,
        load_level=1.0,
        begin_s=begin_s,
        ramp_s=ramp_s,
        settle_s=0.0,
        start_s=begin_s + ramp_s,
        end_s=end_s,
        judge=judged,
        thresholds=(),
        timings=(),
        source=_SOURCE,
    )
