"""Faults played for real by Chaos Toolkit in child processes, without a cluster."""

import errno
import os
import signal
import sys
import time
from typing import Any

import pytest

from harness.drivers.chaos import ledger
from harness.drivers.preflight.look import Found
from harness.errors import DriverError, PlanError
from harness.history.events import (
    ActivityCompleted,
    ActivityStarted,
    FaultArmed,
    InjectCompleted,
    InjectFailed,
    PreflightChecked,
    RollbackCompleted,
    RollbackFailed,
    TargetsFrozen,
)

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

CHILD = "harness.drivers.chaos.child"
WATCHDOG = "harness.drivers.chaos.watchdog"


def test_a_fault_is_armed_injected_held_and_rolled_back(stage: Any) -> None:
    fault = stage.fault([stage.put], [stage.take])
    frozen = TargetsFrozen(fault="files", names=("thing",))
    driver = stage.play(fault, targets=lambda *_: Found(bodies=(frozen,)))

    cannot = "only actions of harness.drivers.faults can be, this one is acts"
    detail = f"fault 'files': activity 'put': cannot be rehearsed: {cannot}"
    checked = PreflightChecked(check="rehearsal", ok=False, detail=detail)
    assert [stamped.body for stamped in driver.preflight()] == [frozen, checked]
    driver.inject(fault)
    stage.until(InjectCompleted)
    assert stage.on
    assert stage.entry()["state"] == "armed"
    driver.rollback(fault)
    stage.until(RollbackCompleted)

    assert not stage.on
    assert stage.bodies == [
        FaultArmed(fault="files"),
        ActivityStarted(fault="files", activity="put"),
        ActivityCompleted(fault="files", activity="put", status="succeeded"),
        InjectCompleted(fault="files"),
        ActivityStarted(fault="files", activity="take"),
        ActivityCompleted(fault="files", activity="take", status="succeeded"),
        RollbackCompleted(fault="files"),
    ]
    stamps = [stamped.mono_ns for stamped in stage.stamped]
    assert stamps == sorted(stamps)
    assert stage.entry()["state"] == "undone"
    assert [run["status"] for run in stage.journal()["run"] + stage.journal()["rollbacks"]] == ["succeeded"] * 2


def test_the_undo_is_on_disk_before_the_first_activity(stage: Any) -> None:
    entry = stage.directory / "ledger" / "files.json"
    fault = stage.fault([stage.act("need", path=str(entry))], [stage.take])
    driver = stage.play(fault)

    driver.inject(fault)

    assert stage.until(InjectCompleted, InjectFailed) == InjectCompleted(fault="files")


def test_two_faults_overlap(stage: Any) -> None:
    first = stage.fault([stage.put], [stage.take], "first")
    second = stage.fault([stage.put], [stage.take], "second")
    driver = stage.play(first, second)
    driver.preflight()

    driver.inject(first)
    driver.inject(second)
    stage.until(InjectCompleted)
    stage.until(InjectCompleted)
    driver.rollback(second)
    stage.until(RollbackCompleted)

    assert stage.bodies[-1] == RollbackCompleted(fault="second")
    assert (stage.entry("first")["state"], stage.entry("second")["state"]) == ("armed", "undone")


def test_the_experiment_finds_the_runs_name(stage: Any) -> None:
    note = stage.folder / "note"
    configuration = {"run": {"type": "env", "key": "LCH_RUN", "default": "manual"}}
    noted = stage.act("note_run", run="${run}", note=str(note))
    fault = stage.fault([noted], [noted], configuration=configuration)
    driver = stage.play(fault)

    driver.inject(fault)
    stage.until(InjectCompleted)

    assert note.read_text() == "files/20261121-010203-ab12"
    assert stage.entry()["undo"]["configuration"] == {"run": "files/20261121-010203-ab12"}


@pytest.mark.parametrize(
    ("act", "how"),
    [("put_slowly", "activity 'put_slowly' was cut short; "), ("swallow_and_go_on", "")],
)
def test_a_rollback_cuts_a_running_activity_short(stage: Any, act: str, how: str) -> None:
    """And the pause after it."""
    other = stage.folder / "other"
    slow = {**stage.act(act, thing=str(stage.thing), seconds=60), "pauses": {"after": 60}}
    fault = stage.fault([slow, stage.act("put", thing=str(other))], [stage.take])
    driver = stage.play(fault)
    driver.inject(fault)
    stage.until(ActivityStarted)
    _eventually(lambda: stage.on)

    driver.rollback(fault)
    stage.until(RollbackCompleted)

    assert not stage.on
    assert not other.exists()
    failed = [body.detail for body in stage.bodies if isinstance(body, InjectFailed)]
    assert failed == [f"{how}1 of 2 activity entries not played"]


