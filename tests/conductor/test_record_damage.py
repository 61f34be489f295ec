"""Records that are not what was written: told with file and line, never judged as if nothing were missing."""

from pathlib import Path

import pytest
from conductor_stage import Stage, small_plan, without_faults

from harness import record
from harness.errors import RecordError


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stage = Stage(tmp_path_factory.mktemp("results"), plan=without_faults(small_plan()))
    stage.play()
    return stage.record.directory


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("history.jsonl", '{"seq":1,"t_ns":1,"event":"nosuch"}', "not an event"),
        ("history.jsonl", '{"seq":', "cannot be read"),
        ("load/frames.jsonl", "[1, 2]", "not a frame"),
        ("load/frames.jsonl", '{"second":1,"series":"a","lag":"HISTFXXX"}', "histogram"),
        ("series.jsonl", '{"a":1}', "not a series"),
        ("load/health.jsonl", "7", "not a worker's health"),
    ],
)
def test_a_damaged_line_is_told_with_its_place(recorded: Path, name: str, line: str, said: str) -> None:
    file = recorded / name
    whole = file.read_text()
    file.write_text(f"{whole}{line}\n")
    number = whole.count("\n") + 1
    try:
        with pytest.raises(RecordError, match=rf"{name}:{number}: .*{said}"):
            record.read(recorded)
    finally:
        file.write_text(whole)


def test_missing_events_are_noticed(recorded: Path) -> None:
    """A history with a hole could hide the failed rollback that makes the difference."""
    file = recorded / "history.jsonl"
    whole = file.read_text()
    lines = whole.splitlines(keepends=True)
    file.write_text("".join(lines[:3] + lines[4:]))
    try:
        with pytest.raises(RecordError, match=r"history.jsonl:4: event 4 stands where event 3 belongs"):
            record.read(recorded)
    finally:
        file.write_text(whole)
