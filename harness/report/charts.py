"""
Server-made SVG: the report's charts read without JavaScript, print well and take their colours from the page's style.

A chart draws what it is given and decides nothing; what was not recorded is a gap, never a joined line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from harness import units
from harness.plan.model import Tier
from harness.report import svg, words
from harness.report.timeline import Band, LimitLine, Timeline

WIDTH, LEFT, RIGHT = 1120, 58, 14
PLOT = WIDTH - LEFT - RIGHT
STRIP, LANE, GAP, AXIS = 34, 20, 36, 24  # heights: phase names, one fault, between panels, the time axis
SCALES = {"linear": "", "root": " (square-root scale)", "log": " (log scale)"}
TICK_GAP = 14  # between two labels of an axis
TICKS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot of the stack: where it is, and how its values become heights."""

    title: str
    unit: str
    top: float
    height: float
    lo: float
    hi: float
    scale: Literal["linear", "root", "log"] = "linear"  # root: small shares stay visible beside large ones

    def y(self, value: float) -> float:
        """Height of a value in the drawing; values outside stay at the edge."""
        if self.scale == "log":
            at = math.log(max(value, self.lo) / self.lo) / math.log(self.hi / self.lo)
        else:
            at = max((value - self.lo) / (self.hi - self.lo), 0.0) ** (0.5 if self.scale == "root" else 1.0)
        return self.top + self.height * (1 - min(max(at, 0.0), 1.0))

    def ticks(self) -> list[float]:
        """Round values inside, as many as can be told apart."""
        if self.scale == "linear":
            step = _round_step((self.hi - self.lo) / 4)
            return [number * step for number in range(math.floor(self.hi / step + 1e-9) + 1)]
        decades = range(math.floor(math.log10(self.lo or self.hi / 1000)), math.ceil(math.log10(self.hi)) + 1)
        round_values = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
        inside = [value for value in round_values if self.lo * 0.9999 <= value <= self.hi * 1.0001]
        return self._apart(inside) if self.scale == "log" else [0.0, *self._apart(inside, above=0.0)]

    def _apart(self, values: list[float], above: float = -math.inf) -> list[float]:
        """The values from the largest down, without those too close to the one before or to `above`."""
        kept: list[float] = []
        for value in reversed(values):
            clear = not kept or self.y(value) - self.y(kept[-1]) >= TICK_GAP
            if clear and (above == -math.inf or self.y(above) - self.y(value) >= TICK_GAP):
                kept.append(value)
        return kept


def hero(line: Timeline) -> str:
    """The one timeline: phases, faults, offered and answered load, response time, errors and ready pods."""
    x = _scale(line)
    top = STRIP + LANE * len(line.faults) + 26
    panels = _panels(line, top)
    bottom = panels[-1].top + panels[-1].height
    height = bottom + AXIS + 6
    opening = (
        f'<svg id="hero" class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="Timeline of the run: load, response time, errors and pods over time" '
        f'data-left="{LEFT}" data-plot="{PLOT}" data-end="{line.end_s:g}">'
    )
    parts = [
        opening,
        _patterns(),
        *(_unjudged(band, x, STRIP, bottom) for band in line.bands),
        *_impacts(line, x, bottom),
        *(_phase_name(band, x) for band in line.bands),
        *_faults(line, x, bottom),
        *(_frame(panel) for panel in panels),
        *_edges(line, x, bottom),
    ]
    load, response, errors, *pods = panels
    parts += _load(line, load, x) + _response(line, response, x) + _errors(line, errors, x)
    parts += [_pods(line, panel, x) for panel in pods]
    parts += [*_time_axis(line, x, bottom), f'<line id="hair" class="hair" y1="{STRIP}" y2="{bottom:.1f}"/>', "</svg>"]
    return "".join(parts)


def _panels(line: Timeline, top: float) -> list[Panel]:
    rates = [per_s for _, per_s in line.offered] + [step.ok_per_s or 0.0 for step in line.steps]
    slow = [step.p99_s for step in line.steps if step.p99_s] + [limit.limit for limit in line.latency_limits]
    fast = [step.p50_s for step in line.steps if step.p50_s] or [0.001]
    ratios = [step.error_ratio or 0.0 for step in line.steps] + [limit.limit for limit in line.error_limits]
    lo, hi = _log_floor(min(fast)), _log_ceiling(max([*slow, *fast]) * 1.05)
    panels = [
        Panel("Load", "/s", top, 130, 0, max([*rates, 1.0]) * 1.12),
        Panel("Response time of ok arrivals", "s", top + 130 + GAP, 170, lo, hi, "log"),
        Panel("Error ratio", "ratio", top + 300 + 2 * GAP, 84, 0, max([*ratios, 0.001]) * 1.15, "root"),
    ]
    if line.pods:
        most = max(ready for _, ready in line.pods)
        panels.append(Panel("Ready pods", "count", top + 384 + 3 * GAP, 64, 0, most + 1))
    return panels