def test_a_program_that_an_activity_left_running_ends_with_its_fault(stage: Any) -> None:
    fault = stage.fault([stage.act("put_and_leave_running", thing=str(stage.thing))], [stage.take])
    driver = stage.play(fault)
    driver.preflight()
    driver.inject(fault)
    stage.until(InjectCompleted)
    assert len(stage.processes("sleep")) == 1
    driver.rollback(fault)
    stage.until(RollbackCompleted)
    driver.close()
    _eventually(lambda: stage.processes("sleep") == [])


def test_pauses_do_not_keep_a_rollback_waiting(stage: Any) -> None:
    fault = stage.fault([{**stage.put, "pauses": {"after": 60}}, {**stage.put, "name": "again"}], [stage.take])
    driver = stage.play(fault)
    driver.inject(fault)
    stage.until(ActivityCompleted)

    driver.rollback(fault)
    stage.until(RollbackCompleted)

    failed = [body.detail for body in stage.bodies if isinstance(body, InjectFailed)]
    assert failed == ["1 of 2 activity entries not played"]
    assert not stage.on


def test_an_activity_that_cannot_be_cut_short_is_killed_and_undone_by_a_fresh_child(stage: Any) -> None:
    fault = stage.fault([stage.act("put_stubbornly", thing=str(stage.thing), seconds=60)], [stage.take])
    driver = stage.play(fault, cut_s=0.3)
    driver.inject(fault)
    stage.until(ActivityStarted)
    _eventually(lambda: stage.on)

    driver.rollback(fault)

    failed = stage.until(InjectFailed)
    assert "did not let go of its running activity within 0.3 s and was killed" in failed.detail
    assert stage.until(RollbackCompleted, RollbackFailed) == RollbackCompleted(fault="files")
    assert not stage.on


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2])
@pytest.mark.parametrize("act", ["put", "put_slowly"])
def test_a_stray_signal_ends_the_fault_in_order(stage: Any, number: signal.Signals, act: str) -> None:
    arguments = {"seconds": 60} if act == "put_slowly" else {}
    fault = stage.fault([stage.act(act, thing=str(stage.thing), **arguments)], [stage.take])
    driver = stage.play(fault)
    driver.inject(fault)
    stage.until(InjectCompleted if act == "put" else ActivityStarted)

    (child,) = stage.processes(CHILD)
    child.send_signal(number)
    stage.until(RollbackCompleted)

    assert not stage.on
    assert InjectFailed(fault="files", detail=f"ended before its time by {number.name}") in stage.bodies
    driver.rollback(fault)
    stage.until(RollbackCompleted)


def test_a_killed_child_is_replaced_by_a_fresh_one_that_undoes(stage: Any) -> None:
    fault = stage.fault([stage.put], [stage.take])
    driver = stage.play(fault)
    driver.inject(fault)
    stage.until(InjectCompleted)

    (child,) = stage.processes(CHILD)
    child.kill()
    stage.until(RollbackCompleted)

    assert not stage.on
    failed = [body.detail for body in stage.bodies if isinstance(body, InjectFailed)]
    assert failed == [f"its process was killed by SIGKILL; see {stage.directory / 'files.log'}"]
    assert stage.entry()["state"] == "undone"
    assert stage.journal()["run"][0]["status"] == "succeeded"


def test_a_child_that_dies_in_its_rollback_is_replaced(stage: Any) -> None:
    crash = stage.act("crash_once", thing=str(stage.thing), crashed=str(stage.folder / "crashed"))
    fault = stage.fault([stage.put], [crash])
    driver = stage.play(fault)
    driver.inject(fault)
    stage.until(InjectCompleted)

    driver.rollback(fault)

    assert stage.until(RollbackCompleted, RollbackFailed) == RollbackCompleted(fault="files")
    assert not stage.on


