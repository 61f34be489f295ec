"""Kept connections to one origin, and how long they are kept."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from ssl import SSLContext, SSLError
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent.hub import Waiter

from harness.drivers.locust.clients.transport import Dialled, Link, dial, tls_context
from harness.drivers.locust.clients.wire import HeadReader, Reader
from harness.drivers.locust.outcomes import RequestError

_NEVER_NS = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How connections are made and kept. Times are seconds."""

    connect_timeout_s: float = 60.0
    ca_file: str | None = None  # None: what the system trusts
    insecure: bool = False  # do not check certificates
    tls_factory: Callable[[], SSLContext] | None = None  # instead of these two
    age_s: float = 30.0  # a connection is not used again after about this long
    age_jitter: float = 0.2  # give or take this share, so that not all of them end at once
    requests: int | None = None  # nor after so many requests

    def context(self) -> SSLContext:
        """What TLS connections are made with."""
        return self.tls_factory() if self.tls_factory else tls_context(self.ca_file, insecure=self.insecure)


class Connection:
    """One HTTP/1.1 connection: a request, its answer, and the next."""

    __slots__ = (
        "_answered",
        "_busy",
        "_due_ns",
        "_failure",
        "_fires_ns",
        "_most",
        "_timer",
        "_waiter",
        "link",
        "reader",
        "retire_ns",
    )

    def __init__(self, dialled: Dialled, retire_ns: int, requests: int) -> None:
        self.reader = Reader()
        self.retire_ns = retire_ns  # not to be used from then on
        self._most, self._answered = requests, 0
        self._waiter = Waiter()
        self._busy = False
        self._failure: RequestError | None = None
        self._due_ns = 0
        self._fires_ns = _NEVER_NS
        self._timer: Any = None
        self.link = Link(dialled, self._on_bytes, self._on_end)

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return not self.link.closed

    def exchange(self, request: bytes, due_ns: int, *, head: bool) -> Reader:
        """Send a request and wait for its answer, until `due_ns` of CLOCK_MONOTONIC. Raises RequestError."""
        reader = self._expect(due_ns, head=head)
        try:
            self.link.send(request)
            self._waiter.get()
        except BaseException:  # cut: what still comes belongs to no later request
            self.close()
            raise
        if self._failure is not None:
            self.close()
            raise self._failure
        self._answered += 1
        if not reader.keep or self._answered == self._most:
            self.close()
        elif head:
            self.reader = Reader()
        return reader

    def _expect(self, due_ns: int, *, head: bool) -> Reader:
        if head:
            self.reader = HeadReader()
        else:
            self.reader.expect()
        self._due_ns = due_ns
        if due_ns < self._fires_ns:
            self._arm()
        self._busy = True
        self._failure = None
        return self.reader

    def close(self) -> None:
        """Close the connection."""
        self.link.close()
        self.reader.release()
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    # --- called by the event loop ---

    def _on_bytes(self, data: bytes) -> None:
        if not self._busy:
            self.close()  # it says what nobody asked for
            return
        try:
            if not self.reader.feed(data):
                return
        except RequestError as failure:
            self._failure = failure
        self._wake()

    def _on_end(self, error: OSError | None) -> None:
        if not self._busy:
            self.close()
            return
        if error is not None or not self.reader.end():
            self._failure = self._end_of(error)
        self._wake()

    def _end_of(self, error: OSError | None) -> RequestError:
        why = str(error) if error is not None else "closed by the server"
        if isinstance(error, SSLError):
            return RequestError("tls", why)
        if self.reader.begun:
            return RequestError("reset_in_body", why)
        return RequestError("stale_connection" if self._answered else "reset", why)

    def _wake(self) -> None:
        self._busy = False
        self._waiter.switch(None)

    # One timer runs on while requests come and go; when it rings, it looks whether the present one is due.

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.close()
        wait_s = max(self._due_ns - time.monotonic_ns(), 0) / 1e9
        self._fires_ns = self._due_ns
        self._timer = gevent.get_hub().loop.timer(wait_s, ref=False)
        self._timer.start(self._on_timer, update=True)

    def _on_timer(self) -> None:
        self._fires_ns = _NEVER_NS
        if not self._busy:
            return
        if time.monotonic_ns() < self._due_ns:
            self._arm()
            return
        self._failure = RequestError("read_timeout", "the answer was not complete in time")
        self._wake()


class Origin:
    """The connections of one user to one scheme, host and port; `url` has no path."""

    def __init__(self, url: str, policy: Policy) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._policy = policy
        self._tls = policy.context() if parts.scheme == "https" else None
        self._idle: list[Connection] = []

    def take(self, due_ns: int) -> Connection:
        """A connection: a kept one that is not too old, else a new one. Raises RequestError."""
        while self._idle:
            kept = self._idle.pop()
            if kept.usable:
                if time.monotonic_ns() < kept.retire_ns:
                    return kept
                kept.close()
        return self._connect(due_ns)

    def give_back(self, connection: Connection) -> None:
        """The connection is free again."""
        self._idle.append(connection)

    def close(self) -> None:
        """Close what is kept."""
        while self._idle:
            self._idle.pop().close()

    def dial(self, due_ns: int) -> Dialled:
        """A new connection, made by `due_ns` of CLOCK_MONOTONIC. Raises RequestError."""
        left_s = max((due_ns - time.monotonic_ns()) / 1e9, 0.001)
        return dial(self._host, self._port, self._tls, min(self._policy.connect_timeout_s, left_s))

    def _connect(self, due_ns: int) -> Connection:
        policy = self._policy
        dialled = self.dial(due_ns)
        age_s = policy.age_s * random.uniform(1 - policy.age_jitter, 1 + policy.age_jitter)
        return Connection(dialled, time.monotonic_ns() + round(age_s * 1e9), policy.requests or 0)
