"""A request of the fast user as a value: what a locustfile asks for, made ready to be sent."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict
from urllib.parse import unquote, urlencode, urljoin, urlsplit

from harness.drivers.locust.clients.wire import Fields, encode_head

Pairs = Mapping[str, Any] | Sequence[tuple[str, Any]]
_OF_ONE_ORIGIN = ("authorization", "cookie", "host")  # not passed on when a redirect leads elsewhere


class Options(TypedDict, total=False):
    """What a request may be given besides method and path. The names are FastHttpUser's, but for `timeout`."""

    name: str | None  # the series it is counted under, else method and path
    params: Pairs | None  # appended to the path
    headers: Mapping[str, str] | None
    data: bytes | str | Pairs | None  # pairs are sent as a form
    json: Any
    auth: tuple[str, str] | None  # Basic
    allow_redirects: bool
    catch_response: bool  # a with block judges the answer
    context: Mapping[str, Any]  # for listeners of the request event
    timeout: float | None  # seconds for the whole request; None: the user's


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request, encoded."""

    method: str
    origin: str  # "http://shop:8080"
    target: str  # path and query
    name: str
    fields: Fields
    body: bytes
    data: bytes  # all of it, as it is sent
    follow: bool  # follow redirects
    timeout_ns: int | None  # None: the user's
    checked: bool  # by a with block
    context: Mapping[str, Any]

    @property
    def url(self) -> str:
        """The whole URL."""
        return self.origin + self.target

    def with_cookies(self, field: str) -> bytes:
        """All of it, with a Cookie field."""
        return _encoded(self.method, self.target, (*self.fields, ("Cookie", field)), self.body)

    def redirected(self, status: int, location: str) -> Request | None:
        """
        The request that an answer of `status` leads to, as browsers and RFC 9110 §15.4 have it; None if it is not one
        to follow. Raises ValueError when there is no such URL.
        """
        there = urljoin(self.url, location)
        if not location or not there.startswith(("http://", "https://")):
            return None
        origin, target = split_url(there)
        method, body, fields = self.method, self.body, dict(self.fields)
        if origin != self.origin:
            fields = {name: value for name, value in fields.items() if name.lower() not in _OF_ONE_ORIGIN}
            fields = {"Host": origin.partition("://")[2]} | fields
        if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
            method, body = "GET", b""
            fields = {name: value for name, value in fields.items() if not name.lower().startswith("content-")}
        items = tuple(fields.items())
        return Request(
            method=method,
            origin=origin,
            target=target,
            name=self.name,
            fields=items,
            body=body,
            data=_encoded(method, target, items, body),
            follow=self.follow,
            timeout_ns=self.timeout_ns,
            checked=self.checked,
            context=self.context,
        )


class Base:
    """What all requests of a user start from: its host, and header fields sent with each."""

    def __init__(self, url: str, headers: Mapping[str, str], *, follow: bool) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"host {url!r}: not an http or https URL; give one like http://127.0.0.1:8080")
        self.origin = split_url(url)[0]
        self._prefix = parts.path.rstrip("/")
        self._follow = follow
        self._fields = {"User-Agent": "load-chaos-harness", **headers}
        self._auth = {}
        if parts.username:
            self._auth = {"Authorization": _basic(unquote(parts.username), unquote(parts.password or ""))}

    def request(self, method: str, url: str, options: Options, name: str | None = None) -> Request:
        """
        The request of `url`, a path or a whole URL.

        Raises ValueError for what cannot be sent, TypeError for an option there is not.
        """
        if unknown := options.keys() - Options.__annotations__.keys():
            known = ", ".join(Options.__annotations__)
            raise TypeError(f"{method} {url}: FastUser has no option {min(unknown)!r}; it has {known}")
        elsewhere = url.startswith(("http://", "https://"))
        path = url.partition("#")[0]
        origin, target = split_url(path) if elsewhere else (self.origin, f"{self._prefix}{path}" or "/")
        if params := options.get("params"):
            target += ("&" if "?" in target else "?") + urlencode(params, doseq=True)
        body, kind = _body(options)
        fields = {"Host": origin.partition("://")[2]}
        _lay_over(fields, self._fields, kind, self._auth if origin == self.origin else {})
        if auth := options.get("auth"):
            fields["Authorization"] = _basic(*auth)
        _lay_over(fields, options.get("headers") or {})
        items = tuple(fields.items())
        return Request(
            method=method,
            origin=origin,
            target=target,
            name=options.get("name") or name or url,
            fields=items,
            body=body,
            data=_encoded(method, target, items, body),
            follow=options.get("allow_redirects", self._follow),
            timeout_ns=None if (timeout_s := options.get("timeout")) is None else round(timeout_s * 1e9),
            checked=options.get("catch_response", False),
            context=options.get("context", {}),
        )


def split_url(url: str) -> tuple[str, str]:
    """Origin and target of a URL: ("http://shop:8080", "/items?page=2"). Raises ValueError when it is none."""
    parts = urlsplit(url)
    if not parts.hostname or parts.port == 0:  # `port` itself raises ValueError for what is no port
        raise ValueError(f"URL {url!r}: no host or port to connect to")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", target


def _encoded(method: str, target: str, fields: Fields, body: bytes) -> bytes:
    return encode_head(method, target, fields, len(body)) + body


def _body(options: Options) -> tuple[bytes, dict[str, str]]:
    """The bytes of `data` or else `json`, and the header fields that go with them."""
    data = options.get("data")
    if not data and (value := options.get("json")) is not None:
        kind = {"Content-Type": "application/json", "Accept": "application/json"}
        return json.dumps(value).encode(), kind
    if isinstance(data, bytes):
        return data, {}
    if isinstance(data, str):
        return data.encode(), {}
    if data:
        return urlencode(data, doseq=True).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    return b"", {}


def _lay_over(fields: dict[str, str], *layers: Mapping[str, str]) -> None:
    """Put `layers` over `fields`, each replacing what is there of the same name in whatever case."""
    for layer in layers:
        for name, value in layer.items():
            for old in [one for one in fields if one.lower() == name.lower()]:
                del fields[old]
            fields[name] = str(value)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
