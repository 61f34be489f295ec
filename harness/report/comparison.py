"""Two runs compared, as lines for a terminal or as a JSON document."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness import units
from harness.report import words
from harness.verdict.compare import Band, Change, Comparison, Figure, Row

SIGN = {Change.WORSE: "✗", Change.UNCLEAR: "?", Change.BETTER: "✓", Change.SAME: "·"}
STYLE = {Change.WORSE: "red", Change.UNCLEAR: "magenta", Change.BETTER: "green", Change.SAME: "dim"}
HEADER = ("", "", "", "before", "after", "change", "usual")


def text(found: Comparison, *, colour: bool, width: int) -> str:
    """The comparison as lines of at most `width` columns, without a final newline; worse figures first."""
    console = Console(
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        emoji=False,
        markup=False,
        legacy_windows=False,
        _environ={},
    )
    with console.capture() as captured:
        console.print(_page(found))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def document(found: Comparison) -> str:
    """The comparison as JSON; what is not a finite number is null."""
    return json.dumps(_plain(asdict(found)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _page(found: Comparison) -> RenderableType:
    lines: list[RenderableType] = [
        Text(f"before  {found.before}  {found.verdicts[0]}"),
        Text(f"after   {found.after}  {found.verdicts[1]}"),
        Text(_usual(found), style="dim"),
        *(Text(f"! {note}", style="yellow") for note in found.notes),
        Text(),
    ]
    table = Table.grid(padding=(0, 2, 0, 0))
    for title in HEADER:
        table.add_column(no_wrap=title != "usual")
    table.add_row(*(Text(title, style="dim") for title in HEADER))
    for row in found.rows:
        style = STYLE[row.change]
        table.add_row(Text(f"{SIGN[row.change]} {row.change.value}", style=style), *map(Text, _cells(row)))
    steps = [Text(_step(row)) for row in found.rows if row.step]
    return Group(*lines, table, *([Text(), *steps] if steps else []))


def _usual(found: Comparison) -> str:
    if any(row.band for row in found.rows):
        return f"usual: of {words.plural(found.history, 'earlier passing run')}"
    had = words.plural(found.history, "earlier passing run")
    return f"usual: not known yet, there are {had}; it takes five"


def _cells(row: Row) -> tuple[str, ...]:
    change = "" if row.ratio is None else f"{row.ratio * 100:+.1f}%"
    return row.where, row.name, _figure(row.before), _figure(row.after), change, _band(row.band, row.after.unit.value)


def _figure(figure: Figure) -> str:
    shown = units.show(figure.value, figure.unit.value)
    if figure.hi == math.inf:
        return f"> {shown}"
    if figure.lo is None or figure.hi is None or figure.lo == figure.hi:
        return shown
    return f"{shown} ({units.show(figure.lo, figure.unit.value)} to {units.show(figure.hi, figure.unit.value)})"


def _band(band: Band | None, unit: str) -> str:
    return "" if band is None else f"{units.show(max(band.lo, 0.0), unit)} to {units.show(band.hi, unit)}"


def _step(row: Row) -> str:
    assert row.step is not None
    unit = row.after.unit.value
    levels = f"{units.show(row.step.before, unit)} before, {units.show(row.step.after, unit)} since"
    return f"{row.where} {row.name}: a step at {row.step.since}: {levels} (p = {row.step.p:.2g})"
