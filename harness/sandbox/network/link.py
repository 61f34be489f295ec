"""Connections to pods across the network: kept alive, reused, and held back as policies and faults want it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Protocol, cast

import httptools

from harness.sandbox.network.chaos import Way
from harness.sandbox.network.lane import HANDSHAKE_RTO_S, Lane

Ways = tuple[Way, Way]
"""To the target, and back."""


@dataclass(frozen=True, slots=True)
class Target:
    """A pod's port: the virtual one that everyone names, and the real one on 127.0.0.1 behind it."""

    ip: str
    port: int
    real_port: int

    @property
    def key(self) -> str:
        """`10.42.0.2:8080`."""
        return f"{self.ip}:{self.port}"


class Receiver(Protocol):
    """Who gets the response to what was sent on a link."""

    head: bool  # the request was HEAD: its response has no body, whatever its headers say

    def received(self, data: bytes) -> None:
        """Bytes of the response, as the pod sent them."""

    def complete(self, *, keep_alive: bool) -> None:
        """The response is complete; `keep_alive` as the pod said."""

    def broken(self) -> None:
        """The connection was refused, or ended before the response was complete."""


class Link(asyncio.Protocol):
    """
    One connection from one source to one target, with a lane for each direction.

    What a lane holds back, nobody is told of: like packets that a firewall drops or a network loses, and that TCP sends
    again until they arrive. A new connection needs both lanes.
    """

    def __init__(self, target: Target, ways: Ways, dice: Random) -> None:
        self.target = target
        self.closed = False
        self._there, self._back = Lane(ways[0], dice), Lane(ways[1], dice)
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._began = self._established = False
        self._held: list[bytes] = []  # to be sent once the connection is established
        self._receiver: Receiver | None = None
        self._complete = False
        self._reusable = False

    @property
    def cut(self) -> bool:
        """Whether a request on it would get no answer now."""
        return self._there.way.cut or self._back.way.cut

    def send(self, request: bytes, receiver: Receiver) -> None:
        """Send a whole request; its response goes to `receiver`. One at a time."""
        self._receiver = receiver
        self._complete = False
        if self._established:
            self._there.put(len(request), partial(self._write, request))
            return
        self._held.append(request)
        if not self._began:
            self._began = True
            self._there.put(0, self._connect, rto_s=HANDSHAKE_RTO_S)

    def set_ways(self, ways: Ways) -> None:
        """From now on packets take these ways, there and back."""
        self._there.set_way(ways[0])
        self._back.set_way(ways[1])

    def abort(self) -> None:
        """Close now; the receiver hears nothing any more."""
        self.closed = True
        self._receiver = None
        self._there.clear()
        self._back.clear()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _connect(self) -> None:
        if self.closed:
            return
        self._connecting = self._loop.create_task(self._open())

    async def _open(self) -> None:
        try:
            await self._loop.create_connection(lambda: self, "127.0.0.1", self.target.real_port)
        except OSError:
            self._back.put(0, self._break)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio: connected."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass of it
        if self.closed:
            self._transport.abort()
        else:
            self._back.put(0, self._flush, rto_s=HANDSHAKE_RTO_S)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Asyncio: the pod, or we, ended the connection."""
        self._transport = None
        if self._receiver is None:
            self.abort()
        else:
            self._back.put(0, self._break)

    def data_received(self, data: bytes) -> None:
        """Asyncio: bytes from the pod."""
        self._back.put(len(data), partial(self._read, data))

    def _read(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:  # a pod that speaks without being asked
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._break()
            return
        receiver.received(data)
        if self._complete:
            self._receiver = None
            self.closed = self.closed or not self._reusable
            receiver.complete(keep_alive=self._reusable)

    def on_headers_complete(self) -> None:
        """Httptools: the head of the response is whole."""
        if self._receiver is not None and self._receiver.head:
            self._complete, self._reusable = True, False  # the parser waits for a body that does not come

    def on_message_complete(self) -> None:
        """Httptools: the response is whole."""
        self._complete = self._parser.get_status_code() >= 200
        self._reusable = self._parser.should_keep_alive()

    def _flush(self) -> None:
        self._established = True
        held, self._held = self._held, []
        for data in held:
            self._there.put(len(data), partial(self._write, data))

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _break(self) -> None:
        receiver, self._receiver = self._receiver, None
        self.abort()
        if receiver is not None:
            receiver.broken()


class Links:
    """All links of one source. `ways` decides, now and at every `review`, how packets fare on them."""

    def __init__(self, ways: Callable[[Target], Ways], dice: Random) -> None:
        self._ways = ways
        self._dice = dice
        self._busy: set[Link] = set()
        self._idle: dict[str, list[Link]] = {}

    def take(self, target: Target) -> Link:
        """A link to `target` for one request: an idle one, or a new one."""
        idle = self._idle.get(target.key)
        while idle:
            link = idle.pop()
            if not link.closed and link.target == target:
                self._busy.add(link)
                return link
            link.abort()
        link = Link(target, self._ways(target), self._dice)
        self._busy.add(link)
        return link

    def give_back(self, link: Link) -> None:
        """The request is over: keep the link for the next one when it can be used again."""
        self._busy.discard(link)
        idle = self._idle.setdefault(link.target.key, [])
        if link.closed or link.cut:
            link.abort()
        else:
            idle.append(link)

    def review(self) -> None:
        """Decide anew how packets fare."""
        for link in list(self._busy):  # what was held back may arrive now, and end an exchange
            link.set_ways(self._ways(link.target))
        for key, links in list(self._idle.items()):
            if links:
                ways = self._ways(links[0].target)
            for link in links:
                link.set_ways(ways)
                if link.cut:
                    link.abort()
            self._idle[key] = [link for link in links if not link.closed]

    def close(self) -> None:
        """End all links, whatever is on them."""
        for link in [*self._busy, *(link for links in self._idle.values() for link in links)]:
            link.abort()
        self._busy.clear()
        self._idle.clear()
