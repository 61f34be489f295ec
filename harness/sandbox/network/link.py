"""Connections to pods across the network: kept alive, reused, and held back while a policy forbids them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import httptools


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
    One connection from one source to one target.

    While cut, nothing passes in either direction and nobody is told: like packets that a firewall drops, and that
    TCP sends again until the cut is healed.
    """

    def __init__(self, target: Target, *, cut: bool) -> None:
        self.target = target
        self.cut = cut
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._held: list[bytes] = []  # to be sent once connected and not cut
        self._receiver: Receiver | None = None
        self._complete = False
        self._reusable = False

    def send(self, request: bytes, receiver: Receiver) -> None:
        """Send a whole request; its response goes to `receiver`. One at a time."""
        self._receiver = receiver
        self._complete = False
        if self._transport is not None and not self.cut:
            self._transport.write(request)
            return
        self._held.append(request)
        if not self.cut:
            self._connect()

    def set_cut(self, cut: bool) -> None:  # noqa: FBT001
        """Begin or end holding everything back."""
        if cut == self.cut or self.closed or (self._transport is not None and self._transport.is_closing()):
            return
        self.cut = cut
        if self._transport is None:
            if not cut:
                self._connect()
        elif cut:
            self._transport.pause_reading()
        else:
            self._flush()
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close now; the receiver hears nothing any more."""
        self.closed = True
        self._receiver = None
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _connect(self) -> None:
        if self._connecting is None:
            self._connecting = self._loop.create_task(self._open())

    async def _open(self) -> None:
        try:
            await self._loop.create_connection(lambda: self, "127.0.0.1", self.target.real_port)
        except OSError:
            self._break()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio: connected."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass of it
        if self.closed:
            self._transport.abort()
        elif self.cut:
            self._transport.pause_reading()
        else:
            self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Asyncio: the pod, or we, ended the connection."""
        self._transport = None
        self._break()

    def data_received(self, data: bytes) -> None:
        """Asyncio: bytes from the pod."""
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
        assert self._transport is not None
        for data in self._held:
            self._transport.write(data)
        self._held.clear()

    def _break(self) -> None:
        receiver, self._receiver = self._receiver, None
        self.abort()
        if receiver is not None:
            receiver.broken()


class Links:
    """All links of one source. `may_reach` decides, now and at every `review`, which are cut."""

    def __init__(self, may_reach: Callable[[Target], bool]) -> None:
        self._may_reach = may_reach
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
        link = Link(target, cut=not self._may_reach(target))
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
        """Decide anew which links are cut."""
        for link in self._busy:
            link.set_cut(not self._may_reach(link.target))
        for key, links in list(self._idle.items()):
            usable = [link for link in links if not link.closed]
            if usable and self._may_reach(usable[0].target):
                self._idle[key] = usable
            else:
                del self._idle[key]
                for link in links:
                    link.abort()

    def close(self) -> None:
        """End all links, whatever is on them."""
        for link in [*self._busy, *(link for links in self._idle.values() for link in links)]:
            link.abort()
        self._busy.clear()
        self._idle.clear()
