"""
The offered load as a pure function of the plan: the rate at an instant, and the arrivals of each request stream.

A plan without streams has one, whose name is "". All streams share the plan's corners.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from harness.plan.model import ClientMeasure, ClientSli, Phase, Plan
from harness.plan.replay import Recording, played_ns
from harness.schedule.arrivals import SECOND_NS, Arrivals, Knot, Law, ReplayPiece

__all__ = [
    "BINS",
    "SECOND_NS",
    "Arrivals",
    "Knot",
    "Law",
    "ReplayPiece",
    "arrivals_before",
    "arrivals_of",
    "intended_counts",
    "intended_ns",
    "knots_of",
    "latency_limits_us",
    "rate_at",
    "replay_pieces",
    "seed_of",
    "stream_names",
]

BINS = 100  # of a second: 10 ms each


def stream_names(plan: Plan) -> tuple[str, ...]:
    """The plan's request streams, in order; ("",) when it has none of its own."""
    return tuple(stream.name for stream in plan.service.load.streams) or ("",)


def knots_of(plan: Plan, stream: str | None = None) -> tuple[Knot, ...]:
    """
    The offered rate, arrivals per second, as corners in time order; a step is two knots at one time.

    A phase ramps linearly from the previous phase's level (from 0 for the first), then holds its own level; a replayed
    phase has a step per second. `stream` is one of `stream_names`, None all together; ValueError when unknown.
    """
    number = None if stream is None else stream_names(plan).index(stream)
    knots = [Knot(0.0, 0.0)]
    for phase in plan.phases:
        knots.append(Knot(phase.begin_s, knots[-1].per_s))
        if phase.replay:
            knots += _steps(phase, _counts(phase, number))
        else:
            per_s = _per_s(plan, phase, number)
            knots += [Knot(phase.begin_s + phase.ramp_s, per_s), Knot(phase.end_s, per_s)]
    return tuple(knot for i, knot in enumerate(knots) if i == 0 or knot != knots[i - 1])


def rate_at(knots: Sequence[Knot], t_s: float) -> float:
    """Arrivals per second offered at `t_s`; at a step the later rate; 0 outside [first knot, last knot)."""
    i = bisect_right(knots, t_s, key=lambda knot: knot.t_s)
    if i == 0 or i == len(knots):
        return 0.0
    left, right = knots[i - 1], knots[i]
    return left.per_s + (right.per_s - left.per_s) * (t_s - left.t_s) / (right.t_s - left.t_s)


def arrivals_before(knots: Sequence[Knot], t_s: float) -> float:
    """The integral of the rate up to `t_s`: how many arrivals are offered before it, with a fraction."""
    area = 0.0
    for left, right in pairwise(knots):
        if t_s <= left.t_s:
            break
        until = min(t_s, right.t_s)
        if right.t_s > left.t_s:
            slope = (right.per_s - left.per_s) / (right.t_s - left.t_s)
            at_until = right.per_s if until == right.t_s else left.per_s + slope * (until - left.t_s)
            area += (left.per_s + at_until) / 2 * (until - left.t_s)
    return area


def seed_of(plan: Plan, stream: str = "") -> int:
    """The seed of a stream's Poisson arrivals: the plan's own for "", else one that its name makes of that."""
    seed = plan.service.load.seed
    if not stream:
        return seed
    return int.from_bytes(hashlib.sha256(b"%d %s" % (seed, stream.encode())).digest()[:8], "big")


def replay_pieces(plan: Plan, stream: str, recordings: Mapping[str, Recording]) -> tuple[ReplayPiece, ...]:
    """
    A stream's replayed arrivals, one piece per phase that replays.

    `recordings` are what the plan's replay files hold, by `Replay.path`; KeyError when one is missing.
    """
    pieces = []
    for phase in plan.phases:
        if phase.replay:
            start_ns, end_ns = round(phase.start_s * SECOND_NS), round(phase.end_s * SECOND_NS)
            recorded = recordings[phase.replay.path].times_ns[stream]
            times_ns = played_ns(recorded, speed=phase.replay.speed, start_ns=start_ns, end_ns=end_ns)
            pieces.append(ReplayPiece(start_ns, end_ns, times_ns))
    return tuple(pieces)


def arrivals_of(plan: Plan, stream: str | None = None, recordings: Mapping[str, Recording] | None = None) -> Arrivals:
    """
    All arrivals of one stream; without `stream`, of all of them as if they were one.

    Without `recordings` (see `replay_pieces`) a replayed second's arrivals are as the law spreads them over it.
    """
    load = plan.service.load
    knots, seed = knots_of(plan, stream), seed_of(plan, stream or "")
    if stream is None or not recordings:
        return _arrivals(knots, load.arrivals, seed)
    return Arrivals(knots, load.arrivals, seed, replay_pieces(plan, stream, recordings))


def intended_ns(knots: Sequence[Knot], k: int) -> int:
    """Nanoseconds since run start at which uniform arrival `k` (from 0) is intended; IndexError past the last."""
    return Arrivals(knots).at(k)


def intended_counts(plan: Plan, second: int) -> tuple[int, ...]:
    """How many arrivals are intended in each of the hundred bins of [second, second + 1)."""
    arrivals = arrivals_of(plan)
    width_ns = SECOND_NS // BINS
    edges = [arrivals.before(second * SECOND_NS + edge * width_ns) for edge in range(BINS + 1)]
    return tuple(right - left for left, right in pairwise(edges))


def latency_limits_us(plan: Plan) -> tuple[int, ...]:
    """
    The response times, in microseconds and ascending, at which the plan decides: the absolute limits of its client
    latency thresholds, and `slow`. Arrivals slower than each are counted exactly.
    """
    latencies = {
        sli.name for sli in plan.service.slis if isinstance(sli, ClientSli) and sli.measure is ClientMeasure.LATENCY
    }
    limits = {plan.service.load.slow_s} | {
        threshold.rule.quantity
        for phase in plan.phases
        for threshold in phase.thresholds
        if threshold.sli in latencies and threshold.rule.relative_to is None
    }
    return tuple(sorted({round(limit * 1e6) for limit in limits}))


def _per_s(plan: Plan, phase: Phase, number: int | None) -> float:
    """The rate that the phase holds: of stream `number`, or of all together."""
    load = plan.service.load
    if number is None:
        if not phase.levels:
            return load.baseline_per_s * phase.load_level
        return sum(_per_s(plan, phase, i) for i in range(len(load.streams)))
    if not load.streams:
        return load.baseline_per_s * phase.load_level
    return load.streams[number].baseline_per_s * (phase.levels[number] if phase.levels else phase.load_level)


def _counts(phase: Phase, number: int | None) -> tuple[int, ...]:
    assert phase.replay is not None
    by_stream = phase.replay.stream_counts
    return by_stream[number] if number is not None and by_stream else phase.replay.counts


def _steps(phase: Phase, counts: Sequence[int]) -> list[Knot]:
    """A step for each second of the phase; the last may be shorter."""
    knots = []
    for second, count in enumerate(counts):
        start_s, end_s = phase.start_s + second, min(phase.start_s + second + 1, phase.end_s)
        per_s = count / (end_s - start_s)
        knots += [Knot(start_s, per_s), Knot(end_s, per_s)]
    return knots


@lru_cache(maxsize=32)
def _arrivals(knots: tuple[Knot, ...], law: Law, seed: int) -> Arrivals:
    return Arrivals(knots, law, seed)
