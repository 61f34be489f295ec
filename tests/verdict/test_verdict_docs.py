"""The docs list every reason and every timing there is, and every timing that a scenario may ask for."""

from __future__ import annotations

import re
from pathlib import Path

from harness.plan.model import Timing
from harness.verdict.model import Reason

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "verdict.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[str]:
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)


def test_every_reason_is_explained() -> None:
    assert sorted(rows("Reasons")) == sorted(Reason)


def test_every_timing_is_defined() -> None:
    assert rows("Timings") == list(Timing)


def test_every_timing_may_be_asked_for() -> None:
    text = (DOCS / "write-a-scenario.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^\| `timing` \| required \| (.+) \|$", text, flags=re.MULTILINE)
    assert re.findall(r"`(\w+)`", line) == list(Timing)
