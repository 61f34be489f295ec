"""The conductor is killed with SIGKILL, at any moment: what it left on is undone, and by whom."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from harness.drivers.chaos import halt, ledger
from harness.drivers.chaos.heal import Healed, heal
from harness.drivers.chaos.undo import Standby, play

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

RUN = "files/20261121-010203-ab12"
CHILD = "harness.drivers.chaos.child"
STANDBY = "harness.drivers.chaos.standby"
WATCHDOG = "harness.drivers.chaos.watchdog"
UNDONE, NOT_UNDONE = ledger.State.UNDONE, ledger.State.NOT_UNDONE


class Owner:
    """A process that owns a driver, its watchdog and its children."""

    def __init__(self, stage: Any, fault: Any, budget_s: float) -> None:
        plan = stage.folder / "plan.json"
        plan.write_text(json.dumps(asdict(stage.plan(fault))))
        program = str(Path(__file__).parent / "owner.py")
        self.process = subprocess.Popen(
            [sys.executable, program, str(plan), str(stage.directory), RUN, str(budget_s)],
            stdout=subprocess.PIPE,
            text=True,
        )

    def until(self, kind: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == kind:
                return
        raise AssertionError(f"it ended before {kind}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def owning(stage: Any) -> Iterator[Callable[[Any], Owner]]:
    owners: list[Owner] = []

    def start(fault: Any, budget_s: float = 60) -> Owner:
        owners.append(Owner(stage, fault, budget_s))
        return owners[-1]

    yield start
    for owner in owners:
        owner.kill()
        assert owner.process.stdout is not None
        owner.process.stdout.close()


def test_a_killed_conductors_fault_is_undone_by_its_child_alone(stage: Any, owning: Any) -> None:
    owner = owning(stage.fault([stage.put], [stage.take]))
    owner.until("inject_completed")
    assert stage.on

    os.kill(owner.process.pid, signal.SIGSTOP)  # so that it cannot react to the watchdog's death before its own
    for process in stage.processes(WATCHDOG) + stage.processes(STANDBY):
        process.kill()
    owner.kill()

    _takes_s(lambda: not stage.on)
    _takes_s(lambda: stage.processes() == [])
    assert stage.entry()["state"] == "undone"
    assert not (stage.directory / "files.undo.json").exists()  # which another process than the child would leave
    assert heal(stage.results) == ()


def test_the_watchdog_undoes_when_the_child_is_killed_with_the_conductor(stage: Any, owning: Any) -> None:
    owner = owning(stage.fault([stage.put], [stage.take]))
    owner.until("inject_completed")

    (child,) = stage.processes(CHILD)
    os.kill(owner.process.pid, signal.SIGSTOP)  # so that it cannot react to the child's death before its own
    child.kill()
    owner.kill()

    _takes_s(lambda: not stage.on)
    _takes_s(lambda: stage.processes() == [])
    assert stage.entry()["state"] == "undone"


def test_the_watchdog_kills_a_child_that_does_not_let_go(stage: Any, owning: Any) -> None:
    owner = owning(stage.fault([stage.act("put_stubbornly", thing=str(stage.thing), seconds=60)], [stage.take]))
    owner.until("activity_started")
    _takes_s(lambda: stage.on)

    owner.kill()

    _takes_s(lambda: not stage.on)
    _takes_s(lambda: stage.processes() == [])
    assert stage.entry()["state"] == "undone"


def test_signals_to_the_watchdog_do_not_end_it(stage: Any, owning: Any) -> None:
    owner = owning(stage.fault([stage.put], [stage.take]))
    owner.until("inject_completed")
    (watchdog,) = stage.processes(WATCHDOG)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        watchdog.send_signal(number)
    owner.kill()

    _takes_s(lambda: stage.processes() == [])
    assert not stage.on


def test_the_watchdog_tries_again_when_the_cluster_is_away_for_a_moment(stage: Any, owning: Any) -> None:
    away = stage.folder / "away"
    owner = owning(stage.fault([stage.put], [stage.act("refuse_while", thing=str(away)), stage.take]))
    owner.until("inject_completed")
    away.touch()

    owner.kill()
    _takes_s((stage.directory / "files.undo.json").exists)
    away.unlink()

    _takes_s(lambda: stage.processes() == [])
    assert stage.entry()["state"] == "undone"
    assert not stage.on


def test_a_stopped_conductors_fault_is_undone_when_its_time_is_over(stage: Any, owning: Any) -> None:
    owner = owning(stage.fault([stage.put], [stage.take], until_s=2.5))
    owner.until("inject_completed")

    os.kill(owner.process.pid, signal.SIGSTOP)

    _takes_s(lambda: not stage.on)
    _takes_s(lambda: stage.entry()["state"] == "undone")


def test_the_watchdog_of_a_stopped_conductor_does_not_give_up(stage: Any, owning: Any) -> None:
    """Nobody is left who would end the fault, not even the cluster: the keeper does not know that the run hangs."""
    away = stage.folder / "away"
    away.touch()
    rollbacks = [stage.act("refuse_while", thing=str(away)), stage.take]
    owner = owning(stage.fault([stage.put], rollbacks, until_s=2.5), budget_s=0.2)
    owner.until("inject_completed")

    os.kill(owner.process.pid, signal.SIGSTOP)
    _takes_s((stage.directory / "files.undo.json").exists)
    time.sleep(1.5)  # long enough for what it would try at once
    away.unlink()

    _takes_s(lambda: stage.entry()["state"] == "undone")
    assert not stage.on


def test_an_undo_does_not_depend_on_its_log(stage: Any) -> None:
    """Nor on its journal: a disk that takes nothing more keeps no fault on."""
    entry = stage.directory / "ledger" / "files.json"
    undo = {"title": "t", "description": "d", "method": [], "rollbacks": [stage.take]}
    _leave(entry, undo, {"PYTHONPATH": os.environ["PYTHONPATH"]})
    for name in ("files.undo.log", "files.undo.json"):
        (stage.directory / name).mkdir()
    stage.thing.touch()
    standby = Standby()
    standby.warm([])

    assert play(entry, budget_s=0, timeout_s=15, standby=standby) is None

    standby.close()
    assert not stage.on


def test_a_dead_standby_is_replaced_by_a_process_that_takes_longer(stage: Any, owning: Any) -> None:
    owner = owning(stage.fault([stage.put], [stage.take]))
    owner.until("inject_completed")

    (child,) = stage.processes(CHILD)
    os.kill(owner.process.pid, signal.SIGSTOP)
    for process in (*stage.processes(STANDBY), child):
        process.kill()
    owner.kill()

    _takes_s(lambda: not stage.on)
    _takes_s(lambda: stage.processes() == [])
    assert stage.entry()["state"] == "undone"


def test_halting_has_a_live_conductor_undo_its_faults(stage: Any, owning: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halt, "REACT_S", 30)  # a busy machine may take longer than what makes it fast
    owner = owning(stage.fault([stage.put], [stage.take]))
    owner.until("inject_completed")

    (halted,) = halt.halt(stage.results)

    assert (halted.run, halted.faults, halted.killed, halted.problem) == (RUN, 1, False, "")
    assert not stage.on
    assert owner.process.wait(30) == 0
    assert halt.halt(stage.results) == ()


def test_halting_kills_a_conductor_that_does_not_react(
    stage: Any, owning: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halt, "REACT_S", 0.3)
    owner = owning(stage.fault([stage.put], [stage.take]))
    owner.until("inject_completed")
    os.kill(owner.process.pid, signal.SIGSTOP)

    (halted,) = halt.halt(stage.results)

    assert (halted.run, halted.faults, halted.killed, halted.problem) == (RUN, 1, True, "")
    assert not stage.on


def test_without_a_live_run_there_is_nothing_to_halt(stage: Any) -> None:
    entry = stage.directory / "ledger" / "files.json"
    _leave(entry, {"title": "t", "description": "d", "method": [], "rollbacks": [stage.take]}, {})

    assert halt.halt(stage.results) == ()
    assert stage.entry()["state"] == "armed"


@pytest.mark.parametrize("delay_ms", [0, 3, 6, 10, 20])
def test_no_moment_of_death_leaves_a_fault_on(stage: Any, owning: Any, delay_ms: int) -> None:
    owner = owning(stage.fault([stage.put], [stage.take]))
    owner.until("preflight")

    time.sleep(delay_ms / 1000)
    owner.kill()

    _takes_s(lambda: stage.processes() == [])
    assert not stage.on
    heal(stage.results)
    assert not (stage.directory / "ledger" / "files.json").exists() or stage.entry()["state"] == "undone"


def test_heal_undoes_what_everybody_else_left(stage: Any, owning: Any) -> None:
    owner = owning(stage.fault([stage.put], [stage.take]))
    owner.until("inject_completed")
    entry = stage.directory / "ledger" / "files.json"
    os.kill(owner.process.pid, signal.SIGSTOP)
    for process in stage.processes(CHILD) + stage.processes(WATCHDOG):
        process.kill()
    assert heal(stage.results) == ()  # its owner lives
    owner.kill()
    assert stage.on
    (stage.results / "files" / "latest").symlink_to(stage.directory.parent)

    assert heal(stage.results) == (Healed(fault="files", run=RUN, outcome=UNDONE, detail="", entry=entry),)

    assert not stage.on
    assert stage.entry()["state"] == "undone"
    assert heal(stage.results) == ()


def test_an_undo_that_hangs_is_killed_and_reported(stage: Any) -> None:
    entry = stage.directory / "ledger" / "files.json"
    slow = stage.act("put_slowly", thing=str(stage.thing), seconds=60)
    undo = {"title": "t", "description": "d", "method": [], "rollbacks": [slow]}
    _leave(entry, undo, {"PYTHONPATH": os.environ["PYTHONPATH"]})

    why = play(entry, budget_s=0, timeout_s=1.5)

    log = stage.directory / "files.undo.log"
    assert why == f"the undo did not end within 1.5 s and was killed; see {log}"
    assert (stage.entry()["state"], stage.entry()["detail"]) == ("not_undone", why)


def test_heal_reports_what_it_cannot_undo_every_time(stage: Any) -> None:
    entry = stage.directory / "ledger" / "files.json"
    undo = {"title": "t", "description": "d", "method": [], "rollbacks": [stage.act("refuse", what="no cluster")]}
    _leave(entry, undo, {"PYTHONPATH": os.environ["PYTHONPATH"]})

    why = f"rollback 'refuse' failed: FileNotFoundError: no cluster; when the fault is known to be gone, delete {entry}"
    expected = (Healed(fault="files", run=RUN, outcome=NOT_UNDONE, detail=why, entry=entry),)
    assert heal(stage.results) == expected
    assert heal(stage.results) == expected


def test_heal_does_not_turn_to_another_cluster_when_the_kubeconfig_is_gone(stage: Any) -> None:
    entry = stage.directory / "ledger" / "files.json"
    undo = {"title": "t", "description": "d", "method": [], "rollbacks": [stage.put]}
    kubeconfig = str(stage.folder / "kubeconfig")
    _leave(entry, undo, {"PYTHONPATH": os.environ["PYTHONPATH"], "KUBECONFIG": kubeconfig})

    (healed,) = heal(stage.results)

    assert healed.outcome is NOT_UNDONE
    assert healed.detail.startswith(f"the kubeconfig {kubeconfig} is gone; ")
    assert not stage.on


def test_heal_does_not_turn_to_another_context_that_the_shell_names(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = stage.directory / "ledger" / "files.json"
    note = stage.folder / "note"
    context = {"context": {"type": "env", "key": "KUBERNETES_CONTEXT", "default": "none"}}
    noted = stage.act("note_run", run="${context}", note=str(note))
    undo = {"title": "t", "description": "d", "configuration": context, "method": [], "rollbacks": [noted]}
    _leave(entry, undo, {"PYTHONPATH": os.environ["PYTHONPATH"]})
    monkeypatch.setenv("KUBERNETES_CONTEXT", "production")

    heal(stage.results)

    assert note.read_text() == "none"


@pytest.mark.parametrize("kubeconfig", ["gone", "clusters: [{cluster: {server: 'http://127.0.0.1:9'}}]"])
def test_a_fault_dies_with_the_sandbox_it_was_played_on(stage: Any, tmp_path: Path, kubeconfig: str) -> None:
    """A sandbox keeps its cluster in memory: where nothing listens any more, nothing is left to undo."""
    if kubeconfig != "gone":
        (tmp_path / "kubeconfig").write_text(kubeconfig)
    entry = stage.directory / "ledger" / "files.json"
    environment = {"KUBECONFIG": str(tmp_path / "kubeconfig")}
    _leave(entry, {}, environment, sandbox=True)

    (healed,) = heal(stage.results)

    gone = "the sandbox that it was played on is gone, and it with it"
    assert (healed.outcome, healed.detail) == (ledger.State.UNDONE, gone)
    assert heal(stage.results) == ()


def test_heal_reports_an_entry_that_it_cannot_read(stage: Any) -> None:
    entry = stage.directory / "ledger" / "files.json"
    entry.parent.mkdir(parents=True)
    entry.write_text("torn")

    (healed,) = heal(stage.results)

    assert (healed.fault, healed.outcome, healed.entry) == ("files", NOT_UNDONE, entry)


def test_heal_of_an_empty_folder_has_nothing_to_report(tmp_path: Path) -> None:
    assert heal(tmp_path) == ()


def _leave(entry: Path, undo: dict[str, Any], environment: dict[str, str], *, sandbox: bool = False) -> None:
    """An entry of a run that is over."""
    left = ledger.Entry(
        fault="files", run=RUN, conductor=1, environment=environment, folder=os.sep, undo=undo, sandbox=sandbox
    )
    ledger.write(entry, left)


def _takes_s(true: Callable[[], bool], within_s: float = 30) -> float:
    begin = time.monotonic()
    while not true():
        assert time.monotonic() - begin < within_s
        time.sleep(0.01)
    return time.monotonic() - begin
