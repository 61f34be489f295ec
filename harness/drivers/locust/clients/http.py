"""
The fast HTTP user: a raw socket, requests encoded once, answers parsed by llhttp.

Costs a fraction of the CPU of Locust's own users (benchmarks say how much), with the request API that users of
FastHttpUser know; docs/write-a-locustfile.md lists what differs. Also runs in plain Locust.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, ClassVar, Unpack

from locust import User
from locust.exception import StopTest
from locust.user.users import RestMixin

from harness.drivers.locust.clients.account import Account
from harness.drivers.locust.clients.answer import Answer, CheckedAnswer
from harness.drivers.locust.clients.cookies import Cookies
from harness.drivers.locust.clients.origin import Origin, Policy
from harness.drivers.locust.clients.request import Base, Options, Request
from harness.drivers.locust.clients.wire import decoded, field_values, read_head
from harness.drivers.locust.outcomes import RequestError

_REMEMBERED = 512  # requests without options
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a client is like."""

    policy: Policy
    headers: Mapping[str, str]
    timeout_s: float
    follow: bool
    max_redirects: int


class FastClient:
    """
    HTTP/1.1 with the user's host: connections kept, cookies kept, nothing sent twice.

    Failures are answers, not exceptions. Several greenlets may use it at a time, each on its own connection.
    """

    def __init__(self, base_url: str, account: Account, settings: Settings) -> None:
        self._base = Base(base_url, settings.headers, follow=settings.follow)
        self._settings = settings
        self._timeout_ns = round(settings.timeout_s * 1e9)
        self._account = account
        self._origins: dict[str, Origin] = {self._base.origin: Origin(self._base.origin, settings.policy)}
        self._remembered: dict[tuple[str, str], Request] = {}
        self._cookies: Cookies | None = None
        self._name: str | None = None

    def request(self, method: str, url: str, **options: Unpack[Options]) -> Any:
        """
        Send a request and wait for its Answer; with `catch_response=True`, a with block judges it.

        `url` is a path on the user's host, or a whole URL. Raises ValueError for what cannot be sent.
        """
        request = None
        if not options:
            request = self._remembered.get((method, url))
        if request is None:
            request = self._made(method, url, options)
        account = self._account
        start_ns = time.monotonic_ns()
        arrival = account.begin(request.method, request.name, start_ns)
        if request.checked:
            checked = CheckedAnswer(request.url, lambda judged: account.end(arrival, request, start_ns, judged))
            self._send(request, start_ns, checked)
            return checked
        answer = Answer(request.url)
        self._send(request, start_ns, answer)
        account.end(arrival, request, start_ns, answer)
        return answer

    def get(self, url: str, **options: Unpack[Options]) -> Any:
        """Send a GET."""
        return self.request("GET", url, **options)

    def post(self, url: str, data: Any = None, json: Any = None, **options: Any) -> Any:
        """Send a POST."""
        return self.request("POST", url, data=data, json=json, **options)

    def put(self, url: str, data: Any = None, **options: Any) -> Any:
        """Send a PUT."""
        return self.request("PUT", url, data=data, **options)

    def patch(self, url: str, data: Any = None, **options: Any) -> Any:
        """Send a PATCH."""
        return self.request("PATCH", url, data=data, **options)

    def delete(self, url: str, **options: Unpack[Options]) -> Any:
        """Send a DELETE."""
        return self.request("DELETE", url, **options)

    def head(self, url: str, **options: Unpack[Options]) -> Any:
        """Send a HEAD."""
        return self.request("HEAD", url, **options)

    def options(self, url: str, **options: Unpack[Options]) -> Any:
        """Send an OPTIONS."""
        return self.request("OPTIONS", url, **options)

    @contextmanager
    def rename_request(self, name: str) -> Iterator[None]:
        """Requests of the with block are counted under `name`."""
        self._name = name
        self._remembered.clear()
        try:
            yield
        finally:
            self._name = None
            self._remembered.clear()

    @property
    def cookiejar(self) -> Any:
        """The user's cookies, as http.cookiejar has them."""
        self._cookies = self._cookies or Cookies()
        return self._cookies.jar

    def close(self) -> None:
        """Close the kept connections; the next request opens another."""
        for origin in self._origins.values():
            origin.close()

    def _made(self, method: str, url: str, options: Options) -> Request:
        request = self._base.request(method.upper(), url, options, self._name)
        if not options:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.pop(next(iter(self._remembered)))
            self._remembered[method, url] = request
        return request

    def _send(self, request: Request, start_ns: int, answer: Answer) -> None:
        """Send it, follow where it leads if that is wanted, and put what comes into `answer`."""
        due_ns = start_ns + (self._timeout_ns if request.timeout_ns is None else request.timeout_ns)
        try:
            self._exchange(request, due_ns, answer)
            if request.follow:
                self._follow(request, due_ns, answer)
            if answer.status_code >= 400:
                answer.error = RequestError(f"http_{answer.status_code}", answer.url)
        except RequestError as failure:
            answer.error = failure
        answer.elapsed_ns = time.monotonic_ns() - start_ns

    def _follow(self, request: Request, due_ns: int, answer: Answer) -> None:
        for _ in range(self._settings.max_redirects):
            there = self._led_to(request, answer)
            if there is None:
                return
            request, answer.url = there, there.url
            self._exchange(request, due_ns, answer)
        if self._led_to(request, answer) is not None:
            raise RequestError("bad_response", f"more than {self._settings.max_redirects} redirects")

    @staticmethod
    def _led_to(request: Request, answer: Answer) -> Request | None:
        """The request that a redirect leads to, None of any other answer."""
        if answer.status_code not in _REDIRECTS:
            return None
        location = read_head(answer.head).get("Location", "")
        try:
            return request.redirected(answer.status_code, location)
        except ValueError as error:
            raise RequestError("bad_response", f"Location {location!r}: {error}") from error

    def _exchange(self, request: Request, due_ns: int, answer: Answer) -> None:
        origin = self._origins.get(request.origin)
        if origin is None:
            origin = self._origins[request.origin] = Origin(request.origin, self._settings.policy)
        answer.peer, answer.status_code = "", 0
        data = request.data
        if self._cookies is not None and (field := self._cookies.field(request.url)) is not None:
            data = request.with_cookies(field)
        connection = origin.take(due_ns)
        answer.peer = connection.link.peer
        reader = connection.exchange(data, due_ns, head=request.method == "HEAD")
        answer.status_code, answer.content, answer.head = reader.status, reader.content, reader.head
        if connection.usable:
            origin.give_back(connection)
        lower = reader.head.lower()
        if b"\nset-cookie:" in lower:
            self._cookies = self._cookies or Cookies()
            self._cookies.keep(request.url, reader.head)
        if b"\ncontent-encoding:" in lower:
            answer.content = decoded(answer.content, ",".join(field_values(reader.head, "content-encoding")))


