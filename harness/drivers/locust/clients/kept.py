"""Lets failures of HttpUser tell whether they befell a kept connection or a new one, which requests does not say."""

from __future__ import annotations

from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class _Remembers:
    """Of a connection of http.client: how many answers it has given since it was made."""

    answered = 0

    def connect(self) -> None:
        self.answered = 0
        super().connect()  # type: ignore[misc]

    def getresponse(self) -> Any:
        try:
            response = super().getresponse()  # type: ignore[misc]
        except ConnectionError as error:
            error.connection_was_kept = self.answered > 0  # type: ignore[attr-defined]
            raise
        self.answered += 1
        return response


class _Plain(_Remembers, HTTPConnection):
    pass


class _Secure(_Remembers, HTTPSConnection):
    pass


def install() -> None:
    """From now on, in this process, ConnectionErrors of requests have `connection_was_kept`."""
    HTTPConnectionPool.ConnectionCls = _Plain
    HTTPSConnectionPool.ConnectionCls = _Secure
