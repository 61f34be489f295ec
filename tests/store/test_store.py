"""The index of runs says what the run directories say."""

import json
import shutil
from pathlib import Path

import pytest

from harness.errors import RecordError
from harness.store import Entry, Store


def judged_run(results: Path, run: str, started: str, verdict: str) -> Path:
    directory = results / run
    directory.mkdir(parents=True)
    document = {
        "run": run,
        "scenario": run.split("/", maxsplit=1)[0],
        "status": "completed",
        "verdict": verdict,
        "headline": "why",
    }
    (directory / "verdict.json").write_text(json.dumps(document))
    (directory / "environment.json").write_text(json.dumps({"format": 1, "started": started}))
    return directory


def entry(run: str, started: str, verdict: str) -> Entry:
    return Entry(run, run.split("/", maxsplit=1)[0], started, "completed", verdict, "why")


def test_runs_come_newest_first_and_by_scenario(tmp_path: Path) -> None:
    """`newest` orders by start and can be narrowed to one scenario."""
    store = Store(tmp_path)
    for run, started, verdict in (
        ("a/1", "2026-11-01", "pass"),
        ("b/2", "2026-11-03", "fail"),
        ("a/3", "2026-11-02", "warn"),
    ):
        store.add(judged_run(tmp_path, run, started, verdict))

    assert store.newest(2) == (entry("b/2", "2026-11-03", "fail"), entry("a/3", "2026-11-02", "warn"))
    assert store.newest(9, "a") == (entry("a/3", "2026-11-02", "warn"), entry("a/1", "2026-11-01", "pass"))


def test_judging_again_replaces_the_entry(tmp_path: Path) -> None:
    """A run stands in the index once, with its newest verdict."""
    store = Store(tmp_path)
    directory = judged_run(tmp_path, "a/1", "2026-11-01", "pass")
    store.add(directory)
    document = json.loads((directory / "verdict.json").read_text()) | {"verdict": "fail"}
    (directory / "verdict.json").write_text(json.dumps(document))
    store.add(directory)

    assert store.newest(9) == (entry("a/1", "2026-11-01", "fail"),)


def test_a_deleted_index_is_rebuilt_from_the_run_directories(tmp_path: Path) -> None:
    """The directories are the truth; `latest` links are not counted twice."""
    judged_run(tmp_path, "a/1", "2026-11-01", "pass")
    (tmp_path / "a" / "latest").symlink_to("1")

    assert Store(tmp_path).newest(9) == (entry("a/1", "2026-11-01", "pass"),)


def test_an_index_that_was_deleted_comes_back_whole_with_the_next_run(tmp_path: Path) -> None:
    """Adding to no index must not hide the runs before it."""
    judged_run(tmp_path, "a/1", "2026-11-01", "pass")
    Store(tmp_path).add(judged_run(tmp_path, "a/2", "2026-11-02", "fail"))

    assert Store(tmp_path).newest(9) == (entry("a/2", "2026-11-02", "fail"), entry("a/1", "2026-11-01", "pass"))


def test_runs_whose_directory_was_deleted_are_not_listed(tmp_path: Path) -> None:
    """Tidying up with `rm -r` needs no other command; the newest of those that are left fill the list."""
    store = Store(tmp_path)
    for number in (1, 2, 3):
        store.add(judged_run(tmp_path, f"a/{number}", f"2026-11-0{number}", "pass"))
    shutil.rmtree(tmp_path / "a/3")

    assert [found.run for found in store.newest(2)] == ["a/2", "a/1"]


def test_a_run_whose_verdict_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    judged_run(tmp_path, "a/1", "2026-11-01", "pass")
    (judged_run(tmp_path, "a/2", "2026-11-02", "pass") / "verdict.json").write_text('{"run')

    assert Store(tmp_path).newest(9) == (entry("a/1", "2026-11-01", "pass"),)


def test_a_copy_of_a_run_is_left_out_and_makes_no_index(tmp_path: Path) -> None:
    """`harness judge` of an artefact from CI must not write beside the folder that it was unpacked in."""
    copy = judged_run(tmp_path / "home/results", "a/1", "2026-11-01", "pass").rename(tmp_path / "home/artefact")
    Store(tmp_path).add(copy)

    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_folder_that_takes_no_files_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged_run(tmp_path, "a/1", "2026-11-01", "pass")
    monkeypatch.setattr("os.access", lambda _path, _mode: False)

    assert Store(tmp_path).newest(9) == (entry("a/1", "2026-11-01", "pass"),)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_unjudged_run_is_refused(tmp_path: Path) -> None:
    """A directory without a verdict names itself in the error."""
    with pytest.raises(RecordError, match=r"nowhere: not a judged run"):
        Store(tmp_path).add(tmp_path / "nowhere")


def test_looking_for_runs_where_there_are_none_makes_nothing(tmp_path: Path) -> None:
    """A mistyped --results must not leave a folder behind."""
    assert Store(tmp_path / "nowhere").newest(5) == ()
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_is_not_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").write_text("not a database, but long enough to be taken for a damaged one" * 20)

    with pytest.raises(RecordError, match=r"index\.sqlite: file is not a database"):
        Store(tmp_path).newest(5)
