"""
A trivial HTTP server on loopback for load tests: answers every request at once.

Prints its port; ends when stdin closes. `GET /control/stall/<from>/<until>` (CLOCK_MONOTONIC nanoseconds) makes it
answer what it receives in [from, until) only at `until`; `/control/status/<code>` sets the status of all later answers;
`/control/count` tells how many requests came, control aside.
"""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop


class Stub:
    def __init__(self) -> None:
        self.count = 0
        self.status = 200
        self.stall = (0, 0)

    def control(self, path: str) -> bytes:
        words = path.split("/")[2:]
        if words[0] == "stall":
            self.stall = (int(words[1]), int(words[2]))
        elif words[0] == "status":
            self.status = int(words[1])
        return str(self.count).encode()


class Connection(asyncio.Protocol):
    def __init__(self, stub: Stub) -> None:
        self.stub = stub
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, rest = self.buffer.partition(b"\r\n\r\n")
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line[15:])
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            self.answer(head.split(b" ", 2)[1].decode())

    def answer(self, path: str) -> None:
        if path.startswith("/control/"):
            self.write(200, self.stub.control(path))
            return
        self.stub.count += 1
        now_ns = time.monotonic_ns()
        start_ns, end_ns = self.stub.stall
        if start_ns <= now_ns < end_ns:
            asyncio.get_running_loop().call_later((end_ns - now_ns) / 1e9, self.write, self.stub.status, b"{}")
        else:
            self.write(self.stub.status, b"{}")

    def write(self, status: int, body: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


async def main() -> None:
    loop = asyncio.get_running_loop()
    stub = Stub()
    server = await loop.create_server(lambda: Connection(stub), "127.0.0.1", 0, backlog=8192)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - this is how the port is told
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
