"""Whole runs on fakes: what the conductor does when things go as planned, and when they do not."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from conductor_stage import Stage, small_plan, without_faults

from harness import record
from harness.drivers import fake
from harness.drivers.fake import Degraded
from harness.errors import DriverError, PlanError, Problem, StoppedError
from harness.history.events import (
    AbortTripped,
    Body,
    DriverBroke,
    Event,
    FaultArmed,
    InjectCompleted,
    InjectRequested,
    Interrupted,
    LoadStartRequested,
    LoadStopped,
    LoadStopRequested,
    PhaseEnded,
    PhaseStarted,
    RollbackCompleted,
    RollbackRequested,
    RunEnded,
    Status,
)
from harness.record import Record
from harness.verdict.judge import judge
from harness.verdict.model import Outcome


def test_a_whole_run_plays_every_cue_in_order(tmp_path: Path) -> None:
    """Phases, the fault and the end of the load come in the planned order, and the run completes."""
    stage = Stage(tmp_path)

    assert stage.play() is Status.COMPLETED
    kinds = (
        PhaseStarted,
        PhaseEnded,
        InjectRequested,
        FaultArmed,
        InjectCompleted,
        RollbackRequested,
        LoadStopRequested,
    )
    assert stage.bodies(*kinds) == [
        PhaseStarted(phase="baseline"),
        PhaseEnded(phase="baseline"),
        PhaseStarted(phase="stress"),
        InjectRequested(fault="pod-delete"),
        FaultArmed(fault="pod-delete"),
        InjectCompleted(fault="pod-delete"),
        RollbackRequested(fault="pod-delete"),
        PhaseEnded(phase="stress"),
        PhaseStarted(phase="recovery"),
        PhaseEnded(phase="recovery"),
        LoadStopRequested(),
    ]
    assert stage.bodies(RunEnded) == [RunEnded(status=Status.COMPLETED, detail="all cues played")]


def test_what_was_recorded_is_what_is_read_back(tmp_path: Path) -> None:
    """Reading the run directory gives the events written, and a passing verdict."""
    stage = Stage(tmp_path)
    stage.play()
    run = record.read(tmp_path / "small" / "latest")

    assert run.events == tuple(stage.record.events)
    assert run.plan == stage.plan
    assert sum(frame.planned for frame in run.frames) == sum(frame.ok for frame in run.frames) > 4000
    assert judge(run).verdict is Outcome.PASS


def test_a_scheduled_instant_is_stamped_as_scheduled(tmp_path: Path) -> None:
    """A phase begins when the plan says, not when the loop came round to it."""
    stage = Stage(tmp_path)
    stage.play()
    started = {e.body.phase: e.t_ns for e in stage.record.events if isinstance(e.body, PhaseStarted)}

    assert started == {"baseline": 20_000_000_000, "stress": 85_000_000_000, "recovery": 145_000_000_000}


def test_ctrl_c_during_a_fault_undoes_it_and_keeps_the_record(tmp_path: Path) -> None:
    """An interrupted run rolls back, drains, and can be judged as far as it got."""
    stage = Stage(tmp_path, interrupt_at_s=100)

    assert stage.play() is Status.INTERRUPTED
    after = stage.bodies(Interrupted, RollbackRequested, RollbackCompleted, LoadStopped, RunEnded)
    assert [type(body) for body in after] == [Interrupted, RollbackRequested, RollbackCompleted, LoadStopped, RunEnded]
    assert stage.faults.active == set()
    verdict = judge(record.read(stage.record.directory))
    assert (verdict.status, verdict.verdict) == (Status.INTERRUPTED, Outcome.INCONCLUSIVE)
    assert [phase.name for phase in verdict.phases if phase.load.sent > 0] == ["baseline", "stress"]


def test_ctrl_c_in_preflight_starts_nothing(tmp_path: Path) -> None:
    """Nothing is there to be brought down: the run ends at once, as interrupted, and the record says so."""
    stage = Stage(tmp_path, interrupt_at_s=0)

    with pytest.raises(StoppedError, match=r"^stopped by SIGINT$"):
        stage.play()
    assert [type(body) for body in stage.bodies(LoadStartRequested, InjectRequested)] == []
    assert stage.bodies(RunEnded) == [
        RunEnded(status=Status.INTERRUPTED, detail="ended before the load started: stopped by SIGINT")
    ]


def test_a_plan_that_does_not_fit_the_cluster_is_found_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault driver names the line; the observer would only say that there is nothing to watch."""

    def unfit(_: object) -> None:
        raise PlanError((Problem(path="a.yaml", line=7, where="", what="no pod of zone 'zone-q'"),))

    monkeypatch.setattr(fake.FakeFaults, "preflight", unfit)
    monkeypatch.setattr(fake.FakeCluster, "preflight", lambda _: pytest.fail("not asked"))

    with pytest.raises(PlanError, match=r"^a\.yaml:7: no pod of zone 'zone-q'$"):
        Stage(tmp_path).play()


