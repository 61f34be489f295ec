"""A load worker's own part: Locust's WorkerRunner with our pool and pacer, following the master's orders."""

from __future__ import annotations

# Locust patches the standard library on import and must come first.
import locust  # isort: split

import math
import os
import random
import resource
import time
from collections.abc import Callable, Mapping
from typing import Any

import gevent
from locust import runners
from locust.env import Environment
from locust.rpc.protocol import Message
from locust.util.load_locustfile import load_locustfile

from harness.drivers.locust import expected, hooks, rpc
from harness.drivers.locust.channel import keys_of
from harness.drivers.locust.health import TICK_S, Health, freeze_garbage, sweep_garbage
from harness.drivers.locust.journeys import Ledger
from harness.drivers.locust.kinds import kinds_of, users_of
from harness.drivers.locust.pacing import Pacer
from harness.drivers.locust.reports import BEAT_NS, Condition, Reports
from harness.drivers.locust.slots import Pool
from harness.drivers.locust.spec import Spec
from harness.drivers.locust.stripes import Course, Itinerary, Leg
from harness.drivers.locust.tally import Tally
from harness.drivers.locust.worker import EXPELLED, FORSAKEN, Address, Seat
from harness.history.load import WorkerHealth
from harness.schedule.load import SECOND_NS

SHIP_AFTER_NS = 30_000_000  # a second is reported this long after it ended
LEASE_NS = 1_000_000_000  # a remote worker that has not heard the master for this long begins nothing
FORSAKEN_NS = 10_000_000_000  # ... and for this long ends
TOO_LATE = "begun too late"
_STDIN = 0
_READABLE = 1


