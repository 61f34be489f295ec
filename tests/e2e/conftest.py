"""Fixtures for whole runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_stage import Workplace


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    """A folder with the shipped files and no sandbox up; whatever it started is ended afterwards."""
    place = Workplace(tmp_path / "work", tmp_path / "sandbox")
    yield place
    for process in place.processes:
        if process.poll() is None:
            process.kill()
            process.communicate()
    place.run("sandbox", "down")


@pytest.fixture
def standing(workplace: Workplace) -> Workplace:
    """The same with the sandbox up."""
    code, _, err = workplace.run("sandbox", "up")
    assert code == 0, err
    return workplace