class FastUser(User, RestMixin[Any]):
    """
    A User whose `client` is a FastClient. `host` is the base URL; the harness sets it to the service's.

    The attributes are named as FastHttpUser's where there are such.
    """

    abstract = True
    network_timeout: float = 60.0
    """Seconds for a whole request; the arrival's deadline cuts it off sooner."""
    connection_timeout: float = 60.0
    """Seconds for a connection: name, TCP and TLS together."""
    insecure: bool = False
    """Do not check TLS certificates."""
    ca_file: str | None = None
    """Certificate authorities to trust, a PEM file; None: the system's."""
    ssl_context_factory: Callable[[], SSLContext] | None = None
    """Makes the TLS context instead; for client certificates, say."""
    default_headers: ClassVar[Mapping[str, str]] = {}
    """Sent with every request."""
    allow_redirects: bool = False
    """Follow redirects, unless a request says otherwise."""
    max_redirects: int = 10
    """At most so many after one another."""
    connection_age: float | None = None
    """Seconds, give or take a fifth, after which a kept connection is not used again; None: what the plan says."""
    connection_requests: int | None = None
    """Requests after which it is not used again."""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        if not self.host:
            raise StopTest(f"{type(self).__name__}.host is not set; set it, or give --host")
        pool = getattr(environment, "harness_pool", None)
        planned_s = pool.connection_age_s if pool else Policy().age_s
        policy = Policy(
            connect_timeout_s=self.connection_timeout,
            ca_file=self.ca_file,
            insecure=self.insecure,
            tls_factory=type(self).ssl_context_factory,
            age_s=planned_s if self.connection_age is None else self.connection_age,
            requests=self.connection_requests,
        )
        settings = Settings(
            policy=policy,
            headers=self.default_headers,
            timeout_s=self.network_timeout,
            follow=self.allow_redirects,
            max_redirects=self.max_redirects,
        )
        self.client = FastClient(self.host, Account(self, pool), settings)
