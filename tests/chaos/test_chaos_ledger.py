"""The ledger on disk."""

import errno
import fcntl
import io
import os
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError
from urllib.request import OpenerDirector

import psutil
import pytest

from harness.drivers.chaos import ledger, undo
from harness.drivers.chaos.heal import Healed, answers, heal
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


def test_looking_whether_a_ledger_is_owned_does_not_own_it(tmp_path: Path) -> None:
    """Two may look at the same time, and an owner is not kept from coming."""
    assert not ledger.is_owned(tmp_path)
    with ledger.owned(tmp_path):
        assert ledger.is_owned(tmp_path)
    with (tmp_path / "owner.lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not ledger.is_owned(tmp_path)


def test_the_owner_is_known_after_the_clock_was_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`halt` must reach it: an hour forward moves both when it started and when the machine did."""
    ledger.sign(tmp_path)
    create_time, boot_time = psutil.Process.create_time, psutil.boot_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: create_time(self) + 3600)
    monkeypatch.setattr(psutil, "boot_time", lambda: boot_time() + 3600)

    signed = ledger.owner(tmp_path)

    assert signed is not None
    assert (signed.pid, ledger.started_s(psutil.Process())) == (os.getpid(), pytest.approx(signed.started_s, abs=1))


def test_healing_on_a_full_disk_says_that_the_fault_is_not_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ledger.path_of(tmp_path / "a/20261121-010203-ab12/chaos", "cut")
    path.parent.mkdir(parents=True)
    ledger.write(path, replace(ENTRY, sandbox=True, environment={"KUBECONFIG": str(tmp_path / "gone")}))
    monkeypatch.setattr(ledger, "write", _full)
    (healed,) = heal(tmp_path)

    assert (healed.outcome, healed.fault) == (State.NOT_UNDONE, "cut")
    assert "No space left on device" in healed.detail


def test_two_may_heal_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is not told that there was nothing to heal while the first is still at it."""
    path = ledger.path_of(tmp_path / "a/20261121-010203-ab12/chaos", "cut")
    ledger.write(path, ENTRY)
    second: list[Healed] = []

    def play(*_: object, **__: object) -> str:
        if not second:
            second.append(Healed(fault="", run="", outcome=State.UNDONE, detail="", entry=path))
            second[:] = heal(tmp_path)
        return "no route"

    monkeypatch.setattr(undo, "play", play)

    assert heal(tmp_path) == tuple(second)
    assert [one.outcome for one in second] == [State.NOT_UNDONE]


def test_an_undo_is_tried_again_when_the_disk_does_not_take_its_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cut.json"
    ledger.write(path, ENTRY)
    tries = [_full, _full, ledger.mark]

    def fresh(path: Path, _timeout_s: float) -> None:
        tries.pop(0)(path, State.UNDONE)

    monkeypatch.setattr(undo, "_fresh", fresh)
    monkeypatch.setattr(undo, "_PAUSE_S", 0.001)

    assert undo.play(path, budget_s=0, timeout_s=1) == "[Errno 28] No space left on device"
    assert undo.play(path, budget_s=60, timeout_s=1) is None
    assert tries == []


def test_an_undo_whose_log_cannot_be_written_has_none(tmp_path: Path) -> None:
    path = tmp_path / "ledger" / "cut.json"
    undo.log_of(path).mkdir()

    with undo.open_log(path) as log:
        assert log.name == os.devnull


def test_what_runs_as_somebody_else_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault's activities may have started programs of another user; that must not keep it from being undone."""

    asked: list[int] = []

    def refuse(group: int, _signal: int) -> None:
        asked.append(group)
        raise PermissionError

    monkeypatch.setattr(os, "killpg", refuse)

    undo.end_group(1)

    assert asked == [1]


@pytest.mark.parametrize(
    ("said", "there"),
    [
        ('{"metadata": {"uid": "this"}}', True),
        ('{"metadata": {"uid": "another"}}', False),
        ("busy", True),
        (TimeoutError("timed out"), True),
        (URLError(ConnectionResetError()), True),
        (URLError(ConnectionRefusedError()), False),
    ],
)
def test_a_sandbox_is_gone_when_nothing_listens_or_another_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, said: str | OSError, there: bool
) -> None:
    """What hangs or refuses is there."""

    def opened(url: str, timeout: float) -> io.StringIO:
        assert (url, timeout) == ("http://127.0.0.1:1/api/v1/namespaces/kube-system", 3.0)
        if isinstance(said, OSError):
            raise said
        return io.StringIO(said)

    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("clusters: [{cluster: {server: 'http://127.0.0.1:1'}}]")
    monkeypatch.setattr(OpenerDirector, "open", lambda _self, url, timeout: opened(url, timeout))

    assert answers(str(kubeconfig), "this") is there


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
