"""
A gRPC user: calls of any stub, counted as requests.

Needs the extra `grpc` (grpcio), which is told on import to wait in gevent's way. Also runs in plain Locust.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import grpc
from grpc.experimental.gevent import init_gevent
from locust import User
from locust.exception import StopTest

from harness.drivers.locust.clients.account import Account
from harness.drivers.locust.clients.origin import Policy
from harness.drivers.locust.outcomes import RequestError

init_gevent()

_OPTIONS = {
    "grpc.use_local_subchannel_pool": 1,  # or all users would share one connection
    "grpc.enable_retries": 0,  # what fails has failed
    # After a failure gRPC answers for up to two minutes without looking again, which would hide a recovery.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 200,
}
_SAID = (
    # What gRPC's core says of connections, nowhere but in words; looked for in this order.
    ("dns", ("resolving", "resolution", "lookup")),
    ("connect_refused", ("connection refused",)),
    ("tls", ("handshake", "ssl", "certificate")),
    ("bad_response", ("failed parsing http/2",)),
    ("unreachable", ("no route to host", "network is unreachable")),
    ("connect_timeout", ("connection attempt timed out", "failed to connect to all addresses", "timed out")),
    ("reset", ("connection reset", "socket closed", "broken pipe", "goaway", "recvmsg", "stream removed")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rpc:
    """A call, as accounts know it."""

    name: str
    method: str = "RPC"
    context: Mapping[str, Any]


class _Outcome:
    """What became of it."""

    __slots__ = ("content", "error", "peer", "status_code", "url")

    def __init__(self, url: str) -> None:
        self.url = url
        self.content = b""
        self.error: Exception | None = None
        self.status_code = 0
        self.peer = ""


class Channel:
    """
    A channel for generated stubs. Calls raise grpc.RpcError as ever, and are counted, under the method's full name.

    Connections are kept as long as HTTP ones are; a new one is made only between calls. A call answered by a stream is
    over when the stream is.
    """

    def __init__(self, url: str, account: Account, policy: Policy, timeout_s: float) -> None:
        parts = urlsplit(url if "://" in url else f"grpc://{url}")
        if not parts.hostname:
            raise ValueError(f"host {url!r}: not an address; give one like http://127.0.0.1:50051")
        secure = parts.scheme in ("https", "grpcs")
        address = parts.netloc.rpartition("@")[2]
        self.target = address if parts.port else f"{address}:{443 if secure else 80}"
        self._account, self._policy, self.timeout_s = account, policy, timeout_s
        self._secure = secure
        self._inner: Any = None
        self._retire_ns = 0
        self._under_way = 0

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """See grpc.Channel."""
        return _once(self, method, "unary_unary", args, kwargs)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """See grpc.Channel."""
        return _once(self, method, "stream_unary", args, kwargs)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """See grpc.Channel."""
        return _streamed(self, method, "unary_stream", args, kwargs)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """See grpc.Channel."""
        return _streamed(self, method, "stream_stream", args, kwargs)

    def close(self) -> None:
        """Close the connection; the next call makes another."""
        if self._inner is not None:
            self._inner.close()
            self._inner = None

    def begin(self, name: str) -> Call:
        """A call begins."""
        if self._inner is None or (not self._under_way and time.monotonic_ns() >= self._retire_ns):
            self.close()
            self._inner = self._made()
            policy = self._policy
            age_s = policy.age_s * random.uniform(1 - policy.age_jitter, 1 + policy.age_jitter)
            self._retire_ns = time.monotonic_ns() + round(age_s * 1e9)
        self._under_way += 1
        return Call(self._account, name, f"grpc://{self.target}{name}", self._inner)

    def end(self, call: Call, error: grpc.RpcError | None, peer: str = "") -> None:
        """It ended."""
        self._under_way -= 1
        call.end(error, peer)

    def drop(self) -> None:
        """It was cut off."""
        self._under_way -= 1

    def _made(self) -> Any:
        options = list(_OPTIONS.items())
        if not self._secure:
            return grpc.insecure_channel(self.target, options=options)
        trusted = Path(self._policy.ca_file).read_bytes() if self._policy.ca_file else None
        return grpc.secure_channel(self.target, grpc.ssl_channel_credentials(trusted), options=options)


class Call:
    """One call that is under way on `inner`, gRPC's own channel."""

    __slots__ = ("_account", "_arrival", "_outcome", "_rpc", "_start_ns", "inner")

    def __init__(self, account: Account, name: str, url: str, inner: Any) -> None:
        self._account = account
        self.inner = inner
        self._rpc = _Rpc(name=name, context={})
        self._outcome = _Outcome(url)
        self._start_ns = time.monotonic_ns()
        self._arrival = account.begin(self._rpc.method, name, self._start_ns)

    def end(self, error: grpc.RpcError | None, peer: str) -> None:
        """Count it."""
        self._outcome.peer = peer
        if error is not None:
            self._outcome.error = RequestError(class_of_rpc(error), str(_said(error, "details") or ""))
            self._outcome.error.__cause__ = error
        self._account.end(self._arrival, self._rpc, self._start_ns, self._outcome)


