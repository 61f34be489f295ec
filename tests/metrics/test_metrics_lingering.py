"""How long a run's exporter stays up after its end, on a clock that jumps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conductor_stage import FakeSignals, Stage, small_plan

from harness.conductor.loop import conduct
from harness.drivers.base import Drivers
from harness.drivers.fake import FakeClock, FakeExporter, FakeLoad
from harness.history.events import PhaseStarted, RunEnded, RunStarted, Status
from harness.plan.model import Plan
from harness.record import Record
from harness.schedule.compile import compile_plan

S = 1_000_000_000
PLAN = replace(small_plan(), faults=())


def without_prometheus(plan: Plan) -> Plan:
    return replace(plan, service=replace(plan.service, prometheus=None))


SHORT = without_prometheus(replace(small_plan(stretch=0.01), faults=()))  # 2 s


class Ended:
    """One run of a plan without faults, and how long it took after its end."""

    def __init__(self, results: Path, plan: Plan, *, scraped: bool = True, interrupt_s: float | None = None) -> None:
        clock = FakeClock()
        self.exporter = FakeExporter(clock, scraped=scraped)
        load = FakeLoad(plan, clock)
        drivers = Drivers(load=load, faults=None, metrics=None, cluster=None, exporter=self.exporter)
        at_ns = None if interrupt_s is None else clock.mono_ns() + round(interrupt_s * S)
        record = Record.create(results, plan, given={}, environment={"started": "2026-11-21"})
        start_ns = clock.mono_ns()
        self.status = conduct(
            plan,
            compile_plan(plan),
            drivers,
            clock,
            record,
            signals=FakeSignals(clock, at_ns),
            watch=lambda _progress: None,
        )
        ended_s = record.events[-1].t_ns / S + 0.5  # t = 0 is half a second after the start
        self.ended_s = ended_s
        self.lingered_s = round((clock.mono_ns() - start_ns) / S - ended_s, 3)
        record.close()
        drivers.close()


def test_it_hears_of_everything_and_is_closed_with_the_drivers(tmp_path: Path) -> None:
    exporter = Ended(tmp_path, PLAN).exporter

    kinds = [type(body) for body in exporter.noted]
    assert (kinds[0], kinds[-1], kinds.count(PhaseStarted)) == (RunStarted, RunEnded, 3)
    assert exporter.sent == 4_400
    assert exporter.closed


@pytest.mark.parametrize(
    ("plan", "scraped", "lingered_s"),
    [
        (PLAN, True, 2.0),  # two scrapes, one a second
        (PLAN, False, 0.0),  # nobody scraped in 200 s
        (SHORT, False, 31.0),  # too short a run to tell whether somebody would: two intervals of 15 s and a second
    ],
)
def test_it_stays_for_two_scrapes_but_not_for_nobody(
    tmp_path: Path, plan: Plan, *, scraped: bool, lingered_s: float
) -> None:
    assert Ended(tmp_path, plan, scraped=scraped).lingered_s == lingered_s


def test_ctrl_c_ends_the_wait_at_once_and_changes_nothing_else(tmp_path: Path) -> None:
    whole = Ended(tmp_path, PLAN)
    cut = Ended(tmp_path, PLAN, interrupt_s=whole.ended_s + 1.0)

    assert (whole.lingered_s, cut.lingered_s, cut.status) == (2.0, 1.0, Status.COMPLETED)


def test_an_interrupted_run_does_not_wait(tmp_path: Path) -> None:
    cut = Ended(tmp_path, PLAN, interrupt_s=50.0)

    assert (cut.status, cut.lingered_s) == (Status.INTERRUPTED, 0.0)


def test_a_run_without_an_exporter_is_as_before(tmp_path: Path) -> None:
    assert Stage(tmp_path).play() is Status.COMPLETED
