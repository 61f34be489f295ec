"""
The store over HTTP. A replica that does not lead passes clients' requests on to the one that does.

`POST /entries {"id": "a"}`: 201 when it is stored, 200 when it was already; `GET /entries/a`: 200 or 404;
`GET /entries?prefix=P`: the ids in the order in which they were stored. 503: not now; nobody knows whether it was
stored.
The same under /led/ is never passed on. `GET /log` tells what this one replica has, without asking the others.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from harness.sandbox.caller import Caller
from harness.sandbox.http import Connection, Request, response
from harness.sandbox.orders.node import CALL_S, Node

ID_MAX = 200  # characters
_LED = "/led"

Answer = tuple[int, Any]


class Service:
    """Answers the requests of one replica."""

    def __init__(self, node: Node, peers: Caller, version: str) -> None:
        self.draining = False
        self._node, self._peers, self._version = node, peers, version
        self._counts = {(method, code): 0 for method in ("GET", "POST") for code in (200, 201, 404, 503)}
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, connection: Connection, request: Request) -> None:
        """Take one request."""
        task = asyncio.get_running_loop().create_task(self._serve(connection, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: Connection, request: Request) -> None:
        path, _, query = request.target.decode("latin-1").partition("?")
        if path == "/metrics":
            kind = "text/plain; version=0.0.4; charset=utf-8"
            connection.answer(response(200, self._metrics().encode(), content_type=kind))
            return
        method = request.method.decode()
        try:
            body = json.loads(request.body) if request.body else None
            code, value = await self._answer(method, path, query, body)
        except (ValueError, KeyError, TypeError) as error:
            code, value = 400, {"error": f"the request cannot be understood: {error!r}"}
        if "/entries" in path:
            self._counts[method, code] = self._counts.get((method, code), 0) + 1
        connection.answer(response(code, json.dumps(value).encode(), content_type="application/json"))

    async def _answer(self, method: str, path: str, query: str, body: Any) -> Answer:
        node = self._node
        inside: dict[tuple[str, str], Callable[[], Answer]] = {
            ("GET", "/healthz"): lambda: (200 if node.member and not self.draining else 503, node.state()),
            ("GET", "/state"): lambda: (200, node.state()),
            ("GET", "/log"): lambda: (200, {**node.state(), "ids": list(node.replica.entries)}),
            ("POST", "/promise"): lambda: (200, node.promised(int(body["term"]))),
            ("POST", "/replicate"): lambda: (200, node.taken(body)),
        }
        if (method, path) in inside:
            return inside[method, path]()
        asked = path.removeprefix(_LED)
        if asked != "/entries" and not asked.startswith("/entries/"):
            return 404, {"error": f"there is no {path}"}
        if method not in ("GET", "POST") or (method == "POST") != (asked == "/entries" and body is not None):
            return 405, {"error": f"{method} {path} is not known"}
        if node.serving is not None:
            return await self._led(method, asked, query, body)
        if path.startswith(_LED) or not node.leader_url or node.leading is not None:
            return 503, {"error": "no leader"}
        return await self._passed_on(method, asked + (f"?{query}" if query else ""), body)

    async def _led(self, method: str, path: str, query: str, body: Any) -> Answer:
        """As the leader."""
        node, log = self._node, self._node.replica
        if method == "POST":
            entry = body["id"]
            if not isinstance(entry, str) or not 0 < len(entry) <= ID_MAX:
                return 400, {"error": f"an id has 1 to {ID_MAX} characters"}
            known = log.place(entry) is not None
            stored = await node.write(entry)
            return (200 if known else 201, {"id": entry}) if stored else (503, {"error": "no majority"})
        if path == "/entries":
            prefix = parse_qs(query).get("prefix", [""])[0]
            return 200, {"ids": [entry for entry in log.entries[: node.visible()] if entry.startswith(prefix)]}
        entry = unquote(path.removeprefix("/entries/"))
        place = log.place(entry)
        found = place is not None and place < node.visible()
        return (200, {"id": entry}) if found else (404, {"error": f"no entry {quote(entry)}"})

    async def _passed_on(self, method: str, path: str, body: Any) -> Answer:
        answer = await self._peers.call(method, f"{self._node.leader_url}{_LED}{path}", body, timeout_s=CALL_S)
        try:
            return (answer[0], json.loads(answer[1])) if answer else (503, {"error": "the leader does not answer"})
        except ValueError:  # not the leader's words: a proxy's, that nothing is there
            return 503, {"error": "the leader cannot be reached"}

    def _metrics(self) -> str:
        state = self._node.state()
        lines = ["# TYPE store_requests_total counter"]
        lines += [
            f'store_requests_total{{method="{method}",code="{code}"}} {count}'
            for (method, code), count in sorted(self._counts.items())
        ]
        gauges = {
            "store_entries": state["entries"],
            "store_term": state["term"],
            "store_leader": int(state["leader"]),
            "store_member": int(state["member"]),
            f'store_info{{version="{self._version}"}}': 1,
        }
        for name, value in gauges.items():
            lines += [f"# TYPE {name.partition('{')[0]} gauge", f"{name} {value}"]
        return "\n".join(lines) + "\n"
