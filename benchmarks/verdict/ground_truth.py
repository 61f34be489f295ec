"""
Whether impacts are found where they were: outages of known length through the real load engine, and quiet minutes.

    .venv/bin/python benchmarks/verdict/ground_truth.py [N] [--seed S] [--keep FILE]

A server of ours on loopback is away N times in each of five ways (see dying_server.py), under 200 Poisson arrivals a
second from the real load engine; all five at once, about 4 s for each outage and 15 s besides. Impacts are then
read from the load record, and held against the server's own stamps on the same clock. Then ten quiet minutes for each
outage asked for are made up, of independent failures and of failures in bunches, in which nothing must be found.

`--keep` adds the outages to a file, and counts all that are in it: so a long proof can be made in short pieces.
Exits with 1 when a target is not met. 2 s is the hold here, so that outages can follow each other quickly.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dying_server import LEAD_S, MODES, OUTAGE_S, QUIET_S, SHARES

from harness.drivers.locust.driver import LocustDriver
from harness.history.events import LoadStopped
from harness.history.load import LoadFrame
from harness.plan.model import Load, Phase, Plan, Service, Source
from harness.verdict.impact import Surroundings, impacts_of
from harness.verdict.model import Impact
from harness.verdict.outcomes import outcomes_of

RATE = 200.0
DEADLINE_S = 1.0
SLOW_S = 0.5
HOLD_S = 2.0
CALM = frozenset(range(2, int(LEAD_S)))
COVERED_MIN = 0.93
QUIET_MINUTES = 10  # for each outage asked for
QUIET_RUN_S = 300

HERE = Path(__file__).parent
SOURCE = Source(path=__file__, line=1)


@dataclass(frozen=True, slots=True)
class Held:
    """One outage held against what was found of it; error None: nothing was found."""

    mode: str
    error_s: float | None  # of the length
    start_covered: bool = False
    end_covered: bool = False
    length_covered: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """The outages of one mode, and how many impacts were found that were none of them."""

    held: list[Held]
    false: int


def plan(url: str, seconds: int, seed: int) -> Plan:
    """One phase at 200 arrivals a second."""
    load = Load(
        baseline_per_s=RATE,
        locustfile=str(HERE / "ground_truth_users.py"),
        arrivals="poisson",
        seed=seed,
        deadline_s=DEADLINE_S,
        slow_s=SLOW_S,
        workers=1,
    )
    phase = Phase(
        name="all",
        load_level=1.0,
        begin_s=0.0,
        ramp_s=0.0,
        settle_s=0.0,
        start_s=0.0,
        end_s=float(seconds),
        judge=True,
        thresholds=(),
        timings=(),
        source=SOURCE,
    )
    service = Service(
        name="server",
        title="server",
        url=url,
        load=load,
        cluster=None,
        prometheus=None,
        slis=(),
        sandbox=None,
        source=SOURCE,
    )
    return Plan(
        scenario="ground-truth",
        title="ground truth",
        service=service,
        phases=(phase,),
        faults=(),
        end_s=float(seconds),
        time_scale=1.0,
        source=SOURCE,
    )


@contextmanager
def server(mode: str, seed: str, number: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server's process and its URL."""
    argv = [sys.executable, str(HERE / "dying_server.py"), mode, seed, str(number)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        yield process, f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


def play(mode: str, seed: int, number: int) -> Piece:
    """Run one mode's outages and hold what is found against them."""
    seconds = math.ceil(LEAD_S + number * (OUTAGE_S[1] + QUIET_S[1]) + HOLD_S + 2)
    with server(mode, f"{mode} {seed}", number) as (process, url), tempfile.TemporaryDirectory() as logs:
        assert process.stdin is not None
        assert process.stdout is not None
        driver = LocustDriver(plan(url, seconds, seed), log_dir=Path(logs))
        try:
            driver.prepare()
            t0_ns = time.monotonic_ns() + 500_000_000
            driver.start(t0_ns)
            process.stdin.write(f"{t0_ns}\n")
            process.stdin.flush()
            truth = [tuple(int(word) / 1e9 for word in process.stdout.readline().split()) for _ in range(number)]
            time.sleep(HOLD_S + 1)
            frames = drained(driver)
        finally:
            driver.close()
    around = Surroundings(calm=CALM, limit_s=SLOW_S, hold_s=HOLD_S)
    return compared(mode, impacts_of(outcomes_of(frames)[0], around, ()), truth)


def drained(driver: LocustDriver) -> list[LoadFrame]:
    """Stop the load and return the whole record."""
    driver.stop()
    frames: list[LoadFrame] = []
    until_s = time.monotonic() + 30
    stopped = False
    while not stopped and time.monotonic() < until_s:
        stopped = any(isinstance(said.body, LoadStopped) for said in driver.poll())
        frames += driver.take().frames
        time.sleep(0.05)
    return frames + list(driver.take().frames)


def compared(mode: str, impacts: tuple[Impact, ...], truth: list[tuple[float, ...]]) -> Piece:
    """Each outage with the impact that overlaps it most; what overlaps none is false."""
    held = []
    used = set()
    for on_s, off_s in truth:
        overlap = [(min(one.end_s, off_s) - max(one.start_s, on_s), i) for i, one in enumerate(impacts)]
        most, i = max(overlap, default=(0.0, -1))
        if most <= 0:
            held.append(Held(mode, None))
            continue
        used.add(i)
        one, length_s = impacts[i], off_s - on_s
        held.append(
            Held(
                mode=mode,
                error_s=one.end_s - one.start_s - length_s,
                start_covered=one.start_lo_s <= on_s <= one.start_hi_s,
                end_covered=one.end_lo_s <= off_s <= one.end_hi_s,
                length_covered=one.end_lo_s - one.start_hi_s <= length_s <= one.end_hi_s - one.start_lo_s,
            )
        )
    return Piece(held, len(impacts) - len(used))


def quiet(rng: random.Random, share: float, effect: float, block_s: int) -> list[LoadFrame]:
    """Quiet seconds; with a design effect the share of bad arrivals is another in each block (beta-binomial)."""
    frames, now = [], share
    correlation = (effect - 1) / (RATE * block_s - 1)
    for second in range(QUIET_RUN_S):
        if effect > 1 and second % block_s == 0:
            spread = 1 / correlation - 1
            now = rng.betavariate(share * spread, (1 - share) * spread)
        bad = [0] * 100
        for position in skips(rng, int(RATE), now):
            bad[position * 100 // int(RATE)] += 1
        good = tuple(int(RATE) // 100 - n for n in bad)
        frames.append(LoadFrame(second=second, series="", failed=sum(bad), good_bins=good, bad_bins=tuple(bad)))
    return frames


def skips(rng: random.Random, number: int, share: float) -> Iterator[int]:
    """The positions of the bad ones among so many arrivals, each bad with this share."""
    position = -1
    while share > 0:
        position += 1 + int(math.log(1 - rng.random()) / math.log1p(-min(share, 1 - 1e-12)))
        if position >= number:
            return
        yield position


INDEPENDENT = [(share, 1.0, 1) for share in (0.0, 5e-4, 1e-3, 3e-3, 1e-2)]
BUNCHED = [(1e-3, 10.0, 15), (3e-3, 10.0, 15), (1e-2, 10.0, 15), (3e-3, 3.0, 1), (1e-2, 3.0, 1)]


def false_impacts(kinds: list[tuple[float, float, int]], minutes: int, seed: int) -> int:
    """How many impacts are found in so many quiet minutes, spread evenly over the kinds of noise."""
    around = Surroundings(calm=frozenset(range(QUIET_RUN_S)), limit_s=SLOW_S, hold_s=5.0)
    found = 0
    for share, effect, block_s in kinds:
        for run in range(math.ceil(minutes * 60 / QUIET_RUN_S / len(kinds))):
            frames = quiet(random.Random(f"{seed} {share} {effect} {block_s} {run}"), share, effect, block_s)
            found += len(impacts_of(outcomes_of(frames)[0], around, ()))
    return found


def limit_s(mode: str) -> float:
    """What the error of the length must not exceed at p95."""
    return 6 / (SHARES[mode] * RATE) + 0.025 if mode in SHARES else 0.050


def told(label: str, value: str, target: str, *, kept: bool) -> bool:
    """Print a row of the table; whether it was kept."""
    print(f"{label:<34} {value:>30}   {target:<22} {'PASS' if kept else 'FAIL'}", flush=True)
    return kept


def outage_rows(mode: str, held: list[Held]) -> list[bool]:
    """The rows of one mode."""
    errors = sorted(abs(one.error_s) for one in held if one.error_s is not None)
    missed = len(held) - len(errors)
    p95 = errors[math.ceil(0.95 * len(errors)) - 1] if errors else math.inf
    median = sorted(one.error_s for one in held if one.error_s is not None)[len(errors) // 2] if errors else math.inf
    rows = [
        told(f"{mode}: outages found", f"{len(errors)} of {len(held)}", "all", kept=not missed),
        told(
            f"{mode}: error of the length, p95",
            f"{1000 * p95:.0f} ms (median {1000 * median:+.0f} ms)",
            f"<= {1000 * limit_s(mode):.0f} ms",
            kept=p95 <= limit_s(mode),
        ),
    ]
    covers: list[tuple[str, Callable[[Held], bool]]] = [
        ("beginning", lambda one: one.start_covered),
        ("end", lambda one: one.end_covered),
        ("length", lambda one: one.length_covered),
    ]
    for what, is_covered in covers:
        share = sum(map(is_covered, held)) / len(held)
        label, target = f"{mode}: {what} within its bounds", f">= {COVERED_MIN:.0%}"
        rows.append(told(label, f"{share:.1%}", target, kept=share >= COVERED_MIN))
    return rows


def kept_in(path: Path | None, pieces: list[Piece]) -> list[Piece]:
    """The pieces, with all that were kept before; and keep them."""
    if path is None:
        return pieces
    with path.open("a", encoding="utf-8") as file:
        for piece in pieces:
            file.write(json.dumps(asdict(piece)) + "\n")
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Piece([Held(**one) for one in said["held"]], said["false"]) for said in map(json.loads, lines)]


def main() -> int:
    """Print the table; 1 when a target is not met."""
    parser = argparse.ArgumentParser()
    parser.add_argument("outages", type=int, nargs="?", default=100, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    if asked.outages:
        with ThreadPoolExecutor(len(MODES)) as pool:
            pieces = list(pool.map(lambda mode: play(mode, asked.seed, asked.outages), MODES))
    else:
        pieces = []
    pieces = kept_in(asked.keep, pieces)
    rows = []
    for mode in MODES:
        held = [one for piece in pieces for one in piece.held if one.mode == mode]
        rows += outage_rows(mode, held) if held else []
    false = sum(piece.false for piece in pieces)
    rows.append(told("impacts that were no outage", str(false), "0", kept=not false))
    most = max([asked.outages, *(len([one for p in pieces for one in p.held if one.mode == mode]) for mode in MODES)])
    for name, kinds in (("independent", INDEPENDENT), ("in bunches", BUNCHED)):
        minutes = QUIET_MINUTES * most
        found = false_impacts(kinds, minutes, asked.seed)
        rows.append(told(f"false impacts, failures {name}", f"{found} in {minutes} minutes", "0", kept=not found))
    return 0 if all(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
