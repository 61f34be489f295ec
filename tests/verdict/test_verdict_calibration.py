"""A thousandth of the calibration: bursts are judged as bursts, and the check notices when they are not."""

from __future__ import annotations

import pytest
from calibration_cells import Cell, cell_of, measure
from calibration_targets import grid_lines

from harness.verdict import interval

BURSTS = [cell_of("error_ratio", ratio, ("bursts", 10.0), (200, 60), 20) for ratio in (0.8, 1.0, 1.5)]


def missed(cells: list[Cell]) -> list[str]:
    return [line.what for line in grid_lines([measure(cell, seed=7) for cell in cells]) if not line.met]


def test_bursts_of_errors_are_judged_within_the_targets() -> None:
    assert missed(BURSTS) == []


def test_the_interval_of_independent_arrivals_misses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interval, "design_effect", lambda *_args, **_kwargs: 1.0)
    assert "error_ratio, bursts 10: failed at the limit" in missed(BURSTS[1:2])
