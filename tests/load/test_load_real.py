"""The real load driver, on real Locust processes against a stub server on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from load_contract import (
    STEP_NS,
    Subject,
    assert_conserved,
    closes_twice_and_before_the_start,
    play,
    plays_the_whole_plan,
    stops_before_it_began,
    stops_midway,
)
from load_support import load_plan, stub_server
from plan_values import phase

from harness.drivers.clock import MonotonicClock
from harness.drivers.locust.driver import LocustDriver
from harness.drivers.locust.members import LIVES_MAX
from harness.errors import DriverError
from harness.history.events import Body, LoadFailed, LoadStarted, WorkerJoined, WorkerLost
from harness.history.histogram import Histogram
from harness.plan.model import Stream
from harness.plan.replay import recording_of, replay_of

pytestmark = [pytest.mark.real, pytest.mark.timeout(150)]

S = 1_000_000_000
CLOCK = MonotonicClock()


@pytest.fixture(scope="module")
def stub():
    with stub_server() as server:
        yield server


@pytest.fixture
def subject(tmp_path):
    return Subject(make=lambda plan: LocustDriver(plan, log_dir=tmp_path), clock=CLOCK)


@pytest.fixture
def driver_of(tmp_path):
    """Make and prepare a driver that is closed when the test ends."""
    made = []

    def make(plan):
        driver = LocustDriver(plan, log_dir=tmp_path)
        made.append(driver)
        driver.prepare()
        return driver

    yield make
    for driver in made:
        driver.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone_within(pids: tuple[int, ...], seconds: float) -> bool:
    until_s = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < until_s:
        time.sleep(0.01)
    return not any(map(alive, pids))


def test_every_arrival_of_every_second_is_accounted_for_at_500_per_second(subject, stub):
    before = stub.count
    plays_the_whole_plan(subject, load_plan(stub.url, per_s=500, phases=(phase("a", 0, 3, ramp_s=1),)))
    assert stub.count - before == 1250


def test_poisson_arrivals_are_accounted_for_as_well(subject, stub):
    plays_the_whole_plan(subject, load_plan(stub.url, per_s=200, phases=(phase("a", 0, 2),), arrivals="poisson"))


def test_a_stop_midway_drains(subject, stub):
    stops_midway(subject, load_plan(stub.url, per_s=200, phases=(phase("a", 0, 4),)))


def test_a_stop_before_the_first_arrival_plans_nothing(subject, stub):
    stops_before_it_began(subject, load_plan(stub.url, per_s=200))


def test_users_may_still_log_out_when_the_driver_is_closed(driver_of, stub, tmp_path):
    locustfile = tmp_path / "leaving.py"
    locustfile.write_text(
        "from harness.drivers.locust.fast import FastUser\n"
        "from locust import task\n"
        "class One(FastUser):\n"
        "    def on_stop(self): print('left', flush=True)\n"
        "    @task\n"
        "    def work(self): self.client.get('/')\n"
    )
    driver = driver_of(load_plan(stub.url, per_s=20, phases=(phase("a", 0, 1),), locustfile=str(locustfile), workers=1))
    play(driver, CLOCK, 1)
    driver.close()
    left = (tmp_path / "load-worker-0.log").read_text().splitlines()
    assert set(left) == {"left"}
    assert len(left) >= 4  # more, where a slow answer made the pool grow


def test_closing_is_safe_at_any_moment(subject, stub):
    closes_twice_and_before_the_start(subject, load_plan(stub.url, per_s=50))


def test_a_stall_of_two_seconds_is_seen_in_full(driver_of, stub):
    """
    At rate r a stall of S seconds makes r (S - x) responses slower than x; timed from the send it would be a few.

    A busy machine makes more of them slow, never fewer; how exact it is where nothing else runs is for
    benchmarks/load/stall.py.
    """
    driver = driver_of(load_plan(stub.url, per_s=200, phases=(phase("a", 0, 5),)))
    told: list[str] = []

    def stall_once(_now_ns: int) -> None:
        if not told:
            from_ns = time.monotonic_ns() + S // 2
            told.append(stub.control(f"stall/{from_ns}/{from_ns + 2 * S}"))

    played = play(driver, CLOCK, 5, stall_once)
    assert_conserved(played)
    assert played.total("ok") == 1000
    response = Histogram.merged(frame.response for frame in played.frames)
    for slower_s in (0.2, 0.5, 1.0, 1.5):
        least = 200 * (2 - slower_s)
        assert least - 2 <= response.count_above(slower_s * 1e6)[1] <= least + 200
    assert 198 <= sum(sum(frame.bad_bins) for frame in played.frames) <= 400  # slower than slow_s = 1 s


def test_of_three_workers_one_is_killed_and_one_stands_still(driver_of, stub):
    """
    Both are noticed and replaced, and what they owed is lost and nothing else.

    What a worker began that heard too late of new stripes counts as planned on top: on a busy machine that happens.
    """
    driver = driver_of(load_plan(stub.url, per_s=300, phases=(phase("a", 0, 40),), workers=3))
    killed, stopped, _ = driver.worker_pids
    acted: list[int] = []
    whole: list[int] = []

    def act(now_ns: int) -> None:
        if now_ns >= 3 * S and not acted:  # what they did in the first second has long been told
            os.kill(killed, signal.SIGKILL)
            os.kill(stopped, signal.SIGSTOP)
            acted.append(now_ns)

    def two_seconds_after_both_were_replaced(events: list[Body], now_ns: int) -> bool:
        if not whole and sum(isinstance(event, WorkerJoined) for event in events) == 2:
            whole.append(now_ns)
        return bool(whole) and now_ns >= whole[0] + 2 * S

    played = play(driver, CLOCK, 40, act, enough=two_seconds_after_both_were_replaced)
    assert_conserved(played)
    changes = {event.worker: event for event in played.events if isinstance(event, WorkerLost | WorkerJoined)}
    stood_still = f"worker-1 (pid {stopped}) was killed by SIGKILL after it had stood still"
    assert changes == {
        "worker-0": WorkerLost(worker="worker-0", detail=f"worker-0 (pid {killed}) was killed by SIGKILL"),
        "worker-1": WorkerLost(worker="worker-1", detail=stood_still),
        "worker-0.2": WorkerJoined(worker="worker-0.2"),
        "worker-1.2": WorkerJoined(worker="worker-1.2"),
    }
    last = whole[0] // S + 1
    extra = [played.by_second[second]["planned"] - 300 for second in range(last)]
    assert min(extra) == 0
    assert sum(extra) <= 300
    lost = [played.by_second[second]["lost"] for second in (0, acted[0] // S, last)]
    assert (lost[0], lost[1] > 0, lost[2]) == (0, True, 0)
    assert not alive(stopped)


def test_the_last_worker_is_replaced_until_that_was_tried_often_enough(driver_of, stub):
    driver = driver_of(load_plan(stub.url, per_s=100, phases=(phase("a", 0, 600),), workers=1))
    killed: set[int] = set()

    def kill(now_ns: int) -> None:
        for pid in set(driver.worker_pids) - killed if now_ns > 0 else ():
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)

    began_ns = CLOCK.mono_ns()
    driver.start(began_ns)
    events: list[Body] = []
    while LoadFailed(detail="all load workers died") not in events:
        assert CLOCK.mono_ns() < began_ns + 120 * S, events
        CLOCK.wait(CLOCK.mono_ns() + STEP_NS, driver.fds())
        events += [stamped.body for stamped in driver.poll()]
        kill(CLOCK.mono_ns() - began_ns)
    assert len(killed) == LIVES_MAX


def test_what_the_engine_cannot_do_ends_the_load_and_is_said(driver_of, stub, tmp_path):
    """Here: to start another worker in the place of a dead one, without a place for its log."""
    driver = driver_of(load_plan(stub.url, per_s=50, phases=(phase("a", 0, 600),), workers=1))
    shutil.rmtree(tmp_path)
    began_ns = CLOCK.mono_ns()
    driver.start(began_ns)
    events: list[Body] = []
    while not any(isinstance(event, LoadFailed) for event in events):
        assert CLOCK.mono_ns() < began_ns + 60 * S, events
        if LoadStarted(workers=1) in events and alive(driver.worker_pids[0]):
            os.kill(driver.worker_pids[0], signal.SIGKILL)
        CLOCK.wait(CLOCK.mono_ns() + STEP_NS, driver.fds())
        events += [stamped.body for stamped in driver.poll()]
    assert "No such file or directory" in events[-1].detail


def test_a_refused_connection_is_a_counted_failure(driver_of):
    driver = driver_of(load_plan("http://127.0.0.1:9", per_s=200, phases=(phase("a", 0, 2),)))
    played = play(driver, CLOCK, 2)
    assert_conserved(played)
    assert played.total("failed") == 400
    assert {name for frame in played.frames for name, _ in frame.errors} == {"connect_refused"}
    assert {failure.error for failure in played.failures} == {"connect_refused"}
    assert 5 <= len(played.failures) <= 40  # of two seconds, and what came late


def test_what_hangs_is_cut_at_its_deadline(driver_of, stub):
    driver = driver_of(load_plan(stub.url, per_s=100, phases=(phase("a", 0, 2),), deadline_s=1))
    stub.control(f"stall/{time.monotonic_ns()}/{time.monotonic_ns() + 30 * S}")
    try:
        played = play(driver, CLOCK, 2)
    finally:
        stub.control("stall/0/0")
    assert_conserved(played)
    # On a busy machine some wait for a user for so long that they are never sent.
    assert played.total("timed_out") + played.total("dropped") == 200
    assert {frame.series for frame in played.frames if frame.timed_out} == {"GET /items", "POST /orders"}


def test_when_the_driver_dies_nothing_of_the_engine_survives(tmp_path, stub):
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from load_support import load_plan\n"
        "from harness.drivers.locust.driver import LocustDriver\n"
        "driver = LocustDriver(load_plan(sys.argv[1], per_s=50), log_dir=Path(sys.argv[2]))\n"
        "driver.prepare(); driver.start(time.monotonic_ns())\n"
        "assert not {'locust', 'gevent'} & set(sys.modules)\n"
        "print(driver._child.process.pid, *driver.worker_pids, flush=True); time.sleep(30)\n"
    )
    command = [sys.executable, "-c", script, stub.url, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as conductor:
        pids = tuple(int(word) for word in conductor.stdout.readline().split())
        assert len(pids) == 3
        assert all(map(alive, pids))
        conductor.kill()
    assert gone_within(pids, 15)


def test_when_the_master_dies_the_workers_go_and_the_driver_says_so(driver_of, stub):
    driver = driver_of(load_plan(stub.url, per_s=50))
    os.kill(driver._child.process.pid, signal.SIGKILL)
    assert gone_within(driver.worker_pids, 15)
    CLOCK.wait(CLOCK.mono_ns() + 15 * S, driver.fds())
    (failed,) = driver.poll()
    assert failed.body == LoadFailed(detail="the load engine ended by itself")
    with pytest.raises(DriverError, match=r"^load: the load engine ended by itself$"):
        driver.poll()


ORDINARY = """
from locust import FastHttpUser, HttpUser, SequentialTaskSet, TaskSet, between, events, task

