"""The class of a failure: one short word per cause, so that failures can be counted."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

_BY_ERRNO = {
    errno.ECONNREFUSED: "connect_refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ECONNABORTED: "reset",
    errno.ETIMEDOUT: "connect_timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EMFILE: "too_many_open_files",
    errno.EADDRNOTAVAIL: "no_local_port",
}
_BY_NAME = {
    # Names, not types: these belong to HTTP clients that a locustfile may or may not use.
    "ConnectTimeout": "connect_timeout",
    "ReadTimeout": "timeout",
    "Timeout": "timeout",
    "RemoteDisconnected": "reset",
    "HTTPConnectionClosed": "reset",
    "ChunkedEncodingError": "reset",
    "HTTPParseError": "bad_response",
    "HttpParserError": "bad_response",
    "CatchResponseError": "check_failed",
    "ResponseError": "check_failed",
    "AssertionError": "check_failed",
}
_DEPTH = 8


def error_class(error: object, status: int = 0) -> str:
    """
    The class of `error`, which a request ended with; `status` is the HTTP status of its answer, 0 without one.

    Looks through wrapping exceptions for the cause: `connect_refused`, `reset`, `timeout`, `dns`, `tls`, `http_503`,
    `check_failed` and the like; else the exception's name.
    """
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, socket.gaierror):
            return "dns"
        if isinstance(cause, ssl.SSLError):
            return "tls"
        if isinstance(cause, OSError) and cause.errno in _BY_ERRNO:
            return _BY_ERRNO[cause.errno]
    for cause in reversed(chain):
        if (known := _BY_NAME.get(type(cause).__name__)) is not None:
            return known
        if isinstance(cause, TimeoutError):
            return "timeout"
    return f"http_{status}" if status >= 400 else type(error).__name__


def is_of_the_network(error: BaseException) -> bool:
    """Whether `error`, raised by a task, tells of the service or of the way there, not of a mistake in the task."""
    return isinstance(error, OSError) or error_class(error) != type(error).__name__


def _causes(error: object) -> Iterator[BaseException]:
    """The error, what it wraps, and so on, outermost first."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting and len(seen) < _DEPTH:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            yield one
            waiting += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
