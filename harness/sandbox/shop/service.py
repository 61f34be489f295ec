"""
The shop's behaviour: what each route answers, when, and what the bad version does wrong.

A pod serves at most SLOTS / SERVICE_S = 80 requests/s. The queue is worked out in numbers: a request's answer is due
SERVICE_S after the slot that is free first; so the capacity is exact, however coarse the event loop's timers are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from harness.sandbox.http import Connection, Request, response
from harness.sandbox.shop.metrics import Metrics

SLOTS = 2
SERVICE_S = 0.025
QUEUE_S = 0.4
"""A request that would wait longer for its slot is answered 503 at once."""

BAD_ERROR_EVERY = 20  # requests of the bad version: one in twenty fails ...
BAD_SLOW_EVERY = 10  # ... and one in ten, never the same one, is slow
BAD_SLOW_S = 0.3

ITEMS = b'{"items":[' + b",".join(b'{"id":%d,"name":"item-%d","price":%d}' % (n, n, 5 + n) for n in range(1, 9)) + b"]}"


class Slots:
    """The queue in front of the slots, in numbers only."""

    def __init__(self, count: int = SLOTS, service_s: float = SERVICE_S, queue_s: float = QUEUE_S) -> None:
        self._free_at = [0.0] * count
        self._service_s = service_s
        self._queue_s = queue_s

    def admit(self, now_s: float) -> float | None:
        """When a request that comes at `now_s` will have been served; None when the queue is full."""
        slot = min(range(len(self._free_at)), key=self._free_at.__getitem__)
        start_s = max(now_s, self._free_at[slot])
        if start_s - now_s > self._queue_s:
            return None
        self._free_at[slot] = start_s + self._service_s
        return self._free_at[slot]


Keep = Callable[[str], Awaitable[bool]]
"""Writes an order's id to where orders are kept; whether it was acknowledged."""


class Shop:
    """Answers the requests of one pod. Orders go to `keep`; None: nowhere."""

    def __init__(self, version: str, pod: str, zone: str, keep: Keep | None = None) -> None:
        self.metrics = Metrics(version)
        self.draining = False
        self._bad = version == "bad"
        self._headers = f"x-pod: {pod}\r\nx-zone: {zone}\r\n"
        self._pod = pod
        self._slots = Slots()
        self._keep = keep
        self._kept: set[asyncio.Task[None]] = set()
        self._served = 0  # requests that got a slot
        self._loop = asyncio.get_running_loop()

    def __call__(self, connection: Connection, request: Request) -> None:
        """Take one request."""
        match request.method, request.target.partition(b"?")[0]:
            case b"GET", b"/items":
                self._serve(connection, "/items")
            case b"POST", b"/orders":
                self._serve(connection, "/orders")
            case b"GET", b"/healthz":
                connection.answer(self._text(503, "draining\n") if self.draining else self._text(200, "ok\n"))
            case b"GET", b"/metrics":
                text = self.metrics.text().encode()
                connection.answer(response(200, text, content_type="text/plain; version=0.0.4; charset=utf-8"))
            case _, (b"/items" | b"/orders" | b"/healthz" | b"/metrics"):
                self._answer(connection, "other", time.monotonic(), self._text(405, "method not allowed\n"))
            case _:
                self._answer(connection, "other", time.monotonic(), self._text(404, "not found\n"))

    def _serve(self, connection: Connection, route: str) -> None:
        now_s = time.monotonic()
        due_s = self._slots.admit(now_s)
        if due_s is None:
            self._answer(connection, route, now_s, self._text(503, "overloaded\n"))
            return
        self._served += 1
        self.metrics.inflight += 1
        if self._bad and self._served % BAD_SLOW_EVERY == 1:
            due_s += BAD_SLOW_S
        self._loop.call_later(due_s - now_s, self._served_one, connection, route, now_s, self._served)

    def _served_one(self, connection: Connection, route: str, began_s: float, number: int) -> None:
        if self._bad and number % BAD_ERROR_EVERY == 0:
            answer = self._text(500, "bad release\n")
        elif route == "/orders" and self._keep is not None:
            task = self._loop.create_task(self._keep_one(connection, began_s, number, self._keep))
            self._kept.add(task)
            task.add_done_callback(self._kept.discard)
            return
        elif route == "/orders":
            answer = self._ordered(number)
        else:
            answer = self._json(200, ITEMS)
        self.metrics.inflight -= 1
        self._answer(connection, route, began_s, answer)

    async def _keep_one(self, connection: Connection, began_s: float, number: int, keep: Keep) -> None:
        kept = await keep(f"order.{self._pod}-{number}")
        self.metrics.inflight -= 1
        answer = self._ordered(number) if kept else self._text(503, "the order could not be kept\n")
        self._answer(connection, "/orders", began_s, answer)

    def _ordered(self, number: int) -> bytes:
        return self._json(201, b'{"order":"%s-%d"}' % (self._pod.encode(), number))

    def _answer(self, connection: Connection, route: str, began_s: float, answer: bytes) -> None:
        self.metrics.request(route, int(answer[9:12]), time.monotonic() - began_s)
        connection.answer(answer)

    def _text(self, status: int, text: str) -> bytes:
        return response(status, text.encode(), self._headers)

    def _json(self, status: int, body: bytes) -> bytes:
        return response(status, body, self._headers, content_type="application/json")
