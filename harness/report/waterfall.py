"""The timings of one fault as bars on one axis that begins with its injection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from harness.plan.model import Timing
from harness.report import svg, words
from harness.report.rows import TimingRow
from harness.report.timeline import FaultBar, Timeline

WIDTH, LEFT, RIGHT, ROW = 1120, 150, 300, 30
PLOT = WIDTH - LEFT - RIGHT
NO_BAR = (Timing.ROLLBACK, Timing.DOWNTIME)
TICKS_S = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200)


@dataclass(frozen=True, slots=True)
class _Bar:
    """From the instant a timing counts from to its end, seconds since injection; `hi_s` None: its end was not seen."""

    row: TimingRow
    from_s: float
    to_s: float
    lo_s: float
    hi_s: float | None


def waterfall(line: Timeline, fault: FaultBar, timings: Sequence[TimingRow]) -> str:
    """
    Empty when the fault has no timing with a number.

    Downtime is an amount and rollback begins with its own request, long after: they have no bar on this axis.
    """
    bars = [bar for row in timings if row.fault == fault.name and (bar := _bar(line, fault, row))]
    if not bars:
        return ""
    end_s = max(0.1, *(bar.hi_s or bar.to_s for bar in bars)) * 1.08
    height = 26 + ROW * len(bars) + 8
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Timings of {escape(fault.name)}">',
        *_axis(end_s, height - 8),
    ]
    for number, bar in enumerate(bars):
        parts += _drawn(bar, 26 + ROW * number, end_s)
    return "".join([*parts, "</svg>"])


def _bar(line: Timeline, fault: FaultBar, row: TimingRow) -> _Bar | None:
    found = row.finding
    length_s = found.lo_s if found.value_s is None else found.value_s
    if length_s is None or found.timing in NO_BAR:
        return None
    from_s = _counts_from(line, fault, found.timing) - fault.from_s
    lo_s = length_s if found.lo_s is None else found.lo_s
    hi_s = None if found.censored else length_s if found.hi_s is None else found.hi_s
    return _Bar(row, from_s, from_s + length_s, from_s + lo_s, None if hi_s is None else from_s + hi_s)


def _counts_from(line: Timeline, fault: FaultBar, timing: Timing) -> float:
    """Recovery counts from the beginning of the fault's longest impact, the others from when it came into force."""
    own = [impact for impact in line.impacts if impact.fault == fault.name]
    if timing is Timing.RECOVERY and own:
        return max(own, key=lambda impact: (impact.censored, impact.end_s - impact.start_s)).start_s
    return fault.from_s if fault.on_s is None else fault.on_s


def _x(t_s: float, end_s: float) -> float:
    return LEFT + PLOT * min(max(t_s / end_s, 0.0), 1.0)


def _axis(end_s: float, bottom: float) -> list[str]:
    step_s = next((step for step in TICKS_S if end_s / step <= 9), TICKS_S[-1])
    parts = []
    for number in range(int(end_s / step_s) + 1):
        at = _x(number * step_s, end_s)
        label = words.duration(number * step_s) if number else "injected"
        parts += [svg.vertical(at, 20, bottom, "grid"), svg.text(at, 13, label, style="tick")]
    return parts


def _drawn(bar: _Bar, top: float, end_s: float) -> list[str]:
    outcome = bar.row.outcome.value if bar.row.outcome else "none"
    middle = top + ROW / 2
    right = _x(bar.to_s, end_s) if bar.hi_s is not None else _x(end_s, end_s)
    parts = [
        svg.text(LEFT - 12, middle + 4, bar.row.timing, style="row-name end"),
        svg.rectangle(_x(bar.from_s, end_s), top + 7, right, top + ROW - 7, style=f"bar {outcome}", radius=3),
    ]
    if bar.hi_s is not None:
        lo, hi = _x(bar.lo_s, end_s), _x(bar.hi_s, end_s)
        parts.append(f'<path class="whisker" d="M{lo:.1f} {middle:.1f}H{hi:.1f}M{lo:.1f} {middle - 4:.1f}v8"/>')
        parts.append(f'<path class="whisker" d="M{hi:.1f} {middle - 4:.1f}v8"/>')
    else:
        parts.append(f'<path class="whisker" d="M{right - 6:.1f} {middle - 5:.1f}l6 5l-6 5"/>')
    for tier, limit_s in bar.row.limits:
        if bar.from_s + limit_s <= end_s:
            parts.append(svg.vertical(_x(bar.from_s + limit_s, end_s), top + 3, top + ROW - 3, f"limit {tier.value}"))
    parts.append(svg.text(WIDTH - RIGHT + 14, middle + 4, bar.row.value, style="row-value start"))
    judged = f"{words.symbol(bar.row.outcome)} {bar.row.outcome.value}" if bar.row.outcome else ""
    parts.append(svg.text(WIDTH - RIGHT + 120, middle + 4, judged, style=f"row-rule start {outcome}"))
    return parts
