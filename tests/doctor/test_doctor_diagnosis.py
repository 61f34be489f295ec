"""What `harness doctor` makes of what it measured."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from harness.cli import doctor
from harness.cli.doctor import Advice, Diagnosis, Figures, advice
from harness.errors import ExitCode
from harness.verdict.model import Check, Outcome

FIGURES = Figures(
    planned=10_000,
    sent=10_000,
    ok=10_000,
    lag_s_p50=0.00003,
    lag_s_p99=0.0001,
    lag_s_max=0.002,
    response_s_p95=0.0102,
    stall_s_max=0.009,
    cpu={"worker-0": 0.2, "worker-1": 0.25, "stub": 0.1},
)
LAG = Check(check="start_lag", phase="steady", outcome=Outcome.PASS, detail="p99 100us, 5ms allowed")
FINE = Diagnosis(per_s=1000.0, workers=2, figures=FIGURES, checks=(LAG,), advice="2 workers can")


def with_outcome(outcome: Outcome) -> Diagnosis:
    return replace(FINE, checks=(LAG, replace(LAG, check="cpu", outcome=outcome)))


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(Outcome.PASS, 0), (Outcome.WARN, 0), (Outcome.INCONCLUSIVE, 3), (Outcome.FAIL, 3)],
)
def test_only_a_check_that_says_no_makes_it_no(outcome: Outcome, code: int) -> None:
    assert with_outcome(outcome).exit_code == ExitCode(code)


def test_the_table_is_short_and_ends_with_the_answer() -> None:
    assert FINE.text.splitlines() == [
        "1000/s from 2 workers on this machine:",
        "  arrivals        10000 planned, 10000 sent, 10000 ok in 10 s",
        "  start lag       p50 30us, p99 100us, max 2ms",
        "  response        p95 10.2ms; the stub takes 10ms",
        "  loop stall      longest 9ms",
        "  CPU             worker-0 20%, worker-1 25%, stub 10%",
        "  start_lag       ok    p99 100us, 5ms allowed",
        "yes: 2 workers can",
    ]
    assert with_outcome(Outcome.INCONCLUSIVE).text.splitlines()[-1] == "no: 2 workers can"


def test_programs_get_the_same_as_json() -> None:
    told = json.loads(Advice(examined=None, diagnosis=FINE).json)

    assert (told["able"], told["load_per_s"], told["workers"], told["lag_s_p99"]) == (True, 1000.0, 2, 0.0001)
    assert told["checks"] == [{"check": "start_lag", "outcome": "pass", "detail": "p99 100us, 5ms allowed"}]


def told(monkeypatch: pytest.MonkeyPatch, *, cores: int, workers: int, cpu: float, able: bool = False) -> str:
    monkeypatch.setattr("harness.cli.doctor.os.cpu_count", lambda: cores)
    figures = replace(FIGURES, cpu={"worker-0": cpu, "stub": 0.1})
    return advice(1000.0, workers, figures, able=able)


def test_with_cores_to_spare_more_workers_are_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    """1000 arrivals cost one core here; at 90 % of each, two are needed."""
    assert told(monkeypatch, cores=4, workers=1, cpu=1.0).startswith("try --workers 2 ")
    assert told(monkeypatch, cores=4, workers=1, cpu=0.5).startswith("try --workers 2 ")
    assert told(monkeypatch, cores=4, workers=1, cpu=5.0).startswith("try --workers 4 ")


def test_more_workers_than_cores_are_advised_against(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, cores=2, workers=8, cpu=1.9).startswith("try --workers 2:")


def test_when_the_cores_are_used_up_other_machines_are_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "add machines (load.remote)" in told(monkeypatch, cores=2, workers=2, cpu=2.0)


def test_who_can_is_told_how_much_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, cores=2, workers=2, cpu=0.45, able=True) == (
        "2 workers can; by their CPU up to about 4,000/s of so short a task"
    )
    assert told(monkeypatch, cores=2, workers=8, cpu=0.45, able=True) == (
        "8 workers can; by their CPU up to about 4,000/s of so short a task"
    )


@pytest.mark.parametrize(
    ("available", "outcome", "begin"),
    [
        (28_000, Outcome.PASS, "28000 ports: enough for a service that hangs for 5.6s"),
        (20_000, Outcome.WARN, "20000 ports: enough for a service that hangs for 4s, the deadline is 5s; widen them"),
    ],
)
def test_what_hanging_arrivals_would_hold_is_reckoned(available: int, outcome: Outcome, begin: str) -> None:
    check = doctor._headroom("ports", "ports", available, 5000.0, "widen them")

    assert (check.outcome, check.detail) == (outcome, begin)
