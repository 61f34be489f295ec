"""Uses what Locust offers to locustfiles; the test beside it knows what must come of it. `/echo` answers what came."""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter

import gevent
from gevent.lock import Semaphore
from gevent.pool import Pool
from locust import (
    FastHttpUser,
    HttpUser,
    SequentialTaskSet,
    TaskSet,
    User,
    between,
    constant_throughput,
    events,
    tag,
    task,
)
from locust.exception import RescheduleTask, ResponseError
from locust.runners import WorkerRunner
from locust.user.markov_taskset import MarkovTaskSet, transition, transitions
from rows import ROWS

from harness.drivers.locust.fast import FastUser

HEARD: Counter[str] = Counter()
ALL_SPAWNED = Semaphore()
ALL_SPAWNED.acquire()
ACCOUNTS = itertools.cycle(ROWS)


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


@events.init_command_line_parser.add_listener
def on_parser(parser):
    parser.add_argument("--basket", type=int, default=3)


@events.init.add_listener
def on_init(environment, **_):
    role = "worker" if isinstance(environment.runner, WorkerRunner) else "master"
    say("init", role, environment.host.startswith("http://127.0.0.1:"), environment.parsed_options.basket)

    if role == "master":
        environment.runner.register_message("greeting", lambda msg, **_: say("greeted by", msg.data))


@events.test_start.add_listener
def on_test_start(environment, **_):
    say("test_start", getattr(environment.runner, "worker_index", "master"))
    if isinstance(environment.runner, WorkerRunner):
        environment.runner.send_message("greeting", "a worker")


@events.spawning_complete.add_listener
def on_spawning_complete(user_count, **_):
    say("spawning_complete", user_count > 0)
    ALL_SPAWNED.release()


@events.test_stop.add_listener
def on_test_stop(environment, **_):
    say("heard", *sorted(HEARD))


@events.request.add_listener
def on_request(name, response_time, context, exception, **_):
    if response_time > 0 and context.get("mine"):
        HEARD[f"{name}/{type(exception).__name__}/{context['mine']}"] += 1


class WithLogin(User):
    """An abstract base: on_start of all that inherit it."""

    abstract = True
    wait_time = between(30, 60)  # never waited: arrivals set the pace

    def on_start(self):
        ALL_SPAWNED.wait()
        self.name, password = next(ACCOUNTS)
        answer = self.client.post("/echo", {"user": self.name, "password": password}, name="log in")
        self.token = f"{len(answer.text)}-{self.name}"

    def context(self):
        return {"mine": type(self).__name__}


class Steps(WithLogin, FastHttpUser):
    """Steps in order, each an arrival of its own; one step is a set of its own."""

    @task
    class InOrder(SequentialTaskSet):
        def on_start(self):
            self.done = []

        @task
        def first(self):
            assert self.done == []
            self.client.get("/echo", name="step 1", headers={"Authorization": self.user.token})
            self.done.append(1)

        @task
        class Second(TaskSet):
            @task
            def inner(self):
                assert self.parent.done == [1]
                self.client.get("/echo", name="step 2")
                self.parent.done.append(2)
                self.interrupt(reschedule=False)

        @task
        def third(self):
            assert self.done == [1, 2]
            self.client.get("/echo", name="step 3")
            self.interrupt()


def forum(task_set):
    task_set.client.get("/echo", name="forum")


class Shelf(TaskSet):
    tasks = {forum: 3}  # noqa: RUF012

    @task(1)
    def leave(self):
        self.interrupt()


class Nested(WithLogin, HttpUser):
    """A task set, and functions, with weights in a dict; requests' own session options."""

    tasks = {Shelf: 1, forum: 1}  # noqa: RUF012

    def on_start(self):
        super().on_start()
        self.client.headers["X-Session"] = self.token
        assert f"X-Session: {self.token}" in self.client.get("/echo", name="/check").text


class Chain(MarkovTaskSet):
    @transition("pay")
    def fill(self):
        self.user.ask("markov fill")

    @transitions({"fill": 2, "leave": 1})
    def pay(self):
        self.user.ask("markov pay")

    @transition("fill")
    def leave(self):
        self.interrupt(reschedule=False)


class Own(User):
    """A client of its own, told to the request event in every way there is."""

    tasks = [Chain]  # noqa: RUF012

    def ask(self, name):
        with self.environment.events.request.measure("DB", name) as meta:
            meta["response_length"] = 7

    @task
    def fails(self):
        start = time.perf_counter()
        gevent.sleep(0.002)
        self.environment.events.request.fire(
            request_type="DB",
            name="a failing query",
            response_time=(time.perf_counter() - start) * 1000,
            response_length=0,
            exception=LookupError("no such row"),
            context=self.context(),
        )


class Checks(WithLogin, FastUser):
    """What is judged by the locustfile, with our client."""

    @task
    def fails(self):
        with self.client.get("/echo", name="found wanting", catch_response=True) as answer:
            if "never" not in answer.text:
                answer.failure("never is not in it")

    @task
    def raises(self):
        with self.client.get("/echo", name="found wanting", catch_response=True):
            raise ResponseError("as well")

    @task
    def forgives(self):
        with self.client.get("/status/404", name="forgiven", catch_response=True) as answer:
            if answer.status_code == 404:
                answer.success()

    @task
    def rests(self):
        with self.rest("POST", "/echo", json={"a": 1}, name="no JSON") as answer:
            assert answer.js is None

    @task
    def renames(self):
        with self.client.rename_request("renamed"):
            self.client.get(f"/echo?{time.time()}")

    @task
    def whispers(self):
        self.client.request("get", "/ok")


class ChecksAsEver(WithLogin, FastHttpUser):
    """The same with Locust's own."""

    fails, raises, forgives = Checks.fails, Checks.raises, Checks.forgives
    rests, renames = Checks.rests, Checks.renames


class Parallel(WithLogin, FastHttpUser):
    """Requests of one task in greenlets of its own: one arrival, over when the last has ended."""

    @task
    def both(self):
        pool = Pool(2)
        for number in (1, 2):
            pool.spawn(self.client.get, "/echo", name=f"part {number}")
        pool.join()


class Journey(WithLogin, HttpUser):
    """Several requests and a pause: one arrival, under the task's name, with steps."""

    wait_time = constant_throughput(0.001)

    @tag("long")
    @task
    def order(self):
        basket = self.client.get("/echo", name="basket")
        gevent.sleep(0.01)
        if not basket.ok:
            raise RescheduleTask
        self.client.post("/echo", json={"pay": True}, name="pay")


if __name__ == "__main__":
    from locust import run_single_user

    run_single_user(Journey)
