"""The two ways into the network: a service's front for clients outside, and each pod's own egress proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import httptools

from harness.sandbox.http import Connection, Request, response
from harness.sandbox.network.balance import Attempt, Balancer, Outcome
from harness.sandbox.network.link import Link, Links, Target

_NOT_FORWARDED = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"expect", b"te", b"trailer")
)
"""Headers about one hop (RFC 9110, section 7.6.1), and those that the proxy itself has dealt with."""


class Front:
    """A service as clients outside see it: each request goes to the endpoint that the balancer chooses."""

    def __init__(self, links: Links, balancer: Balancer, attempt_timeout_s: float) -> None:
        self._balancer = balancer
        self._attempt_timeout_s = attempt_timeout_s
        self._links = links
        self._targets: Mapping[str, Target] = {}
        self._loop = asyncio.get_running_loop()

    def set_targets(self, targets: Iterable[Target]) -> None:
        """From now on these are the ready endpoints."""
        self._targets = {target.key: target for target in targets}
        self._balancer.set_endpoints(self._targets)

    def __call__(self, connection: Connection, request: Request) -> None:
        """Take one request."""
        attempt = self._balancer.choose(self._loop.time())
        if attempt is None:
            connection.answer(response(503, b"no ready endpoints\n"))
            return
        exchange = Exchange(connection, self._links, self._targets[attempt.key], partial(self._done, attempt))
        exchange.start(request, request.target, self._attempt_timeout_s)

    def _done(self, attempt: Attempt, outcome: Outcome) -> None:
        self._balancer.done(attempt, outcome, self._loop.time())


class Egress:
    """The way out of one pod: requests with an absolute target, as to any HTTP proxy. Never times out by itself."""

    def __init__(self, links: Links, resolve: Callable[[str, int], Target | None]) -> None:
        self._links = links
        self._resolve = resolve

    def __call__(self, connection: Connection, request: Request) -> None:
        """Take one request."""
        try:
            url = httptools.parse_url(request.target)
        except httptools.HttpParserInvalidURLError:
            url = None
        if url is None or url.schema != b"http" or not url.host:
            connection.answer(response(400, b"this proxy carries http:// requests only\n"))
            return
        target = self._resolve(url.host.decode(), url.port or 80)
        if target is None:
            connection.answer(response(502, b"nothing answers at %s:%d\n" % (url.host, url.port or 80)))
            return
        path = (url.path or b"/") + (b"?" + url.query if url.query else b"")
        Exchange(connection, self._links, target, lambda _: None).start(request, path, None)


class Exchange:
    """One request on its way to a pod, and the response on its way back."""

    def __init__(self, connection: Connection, links: Links, target: Target, done: Callable[[Outcome], None]) -> None:
        self.head = False
        self._connection = connection
        self._links = links
        self._link: Link = links.take(target)
        self._done = done
        self._began = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self, request: Request, path: bytes, timeout_s: float | None) -> None:
        """Send the request with `path` as its target; answer 504 when `timeout_s` passes before the response ends."""
        self.head = request.method == b"HEAD"
        self._connection.abandoned = self._abandoned
        if timeout_s is not None:
            self._timer = asyncio.get_running_loop().call_later(timeout_s, self._timed_out)
        self._link.send(_forwarded(request, path), self)

    def received(self, data: bytes) -> None:
        """See link.Receiver."""
        self._began = True
        self._connection.send(data)

    def complete(self, *, keep_alive: bool) -> None:
        """See link.Receiver."""
        self._over(Outcome.ANSWERED)
        # The pod's own `connection` header went to the client as it was; keep the promise made there.
        self._connection.finish(keep_alive=keep_alive)

    def broken(self) -> None:
        """See link.Receiver."""
        self._over(Outcome.FAILED)
        self._give_up(502, b"the connection to the pod was refused or broke\n")

    def _timed_out(self) -> None:
        self._link.abort()
        self._over(Outcome.TIMED_OUT)
        self._give_up(504, b"the pod did not answer in time\n")

    def _abandoned(self) -> None:
        self._link.abort()
        self._over(Outcome.CANCELLED)

    def _over(self, outcome: Outcome) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._links.give_back(self._link)
        self._done(outcome)

    def _give_up(self, status: int, why: bytes) -> None:
        if self._began:  # half an answer cannot be taken back; ending the connection is all that tells the client
            self._connection.finish(keep_alive=False)
        else:
            self._connection.answer(response(status, why))


def _forwarded(request: Request, path: bytes) -> bytes:
    parts = [b"%s %s HTTP/1.1\r\n" % (request.method, path)]
    sized = False
    for name, value in request.headers:
        lower = name.lower()
        if lower in _NOT_FORWARDED:
            continue
        sized = sized or lower == b"content-length"
        parts.append(b"%s: %s\r\n" % (name, value))
    if request.body and not sized:  # it came in chunks
        parts.append(b"content-length: %d\r\n" % len(request.body))
    parts.append(b"\r\n")
    parts.append(request.body)
    return b"".join(parts)
