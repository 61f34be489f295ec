"""
What every LoadDriver must do; held against the real one and any twin.

Each function takes a `Subject`: how to make a driver, and the clock it lives on. The target answers everything well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from harness.drivers.base import Clock, LoadDriver
from harness.history.events import Body, LoadStarted, LoadStopped
from harness.history.load import FailedRequest, LoadFrame, WorkerHealth
from harness.plan.model import Plan
from harness.schedule.load import arrivals_of

S = 1_000_000_000
STEP_NS = 50_000_000
COUNTS = ("planned", "sent", "ok", "failed", "timed_out", "dropped", "lost")


@dataclass(frozen=True)
class Subject:
    make: Callable[[Plan], LoadDriver]
    clock: Clock


@dataclass(frozen=True)
class Played:
    """What a driver reported from start to LoadStopped."""

    events: list[Body]
    frames: list[LoadFrame]
    health: list[WorkerHealth]
    by_second: dict[int, Counter[str]]
    failures: list[FailedRequest]

    def total(self, count: str) -> int:
        return sum(counts[count] for counts in self.by_second.values())


Midway = Callable[[int], None]  # called with the run-relative time at each step
Enough = Callable[[list[Body], int], bool]  # of what happened so far and the run-relative time


def play(
    driver: LoadDriver,
    clock: Clock,
    until_s: float,
    midway: Midway | None = None,
    drain_s: float = 15,
    enough: Enough | None = None,
) -> Played:
    """Start a prepared driver, stop it at `until_s` or once it is `enough`, and collect everything it reports."""
    t0_ns = clock.mono_ns() + (S // 10 if until_s > 0 else S)
    driver.start(t0_ns)
    events: list[Body] = []
    frames: list[LoadFrame] = []
    health: list[WorkerHealth] = []
    failures: list[FailedRequest] = []
    stopped = False
    while not any(isinstance(event, LoadStopped) for event in events):
        clock.wait(clock.mono_ns() + STEP_NS, driver.fds())
        now_ns = clock.mono_ns() - t0_ns
        if midway:
            midway(now_ns)
        if not stopped and (now_ns >= until_s * S or (enough and enough(events, now_ns))):
            driver.stop()
            stopped = True
        assert now_ns < (until_s + drain_s) * S, f"not stopped in time; events so far: {events}"
        events += [stamped.body for stamped in driver.poll()]
        batch = driver.take()
        frames += batch.frames
        health += batch.health
        failures += batch.failures
    batch = driver.take()
    frames += batch.frames
    failures += batch.failures
    by_second: dict[int, Counter[str]] = {}
    for frame in frames:
        by_second.setdefault(frame.second, Counter()).update({name: getattr(frame, name) for name in COUNTS})
    return Played(events, frames, health + list(batch.health), by_second, failures)


def assert_conserved(played: Played) -> None:
    """Every second settles: planned = sent + dropped + lost, sent = ok + failed + timed out, and the bins agree."""
    for second, counts in played.by_second.items():
        assert counts["planned"] == counts["sent"] + counts["dropped"] + counts["lost"], (second, counts)
        assert counts["sent"] == counts["ok"] + counts["failed"] + counts["timed_out"], (second, counts)
    for frame in played.frames:
        settled = frame.ok + frame.failed + frame.timed_out + frame.dropped
        assert sum(frame.good_bins) + sum(frame.bad_bins) == settled
        assert frame.response.total == frame.service.total == frame.ok
        assert frame.lag.total == frame.sent
        assert frame.failed_response.total == frame.failed + frame.timed_out
        assert (frame.planned or frame.lost) == 0 or frame.series == ""


def plays_the_whole_plan(subject: Subject, plan: Plan) -> None:
    """Every planned arrival of every second is sent and answered."""
    driver = subject.make(plan)
    try:
        workers = driver.prepare()
        played = play(driver, subject.clock, plan.end_s)
    finally:
        driver.close()
    seconds = range(int(plan.end_s))
    expected = [arrivals_of(plan).planned_in(second) for second in seconds]
    assert [played.by_second[second]["planned"] for second in seconds] == expected
    assert [played.by_second[second]["ok"] for second in seconds] == expected
    assert_conserved(played)
    assert played.events[0] == LoadStarted(workers=workers)
    assert played.events[-1] == LoadStopped(scheduled_until_ns=round(plan.end_s * S))
    assert {health.second for health in played.health} >= set(seconds[:-1])


def stops_midway(subject: Subject, plan: Plan) -> None:
    """After stop nothing more is planned than up to the instant that LoadStopped names, and that much is settled."""
    driver = subject.make(plan)
    try:
        driver.prepare()
        played = play(driver, subject.clock, plan.end_s / 2)
    finally:
        driver.close()
    (stopped,) = [event for event in played.events if isinstance(event, LoadStopped)]
    assert plan.end_s / 2 * S <= stopped.scheduled_until_ns < plan.end_s * S
    assert played.total("planned") == arrivals_of(plan).before(stopped.scheduled_until_ns)
    assert_conserved(played)


def closes_twice_and_before_the_start(subject: Subject, plan: Plan) -> None:
    """Close is safe at any moment."""
    subject.make(plan).close()
    driver = subject.make(plan)
    driver.prepare()
    driver.close()
    driver.close()


def stops_before_it_began(subject: Subject, plan: Plan) -> None:
    """A stop before the first arrival plans nothing, and still ends with LoadStopped."""
    driver = subject.make(plan)
    try:
        driver.prepare()
        played = play(driver, subject.clock, -1)
    finally:
        driver.close()
    assert played.events[-1] == LoadStopped(scheduled_until_ns=0)
    assert played.total("planned") == 0
    assert_conserved(played)
