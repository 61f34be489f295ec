"""
Runs whose load generator was at fault: nothing may be judged from them, whatever the service did.

Each kind spoils a healthy record by an amount drawn from just above its limit upwards; `control` spoils nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from calibration_traffic import (
    ERRORS,
    LIMITS,
    Traffic,
    frames_of,
    lag_histogram,
    plan_of,
    response_histogram,
    run_of,
    seconds_of,
)

from harness.history.load import LoadFrame, WorkerHealth
from harness.plan.model import Plan
from harness.verdict.judge import judge
from harness.verdict.model import Outcome

RATE, LENGTH_S = 200, 30
KEPT, BROKEN = 0.2, 3.0  # true share of bad arrivals over the limit: judged alone, clearly kept, clearly broken

Record = tuple[list[LoadFrame], list[WorkerHealth]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoiled:
    """One kind of generator fault, and how often it is drawn."""

    kind: str
    ratio: float
    runs: int

    @property
    def name(self) -> str:
        """For people, and for seeds."""
        return f"generator {self.kind} x{self.ratio:g}"


def spoiled(runs: int) -> list[Spoiled]:
    """All kinds, each with a service that keeps its limit and with one that does not."""
    return [Spoiled(kind=kind, ratio=ratio, runs=runs) for kind in KINDS for ratio in (KEPT, BROKEN)]


def outcomes(one: Spoiled, seed: int) -> dict[Outcome, int]:
    """How often each verdict came."""
    found = dict.fromkeys(Outcome, 0)
    traffic = Traffic(
        law="independent", share=one.ratio * LIMITS[ERRORS.name], effect=1.0, rate=RATE, length_s=LENGTH_S
    )
    plan = plan_of(ERRORS.name, traffic)
    for number in range(one.runs):
        random = Random(f"{seed} {one.name} {number}")
        frames = frames_of(ERRORS.name, seconds_of(traffic, random), RATE)
        health = [WorkerHealth(second=s, worker="w0", cpu_ratio=0.3, stall_s_max=0.002) for s in range(LENGTH_S)]
        frames, health = KINDS[one.kind](random, plan, (frames, health))
        found[judge(run_of(plan, frames, health=health)).verdict] += 1
    return found


def _control(_random: Random, _plan: Plan, record: Record) -> Record:
    return record


def _late(random: Random, plan: Plan, record: Record) -> Record:
    """More than a hundredth of the arrivals start too late: by twice the allowed lag or more."""
    late_us = round(random.uniform(2, 20) * 0.05 * plan.service.load.slow_s * 1e6)
    share = random.uniform(0.02, 1.0)

    def spoil(frame: LoadFrame) -> LoadFrame:
        n = round(frame.sent * share)
        return replace(frame, lag=lag_histogram(frame.sent - n) + lag_histogram(n, late_us)) if frame.sent else frame

    return [spoil(frame) for frame in record[0]], record[1]


def _taken_from_ok(into: str, low: float, high: float) -> Callable[[Random, Plan, Record], Record]:
    """So large a share of arrivals, lumped as a dead worker lumps them, is `into` instead of ok."""

    def spoil(random: Random, _plan: Plan, record: Record) -> Record:
        left = round(random.uniform(low, high) * RATE * LENGTH_S) + 1
        found = []
        for frame in record[0]:
            n = min(left, frame.ok)
            left -= n
            found.append(_less(frame, n, into) if n else frame)
        return found, record[1]

    return spoil


def _less(frame: LoadFrame, n: int, into: str) -> LoadFrame:
    fewer = replace(
        frame,
        sent=frame.sent - n,
        ok=frame.ok - n,
        response=response_histogram(frame.ok - n, 0),
        lag=lag_histogram(frame.sent - n),
    )
    return replace(fewer, **{into: n}) if into != "unsent" else fewer  # type: ignore[arg-type]


def _planned(low: float, high: float) -> Callable[[Random, Plan, Record], Record]:
    """The master hands out fewer (or more) arrivals than the plan asks for."""

    def spoil(random: Random, _plan: Plan, record: Record) -> Record:
        share = random.uniform(low, high)
        rate = round(RATE * share)
        return frames_of(ERRORS.name, [min(frame.failed, rate) for frame in record[0][1::2]], rate), record[1]

    return spoil


def _gap(random: Random, _plan: Plan, record: Record) -> Record:
    """The record of some seconds is missing."""
    first = random.randrange(LENGTH_S - 1)
    missing = range(first, min(first + random.randint(1, 20), LENGTH_S))
    return [frame for frame in record[0] if frame.second not in missing], record[1]


def _ill(**values: tuple[float, float]) -> Callable[[Random, Plan, Record], Record]:
    """A worker's own health is beyond a limit, for ten seconds or more."""

    def spoil(random: Random, _plan: Plan, record: Record) -> Record:
        first = random.randrange(LENGTH_S - 12)
        drawn = {name: random.uniform(low, high) for name, (low, high) in values.items()}
        ill = [
            replace(one, **drawn) if first <= one.second < first + 12 else one  # type: ignore[arg-type]
            for one in record[1]
        ]
        return record[0], ill

    return spoil


def _frozen(random: Random, _plan: Plan, record: Record) -> Record:
    """The event loop stands still once, for half a second or more."""
    second = random.randrange(LENGTH_S)
    stall_s = random.uniform(0.5, 3.0)
    return record[0], [replace(one, stall_s_max=stall_s) if one.second == second else one for one in record[1]]


KINDS: dict[str, Callable[[Random, Plan, Record], Record]] = {
    "control": _control,
    "late": _late,
    "dropped": _taken_from_ok("dropped", 0.0015, 0.05),
    "lost": _taken_from_ok("lost", 0.0015, 0.05),
    "unaccounted": _taken_from_ok("unsent", 0.0015, 0.05),
    "slack": _planned(0.5, 0.96),
    "excess": _planned(1.04, 1.5),
    "gap": _gap,
    "cpu": _ill(cpu_ratio=(0.93, 1.0)),
    "clock": _ill(clock_s=(0.012, 0.5)),
    "frozen": _frozen,
}