def _scale(line: Timeline) -> Callable[[float], float]:
    return lambda t_s: LEFT + PLOT * min(max(t_s / line.end_s, 0.0), 1.0)


def _patterns() -> str:
    return (
        '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<line class="hatch" x1="0" y1="0" x2="0" y2="6"/></pattern></defs>'
    )


def _unjudged(band: Band, x: Callable[[float], float], top: float, bottom: float) -> str:
    """Hatching over what no rule judges: the approach of a judged phase, all of one that is not judged."""
    until_s = band.start_s if band.judged else band.end_s
    if until_s <= band.begin_s:
        return ""
    what = "ramp and settling: not judged" if band.judged else f"{band.name}: not judged"
    return svg.rectangle(x(band.begin_s), top, x(until_s), bottom, style="unjudged", title=what)


def _phase_name(band: Band, x: Callable[[float], float]) -> str:
    outcome = band.outcome.value if band.outcome else "none"
    left, right = x(band.start_s if band.judged else band.begin_s), x(band.end_s)
    sign = f"{words.symbol(band.outcome)} " if band.outcome else ""
    label = f"{sign}{band.name} {words.share(band.level)}" + ("" if band.entered or not band.judged else " (not run)")
    box = svg.rectangle(left + 1, 4, right - 1, STRIP - 4, style=f"phase {outcome}", title=label, radius=4)
    return box + svg.text(
        (left + right) / 2, STRIP / 2 + 4, _fitting(label, right - left), style=f"phase-name {outcome}"
    )


def _fitting(label: str, width: float) -> str:
    """The label, shortened to what fits at about 7 units a character."""
    room = int((width - 8) / 7)
    return label if len(label) <= room else (label[: room - 1] + "…" if room >= 3 else "")


def _faults(line: Timeline, x: Callable[[float], float], bottom: float) -> list[str]:
    """A lane per fault: light until it came into force, then solid until its effect was gone."""
    parts = []
    for lane, fault in enumerate(line.faults):
        top = STRIP + 4 + lane * LANE
        until_s = line.end_s if fault.gone_s is None else fault.gone_s
        in_force_s = until_s if fault.on_s is None else min(fault.on_s, until_s)
        parts += [
            svg.rectangle(x(fault.from_s), top, x(until_s), top + 12, style="fault pending", radius=3),
            svg.rectangle(x(in_force_s), top, x(until_s), top + 12, style="fault", radius=3),
            svg.vertical(x(fault.from_s), top, bottom, "fault-line"),
        ]
        end = "never seen gone" if fault.gone_s is None else f"gone {words.instant(fault.gone_s)}"
        label = f"{fault.name}: injected {words.instant(fault.from_s)}, {end}"
        if x(until_s) < WIDTH - 330:
            parts.append(svg.text(x(until_s) + 6, top + 10, label, style="fault-name start"))
        else:
            parts.append(svg.text(x(fault.from_s) - 6, top + 10, label, style="fault-name end"))
    return parts


def _impacts(line: Timeline, x: Callable[[float], float], bottom: float) -> list[str]:
    top = STRIP + LANE * len(line.faults) + 4
    parts = []
    for number, impact in enumerate(line.impacts, start=1):
        right = max(x(impact.end_s), x(impact.start_s) + 2)
        title = f"impact {number}: {words.share(impact.severity)} of arrivals bad"
        parts.append(svg.rectangle(x(impact.start_s), top, right, bottom, style="impact", title=title))
    return parts


def _edges(line: Timeline, x: Callable[[float], float], bottom: float) -> list[str]:
    return [svg.vertical(x(band.begin_s), STRIP, bottom, "edge") for band in line.bands if band.begin_s > 0]


def _frame(panel: Panel) -> str:
    """Title, grid and the values at the left."""
    parts = [svg.text(LEFT, panel.top - 9, panel.title + SCALES[panel.scale], style="panel-title start")]
    for tick in panel.ticks():
        y = panel.y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(svg.text(LEFT - 7, y + 3.5, units.show(tick, panel.unit), style="tick end"))
    return "".join(parts)


def _load(line: Timeline, panel: Panel, x: Callable[[float], float]) -> list[str]:
    corners = [(t_s, per_s) for t_s, per_s in line.offered if t_s <= line.end_s]
    offered = "M" + "L".join(f"{x(t_s):.1f} {panel.y(per_s):.1f}" for t_s, per_s in corners)
    answered = [(step.t_s, step.ok_per_s) for step in line.steps]
    return [
        _area(answered, line, panel, x, "ok-area"),
        _line(answered, line, panel, x, "ok"),
        f'<path class="offered" d="{offered}"/>',
        _legend(panel, (("offered", "offered"), ("ok", "answered ok"))),
    ]


