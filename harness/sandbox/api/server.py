"""The HTTP side of the API: requests become calls of the verbs, results and errors become JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from harness.sandbox.api import access, discovery, protobuf, verbs
from harness.sandbox.api.tables import table
from harness.sandbox.api.target import Target, parse_target
from harness.sandbox.api.watches import flag, selection, watch_lines
from harness.sandbox.resources import NETWORKCHAOS, PODS, ApiError, Obj, bad_request
from harness.sandbox.store import Store

PodLogs = Callable[[Obj, str, bool, int | None], AsyncIterator[bytes]]
"""
(pod, container, follow, tail) -> the output so far of a container (its last `tail` lines, None: all), and with `follow`
all that comes until the end. The container is '' when the caller named none: the pod's only one.
"""


@dataclass(frozen=True, slots=True)
class ApiServer:
    """A running API server."""

    url: str  # http://127.0.0.1:PORT
    _runner: web.AppRunner

    async def close(self) -> None:
        """Stop listening and end every open watch."""
        await self._runner.cleanup()


async def serve_api(store: Store, logs: PodLogs, *, port: int = 0) -> ApiServer:
    """An API server on 127.0.0.1 (port 0: any free port), which serves until it is closed."""
    app = web.Application(client_max_size=4 * 2**20)
    app.add_routes([web.route("*", "/{path:.*}", _Requests(store, logs).answer)])
    # A watch ends when its client leaves or the server closes: both cancel its handler.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    return ApiServer(f"http://127.0.0.1:{runner.addresses[0][1]}", runner)


def kubeconfig(url: str) -> str:
    """The text of a kubeconfig file (YAML, written as JSON) that leads kubectl and client libraries to `url`."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "sandbox", "cluster": {"server": url}}],
            "users": [{"name": "sandbox", "user": {}}],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "sandbox"}}],
            "current-context": "sandbox",
        },
        indent=2,
    )


class _Requests:
    def __init__(self, store: Store, logs: PodLogs) -> None:
        self._store = store
        self._logs = logs

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok")
        if request.path == "/openapi/v2":  # an empty document in protobuf: older kubectls check nothing then
            return web.Response()
        document = discovery.document(request.path.rstrip("/")) if request.method == "GET" else None
        if document is not None:
            return web.json_response(document)
        try:
            target = parse_target(request.path)
            watch = flag(request.query, "watch")
            access.permit(self._store, target, access.attempt_of(request.method, target, watch=watch))
            if request.method == "GET":
                return await self._read(request, target)
            return self._written(request, target, await request.read())
        except ApiError as error:
            status = verbs.status("Failure", message=error.message, reason=error.reason)
            status |= {"code": error.code} | ({"details": error.details} if error.details else {})
            return web.json_response(status, status=error.code)

    def _written(self, request: web.Request, target: Target, body: bytes) -> web.Response:
        try:
            binary = body.startswith(protobuf.MAGIC)
            content = protobuf.decoded(target.resource, body) if binary else json.loads(body or b"{}")
            if request.method == "DELETE" and not body:
                content = verbs.options_in(request.query)
            code, result = self._write(request, target, content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # No write waits, and what it reads of the body it reads before its first change: nothing has happened.
            raise bad_request(f"the body cannot be understood: {error!r}") from error
        return web.json_response(result, status=code)

    def _write(self, request: web.Request, target: Target, body: Any) -> tuple[int, Obj]:
        if verbs.is_rehearsal(request.method, request.query, body):
            present = self._store.find(target.resource, target.name, target.namespace)
            code, answer = _changed(self._store.fork(), request, target, body)
            return code, verbs.as_rehearsed(answer, present)
        return _changed(self._store, request, target, body)

    async def _read(self, request: web.Request, target: Target) -> web.StreamResponse:
        if target.subresource == "log":
            return await self._log(request, target)
        if target.subresource == "eviction" or not target.resource.stored:
            raise ApiError(405, "MethodNotAllowed", f"the server does not allow GET on {request.path}")
        selected = selection(target, request.query)
        if not target.name and flag(request.query, "watch"):
            return await _streamed(request, watch_lines(self._store, target, request, selected), "application/json")
        found = verbs.get(self._store, target) if target.name else verbs.listed(self._store, target, selected)
        if "as=Table" in request.headers.get("Accept", "") and not target.subresource:
            rows = table(target.resource, [found] if target.name else found["items"], query=request.query)
            found = rows | {"metadata": {"resourceVersion": str(self._store.version)}}
        elif not target.name and target.resource is not NETWORKCHAOS:
            found = verbs.without_kinds(found)
        return web.json_response(found)

    async def _log(self, request: web.Request, target: Target) -> web.StreamResponse:
        pod = self._store.get(PODS, target.name, target.namespace)
        tail = request.query.get("tailLines", "")
        follow = flag(request.query, "follow")
        lines = self._logs(pod, request.query.get("container", ""), follow, int(tail) if tail.isdecimal() else None)
        return await _streamed(request, lines, "text/plain")


def _changed(store: Store, request: web.Request, target: Target, body: Any) -> tuple[int, Obj]:
    """The code and the answer of a request that changes `store`."""
    match request.method, bool(target.name):
        case "POST", False if not target.resource.stored:
            return 201, access.review(store, body)
        case "POST", False:
            return 201, verbs.create(store, target, body)
        case "POST", True if target.subresource == "eviction":
            return 201, verbs.evict(store, target, body)
        case "PUT", True:
            return 200, verbs.replace(store, target, body)
        case "PATCH", True:
            kind = request.headers.get("Content-Type", "").split(";")[0]
            return 200, verbs.patch(store, target, kind, body)
        case "DELETE", True if not target.subresource:
            return 200, verbs.delete(store, target, body)
    raise ApiError(405, "MethodNotAllowed", f"the server does not allow {request.method} on {request.path}")


async def _streamed(request: web.Request, chunks: AsyncIterator[bytes], content_type: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": content_type, "Cache-Control": "no-cache"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        async for chunk in chunks:
            await response.write(chunk)
        await response.write_eof()
    except ConnectionResetError:
        pass  # the client has left
    return response