class Player:
    """One load process: follows the orders of the master, and reports what became of its arrivals."""

    def __init__(self, seat: Seat, runner: Any, pool: Pool, tally: Tally, ledger: Ledger) -> None:
        self._seat = seat
        self._runner = runner
        self._pool = pool
        self._tally = tally
        self._ledger = ledger
        self._course = Course(seat.spec.arrivals(), seat.spec.end_ns)
        self._pacer = Pacer(pool.begin, lambda t_ns, stream: pool.skip(t_ns, stream, TOO_LATE))
        if seat.remote:
            self._pacer.may_begin = self._has_lease
        self._health = Health()
        self._condition = Condition()
        self._reports = Reports(self._send, self._condition)
        self._t0_ns: int | None = None  # on the master's clock
        self._draining = False
        self._second = 0  # being measured; all before are reported

    def install(self, users: Mapping[str, int]) -> None:
        """Take over Locust's tasks and messages, and start the first users."""
        environment = self._runner.environment
        environment.harness_pool = self._pool
        hooks.install(self._pool, environment)
        random.seed(f"{self._seat.spec.seed}/{self._seat.place}")  # Locust picks tasks with it
        self._pool.capacity = _capacity(self._seat.spec)
        self._pool.connection_age_s = self._seat.spec.connection_age_s
        environment.events.user_error.add_listener(self._on_user_error)
        self._runner.register_message("orders", self._on_orders)
        self._runner.register_message("heard", self._on_heard)
        self._runner.register_message("expelled", lambda **_: _end(EXPELLED))
        wanted = sum(users.values())
        self._pool.on_parked = lambda: self._on_parked(wanted)
        gevent.spawn(self._report_for_ever)
        spawn = {
            "timestamp": time.time(),
            "user_classes_count": dict(users),
            "host": self._seat.spec.host,
            "stop_timeout": 0.0,
            "parsed_options": {},
        }
        self._runner.handle_message(Message("spawn", spawn, self._runner.client_id))  # type: ignore[no-untyped-call]
        gevent.spawn(expected.tell_when_spawned, environment)
        self._on_parked(wanted)

    # --- before the start ---

    def _on_parked(self, wanted: int) -> None:
        if self._pool.parked >= wanted and not self._condition.ready:
            self._pool.on_parked = None
            gevent.spawn(self._warm)

    def _warm(self) -> None:
        freeze_garbage()
        self._condition.ready = True
        for _ in range(8 if self._seat.remote else 1):  # the first round trips tell how far the clocks are apart
            self._reports.beat()
            gevent.sleep(0.02)

    def _on_user_error(self, exception: BaseException, **_: object) -> None:
        if not self._condition.ready:
            self._runner.send_message("unready", {"index": self._seat.index, "detail": _told(exception)})

    # --- messages from the master ---

    def _on_orders(self, msg: Any, **_: object) -> None:
        orders = msg.data
        if orders["epoch"] <= self._condition.epoch:
            return
        self._condition.epoch = orders["epoch"]
        next_ns = self._pacer.next_ns
        if self._t0_ns is None:
            self._begin(orders["t0_ns"])
            next_ns = 0
        itinerary = Itinerary(tuple(Leg(*leg) for leg in orders["legs"]), orders["until_ns"])
        exceeded, times = self._course.change(itinerary, next_ns)
        self._pacer.follow(times)
        if exceeded:
            self._reports.counts(b"", exceeded=exceeded)
        else:
            self._reports.beat()
        if orders["halt"] and not self._draining:
            self._draining = True
            gevent.spawn(self._drain)

    def _begin(self, t0_ns: int) -> None:
        self._t0_ns = t0_ns
        self._set_clock()
        self._second = max(self._pool.now_ns() // SECOND_NS, 0)
        self._health.start()
        ticks = gevent.get_hub().loop.timer(TICK_S, TICK_S)
        ticks.start(self._on_tick)

    def _on_heard(self, msg: Any, **_: object) -> None:
        self._reports.heard(msg.data)
        if self._seat.remote:
            self._set_clock()
            self._pacer.release()

    # --- time ---

    def _set_clock(self) -> None:
        if self._t0_ns is not None:
            best = self._reports.offset.best(time.monotonic_ns()) if self._seat.remote else None
            self._pool.t0_ns = self._pacer.t0_ns = self._t0_ns - (best[0] if best else 0)

    def _has_lease(self) -> bool:
        return time.monotonic_ns() - self._reports.heard_ns <= LEASE_NS

    def _on_tick(self) -> None:
        self._pool.sweep(round(self._health.tick() * SECOND_NS))

    # --- reports ---

    def _report_for_ever(self) -> None:
        while True:
            if self._t0_ns is None:
                gevent.sleep(BEAT_NS / SECOND_NS)
                self._reports.beat()
            else:
                self._report_next()
            if self._seat.remote and time.monotonic_ns() - self._reports.heard_ns > FORSAKEN_NS:
                _end(FORSAKEN)

    def _report_next(self) -> None:
        """Wait for the next beat, which is a second's end or its middle, and say what there is to say."""
        now_ns = self._pool.now_ns() - SHIP_AFTER_NS
        gevent.sleep((BEAT_NS - now_ns % BEAT_NS) / SECOND_NS)
        if self._pool.now_ns() - SHIP_AFTER_NS >= (self._second + 1) * SECOND_NS:
            self._ship()
        else:
            self._reports.beat()

    def _ship(self) -> None:
        """Report all counts there are, and the health of the second that has ended."""
        second, self._second = self._second, max((self._pool.now_ns() - SHIP_AFTER_NS) // SECOND_NS, 0)
        cpu_ratio, stall_s = self._health.take()
        best = self._reports.offset.best(time.monotonic_ns()) if self._seat.remote else None
        health = WorkerHealth(
            second=second,
            worker=self._seat.name,
            cpu_ratio=cpu_ratio,
            stall_s_max=stall_s,
            in_flight=self._pool.in_flight,
            clock_s=best[1] / SECOND_NS if best else 0.0,
        )
        self._reports.counts(self._tally.take(), health, self._ledger.sampled())
        sweep_garbage(second)

    def _drain(self) -> None:
        """Wait until every arrival is settled, at the latest by its deadline; then say so."""
        while self._pacer.next_ns is not None or self._pool.in_flight:
            gevent.sleep(TICK_S)
        self._ship()
        while not self._reports.all_heard:
            gevent.sleep(TICK_S)
        self._condition.drained = True
        self._reports.beat()

    def _send(self, data: dict[str, object]) -> None:
        self._runner.send_message("report", {"index": self._seat.index, **data})


def play(seat: Seat, address: Callable[[], Address]) -> None:
    """Run the worker until the master says quit. `address` is asked for once, when the locustfile is loaded."""
    spec = seat.spec
    classes, _ = load_locustfile(spec.locustfile)
    kinds = kinds_of(spec, list(classes.values()), seat.place)
    where = address()
    rpc.install(keys_of(where.token))
    runners.WORKER_REPORT_INTERVAL = 86_400  # Locust's own statistics are not used
    runners.WORKER_LOG_REPORT_INTERVAL = -1
    runners.HEARTBEAT_INTERVAL = 86_400  # nor are its heartbeats
    runners.MASTER_HEARTBEAT_TIMEOUT = 1 << 40  # whose absence would end the worker after a minute
    environment = Environment(
        user_classes=[kind.user_class for own in kinds for kind in own],
        events=locust.events,
        host=spec.host,
        locustfile=spec.locustfile,
        parsed_options=expected.options(),
    )
    expected.prepare()
    _watch_stdin()
    runner = environment.create_worker_runner(where.host, where.port)
    environment.events.init.fire(environment=environment, runner=runner, web_ui=None)  # type: ignore[no-untyped-call]
    tally = Tally(spec.slow_ns, spec.limits_us)
    ledger = Ledger(tally, [stream.name for stream in spec.streams])
    pool = Pool(environment, kinds, ledger, deadline_ns=spec.deadline_ns, seed=f"{spec.seed}/{seat.place}")
    Player(seat, runner, pool, tally, ledger).install(users_of(spec, kinds))
    runner.greenlet.join()


def _capacity(spec: Spec) -> int:
    """Slots enough for every arrival to hang until its deadline, as far as file descriptors allow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    # Not divided by the workers: a survivor takes over the arrivals of the dead.
    return min(math.ceil(spec.peak_per_s * spec.deadline_ns / 1e9 * 1.1) + 10, most - 100)


def _watch_stdin() -> None:
    """End the process at once when the master is gone."""
    watcher = gevent.get_hub().loop.io(_STDIN, _READABLE)
    watcher.start(lambda: None if os.read(_STDIN, 4096) else _end(0))


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _end(code: int) -> None:
    """End this process now, users and all."""
    os._exit(code)
