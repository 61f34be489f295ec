"""Cookies of one user, kept as the servers set them."""

from __future__ import annotations

import time
from email.message import Message
from http.cookiejar import CookieJar
from urllib.request import Request

from harness.drivers.locust.clients.wire import field_values


class _Headers:
    """An answer, as CookieJar wants to see it."""

    def __init__(self, head: bytes) -> None:
        self._message = Message()
        for value in field_values(head, "set-cookie"):
            self._message["Set-Cookie"] = value

    def info(self) -> Message:
        """Its header fields."""
        return self._message


class Cookies:
    """
    A cookie jar that remembers what it gave, because making a Cookie field costs more than a request.

    The standard library's jar decides which cookies go where.
    """

    def __init__(self) -> None:
        self.jar = CookieJar()
        self._given: dict[str, str | None] = {}
        self._expires_s = float("inf")

    def keep(self, url: str, head: bytes) -> None:
        """Keep what the answer to a request of `url` sets."""
        self.jar.extract_cookies(_Headers(head), Request(url))  # type: ignore[arg-type]
        self._given.clear()
        self._expires_s = min((one.expires for one in self.jar if one.expires is not None), default=float("inf"))

    def field(self, url: str) -> str | None:
        """The Cookie field of a request of `url`, None without any."""
        if time.time() >= self._expires_s:
            self.jar.clear_expired_cookies()
            self._given.clear()
            self._expires_s = min((one.expires for one in self.jar if one.expires is not None), default=float("inf"))
        if url not in self._given:
            request = Request(url)
            self.jar.add_cookie_header(request)
            if len(self._given) >= 1024:
                self._given.clear()
            self._given[url] = request.get_header("Cookie")
        return self._given[url]