def class_of_rpc(error: grpc.RpcError) -> str:
    """The class of a call's failure."""
    code = _said(error, "code")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "read_timeout"
    if code is grpc.StatusCode.UNAVAILABLE:
        details = str(_said(error, "details")).lower()
        for name, words in _SAID:
            if any(word in details for word in words):
                return name
    return f"grpc_{code.name.lower()}" if code is not None else "grpc_unknown"


def _said(error: grpc.RpcError, what: str) -> Any:
    """`error.code()` or `error.details()`, which only errors of real calls have."""
    ask = getattr(error, what, None)
    return ask() if ask else None


def _once(channel: Channel, name: str, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
    def call(request: Any, timeout: float | None = None, **options: Any) -> Any:
        begun = channel.begin(name)
        wait_s = channel.timeout_s if timeout is None else timeout
        try:
            reply, done = getattr(begun.inner, kind)(name, *args, **kwargs).with_call(
                request, timeout=wait_s, **options
            )
        except grpc.RpcError as error:
            channel.end(begun, error)
            raise
        except BaseException:
            channel.drop()
            raise
        channel.end(begun, None, _peer(done))
        return reply

    return call


def _streamed(
    channel: Channel, name: str, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[..., Any]:
    def call(request: Any, timeout: float | None = None, **options: Any) -> Iterator[Any]:
        begun = channel.begin(name)
        wait_s = channel.timeout_s if timeout is None else timeout
        try:
            yield from getattr(begun.inner, kind)(name, *args, **kwargs)(request, timeout=wait_s, **options)
        except grpc.RpcError as error:
            channel.end(begun, error)
            raise
        except BaseException:
            channel.drop()
            raise
        channel.end(begun, None)

    return call


def _peer(done: Any) -> str:
    """The address that answered, without gRPC's own notation."""
    peer = done.peer() if hasattr(done, "peer") else ""
    return str(peer).removeprefix("ipv4:").removeprefix("ipv6:")


class GrpcUser(User):
    """
    A User whose `channel` counts calls. With `stub_class` set, its `stub` is the one made for it.

    `host` is the base URL, http:// for plain text and https:// for TLS.
    """

    abstract = True
    address: str | None = None
    """The base URL where it is not the host, which is the service's URL for all users."""
    stub_class: ClassVar[Callable[[Any], Any] | None] = None
    """The generated class of stubs."""
    network_timeout: float = 60.0
    """Seconds for a whole call; the arrival's deadline cuts it off sooner."""
    ca_file: str | None = None
    """Certificate authorities to trust, a PEM file; None: gRPC's own."""
    connection_age: float | None = None
    """Seconds, give or take a fifth, after which a connection is not used again; None: what the plan says."""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        address = self.address or self.host
        if not address:
            raise StopTest(f"{type(self).__name__}.host is not set; set it, or give --host")
        pool = getattr(environment, "harness_pool", None)
        planned_s = pool.connection_age_s if pool else Policy().age_s
        policy = Policy(ca_file=self.ca_file, age_s=planned_s if self.connection_age is None else self.connection_age)
        account = Account(self, pool)
        self.channel = Channel(address, account, policy, self.network_timeout)
        make = type(self).stub_class
        self.stub: Any = make(self.channel) if make else None