@events.test_start.add_listener
def tell(environment, **_):
    print("test_start", flush=True)

class Browsing(FastHttpUser):
    wait_time = between(30, 60)
    def on_start(self):
        self.client.get("/login")
    @task
    class Shelf(TaskSet):
        @task(3)
        def look(self):
            self.client.get("/shelf")
        @task(1)
        def leave(self):
            self.interrupt()

class Buying(HttpUser):
    @task
    def buy(self):
        self.client.post("/cart", name="put into cart")
        self.client.post("/pay")
"""


def test_an_ordinary_locustfile_works(driver_of, stub, tmp_path):
    """Nested task sets, on_start, waits, two classes: an arrival is a task; one of several requests is a journey."""
    locustfile = tmp_path / "ordinary.py"
    locustfile.write_text(ORDINARY)
    before = stub.count
    driver = driver_of(load_plan(stub.url, per_s=60, phases=(phase("a", 0, 3),), locustfile=str(locustfile)))
    logins = stub.count - before
    played = play(driver, CLOCK, 3)
    assert_conserved(played)
    assert played.total("ok") == 180
    looked, bought = (
        sum(frame.ok for frame in played.frames if frame.series == name) for name in ("GET /shelf", "buy")
    )
    assert looked + bought == 180
    assert bought == pytest.approx(90, abs=30)  # equal weights; 4.5 sigma
    for name in ("put into cart", "POST /pay"):
        assert sum(frame.steps.ok for frame in played.frames if frame.series == name and frame.steps) == bought
    assert stub.count - before >= logins + looked + 2 * bought
    assert "test_start" in (tmp_path / "load-worker-0.log").read_text()


STREAMS = """
from locust import TaskSet, tag, task
from harness.drivers.locust.fast import FastUser

