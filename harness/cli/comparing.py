"""`harness compare`: finds the runs to compare, and those before them that say what is usual."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import CannotRunError, ExitCode, RecordError
from harness.report import comparison
from harness.store import Store
from harness.verdict.compare import Comparison, compare

HISTORY = 60  # runs looked back at


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two runs compared, ready to be shown."""

    found: Comparison
    colour: bool
    width: int

    @property
    def text(self) -> str:
        """For a terminal."""
        return comparison.text(self.found, colour=self.colour, width=self.width)

    @property
    def json(self) -> str:
        """For programs."""
        return comparison.document(self.found)

    def exit_code(self, *, strict: bool) -> ExitCode:
        """0; with `strict` 1 when a figure is proven worse."""
        return ExitCode.FAIL if strict and self.found.worse else ExitCode.PASS


def compare_runs(first: Path, second: Path | None) -> Compared:
    """Compare two run directories, the later one second; a single one with the last passing run before it."""
    from rich.console import Console

    after = (second or first).resolve()
    document = _verdict(after)
    history = _history(after, document)
    if second is not None:
        before = _verdict(first.resolve())
    elif history:
        before = history[-1]
    else:
        message = f"{after.parent.parent}: no passing run of {document['scenario']} before {document['run']}"
        raise CannotRunError(message, hint="name two runs: harness compare BEFORE AFTER")
    console = Console()
    return Compared(
        found=compare(before, document, history),
        colour=console.is_terminal and not console.no_color,
        width=console.width if console.is_terminal else 160,
    )


def _history(after: Path, document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """
    The verdicts of passing runs of the same scenario that began before this one, oldest first.

    None for a copy that does not lie in a folder of runs under its own name.
    """
    results = after.parent.parent
    if results / str(document["run"]) != after:
        return []
    passing = Store(results).passing(HISTORY, str(document["scenario"]), before=str(document["run"]))
    return [_verdict(results / entry.run) for entry in reversed(passing)]


def _verdict(directory: Path) -> Mapping[str, Any]:
    path = directory / "verdict.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        hint = "name judged run directories, such as results/stress-150/latest; harness judge RUN makes a verdict"
        raise RecordError(f"{path}: cannot be read: {error}", hint=hint) from error
    if not isinstance(value, dict):
        raise RecordError(f"{path}: not an object")
    return value
