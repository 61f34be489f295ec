"""
A WebSocket user: messages sent, and the time until the answer to each.

Needs the extra `websocket` (wsproto). Also runs in plain Locust.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ssl import SSLContext, SSLError
from typing import Any, ClassVar

import gevent.queue
from locust import User
from locust.exception import StopTest
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from harness.drivers.locust.clients.account import Account
from harness.drivers.locust.clients.origin import Origin, Policy
from harness.drivers.locust.clients.request import split_url
from harness.drivers.locust.clients.transport import Dialled, Link
from harness.drivers.locust.outcomes import RequestError

INBOX_MAX = 1000
"""Of messages that nobody waited for, only so many are kept, the last ones."""

_HTTP = {"ws": "http", "wss": "https", "http": "http", "https": "https"}


class Received:
    """What a call gave: `content`, the message (text, or bytes of a binary one), or `error`, why there is none."""

    __slots__ = ("content", "error", "peer", "status_code", "url")

    def __init__(self, url: str) -> None:
        self.url = url
        self.content: Any = b""
        self.error: Exception | None = None
        self.status_code = 0  # of a refused handshake
        self.peer = ""

    @property
    def ok(self) -> bool:
        """Whether there is a message."""
        return self.error is None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A handshake or a call, as accounts know it."""

    method: str
    name: str
    context: Mapping[str, Any]


class _Socket:
    """One WebSocket connection; puts what comes into `inbox`: messages, and a RequestError when it has ended."""

    def __init__(self, dialled: Dialled, request: Request) -> None:
        self.inbox: gevent.queue.SimpleQueue[Any] = gevent.queue.SimpleQueue()
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._parts: list[Any] = []
        self.open = False
        self.link = Link(dialled, self._on_bytes, self._on_end)
        self.send(request)

    def send(self, event: Event) -> None:
        """Send what `event` says."""
        self.link.send(self._protocol.send(event))

    def close(self) -> None:
        """Say goodbye and close."""
        if self.open and not self.link.closed:
            self.send(CloseConnection(code=1000))
        self.link.close()
        self.open = False

    def _on_bytes(self, data: bytes) -> None:
        try:
            self._protocol.receive_data(data)
            for event in self._protocol.events():
                self._on_event(event)
        except (RemoteProtocolError, LocalProtocolError) as error:
            self._fail("bad_response", str(error))

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Message):
            self._parts.append(event.data)
            if event.message_finished:
                self._deliver((b"" if isinstance(event, BytesMessage) else "").join(self._parts))
                self._parts = []
        elif isinstance(event, Ping):
            self.send(event.response())
        elif isinstance(event, AcceptConnection):
            self.open = True
            self._deliver(event)
        elif isinstance(event, RejectConnection):
            refused = f"http_{event.status_code}" if event.status_code >= 400 else "bad_response"
            self._fail(refused, f"the handshake was answered with status {event.status_code}")
        elif isinstance(event, CloseConnection) and self._protocol.state is ConnectionState.OPEN:
            self._fail("bad_response", str(event.reason))  # nobody closed it: wsproto gave up on what came
        elif isinstance(event, CloseConnection):
            self._fail(f"websocket_{int(event.code)}", event.reason or "closed by the server")

    def _on_end(self, error: OSError | None) -> None:
        broken = "tls" if isinstance(error, SSLError) else "reset_in_body" if self._parts else "reset"
        self._fail(broken, str(error or "closed by the server"))

    def _fail(self, error_class: str, why: str) -> None:
        self.link.close()
        self.open = False
        self._deliver(RequestError(error_class, why))

    def _deliver(self, what: Any) -> None:
        self.inbox.put(what)
        if self.inbox.qsize() > INBOX_MAX:
            self.inbox.get()


