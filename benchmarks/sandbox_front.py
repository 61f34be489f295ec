"""
What the sandbox's front costs: requests per CPU-second, relative to a stub that answers at once.

    python benchmarks/sandbox_front.py [SECONDS]

Three processes on loopback: this one sends requests over 32 kept-alive connections, first straight to the stub, then
through a front (with the attempt timeout of the sandbox's own) to the same stub. Printed is the CPU time of the stub's
and of the front's process; only the ratio means anything on another machine.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import httptools
import psutil
import uvloop

from harness.sandbox.http import Connection, Request, Taker, response
from harness.sandbox.network.balance import Balancer
from harness.sandbox.network.fabric import ATTEMPT_TIMEOUT_S
from harness.sandbox.network.link import Links, Target
from harness.sandbox.network.proxy import Front

CONNECTIONS = 32
BODY = b"x" * 295
REQUEST = b"GET /items HTTP/1.1\r\nhost: shop\r\nuser-agent: benchmark\r\naccept: */*\r\n\r\n"


def stub(connection: Connection, _: Request) -> None:
    """Answer every request at once with as many bytes as the shop does."""
    connection.answer(response(200, BODY, content_type="application/json"))


class Client(asyncio.Protocol):
    """Sends the next request when the answer to the last one has come."""

    answers = 0

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport):
        """Asyncio: connected."""
        self._transport = transport
        transport.write(REQUEST)

    def data_received(self, data):
        """Asyncio: bytes of an answer."""
        self._parser.feed_data(data)

    def on_message_complete(self):
        """Httptools: the answer is whole."""
        if self._parser.get_status_code() != 200:
            sys.exit(f"status {self._parser.get_status_code()}")
        Client.answers += 1
        self._transport.write(REQUEST)


async def serve(stub_port: int | None) -> None:
    """Be the stub, or the front of the stub at `stub_port`; print the own port; serve until killed."""
    loop = asyncio.get_running_loop()
    take: Taker = stub
    if stub_port is not None:
        take = front = Front(Links(lambda _: True), Balancer(), ATTEMPT_TIMEOUT_S)
        front.set_targets([Target(f"10.42.0.{n}", 8080, stub_port) for n in range(1, 7)])
    server = await loop.create_server(lambda: Connection(take), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


async def load(port: int, seconds: float) -> int:
    """How many answers came in `seconds`."""
    Client.answers = 0
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(Client, "127.0.0.1", port) for _ in range(CONNECTIONS)]
    await asyncio.sleep(seconds)
    for transport, _ in opened:
        transport.abort()
    return Client.answers


def started(*role: str) -> tuple[subprocess.Popen[bytes], int]:
    """A process in that role, and the port it listens on."""
    process = subprocess.Popen([sys.executable, __file__, *role], stdout=subprocess.PIPE)
    return process, int(process.stdout.readline())


def measured(name: str, process: subprocess.Popen[bytes], port: int, seconds: float) -> float:
    """Requests per CPU-second of `process`."""
    usage = psutil.Process(process.pid).cpu_times
    before, began = usage(), time.monotonic()
    answers = uvloop.run(load(port, seconds))
    took, after = time.monotonic() - began, usage()
    cpu_s = after.user + after.system - before.user - before.system
    print(
        f"{name:6} {answers / took:8.0f} requests/s, {answers / cpu_s:8.0f} per CPU s, {1e6 * cpu_s / answers:.0f} us"
    )
    return answers / cpu_s


def main() -> None:
    """Run the benchmark."""
    if sys.argv[1:2] == ["stub"]:
        uvloop.run(serve(None))
    elif sys.argv[1:2] == ["front"]:
        uvloop.run(serve(int(sys.argv[2])))
    else:
        seconds = float(sys.argv[1]) if sys.argv[1:] else 3.0
        stub, stub_port = started("stub")
        front, front_port = started("front", str(stub_port))
        try:
            direct = measured("stub", stub, stub_port, seconds)
            through = measured("front", front, front_port, seconds)
            print(f"front / stub, requests per CPU-second: {through / direct:.2f}")
        finally:
            for process in (stub, front):
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
