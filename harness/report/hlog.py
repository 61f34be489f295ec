"""
The load record as an HdrHistogram log, version 1.3, for every tool that reads those.

One line per second of intended time. Lines without a tag are the response times of all ok arrivals together; the
others are tagged `response:`, `service:`, `lag:`, `failed:` or `step:` (a request inside a journey) and the name,
percent-encoded since a tag has neither spaces nor commas, e.g. `Tag=service:GET%20/items`; with streams
`Tag=service:browse:GET%20/items`.
The format: https://github.com/HdrHistogram/HdrHistogram, HistogramLogWriter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from urllib.parse import quote

from harness.history.events import RunStarted
from harness.history.histogram import Histogram
from harness.history.load import LoadFrame
from harness.history.run import Run

_US_PER_MS = 1000


def text(run: Run) -> str:
    """The whole log. Values are microseconds; times are seconds since run start."""
    return "".join(f"{line}\n" for line in (*_head(run), *_intervals(run.frames)))


def _head(run: Run) -> Iterator[str]:
    wall_ns = next((event.body.wall_ns for event in run.events if isinstance(event.body, RunStarted)), 0)
    started_s = wall_ns / 1e9
    shown = datetime.fromtimestamp(started_s, UTC)
    yield "#[Histogram log format version 1.3]"
    yield f"#[Run {run.name}; values are microseconds, Interval_Max is milliseconds]"
    yield f"#[StartTime: {started_s:.3f} (seconds since epoch), {shown:%Y-%m-%dT%H:%M:%SZ}]"
    yield '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'


def _intervals(frames: Iterable[LoadFrame]) -> Iterator[str]:
    """The lines in order of time; frames of one second and series, from several workers or late, are added up."""
    ordered = sorted(frames, key=lambda frame: (frame.second, frame.stream, frame.series))
    for second, of_second in groupby(ordered, key=lambda frame: frame.second):
        together = list(of_second)
        yield from _line(second, None, [frame.response for frame in together])
        for name, of_name in groupby(together, key=lambda frame: (frame.stream, frame.series)):
            mine = list(of_name)
            tag = ":".join(quote(part, safe="/") for part in name if part)
            yield from _line(second, f"response:{tag}", [frame.response for frame in mine])
            yield from _line(second, f"service:{tag}", [frame.service for frame in mine])
            yield from _line(second, f"lag:{tag}", [frame.lag for frame in mine])
            yield from _line(second, f"failed:{tag}", [frame.failed_response for frame in mine])
            yield from _line(second, f"step:{tag}", [frame.steps.response for frame in mine if frame.steps])


def _line(second: int, tag: str | None, histograms: Sequence[Histogram]) -> Iterator[str]:
    """The interval's line; none when nothing was recorded in it."""
    total = Histogram.merged(histograms)
    if total.max is not None:
        prefix = f"Tag={tag}," if tag else ""
        yield f"{prefix}{second:.3f},1.000,{total.max / _US_PER_MS:.3f},{total.encode()}"