def test_a_failing_rollback_is_reported_and_does_not_keep_the_others_from_being_played(stage: Any) -> None:
    fault = stage.fault([stage.put], [stage.act("refuse", what="no such policy"), stage.take])
    driver = stage.play(fault)
    driver.inject(fault)
    stage.until(InjectCompleted)

    driver.rollback(fault)

    detail = "rollback 'refuse' failed: FileNotFoundError: no such policy"
    assert stage.until(RollbackCompleted, RollbackFailed) == RollbackFailed(fault="files", detail=detail)
    assert not stage.on
    assert (stage.entry()["state"], stage.entry()["detail"]) == ("not_undone", detail)


def test_a_rollback_that_raises_what_chaoslib_does_not_expect_does_not_either(stage: Any) -> None:
    fault = stage.fault([stage.put], [stage.act("vanished"), stage.take])
    (stage.folder / "late.py").write_text("def vanished(): pass")
    document = fault.experiment.document.replace(
        '"module": "acts", "func": "vanished"', '"module": "late", "func": "vanished"'
    )
    fault = _with_document(fault, document)
    os.environ["PYTHONPATH"] += os.pathsep + str(stage.folder)
    lose = stage.act("forget", module="late", path=str(stage.folder / "late.py"))
    fault = _with_document(fault, document.replace('"method": [', f'"method": [{_json(lose)}, '))
    driver = stage.play(fault)
    driver.inject(fault)
    stage.until(InjectCompleted)

    driver.rollback(fault)

    failed = stage.until(RollbackCompleted, RollbackFailed)
    assert "No module named 'late'" in failed.detail
    assert not stage.on


def test_a_failing_activity_is_named_and_the_rest_is_still_rolled_back(stage: Any) -> None:
    fault = stage.fault([stage.act("refuse", what="no such pod"), stage.put], [stage.take])
    driver = stage.play(fault)
    driver.inject(fault)

    detail = "activity 'refuse' failed: FileNotFoundError: no such pod"
    assert stage.until(InjectCompleted, InjectFailed) == InjectFailed(fault="files", detail=detail)
    driver.rollback(fault)
    stage.until(RollbackCompleted)
    assert not stage.on


def test_an_action_that_cannot_be_imported_is_found_in_preflight(stage: Any) -> None:
    lost = {**stage.put, "provider": {"type": "python", "module": "nowhere", "func": "put"}}
    fault = stage.fault([lost], [stage.take])
    driver = stage.play(fault)

    what = "experiments/files.yaml: InvalidActivity: could not find Python module 'nowhere' in activity 'put'"
    with pytest.raises(PlanError, match=f"^{fault.source.path}:{fault.source.line}: fault 'files': {what}$"):
        driver.preflight()


def test_an_action_that_cannot_be_imported_injects_nothing(stage: Any) -> None:
    lost = {**stage.put, "provider": {"type": "python", "module": "nowhere", "func": "put"}}
    fault = stage.fault([stage.put, lost], [stage.take])
    driver = stage.play(fault)

    driver.inject(fault)

    failed = stage.until(InjectCompleted, InjectFailed)
    assert failed.detail.startswith("nothing was injected: InvalidActivity: could not find Python module 'nowhere'")
    assert not stage.on


def test_a_configuration_that_cannot_be_resolved_injects_nothing(stage: Any) -> None:
    fault = stage.fault(
        [stage.put],
        [stage.take],
        configuration={"n": {"type": "env", "key": "X", "env_var_type": "bytes", "default": "7"}},
    )
    driver = stage.play(fault)

    driver.inject(fault)

    failed = stage.until(InjectCompleted, InjectFailed)
    assert failed.detail == "nothing was injected: TypeError: Object of type bytes is not JSON serializable"
    assert not stage.on


@pytest.mark.parametrize(
    ("watchdog", "why"),
    [
        (("/nowhere/watchdog",), "cannot be started"),
        ((sys.executable, "-c", "raise SystemExit(3)"), "ended with code 3"),
    ],
)
def test_without_a_watchdog_nothing_is_injected(stage: Any, watchdog: tuple[str, ...], why: str) -> None:
    fault = stage.fault([stage.put], [stage.take])
    driver = stage.play(fault, watchdog=watchdog)

    driver.inject(fault)

    failed = stage.until(InjectCompleted, InjectFailed)
    assert failed.detail.startswith("nothing was injected: chaos: the watchdog")
    assert why in failed.detail
    driver.rollback(fault)
    stage.until(RollbackCompleted)
    assert not stage.on
    assert not (stage.directory / "files.undo.json").exists()


