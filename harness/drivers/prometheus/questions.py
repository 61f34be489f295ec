"""
What is asked of Prometheus for one SLI in a phase judged on [start, end): pure.

- `query`: role `value`, once at `end` with `$window` = the whole interval; role `slice`, the same template with
  `$window` = one slice, at the end of each slice; and for every rule `in any DURATION` role `stretch`, with `$window` =
  that duration, at every slice's end from `start` + DURATION on. Slices are disjoint, aligned to `start`, two scrape
  intervals long; a remainder shorter than a slice is left out. Where there is no value there is no sample.
- `bad` / `total` / `bucket` / `count`: raw samples over [start - lead, end]. The lead of one and a half scrape
  intervals is there so that each series' last sample before `start` is among them: the increase inside the window is
  the sum of the steps from that sample (or from the first one, for a series born inside) to the last sample before
  `end`, a step down being a counter reset. Samples keep their own times; whoever differences them decides what to do
  with the lead.
- `up{$selector}` over [start, end], role `up`: scrape health, once for all SLIs of the phase.

Raw samples of long windows are asked for in several pieces of equal length, so that no answer grows with the phase.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.history.series import Role, filled
from harness.plan.model import Phase, Prometheus, PrometheusSli

SLICE_SCRAPES = 2  # a slice must hold two samples, or rate() has no value
LEAD_SCRAPES = 1.5  # more than one, so that scrape jitter cannot leave the lead without a sample
POINTS_MAX = 10_000  # Prometheus refuses a range query of more than 11,000 points
PIECE_MS = 900_000  # of raw samples in one answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A phase's judged interval on the wall clock, whole Unix milliseconds inside [start, end) of the run's time."""

    phase: str
    start_ms: int
    end_ms: int
    t0_wall_ns: int

    @property
    def length_ms(self) -> int:
        """Length of the window; 0 when it holds no whole millisecond."""
        return max(0, self.end_ms - self.start_ms)

    @property
    def start_s(self) -> float:
        """Its beginning in seconds since run start."""
        return (self.start_ms * 1_000_000 - self.t0_wall_ns) / 1e9

    @property
    def end_s(self) -> float:
        """Its end in seconds since run start."""
        return (self.end_ms * 1_000_000 - self.t0_wall_ns) / 1e9


def window_of(phase: Phase, start_s: float, end_s: float, t0_wall_ns: int) -> Window:
    """[start_s, end_s) since run start as Unix milliseconds: rounded inwards, so that no query crosses a boundary."""
    return Window(
        phase=phase.name,
        start_ms=-((-t0_wall_ns - round(start_s * 1e9)) // 1_000_000),
        end_ms=(t0_wall_ns + round(end_s * 1e9)) // 1_000_000,
        t0_wall_ns=t0_wall_ns,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """
    One query to the API: at one instant, or at every `step_ms` of [from_ms, at_ms] when there is a step.

    A `native` one wants native histograms, and plain numbers are no answer to it.
    """

    role: Role
    query: str
    at_ms: int
    from_ms: int = 0
    step_ms: int = 0
    native: bool = False


def questions(
    sli: PrometheusSli, prometheus: Prometheus, window: Window, *, stretches_s: Iterable[float] = ()
) -> tuple[Question, ...]:
    """What to ask for one SLI in one window (see the module's text); `stretches_s` of its rules `in any DURATION`."""
    if sli.query is not None:
        whole = filled(sli.query, prometheus.selector, window.length_ms)
        value = Question(role="value", query=whole, at_ms=window.end_ms)
        slice_ms = round(SLICE_SCRAPES * prometheus.scrape_interval_s * 1000)
        slices = _repeated("slice", sli.query, prometheus, window, slice_ms)
        stretches = (
            one
            for length_s in sorted(set(stretches_s))
            for one in _repeated("stretch", sli.query, prometheus, window, round(length_s * 1000))
        )
        return (value, *slices, *stretches)
    lead_ms = round(LEAD_SCRAPES * prometheus.scrape_interval_s * 1000)
    return tuple(
        piece
        for role, selector, native in _raw(sli)
        for piece in _pieces(role, filled(selector, prometheus.selector, 0), window, lead_ms=lead_ms, native=native)
    )


def health_questions(prometheus: Prometheus, window: Window) -> tuple[Question, ...]:
    """What to ask once for the scrape health of the service's targets."""
    return tuple(_pieces("up", f"up{{{prometheus.selector}}}", window, lead_ms=0, native=False))


def named(histogram: str, suffix: str) -> str:
    """The histogram's selector with a suffix to its name: `x{a="b"}` becomes `x_bucket{a="b"}`."""
    return re.sub(r"^\s*([A-Za-z_:][\w:]*)", lambda found: found[1] + suffix, histogram, count=1)


def _raw(sli: PrometheusSli) -> Iterator[tuple[Role, str, bool]]:
    """Role and selector of each kind of raw samples, and whether only native histograms are wanted."""
    if sli.bad is not None and sli.total is not None:
        yield "bad", sli.bad, False
        yield "total", sli.total, False
    if sli.histogram is not None:
        yield "bucket", named(sli.histogram, "_bucket"), False
        yield "count", named(sli.histogram, "_count"), False
        yield "bucket", sli.histogram, True


def _pieces(role: Role, selector: str, window: Window, *, lead_ms: int, native: bool) -> Iterator[Question]:
    """The raw samples from the lead to the window's end, the oldest first, in pieces of one length."""
    whole_ms = window.length_ms + lead_ms
    count = max(1, math.ceil(whole_ms / PIECE_MS))
    length_ms = math.ceil(whole_ms / count)
    query = f"{selector}[{length_ms}ms]"
    for later in reversed(range(count)):
        yield Question(role=role, query=query, at_ms=window.end_ms - later * length_ms, native=native)


def _repeated(role: Role, template: str, prometheus: Prometheus, window: Window, length_ms: int) -> Iterator[Question]:
    """As few range queries as the API's limit on points allows; their points are ends of slices."""
    step_ms = round(SLICE_SCRAPES * prometheus.scrape_interval_s * 1000)
    count = (window.length_ms - length_ms) // step_ms + 1
    query = filled(template, prometheus.selector, length_ms)
    for first in range(0, count, POINTS_MAX):
        begin_ms = window.start_ms + length_ms
        yield Question(
            role=role,
            query=query,
            from_ms=begin_ms + first * step_ms,
            at_ms=begin_ms + (min(first + POINTS_MAX, count) - 1) * step_ms,
            step_ms=step_ms,
        )
