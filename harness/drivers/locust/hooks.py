"""
Where the pool meets Locust: a task runs when an arrival is due, not when a wait time is over.

Locust's own loop picks tasks by weight, runs nested task sets and calls on_start and on_stop. Two of its methods are
replaced: `execute_task`, so that a task (not a task set) first waits for an arrival, and `wait`, which waits for
nothing.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from gevent import GreenletExit
from locust import runners
from locust.exception import (
    InterruptTaskSet,
    RescheduleTask,
    RescheduleTaskImmediately,
    StopTest,
    StopUser,
)
from locust.user.task import LOCUST_STATE_STOPPING, DefaultTaskSet, TaskSet

from harness.drivers.locust.outcomes import error_class, is_of_the_network
from harness.drivers.locust.slots import Arrival, Cut, Pool

_FLOW = (InterruptTaskSet, RescheduleTask, RescheduleTaskImmediately)


def install(pool: Pool, environment: Any) -> None:
    """Make every task of this process take its arrivals from `pool`, and every request event count there."""
    complaints = Complaints()
    for task_set in (TaskSet, DefaultTaskSet):
        task_set.execute_task = _paced(task_set.execute_task, pool, complaints)  # type: ignore[method-assign]
    TaskSet.wait = _no_wait  # type: ignore[method-assign]
    handlers = environment.events.request._handlers  # noqa: SLF001 - there is no other way to take one out
    # Locust's own statistics: nobody reads a worker's, they cost as much as our count, and they grow with the run.
    handlers[:] = [handler for handler in handlers if handler.__module__ != runners.__name__]
    environment.events.request.add_listener(_listener(pool))


def _paced(execute: Callable[[Any, Any], None], pool: Pool, complaints: Complaints) -> Callable[[Any, Any], None]:
    def execute_task(task_set: Any, task: Any) -> None:
        slot = pool.slot_of(task_set.user)
        is_set = isinstance(task, type) and issubclass(task, TaskSet)
        # The tasks of a task set take arrivals, itself none. But one whose on_start failed is entered again for an
        # arrival only: else every user would try to log in as often as it can, just when the service fails.
        if not is_set or task in slot.failed_sets:
            pool.take(slot, getattr(task, "__qualname__", None) or type(task).__qualname__)
        if is_set:
            slot.failed_sets.discard(task)
        try:
            execute(task_set, task)
        except Cut:
            pass  # settled as timed out when it was cut
        except _FLOW:
            pool.leave_task(slot)
            raise
        except (StopUser, StopTest, GreenletExit):
            raise  # the user ends, and its arrival with it
        except Exception as error:
            complaints.say(error)
            hook = task_set.user.environment.events.user_error
            hook.fire(user_instance=task_set, exception=error, tb=error.__traceback__)
            if slot.arrival is not None:
                _blame(pool, slot.arrival, error)
        if is_set:  # whose on_start failed: in order, it is left by one of _FLOW only
            slot.failed_sets.add(task)
        if slot.arrival is not None:
            pool.finish(slot.arrival)

    return execute_task


def _blame(pool: Pool, arrival: Arrival, error: Exception) -> None:
    """The task that ran the arrival has raised `error`."""
    if arrival.name is None and not is_of_the_network(error):
        pool.lose(arrival, f"task raised {type(error).__name__}")  # nothing was asked of the service
    else:
        arrival.error = arrival.error or error_class(error)


def _no_wait(task_set: Any) -> None:
    if task_set.user._state == LOCUST_STATE_STOPPING:  # noqa: SLF001 - as Locust's own wait does
        raise StopUser


def _listener(pool: Pool) -> Callable[..., None]:
    def on_request(
        request_type: str,
        name: str,
        response_time: float | None,  # None of a message that is not answered
        exception: object = None,
        response: Any = None,
        **_: object,
    ) -> None:
        arrival = pool.current()
        if arrival is None:
            return  # on_start, on_stop, or outside of any user
        sent_ns = max(time.monotonic_ns() - pool.t0_ns - int((response_time or 0) * 1e6), arrival.sent_ns)
        series = series_name(request_type, name)
        if not exception:
            pool.request(arrival, series, sent_ns, None)
            return
        status = getattr(response, "status_code", 0) or 0
        error = error_class(exception, status, getattr(response, "error", None))
        peer = str(getattr(response, "peer", ""))
        pool.request(arrival, series, sent_ns, error, status=status, peer=peer, detail=str(exception))

    return on_request


class Complaints:
    """The first tracebacks of a worker's tasks on stderr; all of them would grow the log with the rate."""

    def __init__(self, most: int = 20) -> None:
        self._left = most

    def say(self, error: BaseException) -> None:
        """Print the traceback, unless enough were printed."""
        if self._left > 0:
            self._left -= 1
            traceback.print_exception(error)
            if not self._left:
                os.write(2, b"(no more tracebacks of tasks are printed)\n")


@lru_cache(maxsize=4096)
def series_name(request_type: str, name: str) -> str:
    """What a request is called in the load record: a name given in the locustfile, or method and path."""
    return f"{request_type} {name}" if name.startswith(("/", "http://", "https://")) or not name else name
