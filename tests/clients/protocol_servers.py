"""WebSocket and gRPC servers on loopback that do as they are told. Run as a program: the gRPC one."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager, suppress

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class WebSockets:
    """Echoes; `connections` counts handshakes that were accepted."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.closing = threading.Event()
        self.connections = 0
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
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        protocol = WSConnection(ConnectionType.SERVER)
        with connection, suppress(OSError):
            while data := connection.recv(65536):
                protocol.receive_data(data)
                for event in protocol.events():
                    self._on(connection, protocol, event)

    def _on(self, connection: socket.socket, protocol: WSConnection, event: object) -> None:
        if isinstance(event, Request) and event.target == "/refuse":
            connection.sendall(protocol.send(RejectConnection(status_code=503)))
            connection.close()
        elif isinstance(event, Request) and event.target == "/garbage":
            connection.sendall(b"\x00\x01\x02\r\n\r\n")
        elif isinstance(event, Request):
            self.connections += 1
            connection.sendall(protocol.send(AcceptConnection(subprotocol=next(iter(event.subprotocols), None))))
        elif isinstance(event, BytesMessage):
            connection.sendall(protocol.send(BytesMessage(data=bytes(event.data))))
        elif isinstance(event, TextMessage):
            self._told(connection, protocol, event.data)
        elif isinstance(event, CloseConnection):
            connection.sendall(protocol.send(event.response()))

    def _told(self, connection: socket.socket, protocol: WSConnection, what: str) -> None:
        if what == "reset":
            _reset(connection)
        elif what == "half":
            connection.sendall(protocol.send(TextMessage(data="one ha", message_finished=False)))
            self.closing.wait(0.05)
            _reset(connection)
        elif what == "close":
            connection.sendall(protocol.send(CloseConnection(code=1011, reason="tired")))
        elif what == "frame":
            connection.sendall(b"\xff\xff\xff")
        elif what == "flood":
            connection.sendall(b"".join(protocol.send(TextMessage(data=str(number))) for number in range(1500)))
            connection.close()
        elif what == "two":
            pieces = TextMessage(data="first", message_finished=False), TextMessage(data=" of two")
            connection.sendall(protocol.send(Ping()) + b"".join(map(protocol.send, pieces)))
            connection.sendall(protocol.send(TextMessage(data="second of two")))
        elif what != "hang":
            connection.sendall(protocol.send(TextMessage(data=what)))


@contextmanager
def websockets() -> Iterator[WebSockets]:
    server = WebSockets()
    try:
        yield server
    finally:
        server.close()


@contextmanager
def grpc_server() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Port and process of a gRPC server; it ends when its stdin closes."""
    with subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield int(process.stdout.readline()), process
        process.stdin.close()


def main() -> None:
    import os

    import grpc

    release = threading.Event()

    def once(request: bytes, context: grpc.ServicerContext) -> bytes:
        if request == b"hang":
            release.wait(10)
        elif request == b"die":
            os._exit(1)
        elif request.startswith(b"abort "):
            context.abort(grpc.StatusCode[request[6:].decode()], "as you wish")
        return request

    def many(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield b"one"
        if request == b"abort":
            context.abort(grpc.StatusCode.INTERNAL, "as you wish")
        yield b"two"

    def gathered(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return b"+".join(requests)

    methods = {
        "Once": grpc.unary_unary_rpc_method_handler(once),
        "Many": grpc.unary_stream_rpc_method_handler(many),
        "Gather": grpc.stream_unary_rpc_method_handler(gathered),
        "Echo": grpc.stream_stream_rpc_method_handler(lambda requests, _: requests),
    }
    server = grpc.server(futures.ThreadPoolExecutor(64))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Shop", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)  # noqa: T201 - this is how it is told
    sys.stdin.buffer.read()
    release.set()
    server.stop(0)


if __name__ == "__main__":
    main()
