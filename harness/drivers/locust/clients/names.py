"""
Names looked up for many users at a time: one lookup serves all who ask meanwhile, and an address needs none.

gevent looks up everything on one of ten threads, addresses too, and every new connection asks. Those threads share the
interpreter with a busy event loop, which lets one in every few milliseconds: of hundreds of connections opened at once
some waited for seconds.
"""

from __future__ import annotations

import _socket  # as gevent's resolver does: `socket` has gevent's own functions by now
from contextlib import suppress
from typing import Any

import gevent
from gevent.resolver.thread import Resolver


class SharedResolver(Resolver):  # type: ignore[misc]
    """gevent's resolver, but nothing is looked up twice at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._awaited: dict[tuple[object, ...], Any] = {}

    def getaddrinfo(self, host: Any, port: Any, *options: int) -> Any:
        """As socket.getaddrinfo; `options` are family, type, proto and flags."""
        family, kind, proto, flags = (*options, 0, 0, 0, 0)[:4]
        with suppress(_socket.gaierror):
            return _socket.getaddrinfo(host, port, family, kind, proto, flags | _socket.AI_NUMERICHOST)
        question = (host, port, family, kind, proto, flags)
        answer = self._awaited.get(question)
        if answer is None:
            answer = self._awaited[question] = self.pool.spawn(_socket.getaddrinfo, *question)
            answer.rawlink(lambda _: self._awaited.pop(question, None))
        return answer.get()


def install() -> None:
    """From now on, every lookup of this process is made so."""
    gevent.get_hub().resolver = SharedResolver()
