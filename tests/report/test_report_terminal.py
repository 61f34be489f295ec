"""The summary on a terminal."""

from __future__ import annotations

import re
from dataclasses import replace

import example
import pytest

from harness.report import terminal, words

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def test_colour_adds_nothing_but_colour() -> None:
    run, verdict = example.failed()
    plain = terminal.text(run, verdict, colour=False, width=110, directory="results/x")
    coloured = terminal.text(run, verdict, colour=True, width=110, directory="results/x")
    assert "\x1b[" not in plain
    assert "\x1b[" in coloured
    assert [line.rstrip() for line in ANSI.sub("", coloured).splitlines()] == plain.splitlines()


@pytest.mark.parametrize("width", [60, 80, 110, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    text = terminal.text(*example.failed(), colour=False, width=width, directory="results/x")
    assert max(len(line) for line in text.splitlines()) <= width


def test_the_verdict_and_its_reason_come_first() -> None:
    lines = terminal.text(*example.failed(), colour=False, width=110, directory="results/x").splitlines()
    assert lines[:3] == [
        "✗ FAIL  stress-150  150 % of baseline while a pod dies",
        "  error_ratio 8.4% is above 1% in phase stress, and 1 more rule is breached",
        "  run stress-150/20261121-010203-ab12 completed; every fault proven gone",
    ]


@pytest.mark.parametrize(
    ("bounds", "shown"),
    [
        ((1.21, 1.18, 1.25), "1.21s ±40ms"),
        ((0.04, 0.0, 0.083), "0s to 83ms"),
        ((0.029, 0.014, 0.0745), "14ms to 74.5ms"),
        ((0.0, 0.0, 0.0), "0s"),
        ((None, 5.08, None), "> 5.08s"),
        ((None, None, None), "no value"),
    ],
)
def test_a_timing_is_told_with_what_is_known_of_it(
    bounds: tuple[float | None, float | None, float | None], shown: str
) -> None:
    value_s, lo_s, hi_s = bounds
    censored = value_s is None and lo_s is not None
    (one, *_) = example.passed()[1].timings
    assert words.timing(replace(one, value_s=value_s, lo_s=lo_s, hi_s=hi_s, censored=censored)) == shown


def test_a_fault_that_is_not_proven_gone_is_said_loudly() -> None:
    run, verdict = example.failed()
    text = terminal.text(run, replace(verdict, restored=False), colour=False, width=110, directory="results/x")
    assert "NOT EVERY FAULT COULD BE PROVEN GONE" in text


def test_the_environment_does_not_change_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    before = terminal.text(*example.passed(), colour=True, width=110, directory="results/x")
    for name, value in {"NO_COLOR": "1", "COLUMNS": "40", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    assert terminal.text(*example.passed(), colour=True, width=110, directory="results/x") == before
