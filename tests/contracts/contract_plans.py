"""The shipped scenarios as plans."""

from __future__ import annotations

from pathlib import Path

from harness.plan.model import Plan
from harness.plan.parse import parse

ROOT = Path(__file__).parents[2]


def shipped(scenario: str) -> Plan:
    """A scenario that comes with the harness, not yet bound to a target."""

    def read(path: str) -> str | None:
        file = ROOT / path
        return file.read_text(encoding="utf-8") if file.is_file() else None

    return parse(f"scenarios/{scenario}.yaml", read, base=str(ROOT))
