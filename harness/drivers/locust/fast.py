"""
A fast HTTP user for locustfiles: a raw gevent socket, requests encoded once, answers parsed by llhttp.

Costs less CPU per request than Locust's own users (benchmarks/load_2000.py says how much). HTTP/1.1 keep-alive, one
connection per user; no cookies, redirects, decompression, retries or HEAD. Also runs in plain Locust.
"""

from __future__ import annotations

import errno
import ipaddress
import json as jsonlib
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

import httptools
from locust import User

from harness.drivers.locust.hooks import series_name
from harness.drivers.locust.outcomes import error_class
from harness.drivers.locust.slots import Pool

Headers = dict[str, str] | None

_CHUNK = 65536


class Answer:
    """The answer to a request: `status_code` (0 when there was none), `content`, and `error`, the class of failure."""

    __slots__ = ("content", "error", "status_code")

    def __init__(self, status_code: int, content: bytes, error: str | None) -> None:
        self.status_code = status_code
        self.content = content
        self.error = error

    @property
    def ok(self) -> bool:
        """Whether the request was answered with a status below 400."""
        return self.error is None

    def json(self) -> Any:
        """The content as JSON."""
        return jsonlib.loads(self.content)


class _Connection:
    """One connection, and llhttp's callbacks for one answer after another on it."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._complete = self._keep = False

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        self._complete = True
        self._keep = self._parser.should_keep_alive()  # llhttp knows it only now

    def exchange(self, request: bytes) -> tuple[int, bytes, bool]:
        """Send a request; its answer's status and content, and whether the connection can be used again."""
        self._chunks = []
        self._complete = self._keep = False
        self.socket.sendall(request)
        head = b""
        while not self._complete:
            chunk = self.socket.recv(_CHUNK)
            head = head or chunk
            if chunk:
                self._parser.feed_data(chunk)
            elif _ends_with_connection(head):
                break
            else:
                raise ConnectionResetError(errno.ECONNRESET, "closed before the answer was complete")
        return self._parser.get_status_code(), b"".join(self._chunks), self._keep

    def alive(self) -> bool:
        """Whether the server has not closed the idle connection, as far as is known without asking it."""
        if isinstance(self.socket, ssl.SSLSocket):
            return True  # it cannot be looked into
        try:
            self.socket.settimeout(0.0)
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self.socket.settimeout(None)
        return False  # closed, or it says what nobody asked for


class FastClient:
    """One keep-alive connection to the user's host. Failures are answers, never exceptions."""

    def __init__(self, base_url: str, user: User, pool: Pool | None) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"host {base_url!r}: not an http or https URL; give one like http://127.0.0.1:8080")
        self._address = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._prefix = parts.path.rstrip("/")
        self._host_header = parts.netloc.rpartition("@")[2]
        self._user, self._pool = user, pool
        self._family = _family_of(parts.hostname)
        self._connection: _Connection | None = None
        self._heads: dict[tuple[Any, ...], bytes] = {}

    def get(self, path: str, *, name: str | None = None, headers: Headers = None) -> Answer:
        """Send a GET; `name` is the series it is counted under, else method and path."""
        return self.request("GET", path, name=name, headers=headers)

    def post(
        self,
        path: str,
        *,
        json: Any = None,
        data: bytes = b"",
        name: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a POST with `json` encoded, or with the bytes of `data`."""
        if json is not None:
            data = jsonlib.dumps(json).encode()
            headers = {"Content-Type": "application/json", **(headers or {})}
        return self.request("POST", path, data=data, name=name, headers=headers)

    def request(
        self,
        method: str,
        path: str,
        *,
        data: bytes = b"",
        name: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a request and wait for its answer."""
        arrival = self._pool.current() if self._pool else None
        series = name or series_name(method, path)
        start_ns = time.monotonic_ns()
        if arrival is not None and self._pool is not None:
            self._pool.sending(arrival, series, start_ns - self._pool.t0_ns)
        try:
            status, content, keep = self._exchange(self._head(method, path, headers, len(data)) + data)
            answer = Answer(status, content, f"http_{status}" if status >= 400 else None)
        except (OSError, httptools.HttpParserError) as error:
            keep, answer = False, Answer(0, b"", error_class(error))
        except BaseException:
            self.close()  # cut by the deadline: what still comes belongs to no later request
            raise
        if not keep:
            self.close()
        if arrival is not None and self._pool is not None:
            self._pool.request(arrival, series, start_ns - self._pool.t0_ns, answer.error)
        else:
            self._fire(method, series, start_ns, answer)
        return answer

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.socket.close()
            self._connection = None

    def _head(self, method: str, path: str, headers: Headers, length: int) -> bytes:
        key = (method, path, length, *(headers or {}).items())
        head = self._heads.get(key)
        if head is None:
            lines = [f"{method} {self._prefix}{path} HTTP/1.1", f"Host: {self._host_header}"]
            lines += [f"{header}: {value}" for header, value in (headers or {}).items()]
            if length or method in ("POST", "PUT", "PATCH"):
                lines.append(f"Content-Length: {length}")
            head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
            if len(self._heads) < 256:
                self._heads[key] = head
        return head

    def _exchange(self, request: bytes) -> tuple[int, bytes, bool]:
        if self._connection is not None and not self._connection.alive():
            self.close()
        if self._connection is None:
            self._connection = _Connection(self._connect())
        return self._connection.exchange(request)

    def _connect(self) -> socket.socket:
        if self._family is None:
            connected = socket.create_connection(self._address)  # resolves the name anew each time
        else:
            connected = socket.socket(self._family)
            connected.connect(self._address)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._tls.wrap_socket(connected, server_hostname=self._address[0]) if self._tls else connected

    def _fire(self, method: str, series: str, start_ns: int, answer: Answer) -> None:
        self._user.environment.events.request.fire(
            request_type=method,
            name=series,
            response_time=(time.monotonic_ns() - start_ns) / 1e6,
            response_length=len(answer.content),
            response=answer,
            context=self._user.context(),
            exception=ConnectionError(answer.error) if answer.error else None,
        )


def _ends_with_connection(head: bytes) -> bool:
    """Whether an answer that begins with `head` has neither a length nor chunks, and so lasts until the close."""
    fields, complete, _ = head.lower().partition(b"\r\n\r\n")
    return bool(complete) and b"\r\ncontent-length:" not in fields and b"\r\ntransfer-encoding:" not in fields


def _family_of(host: str) -> socket.AddressFamily | None:
    """The family of a numeric address; None for a name, which must be looked up."""
    try:
        return socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        return None


class FastUser(User):
    """A User whose `client` is a FastClient. `host` is the base URL; the harness sets it to the service's."""

    abstract = True

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        if not self.host:
            raise ValueError(f"{type(self).__name__}.host is not set; set it, or give --host")
        self.client = FastClient(self.host, self, getattr(environment, "harness_pool", None))
