"""
One TCP or TLS connection, read and written by the event loop itself.

The reading watcher stays on for the connection's life: no system call per request is spent on it, and a connection
that the server closes while it is idle is noticed at once.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
import gevent.socket
from gevent import monkey

from harness.drivers.locust.outcomes import RequestError, error_class

_CHUNK = 65536
_READ, _WRITE = 1, 2  # of the event loop's watchers
_PLAIN_SOCKET = monkey.get_original("socket", "socket")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialled:
    """A connection that was just made: a socket that never blocks, and what encrypts it."""

    socket: Any
    tls: Tls | None
    peer: str  # address of the other end, "127.0.0.1:8080"


class Tls:
    """The client's end of TLS between bytes in memory."""

    __slots__ = ("_incoming", "_object", "_outgoing")

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def shake(self) -> bool:
        """Go on with the handshake; whether it is complete."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def put(self, data: bytes) -> None:
        """Encrypted bytes have come; none at all means the end."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def read(self) -> bytes | None:
        """Decrypted bytes; None when more must come first, empty at the end."""
        try:
            return self._object.read(_CHUNK)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLEOFError:  # the other end closed without saying so, as many do
            return b""

    def write(self, data: bytes) -> bytes:
        """Bytes to send for `data`."""
        self._object.write(data)
        return self._outgoing.read()

    def pending(self) -> bytes:
        """Bytes to send that TLS itself has to say."""
        return self._outgoing.read()


@functools.lru_cache(maxsize=64)
def tls_context(ca_file: str | None, *, insecure: bool) -> ssl.SSLContext:
    """A context that trusts `ca_file`, or what the system trusts; made once, because reading certificates is slow."""
    context = ssl.create_default_context(cafile=ca_file)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def dial(host: str, port: int, tls: ssl.SSLContext | None, timeout_s: float) -> Dialled:
    """
    Connect; a name is looked up anew each time. At most `timeout_s` for all of it.

    Raises RequestError of class dns, connect_refused, connect_timeout, unreachable, tls and the like.
    """
    due_s = time.monotonic() + timeout_s
    connected = _connect(_addresses(host, port, timeout_s), due_s)
    try:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = _text_of(connected.getpeername())
        secured = _shake(connected, tls, host, due_s) if tls else None
        plain = _PLAIN_SOCKET(connected.family, connected.type, connected.proto, fileno=connected.detach())
    except OSError as error:  # ended between being made and being looked at
        raise RequestError(error_class(error), f"{host}:{port}: {error}") from error
    finally:
        connected.close()  # nothing, once detached
    plain.settimeout(0.0)
    return Dialled(socket=plain, tls=secured, peer=peer)


def _addresses(host: str, port: int, timeout_s: float) -> list[tuple[int, Any]]:
    """Families and addresses to try, in the resolver's order."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        pass
    else:
        return [(socket.AF_INET6 if version == 6 else socket.AF_INET, (host, port))]
    timeout = gevent.Timeout.start_new(timeout_s)
    try:
        found = gevent.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RequestError("dns", f"{host}: {error}") from error
    except gevent.Timeout as error:
        if error is not timeout:
            raise
        raise RequestError("dns", f"{host}: no answer from the resolver within {timeout_s:g} s") from None
    finally:
        timeout.close()
    return [(family, address) for family, _, _, _, address in found]


def _connect(addresses: list[tuple[int, Any]], due_s: float) -> Any:
    """A socket connected to the first address that takes it; each has its share of the time."""
    failed: RequestError | None = None
    for position, (family, address) in enumerate(addresses):
        attempt = gevent.socket.socket(family, socket.SOCK_STREAM)
        try:
            attempt.settimeout(max(due_s - time.monotonic(), 0.001) / (len(addresses) - position))
            attempt.connect(address)
        except OSError as error:
            attempt.close()
            name = "connect_timeout" if isinstance(error, TimeoutError) else error_class(error)
            failed = failed or RequestError(name, f"{_text_of(address)}: {error}")
        except BaseException:
            attempt.close()
            raise
        else:
            return attempt
    raise failed or RequestError("dns", "the name has no address")


def _shake(connected: Any, context: ssl.SSLContext, host: str, due_s: float) -> Tls:
    """Shake hands; whatever goes wrong meanwhile is of class tls."""
    try:
        tls = Tls(context, host)
        done = False
        while not done:
            try:
                done = tls.shake()
            finally:
                connected.settimeout(max(due_s - time.monotonic(), 0.001))
                connected.sendall(tls.pending())  # also the alert when it failed
            if not done:
                tls.put(data := connected.recv(_CHUNK))
                if not data:
                    raise ConnectionResetError("closed during the handshake")
    except (OSError, ValueError) as error:
        raise RequestError("tls", f"{host}: {error}") from error
    return tls


def _text_of(address: Any) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Link:
    """
    A connection in use. Whoever uses it sets `on_bytes` and `on_end`, which the event loop calls and which must not
    wait; `on_end` is told the error, or None when the other end closed, and is not called after `close`.
    """

    __slots__ = ("_reading", "_socket", "_tls", "_unsent", "_writing", "closed", "on_bytes", "on_end", "peer")

    def __init__(
        self, dialled: Dialled, on_bytes: Callable[[bytes], None], on_end: Callable[[OSError | None], None]
    ) -> None:
        self._socket = dialled.socket
        self._tls = dialled.tls
        self.peer = dialled.peer
        self.on_bytes, self.on_end = on_bytes, on_end
        self.closed = False
        self._unsent = bytearray()
        self._writing: Any = None
        self._reading = gevent.get_hub().loop.io(self._socket.fileno(), _READ)
        self._reading.start(self._on_readable if self._tls is None else self._on_tls_readable)

    def send(self, data: bytes) -> None:
        """Send now what the system takes, the rest when it can. That the other end is gone shows when reading."""
        self._put(data if self._tls is None else self._tls.write(data))

    def _put(self, data: bytes) -> None:
        if self._unsent:
            self._unsent += data
            return
        sent = self._send(data)
        if sent < len(data):
            self._unsent += memoryview(data)[sent:]
            self._writing = gevent.get_hub().loop.io(self._socket.fileno(), _WRITE)
            self._writing.start(self._on_writable)

    def close(self) -> None:
        """Close at once; whatever comes is not looked at any more."""
        if not self.closed:
            self.closed = True
            self._reading.close()
            self._stop_writing()
            self._socket.close()
            self.on_bytes = self.on_end = _nothing  # no circle is left behind: the worker collects garbage seldom

    def _send(self, data: bytes | bytearray) -> int:
        try:
            sent: int = self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)
        return sent

    def _on_writable(self) -> None:
        del self._unsent[: self._send(self._unsent)]
        if not self._unsent:
            self._stop_writing()

    def _stop_writing(self) -> None:
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def _on_readable(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error)
            return
        if data:
            self.on_bytes(data)
        else:
            self._end(None)

    def _on_tls_readable(self) -> None:
        tls = self._tls
        assert tls is not None
        try:
            tls.put(self._socket.recv(_CHUNK))
            while not self.closed and (data := tls.read()) is not None:
                if not data:
                    self._end(None)
                    return
                self.on_bytes(data)
            if not self.closed and (own := tls.pending()):
                self._put(own)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error)

    def _end(self, error: OSError | None) -> None:
        if not self.closed:
            tell = self.on_end
            self.close()
            tell(error)


def _nothing(_: object) -> None:
    pass
