"""The front speaks HTTP/1.1 on both sides, and says by status what went wrong on the way."""

import asyncio
import warnings
from collections.abc import Callable
from random import Random

import pytest
import uvloop

from harness.sandbox.http import Connection, Request, response
from harness.sandbox.network.balance import Balancer
from harness.sandbox.network.chaos import CLEAR, CUT, Way
from harness.sandbox.network.link import Links, Target
from harness.sandbox.network.proxy import Egress, Front

pytestmark = pytest.mark.real


class Pod:
    """A server that answers by path and remembers what it was sent."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.connections: set[Connection] = set()

    def __call__(self, connection: Connection, request: Request) -> None:
        self.seen.append(request)
        self.connections.add(connection)
        if request.target == b"/silent":
            return
        if request.target == b"/dies":
            connection.close()
            return
        body = b"%s %s %d" % (request.method, request.target, len(request.body))
        answer = response(200, body)
        connection.answer(answer.split(b"\r\n\r\n")[0] + b"\r\n\r\n" if request.method == b"HEAD" else answer)


class Stage:
    """One pod behind one front with an attempt timeout of 1 s, and an egress proxy; `change` the ways of packets."""

    def __init__(self) -> None:
        self.pod = Pod()
        self.ways = (CLEAR, CLEAR)
        self.links = Links(lambda _: self.ways, Random(1))
        self.servers: list[asyncio.Server] = []

    async def build(self) -> None:
        target = Target("10.42.0.2", 8080, await self.listen(self.pod))
        self.front = Front(self.links, Balancer(), 1.0)
        self.front.set_targets([target])
        self.port = await self.listen(self.front)
        self.egress_port = await self.listen(Egress(self.links, lambda host, _: target if host == "shop" else None))

    async def listen(self, take: Callable[[Connection, Request], None]) -> int:
        server = await asyncio.get_running_loop().create_server(lambda: Connection(take), "127.0.0.1", 0)
        self.servers.append(server)
        return server.sockets[0].getsockname()[1]

    def change(self, there: Way, back: Way) -> None:
        self.ways = (there, back)
        self.links.review()

    async def reached(self, requests: int) -> None:
        """Return when the pod has got so many requests."""
        async with asyncio.timeout(5):
            while len(self.pod.seen) < requests:
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        self.links.close()
        for connection in self.pod.connections:
            connection.close()
        for server in self.servers:
            server.close()

    async def ask(self, *requests: bytes, port: int | None = None) -> bytes:
        """What comes back on one connection that sends all requests at once."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port or self.port)
        writer.write(b"".join(requests[:-1]) + requests[-1].replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        received = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return received


def played(scene):
    async def play():
        stage = Stage()
        await stage.build()
        try:
            await scene(stage)
        finally:
            await stage.close()

    # A warning about a socket that is still closing when the loop ends must not be made an error: uvloop then never
    # finishes closing its loop, in C code that no signal interrupts, so that not even the test's timeout ends it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        uvloop.run(play())


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nhost: shop\r\n\r\n".encode()


def bodies(received: bytes) -> list[bytes]:
    return [part.split(b"\r\n\r\n")[1] for part in received.split(b"HTTP/1.1 ")[1:]]


def test_pipelined_requests_are_answered_in_order_over_one_connection_to_the_pod():
    async def scene(stage):
        received = await stage.ask(get("/a"), get("/b"), get("/c"))
        assert bodies(received) == [b"GET /a 0", b"GET /b 0", b"GET /c 0"]
        assert len(stage.pod.connections) == 1

    played(scene)


def test_a_chunked_body_arrives_whole_with_a_length_and_without_hop_by_hop_headers():
    async def scene(stage):
        head = b"POST /orders HTTP/1.1\r\nhost: shop\r\nx-mine: 1\r\ntransfer-encoding: chunked\r\n\r\n"
        received = await stage.ask(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert bodies(received) == [b"POST /orders 5"]
        [request] = stage.pod.seen
        assert (request.body, request.headers) == (
            b"abcde",
            [(b"host", b"shop"), (b"x-mine", b"1"), (b"content-length", b"5")],
        )

    played(scene)


def test_head_is_answered_without_waiting_for_a_body():
    async def scene(stage):
        received = await stage.ask(get("/items", "HEAD"))
        assert (received[:12], bodies(received)) == (b"HTTP/1.1 200", [b""])

    played(scene)


@pytest.mark.parametrize(("path", "status"), [("/silent", b"504"), ("/dies", b"502"), ("/items", b"200")])
def test_the_status_says_what_went_wrong_on_the_way(path, status):
    async def scene(stage):
        assert (await stage.ask(get(path)))[9:12] == status

    played(scene)


def test_a_refused_connection_is_502_and_no_endpoints_are_503():
    async def scene(stage):
        stage.front.set_targets([Target("10.42.0.3", 8080, 1)])
        assert (await stage.ask(get("/items")))[9:12] == b"502"
        stage.front.set_targets([])
        assert (await stage.ask(get("/items")))[9:12] == b"503"

    played(scene)


def test_a_malformed_request_is_400():
    async def scene(stage):
        assert (await stage.ask(b"no http at all\r\n\r\n"))[9:12] == b"400"

    played(scene)


def test_what_a_cut_holds_back_arrives_when_it_is_healed():
    async def scene(stage):
        port = stage.egress_port
        assert bodies(await stage.ask(get("http://shop/before"), port=port)) == [b"GET /before 0"]
        stage.change(CUT, CUT)
        held = asyncio.create_task(stage.ask(get("http://shop/held"), port=port))
        await asyncio.sleep(0.1)
        assert (held.done(), [request.target for request in stage.pod.seen]) == (False, [b"/before"])
        stage.change(CLEAR, CLEAR)
        assert bodies(await held) == [b"GET /held 0"]

    played(scene)


def test_a_cut_holds_back_the_answer_to_a_request_that_had_passed():
    async def scene(stage):
        port = stage.egress_port
        asked = asyncio.create_task(stage.ask(get("http://shop/silent"), port=port))
        await stage.reached(1)
        stage.change(CUT, CUT)
        [connection] = stage.pod.connections
        connection.answer(response(200, b"late"))
        await asyncio.sleep(0.1)
        assert not asked.done()
        stage.change(CLEAR, CLEAR)
        assert bodies(await asked) == [b"late"]

    played(scene)


def test_an_unknown_name_and_a_target_that_is_no_url_are_refused_by_the_egress_proxy():
    async def scene(stage):
        assert (await stage.ask(get("http://nobody/"), port=stage.egress_port))[9:12] == b"502"
        assert (await stage.ask(get("/items"), port=stage.egress_port))[9:12] == b"400"

    played(scene)


def test_a_delay_each_way_is_suffered_four_times_by_a_new_connection_and_twice_by_an_open_one():
    """The handshake goes there and back before the request does."""

    async def scene(stage):
        stage.change(Way(delay_s=0.04), Way(delay_s=0.01))
        loop = asyncio.get_running_loop()
        took = []
        for _ in range(2):
            began = loop.time()
            assert bodies(await stage.ask(get("http://shop/items"), port=stage.egress_port)) == [b"GET /items 0"]
            took.append(loop.time() - began)
        assert took[0] >= 0.098  # timers of the loop are a millisecond coarse
        assert took[1] >= 0.048
        assert len(stage.pod.connections) == 1

    played(scene)


def test_a_request_passes_a_cut_of_the_way_back_on_an_open_connection_only():
    """Packets to the pod arrive; its answers, those of a handshake included, do not."""

    async def scene(stage):
        port = stage.egress_port
        first = asyncio.create_task(stage.ask(get("http://shop/silent"), port=port))
        await stage.reached(1)
        stage.change(CLEAR, CUT)
        second = asyncio.create_task(stage.ask(get("http://shop/new"), port=port))
        await asyncio.sleep(0.05)
        [connection] = stage.pod.connections
        assert [request.target for request in stage.pod.seen] == [b"/silent"]
        connection.answer(response(200, b"late"))
        await asyncio.sleep(0.05)
        assert (first.done(), second.done()) == (False, False)
        stage.change(CLEAR, CLEAR)
        assert (bodies(await first), bodies(await second)) == ([b"late"], [b"GET /new 0"])

    played(scene)


def test_a_pod_that_dies_behind_a_cut_hangs_and_does_not_refuse():
    """Nobody is told of a reset that does not arrive."""

    async def scene(stage):
        asked = asyncio.create_task(stage.ask(get("http://shop/silent"), port=stage.egress_port))
        await stage.reached(1)
        stage.change(CUT, CUT)
        for connection in stage.pod.connections:
            connection.close()
        await asyncio.sleep(0.1)
        assert not asked.done()
        stage.change(CLEAR, CLEAR)
        assert (await asked)[9:12] == b"502"

    played(scene)
