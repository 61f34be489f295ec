"""
A server on loopback that is away at known times: `python dying_server.py MODE SEED OUTAGES`.

Prints its port, waits for a line with t = 0 (CLOCK_MONOTONIC, nanoseconds), and then one line per outage with the
instants between which it was away. Ends when standard input closes.

    dark      takes requests and never answers them
    refuse    no longer listens, and resets the connections it has
    hang      answers everything at the outage's end
    brown-50  answers half of the requests with 503
    brown-30  answers three tenths of them with 503
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import sys
import time
from typing import cast

import uvloop

ANSWER_S = 0.005  # how long an answer takes
LEAD_S = 7.0  # before the first outage
OUTAGE_S = (0.8, 2.5)
QUIET_S = (2.3, 2.7)  # between outages
SHARES = {"brown-50": 0.5, "brown-30": 0.3}
MODES = ("dark", "refuse", "hang", *SHARES)

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets


def outages(seed: str, number: int) -> list[tuple[float, float]]:
    """The planned outages, seconds since t = 0."""
    rng = random.Random(seed)
    found, t_s = [], LEAD_S
    for _ in range(number):
        on_s = t_s + rng.uniform(*QUIET_S)
        t_s = on_s + rng.uniform(*OUTAGE_S)
        found.append((on_s, t_s))
    return found


class Server:
    """The one server of the process, and whether it is away."""

    def __init__(self, mode: str, seed: str) -> None:
        self.mode = mode
        self.away = False
        self.outage = 0  # how many began
        self.held: list[Connection] = []  # one for each request that waits for the outage's end
        self.connections: set[Connection] = set()
        self.rng = random.Random(seed)
        self.listener: asyncio.Server | None = None
        self.port = 0

    async def listen(self) -> None:
        """Take connections, on the same port as before."""
        loop = asyncio.get_running_loop()
        self.listener = await loop.create_server(lambda: Connection(self), "127.0.0.1", self.port, backlog=4096)
        self.port = self.listener.sockets[0].getsockname()[1]

    async def begin(self) -> int:
        """Go away; the instant at which it was."""
        at_ns = time.monotonic_ns()
        self.away = True
        self.outage += 1
        if self.mode == "refuse":
            assert self.listener is not None
            self.listener.close()
            for connection in tuple(self.connections):
                connection.reset()
        return at_ns

    async def end(self) -> int:
        """Come back; the instant from which on it was there."""
        if self.mode == "refuse":
            await self.listen()
        at_ns = time.monotonic_ns()
        self.away = False
        for connection in self.held:
            connection.write(_OK)
        self.held = []
        return at_ns


class Connection(asyncio.Protocol):
    """One client connection; requests have no body."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses of it
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client went, or was thrown out."""
        self.server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Answer each request a little later."""
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            _, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(ANSWER_S, self.answer, self.server.outage)

    def answer(self, outage: int) -> None:
        """Answer a request that came when so many outages had begun."""
        server = self.server
        if server.mode == "dark" and (server.away or outage != server.outage):
            return
        if server.mode == "hang" and server.away:
            server.held.append(self)
            return
        failed = server.away and server.rng.random() < SHARES.get(server.mode, 0.0)
        self.write(_UNAVAILABLE if failed else _OK)

    def write(self, answer: bytes) -> None:
        """Send the answer, if the client is still there."""
        if not self.transport.is_closing():
            self.transport.write(answer)

    def reset(self) -> None:
        """Close with RST."""
        found: socket.socket = self.transport.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()


async def play(server: Server, t0_ns: int, seed: str, number: int) -> None:
    """Be away at the planned times, and tell them."""
    for on_s, off_s in outages(seed, number):
        await asyncio.sleep(on_s - (time.monotonic_ns() - t0_ns) / 1e9)
        on_ns = await server.begin()
        await asyncio.sleep(off_s - (time.monotonic_ns() - t0_ns) / 1e9)
        print(on_ns - t0_ns, await server.end() - t0_ns, flush=True)


async def main() -> None:
    """Serve until standard input closes."""
    mode, seed, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    loop = asyncio.get_running_loop()
    server = Server(mode, seed)
    await server.listen()
    print(server.port, flush=True)
    t0_ns = int(await loop.run_in_executor(None, sys.stdin.readline))
    playing = asyncio.create_task(play(server, t0_ns, seed, number))
    await loop.run_in_executor(None, sys.stdin.read)
    playing.cancel()


if __name__ == "__main__":
    uvloop.run(main())