def test_an_abort_threshold_stops_the_run(tmp_path: Path) -> None:
    """All requests failing for 3 s trips the guard, by the verdict's own rules; the verdict is fail."""
    stage = Stage(tmp_path, degraded=[Degraded(start_s=30, end_s=200, bad_share=1.0)])

    assert stage.play() is Status.ABORTED
    assert stage.bodies(AbortTripped) == [AbortTripped(phase="baseline", sli="error_ratio", rule="> 50%")]
    aborted_s = next(e.t_ns for e in stage.record.events if isinstance(e.body, AbortTripped)) / 1e9
    assert 33 <= aborted_s <= 37
    assert stage.bodies(InjectRequested) == []
    assert judge(record.read(stage.record.directory)).verdict is Outcome.FAIL


def test_a_fault_that_does_nothing_makes_the_run_inconclusive(tmp_path: Path) -> None:
    """The injection says it worked, but no pod went away."""
    stage = Stage(tmp_path, effect=False)

    assert stage.play() is Status.COMPLETED
    assert judge(record.read(stage.record.directory)).verdict is Outcome.INCONCLUSIVE


def test_a_rollback_that_fails_leaves_the_run_not_restored(tmp_path: Path) -> None:
    """The verdict says that the environment was not restored."""
    stage = Stage(tmp_path, fail="rollback")
    stage.play()

    assert judge(record.read(stage.record.directory)).restored is False


def test_a_broken_driver_brings_the_run_down_in_order(tmp_path: Path) -> None:
    """When Prometheus' driver breaks for good, the run ends as crashed, with the load drained."""
    stage = Stage(tmp_path, metrics_broken=True)

    assert stage.play() is Status.CRASHED
    assert stage.bodies(DriverBroke) == [DriverBroke(driver="metrics", detail="fake prometheus: scripted")]
    assert len(stage.bodies(LoadStopped)) == 1


class FullDisk(Record):
    """A disk that is full from the 24th event on."""

    def event(self, t_ns: int, body: Body) -> Event:
        if len(self.events) >= 24:
            self._events.append(Event(seq=len(self._events), t_ns=t_ns, body=body))
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().event(t_ns, body)


def test_a_full_disk_ends_the_run_with_faults_undone(tmp_path: Path) -> None:
    """What was written before stays readable, and nothing stays injected."""
    stage = Stage(tmp_path, record_class=FullDisk)

    assert stage.play() is Status.CRASHED
    assert stage.faults.active == set()
    assert len(record.read(stage.record.directory).events) == 24


def test_ten_minutes_take_no_time(tmp_path: Path) -> None:
    """A run three times as long is as quick: only cues and ticks cost anything."""
    stage = Stage(tmp_path, plan=without_faults(small_plan(stretch=3.0)))

    assert stage.play() is Status.COMPLETED
    ended = stage.record.events[-1]
    assert ended.t_ns >= 600_000_000_000


@pytest.mark.parametrize("at_s", range(1, 205, 17))
def test_an_interrupt_at_any_moment_leaves_nothing_injected(tmp_path: Path, at_s: int) -> None:
    """Wherever Ctrl-C comes, every fault asked for is rolled back and the record ends in order."""
    stage = Stage(tmp_path, interrupt_at_s=at_s)
    stage.play()
    asked = [body.fault for body in stage.bodies(InjectRequested)]

    assert [body.fault for body in stage.bodies(RollbackCompleted)] == asked
    assert stage.faults.active == set()
    assert isinstance(stage.record.events[-1].body, RunEnded)


@pytest.mark.parametrize("driver", ["load", "faults", "cluster", "metrics"])
@pytest.mark.parametrize("nth", [1, 2, 300, 560])
def test_a_driver_that_breaks_at_any_poll_is_survived(
    tmp_path: Path, driver: str, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever driver raises, whenever, the run ends as crashed, readable, and never as a pass."""
    kind = {"load": fake.FakeLoad, "faults": fake.FakeFaults, "cluster": fake.FakeCluster, "metrics": fake.FakeMetrics}[
        driver
    ]
    calls = {"n": 0}
    original = kind.poll

    def poll(self: object) -> object:
        calls["n"] += 1
        if calls["n"] >= nth:
            raise DriverError(f"{driver}: scripted")
        return original(self)  # type: ignore[arg-type]

    monkeypatch.setattr(kind, "poll", poll)
    stage = Stage(tmp_path)

    assert stage.play() is Status.CRASHED
    assert judge(record.read(stage.record.directory)).verdict in {Outcome.INCONCLUSIVE, Outcome.FAIL}
    assert stage.faults.active == set()
