"""The HdrHistogram log, read back by the library that defines the format for Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import example
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from harness.history.events import Event, RunStarted
from harness.history.histogram import Histogram
from harness.history.load import LoadFrame, Steps
from harness.history.run import Run
from harness.report import hlog


def of(*values_us: int) -> Histogram:
    histogram = Histogram()
    for us in values_us:
        histogram.record(us)
    return histogram


def frame(second: int, series: str, *response_us: int, stream: str = "", lag_us: int = 100) -> LoadFrame:
    return LoadFrame(second=second, series=series, stream=stream, response=of(*response_us), lag=of(lag_us))


def run_of(*frames: LoadFrame) -> Run:
    started = Event(seq=0, t_ns=0, body=RunStarted(run="shop/1", wall_ns=1_795_219_200_500_000_000))
    return replace(example.passed()[0], name="shop/1", events=(started,), frames=frames)


Interval = tuple[str | None, float, int, int, int]  # tag, start, count, value at 50 %, max


def intervals(run: Run, path: Path) -> list[Interval]:
    """What the reader finds; times in seconds since run start, values in the microseconds of their bucket's end."""
    path.write_text(hlog.text(run), encoding="utf-8")
    reader = HistogramLogReader(str(path), HdrHistogram(1, 3_600_000_000, 3))
    found: list[Interval] = []
    while (one := reader.get_next_interval_histogram()) is not None:
        assert reader.get_start_time_sec() == 1_795_219_200.5
        assert one.get_end_time_stamp() - one.get_start_time_stamp() == 1000
        start_s = one.get_start_time_stamp() / 1000 - reader.get_start_time_sec()
        tag = one.get_tag()
        median_us, max_us = one.get_value_at_percentile(50), one.get_max_value()
        found.append((unquote(tag) if tag else None, start_s, one.get_total_count(), median_us, max_us))
    reader.input_file.close()
    return found


def test_every_second_and_series_is_an_interval_with_its_own_times(tmp_path: Path) -> None:
    run = run_of(frame(0, "GET /items", 900, 1000, 1100), frame(1, "GET /items", 2_000_000))

    assert intervals(run, tmp_path / "load.hlog") == [
        (None, 0.0, 3, 1000, 1100),
        ("response:GET /items", 0.0, 3, 1000, 1100),
        ("lag:GET /items", 0.0, 1, 100, 100),
        (None, 1.0, 1, 2_000_895, 2_000_895),
        ("response:GET /items", 1.0, 1, 2_000_895, 2_000_895),
        ("lag:GET /items", 1.0, 1, 100, 100),
    ]


def test_frames_of_one_second_are_added_up_and_come_in_order(tmp_path: Path) -> None:
    """Late completions and other workers make several frames for one second."""
    run = run_of(frame(3, "a", 10), frame(2, "a", 20), frame(3, "a", 30), frame(3, "b", 50))

    untagged = [one for one in intervals(run, tmp_path / "load.hlog") if one[0] is None]
    assert untagged == [(None, 2.0, 1, 20, 20), (None, 3.0, 3, 30, 50)]


def test_names_with_spaces_and_commas_are_tags_and_streams_stand_before_them(tmp_path: Path) -> None:
    run = run_of(frame(0, "put, then pay: 1 ü", 10, stream="buy"))

    tags = [one[0] for one in intervals(run, tmp_path / "load.hlog")]
    assert tags == [None, "response:buy:put, then pay: 1 ü", "lag:buy:put, then pay: 1 ü"]


def test_failures_and_service_times_have_intervals_of_their_own(tmp_path: Path) -> None:
    """What failed is in no response time, neither better nor worse."""
    both = LoadFrame(second=0, series="a", response=of(50), service=of(40), failed_response=of(7, 9))

    assert intervals(run_of(both), tmp_path / "load.hlog") == [
        (None, 0.0, 1, 50, 50),
        ("response:a", 0.0, 1, 50, 50),
        ("service:a", 0.0, 1, 40, 40),
        ("failed:a", 0.0, 2, 7, 9),
    ]


def test_requests_inside_journeys_have_intervals_of_their_own(tmp_path: Path) -> None:
    """They are no arrivals, so the untagged lines are not of them."""
    journey = LoadFrame(second=0, series="GET /cart", steps=Steps(ok=2, response=of(5, 6)))

    assert intervals(run_of(journey), tmp_path / "load.hlog") == [("step:GET /cart", 0.0, 2, 5, 6)]


def test_a_run_without_load_is_a_log_without_intervals(tmp_path: Path) -> None:
    assert intervals(run_of(LoadFrame(second=0, series="", planned=5, lost=5)), tmp_path / "load.hlog") == []
    assert hlog.text(run_of()).splitlines() == [
        "#[Histogram log format version 1.3]",
        "#[Run shop/1; values are microseconds, Interval_Max is milliseconds]",
        "#[StartTime: 1795219200.500 (seconds since epoch), 2026-11-21T00:00:00Z]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
