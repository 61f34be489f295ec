"""
Users whose tasks go astray, run by the pool without a worker around it; prints what became of them as JSON.

Every stream is one scene with a User class of its own. Arrivals begin when a scene says so: nothing depends on time.
"""

from __future__ import annotations

# Locust patches the standard library on import and must come first.
import locust  # isort: split

import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

import gevent
from gevent.event import Event
from locust.env import Environment
from locust.exception import RescheduleTask, StopUser

from harness.drivers.locust import hooks, slots
from harness.drivers.locust.collector import Collector
from harness.drivers.locust.journeys import Ledger
from harness.drivers.locust.kinds import Kind, LocustfileError, kinds_of
from harness.drivers.locust.slots import Pool
from harness.drivers.locust.spec import StreamSpec
from harness.drivers.locust.tally import Tally


class Asking(locust.User):
    abstract = True

    def ask(self, name: str, error: Exception | None = None) -> None:
        """A request of a client that measures nothing."""
        self.environment.events.request.fire(
            request_type="MQ", name=name, response_time=None, response_length=0, exception=error, context={}
        )


class Undecided(Asking):
    """Does nothing a thousand times, then something."""

    left = 1000

    @locust.task
    def decide(self) -> None:
        self.left -= 1
        if self.left >= 0:
            raise RescheduleTask
        self.ask("decided")


class Shop(locust.TaskSet):
    tries = 0

    def on_start(self) -> None:
        Shop.tries += 1
        if Shop.tries <= 3:
            raise ConnectionRefusedError(111, "refused")

    @locust.task
    def buy(self) -> None:
        self.user.ask("bought")


class Shopper(Asking):
    """Whose task set cannot be entered at first."""

    tasks = [Shop]  # noqa: RUF012


class Parent(Asking):
    """The first task leaves a greenlet behind, whose request fails while the second runs."""

    calls = 0
    outlived, second = Event(), Event()

    @locust.task
    def work(self) -> None:
        Parent.calls += 1
        if Parent.calls == 1:
            gevent.spawn(self.outlive)
        else:
            self.second.wait()
        self.ask(f"work {Parent.calls}")

    def outlive(self) -> None:
        self.outlived.wait()
        self.ask("outlived", ConnectionResetError(104, "reset"))


class Hall(locust.TaskSet):
    entered = 0

    @locust.task
    def go(self) -> None:
        Hall.entered += 1
        if Hall.entered == 1:
            self.interrupt()
        self.user.ask("went")

    def on_stop(self) -> None:
        Event().wait()


class Visitor(Asking):
    """The first leaves at once, its arrival undone, and never comes out of on_stop."""

    tasks = [Hall]  # noqa: RUF012


class Locked(Asking):
    """Cannot log in at first; such users are made when arrivals wait for them."""

    tries = 0

    def on_start(self) -> None:
        Locked.tries += 1
        if Locked.tries == 1:
            raise StopUser

    @locust.task
    def work(self) -> None:
        self.ask("worked")


USERS = {Undecided: 1, Shopper: 1, Parent: 1, Visitor: 2, Locked: 0}


class Stage:
    """The pool and its users; `turns` counts how often the event loop came round."""

    def __init__(self) -> None:
        self.tally = Tally(10**9)
        self.environment = Environment(user_classes=list(USERS))
        self.environment.runner = SimpleNamespace(user_greenlets=gevent.pool.Group())
        kinds = [[Kind(cls.__name__, cls, cls.__name__, many or None)] for cls, many in USERS.items()]
        self.locked = kinds[-1][0]
        streams = [cls.__name__ for cls in USERS]
        self.pool = Pool(self.environment, kinds, Ledger(self.tally, streams), deadline_ns=10**15, seed="")
        self.pool.capacity = 100
        self.user_errors: list[str] = []
        self.turns = 0
        self.environment.events.user_error.add_listener(self.on_user_error)
        hooks.install(self.pool, self.environment)
        for cls, many in USERS.items():
            for _ in range(many):
                cls(self.environment).start(self.environment.runner.user_greenlets)
        gevent.spawn(self.turn)
        self.settle()

    def on_user_error(self, exception: BaseException, **_: object) -> None:
        self.user_errors.append(type(exception).__name__)

    def turn(self) -> None:
        while True:
            gevent.sleep(0)
            self.turns += 1

    def settle(self) -> None:
        """Let everybody go as far as they can."""
        until = self.turns + 10
        while self.turns < until:
            gevent.sleep(0)

    def do(self, act: Any, *arguments: object) -> None:
        """As the event loop does it."""
        gevent.get_hub().loop.run_callback(act, *arguments)
        self.settle()

    def begin(self, cls: type[locust.User]) -> None:
        self.do(self.pool.begin, self.pool.now_ns(), list(USERS).index(cls))


def play() -> dict[str, Any]:
    stage = Stage()
    told: dict[str, Any] = {"tries": [Shop.tries]}
    before = stage.turns
    stage.begin(Undecided)
    while stage.pool.in_flight:
        gevent.sleep(0)
    told["turned"] = stage.turns - before >= 1000
    for _ in range(4):
        stage.begin(Shopper)
        told["tries"].append(Shop.tries)
    stage.begin(Parent)
    stage.begin(Parent)
    Parent.outlived.set()
    stage.settle()
    Parent.second.set()
    stage.begin(Visitor)
    stage.do(stage.pool.sweep)
    slots.PAUSE_NS = 10**15
    for _ in range(3):
        stage.begin(Locked)
    told["logins"] = [Locked.tries]
    stage.locked.paused_until_ns = 0
    stage.do(stage.pool.sweep)
    told["logins"].append(Locked.tries)
    collector = Collector(())
    collector.add(stage.tally.take())
    outcomes: dict[str, Counter[str]] = {}
    for frame in collector.take():
        counts = outcomes.setdefault(frame.stream, Counter())
        counts[f"{frame.series} ok"] += frame.ok
        counts.update({f"{frame.series} {error}": count for error, count in frame.errors})
    told["outcomes"] = {stream: +counts for stream, counts in outcomes.items()}
    told["errors"] = stage.user_errors
    return told


def weights() -> list[Any]:
    """Which classes take part, by their weights."""
    stream = StreamSpec(name="", knots=(), seed=0, users=(), tags=())
    spec: Any = SimpleNamespace(streams=(stream,), workers_wanted=1)
    out = type("Out", (Undecided,), {"weight": 0})
    ((kind,),) = kinds_of(spec, [Undecided, out], 0)
    try:
        kinds_of(spec, [out], 0)
    except LocustfileError as error:
        return [kind.name, str(error)]
    return [kind.name]


if __name__ == "__main__":
    print(json.dumps(play() | {"weights": weights()}))  # noqa: T201 - this is how it is told
