"""Tells what became of a request: to the pool when it belongs to an arrival, to Locust's request event otherwise."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from locust.event import EventHook

from harness.drivers.locust.hooks import series_name
from harness.drivers.locust.journeys import Arrival
from harness.drivers.locust.outcomes import class_of_event
from harness.drivers.locust.slots import Pool


class Told(Protocol):
    """A request, as far as accounts need to know it."""

    @property
    def method(self) -> str:
        """GET, or what stands for it in other protocols."""

    @property
    def name(self) -> str:
        """What the locustfile calls it."""

    @property
    def context(self) -> Mapping[str, Any]:
        """For listeners of the request event."""


class Answered(Protocol):
    """What became of it, as far as accounts need to know it."""

    error: Exception | None
    status_code: int
    content: bytes
    peer: str
    url: str


class Account:
    """The requests of one user. Times are nanoseconds of CLOCK_MONOTONIC."""

    __slots__ = ("_event", "_handlers", "_known", "_pool", "_user", "_visitors")

    def __init__(self, user: Any, pool: Pool | None) -> None:
        self._user, self._pool = user, pool
        self._event: EventHook = user.environment.events.request
        self._handlers: list[Any] = self._event._handlers  # noqa: SLF001 - a length is all that is looked at per request
        self._known = -1
        self._visitors: EventHook | None = None  # the locustfile's own listeners

    def begin(self, method: str, name: str, start_ns: int) -> Arrival | None:
        """A request is being sent; the arrival it belongs to."""
        pool = self._pool
        if pool is None or (arrival := pool.current()) is None:
            return None
        if arrival.name is None:
            pool.sending(arrival, series_name(method, name), start_ns - pool.t0_ns)
        return arrival

    def end(self, arrival: Arrival | None, request: Told, start_ns: int, answer: Answered) -> None:
        """It has ended."""
        if arrival is None or self._pool is None:
            self._event.fire(**self._facts(request, start_ns, answer))  # type: ignore[no-untyped-call]
            return
        pool = self._pool
        series, sent_ns = series_name(request.method, request.name), start_ns - pool.t0_ns
        if answer.error is None:
            pool.request(arrival, series, sent_ns, None)
        else:
            failed = class_of_event(answer.error, answer)
            pool.request(
                arrival, series, sent_ns, failed, status=answer.status_code, peer=answer.peer, detail=str(answer.error)
            )
        if len(self._handlers) != self._known:
            self._look_for_visitors()
        if self._visitors is not None:
            self._visitors.fire(**self._facts(request, start_ns, answer))  # type: ignore[no-untyped-call]

    def _look_for_visitors(self) -> None:
        """Locust's own statistics and the pool need no event, and firing it costs as much as sending."""
        self._known = len(self._handlers)
        visiting = [one for one in self._handlers if not str(one.__module__).startswith(("locust.", "harness."))]
        self._visitors = None
        if visiting:
            self._visitors = EventHook()  # type: ignore[no-untyped-call]
            for one in visiting:
                self._visitors.add_listener(one)  # type: ignore[no-untyped-call]

    def _facts(self, request: Told, start_ns: int, answer: Answered) -> dict[str, object]:
        took_ns = time.monotonic_ns() - start_ns
        return {
            "request_type": request.method,
            "name": request.name,
            "response_time": took_ns / 1e6,
            "response_length": len(answer.content),
            "response": answer,
            "context": {**self._user.context(), **request.context},
            "exception": answer.error,
            "start_time": time.time() - took_ns / 1e9,
            "url": answer.url,
        }
