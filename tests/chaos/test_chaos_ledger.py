"""The ledger on disk."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from harness.drivers.chaos import ledger, undo
from harness.drivers.chaos.heal import heal
from harness.drivers.chaos.ledger import Entry, State

ENTRY = Entry(
    fault="pod-delete",
    run="stress/1",
    conductor=4711,
    environment={"KUBECONFIG": "/home/me/config"},
    folder="/home/me",
    undo={"title": "t", "method": [], "rollbacks": []},
)


def test_an_entry_is_read_back_as_written(tmp_path: Path) -> None:
    path = ledger.path_of(tmp_path, "pod-delete")

    ledger.write(path, ENTRY)

    assert ledger.read(path) == ENTRY
    assert ENTRY.state is State.ARMED
    assert [file.name for file in path.parent.iterdir()] == ["pod-delete.json"]


def test_marking_changes_state_and_reason_only(tmp_path: Path) -> None:
    path = tmp_path / "pod-delete.json"
    ledger.write(path, ENTRY)

    ledger.mark(path, State.NOT_UNDONE, "no route")

    assert ledger.read(path) == replace(ENTRY, state=State.NOT_UNDONE, detail="no route")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"state": "armed"}', '{"state": "sleeping"}'])
def test_what_is_not_an_entry_is_said_not_to_be_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "torn.json"
    path.write_text(text)

    with pytest.raises(ValueError, match=r"."):
        ledger.read(path)


def test_a_ledger_has_one_living_owner(tmp_path: Path) -> None:
    with ledger.owned(tmp_path) as first, ledger.owned(tmp_path) as second:
        assert (first, second) == (True, False)
    with ledger.owned(tmp_path) as third:
        assert third


def test_healing_on_a_full_disk_says_that_the_fault_is_not_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ledger.path_of(tmp_path / "a/20261121-010203-ab12/chaos", "cut")
    path.parent.mkdir(parents=True)
    ledger.write(path, ENTRY)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(undo, "play", full)
    (healed,) = heal(tmp_path)

    assert (healed.outcome, healed.fault) == (State.NOT_UNDONE, "cut")
    assert "No space left on device" in healed.detail
