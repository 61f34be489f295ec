"""
The service as the audit sees it: three requests below one address, which any service can offer (docs/audit.md).

    POST /entries {"id": ID}    any 2xx acknowledges it; the same id again is the same write
    GET  /entries/ID            200: it is there; 404: it is not; anything else is no answer
    GET  /entries?prefix=P      200 {"ids": [...]}: every id that begins with P, as often as it is stored
"""

from __future__ import annotations

import json
from urllib.parse import quote

import aiohttp

TIMEOUT_S = 1.0
LIST_TIMEOUT_S = 10.0
_GATEWAY = (502, 504)  # a proxy says that it got no answer


class Target:
    """A client of the service at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def put(self, name: str) -> int | None:
        """The status that a write was answered with; None without an answer of the service."""
        answer = await self._ask("POST", "/entries", {"id": name}, TIMEOUT_S)
        return None if answer is None or answer[0] in _GATEWAY else answer[0]

    async def get(self, name: str) -> bool | None:
        """Whether it is there; None without an answer."""
        answer = await self._ask("GET", f"/entries/{quote(name, safe='')}", None, TIMEOUT_S)
        return {200: True, 404: False}.get(answer[0]) if answer else None

    async def ids(self, prefix: str) -> list[str] | None:
        """All ids with that beginning, doubles too; None without an answer."""
        answer = await self._ask("GET", f"/entries?prefix={quote(prefix, safe='')}", None, LIST_TIMEOUT_S)
        if answer is None or answer[0] != 200:
            return None
        try:
            found = json.loads(answer[1])["ids"]
            return [str(name) for name in found if str(name).startswith(prefix)]
        except (ValueError, KeyError, TypeError):
            return None

    async def _ask(self, method: str, path: str, body: object, timeout_s: float) -> tuple[int, bytes] | None:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.request(
                method, self._url + path, json=body, timeout=timeout, allow_redirects=False
            ) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
