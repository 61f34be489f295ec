"""HTTP requests from inside a pod, each within a time: an answer, or none."""

from __future__ import annotations

import json
from typing import Any

import aiohttp


class Caller:
    """Keeps connections open between requests. `proxy` is the pod's way out (its http_proxy); None goes direct."""

    def __init__(self, proxy: str | None) -> None:
        self._proxy = proxy or None
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)

    async def call(self, method: str, url: str, body: Any = None, *, timeout_s: float) -> tuple[int, bytes] | None:
        """Status and body of the answer; None when there was none in time. `body` is sent as JSON."""
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        try:
            async with self._session.request(
                method, url, data=data, headers=headers, proxy=self._proxy, timeout=timeout, allow_redirects=False
            ) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def ask(self, method: str, url: str, body: Any = None, *, timeout_s: float) -> Any:
        """The JSON of a 2xx answer; None when there was no such answer."""
        answer = await self.call(method, url, body, timeout_s=timeout_s)
        if answer is None or not 200 <= answer[0] < 300:
            return None
        try:
            return json.loads(answer[1])
        except ValueError:
            return None

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
