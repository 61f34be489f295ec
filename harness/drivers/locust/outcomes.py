"""
The class of a failure: one short word per cause, so that failures can be counted.

| class | what happened |
|---|---|
| `dns` | the name could not be resolved |
| `connect_refused`, `connect_timeout`, `unreachable` | no connection came about |
| `tls` | no TLS connection came about, or it broke its own rules |
| `stale_connection` | a kept connection was closed before any byte of the answer |
| `reset` | a new connection was closed before any byte of the answer |
| `reset_in_body` | a connection was closed after the answer had begun |
| `read_timeout` | the client's own timeout passed after the connection was made |
| `deadline` | the arrival's deadline passed first (the engine's word) |
| `http_503` and the like | answered with a status of 400 or more |
| `grpc_internal`, `websocket_1011` and the like | the same of other protocols |
| `validation` | the locustfile's own check failed |
| `bad_response` | the answer breaks the protocol's rules |
| `too_many_open_files`, `no_local_port` | this machine's own limits |
| `user_stopped` | the user was stopped meanwhile |

What clients raise differs from client to client, and often hides the cause in another exception, or in nothing but
where it was raised; all three are looked at.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from types import TracebackType

_BY_ERRNO = {
    errno.ECONNREFUSED: "connect_refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ECONNABORTED: "reset",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EMFILE: "too_many_open_files",
    errno.ENFILE: "too_many_open_files",
    errno.EADDRNOTAVAIL: "no_local_port",
}
_BY_NAME = {
    # Names, not types: these belong to HTTP clients that a locustfile may or may not use.
    "ConnectTimeout": "connect_timeout",
    "ConnectTimeoutError": "connect_timeout",
    "ReadTimeout": "read_timeout",
    "ReadTimeoutError": "read_timeout",
    "RemoteDisconnected": "reset",
    "HTTPConnectionClosed": "reset",
    "IncompleteRead": "reset_in_body",
    "ChunkedEncodingError": "reset_in_body",
    "ContentDecodingError": "bad_response",
    "DecodeError": "bad_response",
    "BadStatusLine": "bad_response",
    "LineTooLong": "bad_response",
    "InvalidHeader": "bad_response",
    "InvalidChunkLength": "bad_response",
    "HTTPParseError": "bad_response",
    "HTTPProtocolViolationError": "bad_response",
    "HttpParserError": "bad_response",
    "TooManyRedirects": "bad_response",
    "RetriesExceeded": "bad_response",
    "error": "bad_response",  # zlib's
}
_CHECKS = ("CatchResponseError", "ResponseError", "AssertionError")
_CONNECTING = {"connect", "_connect", "create_connection", "_create_socket", "_connect_socket", "_new_conn"}
_HANDSHAKING = {"do_handshake", "wrap_socket", "ssl_wrap_socket", "_ssl_wrap_socket_impl"}
_READING_BODY = {"_content", "read_chunked", "_error_catcher", "_raw_read", "_safe_read"}
_BROKEN_OFF = ("Incomplete response", "Invalid EOF state", "connection closed")
_DEPTH = 12


class RequestError(ConnectionError):
    """A request failed; `error_class` says how, the text says more."""

    def __init__(self, error_class: str, detail: str) -> None:
        super().__init__(f"{error_class}: {detail}" if detail else error_class)
        self.error_class = error_class
        self.detail = detail


def error_class(error: object, status: int = 0, cause: object = None) -> str:
    """
    The class of `error`, which a request ended with; the exception's name when it is of none.

    `status` is the HTTP status of its answer, 0 without one. `cause` is what the client kept of a failure that the
    locustfile's check then named in its own words.
    """
    chain = list(_causes(error))
    if any(type(one).__name__ in _CHECKS for one in chain):
        # A check on what had failed already does not make it the check's failure.
        if status >= 400:
            return f"http_{status}"
        known = [one.error_class for one in chain if isinstance(one, RequestError)]
        if not known and cause is not error and isinstance(cause, BaseException):
            known = [error_class(cause)]
        return known[0] if known else "validation"
    if status >= 400 and not any(isinstance(one, RequestError) for one in chain):
        return f"http_{status}"
    for one in chain:
        if isinstance(one, RequestError):
            return one.error_class
    places = {place for one in chain for place in _places(one.__traceback__)}
    found = (_of_system(one, places) for one in chain)
    named = (_of_client(one, places) for one in reversed(chain))
    return next(filter(None, (*found, *named)), type(error).__name__)


def _of_system(error: BaseException, places: set[str]) -> str | None:
    """The class of what the operating system, the resolver or TLS said."""
    if isinstance(error, socket.gaierror):
        return "dns"
    if isinstance(error, TimeoutError):
        return "connect_timeout" if places & _CONNECTING and not places & _HANDSHAKING else None
    if isinstance(error, ssl.SSLError):
        return "reset_in_body" if isinstance(error, ssl.SSLEOFError) and places & _READING_BODY else "tls"
    if isinstance(error, OSError) and error.errno in _BY_ERRNO:
        return _of_reset(error, _BY_ERRNO[error.errno], places)
    return None


def _of_client(error: BaseException, places: set[str]) -> str | None:
    """The class of what an HTTP client made of it."""
    if _unfinished(error):
        return "reset_in_body"
    if (known := _named(error)) is not None:
        return _of_reset(error, known, places)
    if isinstance(error, TimeoutError):
        return "tls" if places & _HANDSHAKING else "read_timeout"
    return None


def _unfinished(error: BaseException) -> bool:
    """Whether geventhttpclient says in words only that the answer broke off."""
    return type(error).__name__ == "HTTPParseError" and any(words in str(error) for words in _BROKEN_OFF)


def _named(error: BaseException) -> str | None:
    """By the name of its class or of the nearest of its bases that is known."""
    return next((_BY_NAME[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _BY_NAME), None)


def _of_reset(error: BaseException, known: str, places: set[str]) -> str:
    """`known`, or what a reset was exactly."""
    if known != "reset":
        return known
    if places & _HANDSHAKING:
        return "tls"
    if places & _READING_BODY:
        return "reset_in_body"
    return "stale_connection" if getattr(error, "connection_was_kept", False) else "reset"


def class_of_event(exception: object, response: object) -> str | None:
    """The class of what Locust's request event told; None of a success."""
    if not exception:
        return None
    status = getattr(response, "status_code", 0) or 0
    return error_class(exception, status, getattr(response, "error", None))


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
            kept = [getattr(one, name, None) for name in ("reason", "original")]
            waiting += [*one.args, *kept, one.__cause__, one.__context__]


def _places(traceback: TracebackType | None) -> Iterator[str]:
    """The names of the functions an exception came through."""
    while traceback is not None:
        yield traceback.tb_frame.f_code.co_name
        traceback = traceback.tb_next
