"""The class of a failure, from what clients raise."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path

import pytest

from harness.drivers.locust import outcomes
from harness.drivers.locust.clients.cookies import Cookies
from harness.drivers.locust.outcomes import RequestError, class_of_event, error_class, is_of_the_network


class HTTPError(OSError):
    """As requests' own: an OSError without a number."""


class CatchResponseError(Exception):
    """As Locust's own."""


class TheirError(Exception):
    """Of a library that has the word, too, and means something else, different each time."""

    error_class = "request 4711 was refused"


class NoAnswer:
    status_code = 0

    def __init__(self, error: Exception) -> None:
        self.error = error


def raised_in(function: str, error: Exception) -> Exception:
    """The error, raised by a function of that name."""
    places: dict[str, object] = {}
    exec(f"def {function}(error): raise error", places)
    try:
        places[function](error)
    except Exception as caught:
        return caught


def reset() -> OSError:
    return ConnectionResetError(errno.ECONNRESET, "reset")


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), 0, "connect_refused"),
        (OSError(errno.EHOSTUNREACH, "no route"), 0, "unreachable"),
        (OSError(errno.EMFILE, "too many"), 0, "too_many_open_files"),
        (OSError(errno.EADDRNOTAVAIL, "no port"), 0, "no_local_port"),
        (socket.gaierror(-2, "unknown name"), 0, "dns"),
        (ssl.SSLCertVerificationError(1, "self-signed"), 0, "tls"),
        (RuntimeError("wrapped", reset()), 0, "reset"),
        (raised_in("do_handshake", reset()), 0, "tls"),
        (raised_in("read_chunked", reset()), 0, "reset_in_body"),
        (TimeoutError("timed out"), 0, "read_timeout"),
        (raised_in("connect", TimeoutError("timed out")), 0, "connect_timeout"),
        (TimeoutError(errno.ETIMEDOUT, "the system gave up sending"), 0, "read_timeout"),
        (HTTPError("503 Server Error"), 503, "http_503"),
        (CatchResponseError("not what I wanted"), 200, "validation"),
        (CatchResponseError("not what I wanted"), 503, "http_503"),
        (AssertionError(), 0, "validation"),
        (RequestError("stale_connection", "closed"), 0, "stale_connection"),
        (ValueError("odd"), 0, "ValueError"),
        (TheirError("odd"), 0, "TheirError"),
    ],
)
def test_failures_are_named_by_their_cause(error, status, expected):
    assert error_class(error, status) == expected


def test_a_check_does_not_hide_why_there_was_no_answer():
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    assert class_of_event(CatchResponseError("no answer"), NoAnswer(refused)) == "connect_refused"
    assert class_of_event(None, NoAnswer(refused)) is None


def test_a_mistake_in_a_task_is_not_of_the_network():
    assert is_of_the_network(reset())
    assert is_of_the_network(RequestError("grpc_internal", ""))
    assert not is_of_the_network(ZeroDivisionError())


def test_cookies_go_where_they_came_from_until_they_expire():
    cookies = Cookies()
    head = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2; Path=/admin\r\n\r\n"
    cookies.keep("http://shop.example/admin/login", head)
    assert cookies.field("http://shop.example/items") == "a=1"
    assert sorted(cookies.field("http://shop.example/admin/x").split("; ")) == ["a=1", "b=2"]
    assert cookies.field("http://other.example/items") is None
    cookies.keep("http://shop.example/", b"HTTP/1.1 200 OK\r\nSet-Cookie: a=; Path=/; Max-Age=0\r\n\r\n")
    assert cookies.field("http://shop.example/items") is None


def test_every_class_is_documented():
    """The table in docs/write-a-locustfile.md is what a reader of the load record has."""
    table = (Path(__file__).parents[2] / "docs/write-a-locustfile.md").read_text()
    known = {*outcomes._BY_ERRNO.values(), *outcomes._BY_NAME.values(), "dns", "tls", "stale_connection", "validation"}
    assert [name for name in sorted(known) if f"`{name}`" not in table] == []
