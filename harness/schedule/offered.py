"""The offered load for a person: what 100 % is, how arrivals are made, the generator's limits, and every second."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise

from harness.plan.model import Load, Plan, Stream
from harness.plan.replay import Recording
from harness.schedule.arrivals import SECOND_NS
from harness.schedule.load import arrivals_before, arrivals_of, knots_of, latency_limits_us, stream_names
from harness.units import show

COUNTED_MAX = 5_000_000
"""More Poisson arrivals than this are not drawn to be counted; their seconds show the expected number."""


def summary(plan: Plan) -> str:
    """A line for each thing that holds of the whole run's load."""
    load = plan.service.load
    rows = [("100%", _baseline(load)), *(("stream", _stream(stream)) for stream in load.streams)]
    rows += [
        ("arrivals", f"{load.arrivals}, timed out after {show(load.deadline_s, 's')}"),
        ("counted at", ", ".join(show(limit / 1e6, "s") for limit in latency_limits_us(plan))),
        ("workers", _workers(load)),
        ("limits", ", ".join(_limits(load))),
    ]
    if load.metrics:
        rows.append(("metrics", load.metrics))
    return "\n".join(f"{name:<10}  {text}" for name, text in rows)


def per_second(plan: Plan, recordings: Mapping[str, Recording] | None = None) -> dict[str, tuple[int, ...]]:
    """
    How many arrivals of each stream are intended in each second of the run, from 0.

    `recordings` are the replay files' contents by path; without them a replayed phase that does not begin on a whole
    second is only nearly right.
    """
    seconds = math.ceil(plan.end_s)
    counted: dict[str, tuple[int, ...]] = {}
    for name in stream_names(plan):
        knots = knots_of(plan, name)
        if plan.service.load.arrivals == "poisson" and arrivals_before(knots, plan.end_s) > COUNTED_MAX:
            edges = [round(arrivals_before(knots, second)) for second in range(seconds + 1)]
        else:
            arrivals = arrivals_of(plan, name, recordings)
            edges = [arrivals.before(second * SECOND_NS) for second in range(seconds + 1)]
        counted[name] = tuple(right - left for left, right in pairwise(edges))
    return counted


def table(plan: Plan, recordings: Mapping[str, Recording] | None = None) -> str:
    """`per_second` as text: a row per second, a column per stream, and all together where there are several."""
    counted = per_second(plan, recordings)
    columns = {"arrivals" if name == "" else name: counts for name, counts in counted.items()}
    if len(columns) > 1:
        columns["all"] = tuple(map(sum, zip(*counted.values(), strict=True)))
    widths = {name: max(len(name), *(len(str(count)) for count in counts)) for name, counts in columns.items()}
    header = "  ".join(["second", *(name.rjust(width) for name, width in widths.items())])
    rows = (
        "  ".join([f"{second:>6}", *(str(counts[second]).rjust(widths[name]) for name, counts in columns.items())])
        for second in range(math.ceil(plan.end_s))
    )
    return "\n".join([header, *rows])


def _baseline(load: Load) -> str:
    measured = f", measured by {load.baseline_from}" if load.baseline_from else ""
    return show(load.baseline_per_s, "/s") + measured


def _stream(stream: Stream) -> str:
    users = f", users {' '.join(stream.users)}" if stream.users else ""
    tags = f", tags {' '.join(stream.tags)}" if stream.tags else ""
    return f"{stream.name}: {show(stream.baseline_per_s, '/s')}{users}{tags}"


def _workers(load: Load) -> str:
    local = "one per core" if load.workers is None else str(load.workers)
    remote = f", and {load.remote.workers} that join at {load.remote.listen}" if load.remote else ""
    return local + remote


def _limits(load: Load) -> Iterator[str]:
    """What the generator must keep, or its findings are inconclusive."""
    limits = load.limits
    usual = "5ms or 5% of the tightest latency limit"
    yield f"start lag {usual if limits.start_lag_s is None else show(limits.start_lag_s, 's')}"
    yield f"stall {show(limits.stall_s, 's')}"
    yield f"cpu {show(limits.cpu_ratio, 'ratio')}"
    yield f"rate error {show(limits.rate_error, 'ratio')}"
    yield f"lost {show(limits.lost_ratio, 'ratio')}"
    yield f"dropped {show(limits.dropped_ratio, 'ratio')}"
    yield f"clock {show(limits.clock_s, 's')}"