def test_a_ledger_that_cannot_be_written_lets_nothing_be_injected(stage: Any) -> None:
    fault = stage.fault([stage.put], [stage.take])
    driver = stage.play(fault)
    driver.preflight()
    (stage.directory / "ledger" / "owner.lock").unlink()
    (stage.directory / "ledger").rmdir()
    (stage.directory / "ledger").write_text("in the way")

    driver.inject(fault)

    failed = stage.until(InjectCompleted, InjectFailed)
    assert failed.detail.startswith("nothing was injected: ")
    assert not stage.on


def test_on_a_full_disk_nothing_is_injected(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ledger, "write", full)
    fault = stage.fault([stage.put], [stage.take])
    driver = stage.play(fault)

    driver.inject(fault)

    what = "nothing was injected: [Errno 28] No space left on device"
    assert stage.until(InjectCompleted, InjectFailed) == InjectFailed(fault="files", detail=what)
    assert not stage.on


def test_a_dead_watchdog_is_replaced(stage: Any) -> None:
    fault = stage.fault([stage.put], [stage.take])
    driver = stage.play(fault)
    driver.inject(fault)
    stage.until(InjectCompleted)

    (watchdog,) = stage.processes(WATCHDOG)
    watchdog.kill()
    _eventually(lambda: [found.pid for found in stage.processes(WATCHDOG)] not in ([], [watchdog.pid]))

    driver.rollback(fault)
    stage.until(RollbackCompleted)
    assert not any(isinstance(body, InjectFailed) for body in stage.bodies)


def test_a_fault_does_not_stay_on_without_a_watchdog(stage: Any) -> None:
    fault = stage.fault([stage.put], [stage.take])
    once = stage.folder / "once"
    program = f"import os, sys; os.path.exists({str(once)!r}) and sys.exit(3); open({str(once)!r}, 'w')"
    watchdog = (sys.executable, "-c", f"{program}; from harness.drivers.chaos.watchdog import main; main()")
    driver = stage.play(fault, watchdog=watchdog)
    driver.inject(fault)
    stage.until(InjectCompleted)

    (process,) = stage.processes("watchdog import main")
    process.kill()
    failed = stage.until(InjectFailed)
    stage.until(RollbackCompleted)

    assert failed.detail.startswith("ended before its time: chaos: the watchdog ended with code 3")
    assert not stage.on


def test_closing_undoes_what_is_on(stage: Any) -> None:
    fault = stage.fault([stage.put], [stage.take])
    driver = stage.play(fault)
    driver.inject(fault)
    stage.until(InjectCompleted)

    driver.close()
    driver.close()

    assert not stage.on
    assert RollbackCompleted(fault="files") in [stamped.body for stamped in driver.poll()]
    _eventually(lambda: stage.processes() == [])


def test_closing_right_after_injecting_leaves_nothing_behind(stage: Any) -> None:
    fault = stage.fault([stage.put], [stage.take])
    driver = stage.play(fault)
    driver.preflight()

    driver.inject(fault)
    driver.close()

    assert not stage.on
    _eventually(lambda: stage.processes() == [])


def test_rolling_back_right_after_injecting_leaves_the_fault_off(stage: Any) -> None:
    fault = stage.fault([stage.put], [stage.take])
    driver = stage.play(fault)
    driver.preflight()

    driver.inject(fault)
    driver.rollback(fault)
    stage.until(RollbackCompleted)

    time.sleep(0.2)
    assert not stage.on
    assert any(isinstance(body, InjectFailed) for body in stage.bodies)


def test_a_plan_without_faults_starts_nothing(stage: Any) -> None:
    driver = stage.play()

    assert list(driver.preflight()) == []
    assert stage.processes() == []


def test_a_ledger_of_another_live_run_is_not_touched(stage: Any) -> None:
    fault = stage.fault([stage.put], [stage.take])
    first = stage.play(fault)
    first.preflight()
    second = stage.play(fault)

    with pytest.raises(DriverError, match="belongs to another live run"):
        second.preflight()
    first.close()


def _with_document(fault: Any, document: str) -> Any:
    from dataclasses import replace

    return replace(fault, experiment=replace(fault.experiment, document=document))


def _json(value: Any) -> str:
    import json

    return json.dumps(value)


def _eventually(true: Any, within_s: float = 30) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
