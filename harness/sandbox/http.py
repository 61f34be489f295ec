"""
The server half of HTTP/1.1, on asyncio protocols: requests come one by one, whoever takes them answers in bytes.

Small on purpose: the shop's start-up and the fronts' cost per request are what the sandbox spends its CPU on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol, cast

import httptools

REQUEST_BYTES_MAX = 1 << 20
"""Head and body of one request; a longer one ends its connection."""
PIPELINED_MAX = 64
"""Requests that a client may send ahead of their answers on one connection."""

REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """One whole request."""

    target: bytes = b""  # as on the request line: `/items?page=1`, or absolute when sent to a proxy
    method: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)  # names as sent
    body: bytes = b""
    keep_alive: bool = True


class Taker(Protocol):
    """Answers requests: at once or later through `Connection.answer`, or `send` and then `finish`."""

    def __call__(self, connection: Connection, request: Request) -> None:
        """Take one request. The next of this connection comes after this one has been finished."""


def response(status: int, body: bytes, headers: str = "", *, content_type: str = "text/plain; charset=utf-8") -> bytes:
    """The bytes of a whole response; `headers` are further lines, each ending with CR LF."""
    head = f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n"
    return f"{head}{headers}\r\n".encode("latin-1") + body


class Connection(asyncio.Protocol):
    """One client's connection. Keeps requests in order, pipelined ones too."""

    def __init__(self, take: Taker) -> None:
        self.abandoned: Callable[[], None] | None = None  # called when the client leaves before its answer
        self.flow: Callable[[bool], None] | None = None  # called with whether the client reads fast enough
        self._take = take
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._current: Request | None = None  # taken, not finished
        self._waiting: deque[Request] = deque()
        self._request = Request()
        self._received = 0  # bytes of the request being read

    @property
    def open(self) -> bool:
        """Whether the client is still there."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio: the client is there."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Asyncio: the client is gone."""
        self._transport = None
        if self._current is not None and self.abandoned is not None:
            self.abandoned()

    def data_received(self, data: bytes) -> None:
        """Asyncio: bytes from the client."""
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # An upgrade is declined by answering plainly; what follows on the wire cannot be parsed any more.
            (self._current or self._request).keep_alive = False
        except httptools.HttpParserError:
            self._refuse(400)
        if self._received > REQUEST_BYTES_MAX:
            self._refuse(413)

    def pause_writing(self) -> None:
        """Asyncio: the client reads too slowly."""
        if self.flow is not None:
            self.flow(False)  # noqa: FBT003 - asyncio's own pair of calls, as one

    def resume_writing(self) -> None:
        """Asyncio: the client has caught up."""
        if self.flow is not None:
            self.flow(True)  # noqa: FBT003

    def on_url(self, url: bytes) -> None:
        """Httptools: (a part of) the request's target."""
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Httptools: one header."""
        self._request.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        """Httptools: (a part of) the body."""
        self._request.body += body

    def on_message_complete(self) -> None:
        """Httptools: the request is whole."""
        request, self._request = self._request, Request()
        request.method = self._parser.get_method()
        request.keep_alive = self._parser.should_keep_alive()
        self._received = 0
        if self._current is not None:
            self._waiting.append(request)
            if len(self._waiting) > PIPELINED_MAX:
                self._refuse(400)
            return
        self._current = request
        self._take(self, request)

    def answer(self, data: bytes) -> None:
        """The whole answer to the request taken last."""
        self.send(data)
        self.finish()

    def send(self, data: bytes) -> None:
        """Bytes of the answer to the request taken last; nothing when the client is gone."""
        if self._transport is not None:
            self._transport.write(data)

    def finish(self, *, keep_alive: bool = True) -> None:
        """The answer is complete: close the connection or go on with the next request."""
        request, self._current = self._current, None
        self.abandoned = self.flow = None
        if self._transport is None or request is None:
            return
        if not (keep_alive and request.keep_alive):
            self._transport.close()
        elif self._waiting:
            self._current = self._waiting.popleft()
            self._take(self, self._current)

    def close(self) -> None:
        """Close after what has been sent."""
        if self._transport is not None:
            self._transport.close()

    def _refuse(self, status: int) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(response(status, b"", "connection: close\r\n"))
            self._transport.close()
