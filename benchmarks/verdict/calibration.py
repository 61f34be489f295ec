"""
Calibration of the verdict: how often it is wrong about runs whose truth is known.

    python benchmarks/verdict/calibration.py [--quick] [--naive] [--cells] [--only client,baseline,servers,...]

Thousands of seeded synthetic runs go through the public `judge`, half hours and break-downs through the public
`tripped`. Printed are the confusion matrix and a table with every target; the exit code is 1 when one is missed by more
than two standard errors. `--naive` takes the design effect away, everywhere: the table must then go red.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

from calibration_cells import RATIOS, Cell, Counted, baseline_cells, client_cells, measure, server_cells
from calibration_edges import covered, few, few_outcomes, quantiles
from calibration_generator import KEPT, outcomes, spoiled
from calibration_guard import aborts, breaks, delays, median_delay, watches
from calibration_targets import (
    Line,
    all_of,
    at_most,
    beyond,
    confusion,
    grid_lines,
    none_of,
    seconds_at_most,
    table,
    within,
)

from harness.verdict import evidence, interval
from harness.verdict.model import Outcome

PARTS = ("client", "baseline", "servers", "edges", "generator", "guard")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many runs a cell gets, and which ratios of the grid are drawn."""

    client: int
    servers: int  # and of cells that compare with a baseline
    edges: int
    generator: int
    watched: int
    broken: int
    ratios: tuple[float, ...]
    thorough: bool  # every length, also those that cannot decide; else of each law the shortest that can


FULL = Size(client=120, servers=80, edges=200, generator=50, watched=60, broken=15, ratios=RATIOS, thorough=True)
QUICK = Size(client=40, servers=10, edges=20, generator=6, watched=3, broken=3, ratios=(0.8, 1.0, 1.5), thorough=False)


def make_naive() -> None:
    """Take the design effect away, for judge and guard: all arrivals count as independent."""
    taken = interval.design_effect
    for name, module in list(sys.modules.items()):
        if name.startswith("harness.verdict.") and getattr(module, "design_effect", None) is taken:
            module.design_effect = lambda *_args, **_kwargs: 1.0  # type: ignore[attr-defined]
    evidence.Spread.effect = lambda self: 1.0  # type: ignore[method-assign]  # noqa: ARG005


def grid(pool: Executor, size: Size, seed: int, parts: Sequence[str]) -> list[Counted]:
    """All cells of the parts, measured."""
    wanted = client_cells(size.client, size.ratios) if "client" in parts else []
    wanted += baseline_cells(size.servers) if "baseline" in parts else []
    wanted += server_cells(size.servers) if "servers" in parts else []
    wanted = wanted if size.thorough else shortest(wanted)
    return list(pool.map(partial(measure, seed=seed), wanted, chunksize=2))


def shortest(wanted: Sequence[Cell]) -> list[Cell]:
    """Of the cells that can decide, those of the fewest arrivals for their SLI and law."""
    deciding = [cell for cell in wanted if cell.decidable]
    least: dict[tuple[str, str, float], int] = {}
    for cell in deciding:
        key, arrivals = (cell.sli, cell.traffic.law, cell.traffic.effect), cell.traffic.arrivals
        least[key] = min(arrivals, least.get(key, arrivals))
    return [
        cell for cell in deciding if cell.traffic.arrivals == least[cell.sli, cell.traffic.law, cell.traffic.effect]
    ]


