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
        self._take = take
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._current: Request | None = None  # taken, not finished
        self._waiting: deque[Request] = deque()
        self._request = Request()

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
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.send(response(400, b"", "connection: close\r\n"))
            self.close()

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
        if self._current is not None:
            self._waiting.append(request)
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
        self.abandoned = None
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
