"""
Judging an hour: 20,000 arrivals a second, and 50 SLIs of 20 series scraped once a second (3.6 million samples).

Writes such a run as a record into a temporary directory (seeded; healthy but for a burst of errors), then reads and
judges it in a process of its own, as `harness judge` does. Requires 2 s and 300 MB of peak memory, from the start of
reading to the verdict's last byte; exit code 1 otherwise. It is one thread, so its CPU time is what counts: that is the
time it takes where nothing else runs.

    python benchmarks/verdict/judge_hour.py [--profile]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

from calibration_traffic import ERRORS, LATENCY, PLAIN, SERVERS, SLOW, Traffic, plan_of

from harness.history.events import LoadStopped, PhaseEnded, PhaseStarted, RunEnded, RunStarted, Status
from harness.history.histogram import Histogram
from harness.history.load import BINS_PER_SECOND, LoadFrame, WorkerHealth
from harness.history.series import EVERY_SLI, Role, Samples, Series
from harness.plan.model import Plan, PrometheusSli, Sli, Unit
from harness.record import Record

SECONDS_MAX, MEGABYTES_MAX = 2.0, 300.0

HOUR_S = 3600
RATE = 20_000
RATIOS, HISTOGRAMS, SERIES = 45, 5, 20  # SLIs of each kind, and the series of each
TARGETS = 10
EDGES = ("0.1", "0.5", "1", "+Inf")
NAMES = ("GET /items",)  # one kind of request; each more costs as much again for its histograms
S = 1_000_000_000

JUDGE = """
import json, resource, sys, time
from pathlib import Path
from harness import record
from harness.verdict.document import text
from harness.verdict.judge import judge
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began_s, began_cpu_s = time.perf_counter(), time.process_time()
run = record.read(Path(sys.argv[1]))
read_s = time.perf_counter()
verdict = judge(run)
written = text(verdict)
judged_s, judged_cpu_s = time.perf_counter(), time.process_time()
print(json.dumps({
    "cpu_s": judged_cpu_s - began_cpu_s, "read_s": read_s - began_s, "judge_s": judged_s - read_s,
    "verdict": verdict.verdict, "headline": verdict.headline,
    "findings": len(verdict.findings), "samples": sum(len(one.samples) for one in run.series),
    "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "base_mb": base / 1024,
}))
"""


def _slis() -> tuple[Sli, ...]:
    slow = replace(SERVERS, bad=None, total=None, histogram="request_seconds", quantile=0.95, unit=Unit.SECONDS)
    return (
        ERRORS,
        LATENCY,
        *(replace(SERVERS, name=f"errors_{n}") for n in range(RATIOS)),
        *(replace(slow, name=f"p95_{n}") for n in range(HISTOGRAMS)),
    )


def _plan() -> Plan:
    """One judged phase with a rule on each SLI."""
    made = plan_of(ERRORS.name, Traffic(law="independent", share=0.001, effect=1.0, rate=RATE, length_s=HOUR_S))
    (like,) = made.phases[0].thresholds
    rules = (replace(like, sli=sli.name, rule=SLOW if sli.unit is Unit.SECONDS else PLAIN) for sli in _slis())
    phase = replace(made.phases[0], name="soak", thresholds=tuple(rules))
    return replace(made, phases=(phase,), service=replace(made.service, slis=_slis()))


def _frames(random: Random) -> Iterator[LoadFrame]:
    each = RATE // len(NAMES)
    for second in range(HOUR_S):
        yield LoadFrame(second=second, series="", planned=RATE)
        for name in NAMES:
            failed = 200 if 1800 <= second < 1805 else sum(random.random() < 0.001 for _ in range(100))
            ok = each - failed
            response, lag = Histogram(), Histogram()
            left = ok
            while left:  # about 400 buckets of a log-normal body
                n = min(left, 25)
                response.record(round(random.lognormvariate(9.9, 0.5)), n)
                left -= n
            for _ in range(each // 100):
                lag.record(round(random.expovariate(1 / 300)) + 1, 100)
            bad = [0] * BINS_PER_SECOND
            for n in range(failed):
                bad[n % BINS_PER_SECOND] += 1
            good = tuple(each // BINS_PER_SECOND - one for one in bad)
            yield LoadFrame(
                second=second,
                series=name,
                sent=each,
                ok=ok,
                failed=failed,
                response=response,
                service=response,
                lag=lag,
                slower=((500_000, response.count_above(500_000)[0]), (1_000_000, response.count_above(1_000_000)[0])),
                good_bins=good,
                bad_bins=tuple(bad),
                errors=(("http_503", failed),) if failed else (),
            )


def _scraped(random: Random) -> Iterator[Series]:
    times = {n: [round(n / 17 + second - 1, 3) for second in range(HOUR_S + 1)] for n in range(TARGETS)}
    for target, own in times.items():
        yield _series(EVERY_SLI, "up", ((t_s, 1.0) for t_s in own[1:]), {"instance": f"10.0.0.{target}:80"})
    for sli in _slis():
        if isinstance(sli, PrometheusSli):
            for n in range(SERIES):
                yield _one_series(sli, n, times, random)


def _one_series(sli: PrometheusSli, n: int, times: dict[int, list[float]], random: Random) -> Series:
    """Ratios: ten targets' bad and total; histograms: five targets' four buckets."""
    if sli.histogram is None:
        target, bad = n % TARGETS, n < SERIES // 2
        labels = {"instance": f"10.0.0.{target}:80", "route": sli.name}
        role: Role = "bad" if bad else "total"
        return _series(sli.name, role, _counted(times[target], 2 if bad else 2000, random), labels)
    target, edge = n % (SERIES // len(EDGES)), EDGES[n // (SERIES // len(EDGES))]
    labels = {"instance": f"10.0.0.{target}:80", "le": edge, "__name__": "request_seconds_bucket"}
    return _series(
        sli.name, "bucket", _counted(times[target], {"0.1": 1600, "0.5": 1990}.get(edge, 2000), random), labels
    )


def _counted(times: list[float], per_s: int, random: Random) -> Iterator[tuple[float, float]]:
    value = float(random.randrange(1_000_000))
    for t_s in times:
        yield t_s, value
        value += per_s if per_s >= 100 else random.randrange(per_s + 1)


def _series(sli: str, role: Role, pairs: Iterator[tuple[float, float]], labels: dict[str, str]) -> Series:
    return Series(
        sli=sli,
        phase="soak",
        role=role,
        query=f"{role}[3601500ms]",
        labels=tuple(sorted(labels.items())),
        samples=Samples.of(pairs),
    )


def _write(results: Path) -> Path:
    random = Random(1)
    made = Record.create(results, _plan(), given={}, environment={})
    made.event(0, RunStarted(run=made.name, wall_ns=1_800_000_000 * S))
    made.event(0, PhaseStarted(phase="soak"))
    made.event(HOUR_S * S, PhaseEnded(phase="soak"))
    made.event((HOUR_S + 5) * S, LoadStopped(scheduled_until_ns=HOUR_S * S))
    made.event((HOUR_S + 5) * S, RunEnded(status=Status.COMPLETED, detail="all cues played"))
    health = [WorkerHealth(second=n, worker="w0", cpu_ratio=0.5, stall_s_max=0.002) for n in range(HOUR_S)]
    made.load(_frames(random), health)
    made.series(_scraped(random))
    made.close()
    return made.directory


def _main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        began_s = time.monotonic()
        directory = _write(Path(folder))
        sizes = {path.name: path.stat().st_size / 1e6 for path in sorted(directory.rglob("*")) if path.is_file()}
        large = ", ".join(f"{name} {size:.0f} MB" for name, size in sizes.items() if size >= 1)
        print(f"record written in {time.monotonic() - began_s:.1f} s: {large}")
        profile = ["-m", "cProfile", "-s", "tottime"] if "--profile" in sys.argv else []
        script = Path(folder) / "judge.py"
        script.write_text(JUDGE)
        out = subprocess.run([sys.executable, *profile, script, directory], check=True, capture_output=True, text=True)
    if profile:
        print(out.stdout[:6000])
        return 0
    found = json.loads(out.stdout)
    print(f"verdict: {found['verdict']}, {found['findings']} findings: {found['headline']}")
    print(f"{found['samples']:,} samples, {HOUR_S * RATE:,} arrivals")
    wall = f"read {found['read_s']:.2f} s, judge {found['judge_s']:.2f} s on the clock"
    print(f"{found['cpu_s']:.2f} s of CPU (limit {SECONDS_MAX:g} s); {wall}")
    print(
        f"peak memory {found['mb']:.0f} MB, {found['base_mb']:.0f} MB of it before reading (limit {MEGABYTES_MAX:g} MB)"
    )
    passed = found["cpu_s"] <= SECONDS_MAX and found["mb"] <= MEGABYTES_MAX
    print("PASS" if passed else "FAIL")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(_main())