class Shopper(FastUser):
    @tag("read")
    @task
    def look(self): self.client.get("/items")
    @task
    class Till(TaskSet):
        @tag("write")
        @task
        def order(self): self.client.post("/orders")
        @tag("read")
        @task
        def price(self): self.client.get("/price")
        @task
        def never(self): self.client.get("/untagged")

class Admin(FastUser):
    fixed_count = 2
    @task
    def watch(self): self.client.get("/admin")
"""


def test_streams_have_rates_users_and_tasks_of_their_own(driver_of, stub, tmp_path):
    """Also a replayed phase, of which the engine sends exactly what was recorded."""
    locustfile, recorded = tmp_path / "streams.py", tmp_path / "recorded.txt"
    locustfile.write_text(STREAMS)
    text = "".join(f"{0.01 * k:.2f} {name}\n" for k in range(100) for name in ("browse", "buy", "buy"))
    recorded.write_text(text)
    streams = (
        Stream(name="browse", baseline_per_s=40, users=("Shopper",), tags=("read",)),
        Stream(name="buy", baseline_per_s=20, users=("Shopper",), tags=("write",)),
        Stream(name="watch", baseline_per_s=10, users=("Admin",), tags=()),
    )
    recording, _ = recording_of(text, ("browse", "buy", "watch"))
    played_again = replay_of(recording, path=str(recorded), speed=1, length_s=1)
    phases = (phase("steady", 0, 2), replace(phase("again", 2, 3), replay=played_again))
    plan = load_plan(stub.url, per_s=70, phases=phases, locustfile=str(locustfile))
    plan = replace(plan, service=replace(plan.service, load=replace(plan.service.load, streams=streams)))
    played = play(driver_of(plan), CLOCK, 3)
    assert_conserved(played)
    ok = Counter({(frame.stream, frame.second): 0 for frame in played.frames})
    for frame in played.frames:
        ok[frame.stream, frame.second] += frame.ok
    assert +ok == {
        ("browse", 0): 40, ("browse", 1): 40, ("browse", 2): 100,
        ("buy", 0): 20, ("buy", 1): 20, ("buy", 2): 200,
        ("watch", 0): 10, ("watch", 1): 10,
    }  # fmt: skip
    series = {(frame.stream, frame.series) for frame in played.frames if frame.sent}
    assert series == {
        ("browse", "GET /items"),
        ("browse", "GET /price"),
        ("buy", "POST /orders"),
        ("watch", "GET /admin"),
    }


def test_a_stream_without_users_is_a_driver_error(tmp_path, stub):
    plan = load_plan(stub.url)
    nobody = (Stream(name="buy", baseline_per_s=20, users=("Nobody",), tags=()),)
    plan = replace(plan, service=replace(plan.service, load=replace(plan.service.load, streams=nobody)))
    with pytest.raises(DriverError, match="stream 'buy' wants User class 'Nobody'; the locustfile has Customer"):
        LocustDriver(plan, log_dir=tmp_path).prepare()


def test_an_http_error_is_a_failure_with_ordinary_and_fast_users_alike(driver_of, stub, tmp_path):
    locustfile = tmp_path / "failing.py"
    locustfile.write_text(
        "from locust import FastHttpUser, HttpUser, task\n"
        "from harness.drivers.locust.fast import FastUser\n"
        "def go(user): user.client.get('/x')\n"
        "class One(HttpUser): tasks = [go]\n"
        "class Two(FastHttpUser): tasks = [go]\n"
        "class Three(FastUser): tasks = [go]\n"
    )
    driver = driver_of(load_plan(stub.url, per_s=60, phases=(phase("a", 0, 1),), locustfile=str(locustfile), workers=1))
    stub.control("status/503")
    try:
        played = play(driver, CLOCK, 1)
    finally:
        stub.control("status/200")
    assert_conserved(played)
    errors = Counter[str]()
    for frame in played.frames:
        errors.update(dict(frame.errors))
    assert (played.total("failed"), errors) == (60, {"http_503": 60})


@pytest.mark.parametrize(
    ("work", "told"),
    [
        ("1 / 0", {"lost": 40, "task raised ZeroDivisionError": 40}),  # a mistake in the locustfile
        ("raise ConnectionResetError(104, 'reset')", {"failed": 40, "reset": 40}),  # a client Locust does not know
        ("self.client.get('/items'); 1 / 0", {"failed": 40, "ZeroDivisionError": 40}),  # perhaps of a wrong answer
    ],
)
def test_a_task_that_raises_blames_the_service_only_when_it_was_asked(driver_of, stub, tmp_path, work, told):
    locustfile = tmp_path / "raising.py"
    user = f"class One(HttpUser):\n    @task\n    def work(self): {work}\n"
    locustfile.write_text(f"from locust import HttpUser, task\n{user}")
    played = play(
        driver_of(load_plan(stub.url, per_s=40, phases=(phase("a", 0, 1),), locustfile=str(locustfile))), CLOCK, 1
    )
    assert_conserved(played)
    seen = Counter({name: played.total(name) for name in ("failed", "lost")})
    for frame in played.frames:
        seen.update(dict(frame.errors))
    assert +seen == told


def test_a_broken_locustfile_is_a_driver_error_that_says_so(tmp_path, stub):
    locustfile = tmp_path / "broken.py"
    locustfile.write_text("import nothing_of_that_name\n")
    driver = LocustDriver(load_plan(stub.url, locustfile=str(locustfile)), log_dir=tmp_path)
    with pytest.raises(DriverError, match=r"broken\.py: ModuleNotFoundError: No module named 'nothing_of_that_name'"):
        driver.prepare()


def test_a_user_that_cannot_start_is_a_driver_error(tmp_path, stub):
    locustfile = tmp_path / "unstartable.py"
    locustfile.write_text(
        "from locust import User, task\n"
        "class One(User):\n"
        "    def on_start(self): raise RuntimeError('no login')\n"
        "    @task\n"
        "    def work(self): pass\n"
    )
    driver = LocustDriver(load_plan(stub.url, locustfile=str(locustfile)), log_dir=tmp_path)
    with pytest.raises(DriverError, match=r"^load: a user could not start: RuntimeError: no login$"):
        driver.prepare()
