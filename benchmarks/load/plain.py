"""
Plain Locust, as the measure for ours: users of one class in a closed loop, as fast as one core lets them.

    python benchmarks/load/plain.py fast|http URL SECONDS

Prints JSON: requests per second and per CPU second, and failures.

A process of its own, because Locust patches the standard library. one_core.py starts it.
"""

from __future__ import annotations

# Locust patches the standard library on import and must come first.
import locust  # isort: split

import json
import sys
import time
from typing import Any

import gevent
from locust import FastHttpUser, HttpUser, constant, task
from locust.env import Environment

USERS = 50
WARM_UP_S = 2.0


class Fast(FastHttpUser):
    """Locust's own faster user."""

    wait_time = constant(0)

    @task
    def get(self) -> None:
        """Ask once."""
        self.client.get("/")


class Http(HttpUser):
    """Locust's ordinary user, on requests."""

    wait_time = constant(0)

    @task
    def get(self) -> None:
        """Ask once."""
        self.client.get("/")


def main() -> None:
    """Measure and print."""
    kind, url, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    user_class: Any = {"fast": Fast, "http": Http}[kind]
    environment = Environment(user_classes=[user_class], host=url, events=locust.events)
    runner = environment.create_local_runner()
    runner.start(USERS, USERS)
    gevent.sleep(WARM_UP_S)
    before, cpu_s, began_s = environment.stats.total.num_requests, time.process_time(), time.monotonic()
    gevent.sleep(seconds)
    requests = environment.stats.total.num_requests - before
    cpu_s, took_s = time.process_time() - cpu_s, time.monotonic() - began_s
    failures = environment.stats.total.num_failures
    runner.quit()
    print(json.dumps({"per_s": requests / took_s, "per_cpu_s": requests / cpu_s, "failures": failures}))


if __name__ == "__main__":
    main()
