"""
Cells of the calibration: one truth, many seeded runs, and what `judge` said of them.

The entry point is the public `judge` on whole recorded runs. Only the 10 ms bins are left out, which serve impacts and
timings and no finding of a run without faults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from calibration_servers import Scraping, series_of
from calibration_traffic import (
    BASELINE_SHARE,
    ERRORS,
    LATENCY,
    LIMITS,
    OF_BASELINE,
    RELATIVE,
    SERVERS,
    Traffic,
    compared_plan,
    frames_of,
    plan_of,
    run_of,
    seconds_of,
)

from harness.history.run import Run
from harness.verdict.judge import judge
from harness.verdict.model import Outcome

RATIOS = (0.5, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)  # true share over the share that the limit allows
LENGTHS = {300: (10, 30), 3_000: (100, 30), 12_000: (200, 60), 60_000: (200, 300)}  # arrivals: (per second, seconds)
LAWS = (("independent", 1.0), ("bursts", 10.0), ("bursts", 50.0), ("drift", 10.0), ("drift", 50.0))
SCRAPES = (1.0, 5.0, 15.0)

_ENOUGH = 10.0  # effective bad arrivals expected at the limit, for a cell to be decidable at all
_TAUS = 30.0  # a phase is at least this many correlation times long


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One truth and how often it is drawn. `ratio` is the true share over the one that the limit allows."""

    sli: str
    ratio: float
    traffic: Traffic
    scraping: Scraping | None
    runs: int

    @property
    def name(self) -> str:
        """The cell for people; also what its runs are seeded with."""
        traffic = self.traffic
        scraped = f" {self.scraping.name}" if self.scraping else ""
        return f"{self.sli}{scraped} {traffic.law} deff={traffic.effect:g} n={traffic.arrivals} x{self.ratio:g}"

    @property
    def decidable(self) -> bool:
        """
        Whether arrivals like these can tell at all, without knowing beforehand how they bunch.

        That needs ten independent bad events at the limit: with fewer, a run at 1.5 times the limit may well show none.
        A comparison with a baseline has the noise of both phases, and needs so many times more: the variance of
        `value - factor x baseline` at the limit is 1 + factor times that of the value.
        """
        noise = 1 + RELATIVE.quantity if self.sli == OF_BASELINE else 1.0
        return self.traffic.arrivals * LIMITS[self.sli] / self.traffic.effect / noise >= _ENOUGH


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What was said of a cell's runs."""

    cell: Cell
    passed: int
    failed: int
    inconclusive: int
    covered: int  # intervals that held the true share
    intervals: int
    silent: int  # runs without a single bad arrival

    @property
    def runs(self) -> int:
        """How many were judged."""
        return self.passed + self.failed + self.inconclusive


def client_cells(runs: int, ratios: Sequence[float] = RATIOS) -> list[Cell]:
    """The grid of client SLIs. Cells without a target are drawn less often."""
    return [
        cell_of(sli, ratio, law, length, runs)
        for sli in (ERRORS.name, LATENCY.name)
        for law in LAWS
        for length in LENGTHS.values()
        for ratio in ratios
    ]


def server_cells(runs: int) -> list[Cell]:
    """The grid of an error ratio from Prometheus counters: long phases, because scrapes are few."""
    return [
        cell_of(SERVERS.name, ratio, law, LENGTHS[60_000], runs, Scraping(interval_s=scrape_s, churn=churn))
        for scrape_s in SCRAPES
        for churn in (False, True)
        for law in LAWS[:3]
        for ratio in (0.8, 1.0, 1.5)
    ]


def baseline_cells(runs: int) -> list[Cell]:
    """The grid of an error ratio that is compared with the one of a baseline phase of the same length."""
    return [
        cell_of(OF_BASELINE, ratio, law, length, runs)
        for law in LAWS
        for length in (LENGTHS[12_000], LENGTHS[60_000])
        for ratio in (0.8, 1.0, 1.5)
    ]


def cell_of(
    sli: str,
    ratio: float,
    law: tuple[str, float],
    length: tuple[int, int],
    runs: int,
    scraping: Scraping | None = None,
) -> Cell:
    """The cell of a law (name, design effect) and a length (arrivals per second, seconds)."""
    rate, length_s = length
    traffic = Traffic(
        law=law[0],
        share=ratio * LIMITS[sli],
        effect=law[1],
        rate=rate,
        length_s=length_s,
        tau_s=length_s / _TAUS if law[0] == "drift" else 0.0,
    )
    share = {0.8: 1.0, 1.0: 1.0, 1.5: 1.0, 0.5: 0.5, 2.0: 0.5}.get(ratio, 0.25)
    return Cell(sli=sli, ratio=ratio, traffic=traffic, scraping=scraping, runs=max(1, round(runs * share)))


def measure(cell: Cell, seed: int) -> Counted:
    """The cell's runs, each drawn from (seed, cell, number) and judged."""
    outcomes = dict.fromkeys(Outcome, 0)
    covered = intervals = silent = 0
    for number in range(cell.runs):
        random = Random(f"{seed} {cell.name} {number}")
        bad = seconds_of(cell.traffic, random)
        verdict = judge(_drawn(cell, bad, random))
        outcomes[verdict.verdict] += 1
        silent += not any(bad)
        finding = verdict.findings[-1]
        # Responses are either fast or slow here, so that a quantile of them is no figure (calibration_edges has one).
        if finding.lo is not None and finding.hi is not None and cell.sli != LATENCY.name:
            truth = cell.traffic.share
            intervals += 1
            covered += finding.lo <= truth <= finding.hi
    return Counted(
        cell=cell,
        passed=outcomes[Outcome.PASS],
        failed=outcomes[Outcome.FAIL],
        inconclusive=outcomes[Outcome.INCONCLUSIVE],
        covered=covered,
        intervals=intervals,
        silent=silent,
    )


def _drawn(cell: Cell, bad: Sequence[int], random: Random) -> Run:
    """A recorded run of these bad arrivals."""
    traffic = cell.traffic
    if cell.scraping:
        plan = plan_of(cell.sli, traffic, scrape_s=cell.scraping.interval_s)
        return run_of(plan, frames_of(ERRORS.name, bad, traffic.rate), series_of(cell, bad, random))
    if cell.sli == OF_BASELINE:
        before = seconds_of(replace(traffic, share=BASELINE_SHARE), random)
        return run_of(compared_plan(traffic), frames_of(ERRORS.name, [*before, *bad], traffic.rate))
    return run_of(plan_of(cell.sli, traffic), frames_of(cell.sli, bad, traffic.rate))
