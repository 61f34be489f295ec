"""The load record on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from load_support import load_plan

from harness import record
from harness.errors import RecordError
from harness.history.events import RunStarted
from harness.history.histogram import Histogram
from harness.history.load import FailedRequest, LoadFrame, Steps, WorkerHealth

FAILURE = FailedRequest(
    t_ns=1_500_000_000,
    stream="buy",
    series="POST /pay",
    error="http_503",
    status=503,
    peer="10.0.0.7:443",
    response_s=0.25,
    detail="Service Unavailable",
)
FRAME = LoadFrame(
    second=1,
    stream="buy",
    series="POST /pay",
    sent=3,
    ok=2,
    failed=1,
    response=Histogram({1200: 1, 1300: 1}),
    service=Histogram({1100: 2}),
    lag=Histogram({90: 3}),
    failed_response=Histogram({1900: 1}),
    slower=((200_000, 1), (500_000, 0)),
    good_bins=(2, *[0] * 99),
    bad_bins=(0, 1, *[0] * 98),
    errors=(("http_503", 1),),
    steps=Steps(ok=4, failed=1, response=Histogram({700: 4}), slower=((200_000, 0),), errors=(("reset", 1),)),
)
HEALTH = WorkerHealth(second=1, worker="far-1", cpu_ratio=0.2, stall_s_max=0.001, in_flight=4, clock_s=0.0002)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    written = record.Record.create(tmp_path, load_plan(), given={}, environment={})
    written.load((FRAME,), (HEALTH,), (FAILURE,))
    written.close()
    return written.directory


def test_the_load_record_is_read_back_as_it_was_written(directory: Path) -> None:
    run = record.read(directory)
    assert (run.frames, run.health, run.failures) == ((FRAME,), (HEALTH,), (FAILURE,))


def test_a_record_keeps_its_name_wherever_it_is_copied_to(tmp_path: Path) -> None:
    """The verdict says which run it is about, and is the same bytes on any machine."""
    written = record.Record.create(tmp_path / "results", load_plan(), given={}, environment={})
    written.event(0, RunStarted(run=written.name, wall_ns=0))
    written.close()
    copy = written.directory.rename(tmp_path / "artefact")

    assert record.read(copy).name == written.name


def test_a_torn_last_line_costs_no_more_than_itself(directory: Path) -> None:
    failures = directory / "load/failures.jsonl"
    failures.write_text(failures.read_text() + '{"t_ns": 1')
    assert record.read(directory).failures == (FAILURE,)


def test_a_record_without_a_sample_of_failures_is_whole(directory: Path) -> None:
    (directory / "load/failures.jsonl").unlink()
    assert record.read(directory).failures == ()


def test_a_line_that_is_no_failed_request_is_named(directory: Path) -> None:
    path = directory / "load/failures.jsonl"
    path.write_text('{"error": "dns"}\n')
    with pytest.raises(RecordError, match=rf"^{path}:1: cannot be read: failed request"):
        record.read(directory)
