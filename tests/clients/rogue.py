"""A server on loopback that answers as its path says: well, badly, or not at all. Plain threads and sockets."""

from __future__ import annotations

import gzip
import re
import socket
import ssl
import struct
import subprocess
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BIG = b"0123456789abcdef" * 200_000


def answer(body: bytes = b"ok", status: str = "200 OK", *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


LATER = "Wed, 01 Jan 2070 00:00:00 GMT"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWERS = {
    "/ok": answer(),
    "/one": answer(b"ok", "200 OK", "Connection: close"),
    "/none": b"HTTP/1.1 204 No Content\r\n\r\n",
    "/same": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
    "/chunked": CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: 1\r\n\r\n",
    "/interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer(),
    "/gzip": answer(gzip.compress(b"squeezed"), "200 OK", "Content-Encoding: gzip"),
    "/deflate": answer(zlib.compress(b"squeezed"), "200 OK", "Content-Encoding: deflate"),
    "/broken-gzip": answer(gzip.compress(b"squeezed")[:-9], "200 OK", "Content-Encoding: gzip"),
    "/extra": answer() + b"and what nobody asked for",
    "/twice": answer() + answer(b"to no request"),
    "/big": answer(BIG),
    "/cookie": answer(b"ok", "200 OK", "Set-Cookie: a=1; Path=/", f"Set-Cookie: b=2; Path=/; Expires={LATER}"),
    "/garbage": b"\x16\x03garbage\r\n\r\n",
}  # fmt: skip
ENDINGS = {  # what is sent before the connection ends
    "/cut": b"",
    "/cut-in-body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
    "/cut-in-chunk": CHUNKED + b"5\r\nab",
    "/cut-in-head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "/until-close": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nas long as it lasts",
}


class Rogue:
    """The server; `requests` counts what came per path, `connections` all connections."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self.closing = threading.Event()
        self.requests: dict[str, int] = {}
        self.connections = 0
        self.other = ""  # where /away leads
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.closing.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if not self._context:
                self._converse(connection)
                return
            with self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as secured:
                try:
                    secured.do_handshake()
                except ssl.SSLError:
                    while socket.socket.recv(secured, 65536):  # or the reset would overtake the alert
                        pass
                    return
                self._converse(secured)

    def _converse(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as incoming:
            answered = 0
            while self._answer(connection, incoming, answered):
                answered += 1

    def _answer(self, connection: socket.socket, incoming, answered: int) -> bool:
        head = b"".join(iter(incoming.readline, b"\r\n") if (first := incoming.readline()) else ())
        if not first:
            return False
        method, path, _ = first.decode().split(" ", 2)
        length = re.search(rb"(?i)content-length: (\d+)", head)
        body = incoming.read(int(length[1])) if length else b""
        self.requests[path] = self.requests.get(path, 0) + 1
        path = path.partition("?")[0] if path.startswith("/cut") else path
        if path in ENDINGS or path == "/stale":
            if path == "/stale" and not answered:
                connection.sendall(answer())
                return True
            connection.sendall(ENDINGS.get(path, b""))
            return False
        if path.startswith("/reset"):
            connection.sendall(ENDINGS["/cut-in-body"] if path == "/reset-in-body" else b"")
            if path == "/reset-in-body":
                self.closing.wait(0.05)  # so that the beginning is read before the reset
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if path.startswith("/hang"):
            connection.sendall(ENDINGS["/cut-in-body"] if path == "/hang-in-body" else b"")
            self.closing.wait(30)
            return False
        connection.sendall(self._of(method, path, first + head + b"\r\n" + body))
        return path not in ("/one", "/extra", "/twice", "/garbage")

    def _of(self, method: str, path: str, request: bytes) -> bytes:
        if path in ANSWERS:
            whole = ANSWERS[path]
        elif path == "/connections":
            whole = answer(str(self.connections).encode())
        elif path.startswith("/count/"):
            whole = answer(str(self.requests.get(path[6:], 0)).encode())
        elif path.startswith("/status/"):
            whole = answer(b"so it is", f"{path[8:]} Said")
        elif path.startswith("/redirect/"):
            _, _, status, left = path.split("/")
            there = f"/redirect/{status}/{int(left) - 1}" if int(left) else "/echo"
            whole = answer(b"", f"{status} There", f"Location: {there}")
        elif path == "/away":
            whole = answer(b"", "302 There", f"Location: {self.other}/echo")
        elif path == "/nowhere":
            whole = answer(b"", "302 There", "Location: http://shop.test:99999/")
        else:
            whole = answer(request)
        return whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else whole


@contextmanager
def rogue_server(context: ssl.SSLContext | None = None) -> Iterator[Rogue]:
    rogue = Rogue(context)
    try:
        yield rogue
    finally:
        rogue.close()


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port nobody listens at, and nobody else gets meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextmanager
def full_port() -> Iterator[int]:
    """A port whose listener accepts nothing and has no room left: connecting hangs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.settimeout(0.0)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for one in waiting:
            one.close()


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS of a server "localhost", which `folder`/cert.pem vouches for; and of one that wants clients to have some."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", key, "-out", cert, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    context, strict = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for one in (context, strict):
        one.load_cert_chain(cert, key)
    strict.load_verify_locations(cert)
    strict.verify_mode = ssl.CERT_REQUIRED
    return context, strict