def _response(line: Timeline, panel: Panel, x: Callable[[float], float]) -> list[str]:
    curves = (
        ("p99", [(step.t_s, step.p99_s) for step in line.steps]),
        ("p95", [(step.t_s, step.p95_s) for step in line.steps]),
        ("p50", [(step.t_s, step.p50_s) for step in line.steps]),
    )
    parts = [_limit(limit, panel, x) for limit in line.latency_limits]
    parts += [_line(points, line, panel, x, name) for name, points in curves]
    return [*parts, _legend(panel, (("p50", "p50"), ("p95", "p95"), ("p99", "p99"), *_limit_keys(line.latency_limits)))]


def _errors(line: Timeline, panel: Panel, x: Callable[[float], float]) -> list[str]:
    points = [(step.t_s, step.error_ratio) for step in line.steps]
    return [
        _area(points, line, panel, x, "bad-area"),
        _line(points, line, panel, x, "bad"),
        *(_limit(limit, panel, x) for limit in line.error_limits),
        _legend(panel, (("bad", "failed, timed out or dropped"), *_limit_keys(line.error_limits))),
    ]


def _limit_keys(limits: Sequence[LimitLine]) -> tuple[tuple[str, str], ...]:
    return tuple((tier.value, f"{tier.value} limit") for tier in (Tier.WARN, Tier.FAIL) if _any_of(tier, limits))


def _any_of(tier: Tier, limits: Sequence[LimitLine]) -> bool:
    return any(limit.tier is tier for limit in limits)


def _pods(line: Timeline, panel: Panel, x: Callable[[float], float]) -> str:
    first_s, first = line.pods[0]
    path = f"M{x(first_s):.1f} {panel.y(first):.1f}"
    for t_s, ready in line.pods[1:]:
        path += f"H{x(t_s):.1f}V{panel.y(ready):.1f}"
    return f'<path class="pods" d="{path}"/>'


def _limit(limit: LimitLine, panel: Panel, x: Callable[[float], float]) -> str:
    y = panel.y(limit.limit)
    return (
        f'<line class="limit {limit.tier.value}" x1="{x(limit.start_s):.1f}" x2="{x(limit.end_s):.1f}" '
        f'y1="{y:.1f}" y2="{y:.1f}"><title>{escape(limit.text)}</title></line>'
    )


def _legend(panel: Panel, keys: Iterable[tuple[str, str]]) -> str:
    """At the right above the panel: a stroke in the curve's style, and its name."""
    parts: list[str] = []
    left = float(WIDTH - RIGHT)
    y = panel.top - 9
    for style, label in reversed(list(keys)):
        left -= 6.1 * len(label) + 40
        kind = f"limit {style}" if "limit" in label else style
        parts.append(f'<path class="{kind}" d="M{left:.1f} {y - 4:.1f}h18"/>')
        parts.append(svg.text(left + 23, y, label, style="key start"))
    return "".join(parts)


Points = Sequence[tuple[float, float | None]]


def _runs(points: Points) -> list[list[tuple[float, float]]]:
    """The points without gaps, cut where a value is missing."""
    runs: list[list[tuple[float, float]]] = [[]]
    for t_s, value in points:
        if value is not None:
            runs[-1].append((t_s, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _line(points: Points, line: Timeline, panel: Panel, x: Callable[[float], float], style: str) -> str:
    """Each value at the middle of its step; a lone value between two gaps is a short dash."""
    half = line.step_s / 2
    paths = []
    for run in _runs(points):
        if len(run) == 1:
            (t_s, value) = run[0]
            paths.append(f"M{x(t_s):.1f} {panel.y(value):.1f}H{x(t_s + line.step_s):.1f}")
        else:
            paths.append("M" + "L".join(f"{x(t_s + half):.1f} {panel.y(value):.1f}" for t_s, value in run))
    return f'<path class="{style}" d="{"".join(paths)}"/>' if paths else ""


def _area(points: Points, line: Timeline, panel: Panel, x: Callable[[float], float], style: str) -> str:
    half, ground = line.step_s / 2, panel.top + panel.height
    paths = []
    for run in _runs(points):
        if len(run) > 1:
            over = "L".join(f"{x(t_s + half):.1f} {panel.y(value):.1f}" for t_s, value in run)
            paths.append(f"M{x(run[0][0] + half):.1f} {ground:.1f}L{over}V{ground:.1f}Z")
    return f'<path class="{style}" d="{"".join(paths)}"/>' if paths else ""


def _time_axis(line: Timeline, x: Callable[[float], float], bottom: float) -> list[str]:
    step_s = next((step for step in TICKS_S if line.end_s / step <= 13), TICKS_S[-1])
    parts = [f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom:.1f}" y2="{bottom:.1f}"/>']
    for number in range(int(line.end_s // step_s) + 1):
        at = x(number * step_s)
        parts.append(svg.vertical(at, bottom, bottom + 4, "axis"))
        parts.append(svg.text(at, bottom + 17, words.instant(number * step_s), style="tick"))
    return parts


def _round_step(at_least: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(at_least))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= at_least * 0.999)


def _log_floor(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return float(next(digit * power for digit in (5, 2, 1) if digit * power <= value * 1.0001))


def _log_ceiling(value: float) -> float:
    return _round_step(value)