def edge_lines(pool: Executor, size: Size, seed: int) -> Iterator[Line]:
    """Too few arrivals, and intervals of a quantile."""
    cells = few(size.edges)
    found = list(pool.map(partial(few_outcomes, seed=seed), cells))
    both = list(zip(cells, found, strict=True))
    yield all_of(
        "fewer arrivals than could prove it: inconclusive",
        [(cell.name, said[Outcome.INCONCLUSIVE], cell.runs) for cell, said in both],
    )
    shown = quantiles(max(size.edges // 2, 20))
    hits = pool.map(partial(covered, seed=seed), shown)
    yield within(
        "intervals that hold the true p95",
        [(cell.name, hit, cell.runs) for cell, hit in zip(shown, hits, strict=True)],
        0.85,
        0.95,
    )


def generator_lines(pool: Executor, size: Size, seed: int) -> Iterator[Line]:
    """Generator faults, and that their absence is judged."""
    cells = spoiled(size.generator)
    both = list(zip(cells, pool.map(partial(outcomes, seed=seed), cells), strict=True))
    ill = [(cell, said) for cell, said in both if cell.kind != "control"]
    yield none_of("generator at fault: passed", [(cell.name, said[Outcome.PASS], cell.runs) for cell, said in ill])
    yield all_of(
        "generator at fault: inconclusive", [(cell.name, said[Outcome.INCONCLUSIVE], cell.runs) for cell, said in ill]
    )
    right = {True: Outcome.PASS, False: Outcome.FAIL}
    yield all_of(
        "generator in order: decided rightly",
        [(cell.name, said[right[cell.ratio == KEPT]], cell.runs) for cell, said in both if cell.kind == "control"],
    )


def guard_lines(pool: Executor, size: Size, seed: int) -> Iterator[Line]:
    """False aborts at the limit, and delays after a break."""
    watched = watches(size.watched)
    for cell, found in zip(watched, pool.map(partial(aborts, seed=seed), watched), strict=True):
        stopped = sum(at is not None for at in found)
        yield at_most("guard: stopped in 30 minutes at the limit", [(cell.name, stopped, cell.runs)], 0.05)
    broken = breaks(size.broken)
    medians = [median_delay(found) for found in pool.map(partial(delays, seed=seed), broken)]
    for share, what, allowed_s in ((1.0, "a total outage", 2.0), (0.1, "10 % errors", 10.0)):
        seen = [(cell.name, delay) for cell, delay in zip(broken, medians, strict=True) if cell.share == share]
        yield seconds_at_most(f"guard: median delay of {what}", seen, allowed_s)


def every_cell(counted: Sequence[Counted]) -> Iterator[str]:
    """One line per cell."""
    for one in counted:
        shares = (one.passed, one.inconclusive, one.failed)
        text = " ".join(f"{count / one.runs:7.1%}" for count in shares)
        held = f"{one.covered / one.intervals:7.1%}" if one.intervals else "      -"
        yield f"{one.cell.name:62s} {'' if one.cell.decidable else 'few':4s} pass/inc/fail {text} covered {held}"


def main(argv: Sequence[str] | None = None) -> int:
    """0 when every target is met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer runs and cells: half a minute")
    parser.add_argument("--naive", action="store_true", help="without the design effect: must go red")
    parser.add_argument("--cells", action="store_true", help="print every cell, too")
    parser.add_argument("--only", default=",".join(PARTS), help="comma-separated: " + ", ".join(PARTS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args(argv)
    parts = args.only.split(",")
    size = QUICK if args.quick else FULL
    began = time.monotonic()
    with ProcessPoolExecutor(args.jobs, initializer=make_naive if args.naive else None) as pool:
        counted = grid(pool, size, args.seed, parts)
        lines = list(grid_lines(counted))
        for part, more in (("edges", edge_lines), ("generator", generator_lines), ("guard", guard_lines)):
            lines += more(pool, size, args.seed) if part in parts else []
    blocks = [list(every_cell(counted))] if args.cells else []
    blocks += [confusion(counted), beyond(counted)] if counted else []
    for block in (*blocks, table(lines)):
        print("\n".join(block) + "\n")
    missed = sum(not line.met for line in lines)
    judged = sum(one.runs for one in counted)
    print(
        f"{len(lines) - missed} of {len(lines)} targets met; {judged} runs of the grid; seed {args.seed}; "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