class WebSocketClient:
    """
    One WebSocket connection to the user's host. Failures are what a call gives, not exceptions.

    A connection that has ended is made anew by the next call, as `connect` made it last.
    """

    def __init__(self, base_url: str, account: Account, policy: Policy, timeout_s: float) -> None:
        scheme, _, rest = base_url.partition("://")
        if scheme not in _HTTP or not rest:
            raise ValueError(f"host {base_url!r}: not a WebSocket or HTTP URL; give one like ws://127.0.0.1:8080")
        self._origin_url, prefix = split_url(f"{_HTTP[scheme]}://{rest}")
        self._prefix = prefix.rstrip("/")
        self._origin = Origin(self._origin_url, policy)
        self._account, self._policy, self._timeout_s = account, policy, timeout_s
        self._path = "/"
        self._headers: Mapping[str, str] = {}
        self._subprotocols: tuple[str, ...] = ()
        self._socket: _Socket | None = None

    def connect(
        self,
        path: str = "/",
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: Iterable[str] = (),
        name: str | None = None,
    ) -> Received:
        """Connect, instead of any connection there is; counted as a request, `CONNECT path` unless it has a name."""
        self._path, self._headers, self._subprotocols = path, headers or {}, tuple(subprotocols)
        return self._counted("CONNECT", name or path, self._handshake)

    def call(
        self,
        message: str | bytes,
        *,
        name: str,
        match: Callable[[Any], bool] | None = None,
        timeout: float | None = None,
    ) -> Received:
        """
        Send a message and wait for the next one, or the next that `match` is true of; counted as one request.

        Messages that came before are thrown away. Connects first when there is no connection.
        """

        def ask(received: Received, due_s: float) -> None:
            ready = self._ready(received, due_s)
            while not ready.inbox.empty():
                ready.inbox.get()
            ready.send(_event(message))
            received.content = _wanted(ready, match or _anything, due_s)

        return self._counted("CALL", name, ask, timeout)

    def send(self, message: str | bytes, *, name: str) -> Received:
        """Send a message that is not answered; counted as one request, which only a broken connection fails."""
        return self._counted("SEND", name, lambda got, due_s: self._ready(got, due_s).send(_event(message)))

    def receive(
        self, *, name: str, match: Callable[[Any], bool] | None = None, timeout: float | None = None
    ) -> Received:
        """Wait for a message (one that came already, or the next); counted as one request."""

        def wait(received: Received, due_s: float) -> None:
            received.content = _wanted(self._ready(received, due_s), match or _anything, due_s)

        return self._counted("RECEIVE", name, wait, timeout)

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _counted(
        self, method: str, name: str, act: Callable[[Received, float], None], timeout_s: float | None = None
    ) -> Received:
        call = _Call(method=method, name=name, context={})
        received = Received(self._origin_url + self._prefix + self._path)
        start_ns = time.monotonic_ns()
        arrival = self._account.begin(method, name, start_ns)
        try:
            act(received, start_ns / 1e9 + (self._timeout_s if timeout_s is None else timeout_s))
        except RequestError as error:
            received.error = error
            self.close()
        except BaseException:  # cut: what still comes belongs to no later call
            self.close()
            raise
        self._account.end(arrival, call, start_ns, received)
        return received

    def _ready(self, received: Received, due_s: float) -> _Socket:
        if self._socket is None or not self._socket.open:
            self._handshake(received, due_s)
        assert self._socket is not None
        received.peer = self._socket.link.peer
        return self._socket

    def _handshake(self, received: Received, due_s: float) -> None:
        self.close()
        dialled = self._origin.dial(round(due_s * 1e9))
        received.peer = dialled.peer
        request = Request(
            host=self._origin_url.partition("://")[2],
            target=self._prefix + self._path,
            extra_headers=[(name.encode(), value.encode()) for name, value in self._headers.items()],
            subprotocols=list(self._subprotocols),
        )
        self._socket = _Socket(dialled, request)
        _wanted(self._socket, lambda event: isinstance(event, AcceptConnection), due_s)


def _event(message: str | bytes) -> Event:
    return TextMessage(data=message) if isinstance(message, str) else BytesMessage(data=message)


def _anything(_message: object) -> bool:
    return True


def _wanted(connected: _Socket, match: Callable[[Any], bool], due_s: float) -> Any:
    """The next message that matches. Raises RequestError when the connection ends, or time."""
    while True:
        try:
            message = connected.inbox.get(timeout=max(due_s - time.monotonic(), 0.001))
        except gevent.queue.Empty:
            raise RequestError("read_timeout", "no such message came in time") from None
        if isinstance(message, RequestError):
            raise message
        if match(message):
            return message


class WebSocketUser(User):
    """A User whose `client` is a WebSocketClient. `host` is the base URL, ws:// or http:// alike."""

    abstract = True
    address: str | None = None
    """The base URL where it is not the host, which is the service's URL for all users."""
    network_timeout: float = 60.0
    """Seconds for a whole call; the arrival's deadline cuts it off sooner."""
    connection_timeout: float = 60.0
    """Seconds for a connection: name, TCP and TLS together."""
    insecure: bool = False
    """Do not check TLS certificates."""
    ca_file: str | None = None
    """Certificate authorities to trust, a PEM file; None: the system's."""
    ssl_context_factory: ClassVar[Callable[[], SSLContext] | None] = None
    """Makes the TLS context instead; for client certificates, say."""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        address = self.address or self.host
        if not address:
            raise StopTest(f"{type(self).__name__}.host is not set; set it, or give --host")
        policy = Policy(
            connect_timeout_s=self.connection_timeout,
            ca_file=self.ca_file,
            insecure=self.insecure,
            tls_factory=type(self).ssl_context_factory,
        )
        account = Account(self, getattr(environment, "harness_pool", None))
        self.client = WebSocketClient(address, account, policy, self.network_timeout)
