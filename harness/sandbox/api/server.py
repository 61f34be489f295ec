"""The HTTP side of the API: requests become calls of the verbs, results and errors become JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from harness.sandbox.api import discovery, verbs
from harness.sandbox.api.tables import table
from harness.sandbox.api.target import Target, parse_target
from harness.sandbox.api.watches import flag, selection, watch_lines
from harness.sandbox.resources import PODS, ApiError, Obj, bad_request
from harness.sandbox.store import Store


class PodLogs(Protocol):
    """Where the API gets the output of containers from: the kubelets."""

    def __call__(self, pod: Obj, *, container: str, follow: bool, tail_lines: int | None) -> AsyncIterator[bytes]:
        """
        The output so far (its last `tail_lines` lines, None: all); with `follow` also all that comes until the end.

        `container` is '' when the caller named none: the pod's only one.
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
        document = discovery.document(request.path.rstrip("/")) if request.method == "GET" else None
        if document is not None:
            return web.json_response(document)
        try:
            return await self._answer(request)
        except ApiError as error:
            status = verbs.status("Failure", message=error.message, reason=error.reason, details=error.details)
            return web.json_response(status | {"code": error.code}, status=error.code)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        target = parse_target(request.path)
        if request.method == "GET":
            return await self._read(request, target)
        body = _parsed(await request.read())
        code, result = self._write(request, target, body)
        if "as=Table" in request.headers.get("Accept", "") and result["kind"] == target.resource.kind:
            result = table(target.resource, [result])
        return web.json_response(result, status=code)

    def _write(self, request: web.Request, target: Target, body: Any) -> tuple[int, Obj]:
        match request.method, bool(target.name):
            case "POST", True if target.subresource == "eviction":
                return 201, verbs.evict(self._store, target, body)
            case "POST", False:
                return 201, verbs.create(self._store, target, body, dry_run=_dry_run(request, body))
            case "PUT", True:
                return 200, verbs.replace(self._store, target, body, dry_run=_dry_run(request, body))
            case "PATCH", True:
                kind = request.headers.get("Content-Type", "").split(";")[0]
                return verbs.patch(self._store, target, kind, body, dry_run=_dry_run(request, body))
            case "DELETE", True:
                options = verbs.delete_options(body, request.query)
                return 200, verbs.delete(self._store, target, options)
            case "DELETE", False:
                options = verbs.delete_options(body, request.query)
                return 200, verbs.delete_all(self._store, target, selection(target, request.query), options)
        raise ApiError(405, "MethodNotAllowed", f"the server does not allow {request.method} on {request.path}")

    async def _read(self, request: web.Request, target: Target) -> web.StreamResponse:
        if target.resource is PODS and target.subresource == "log":
            return await self._log(request, target)
        if not target.name and flag(request.query, "watch"):
            lines = watch_lines(self._store, target, request, selection(target, request.query))
            return await _streamed(request, lines, "application/json")
        if target.name and target.subresource not in ("", "status", "scale"):
            raise ApiError(405, "MethodNotAllowed", f"the server does not allow GET on {request.path}")
        selected = selection(target, request.query)
        objects = verbs.get(self._store, target) if target.name else verbs.listed(self._store, target, selected)
        if "as=Table" in request.headers.get("Accept", ""):
            single = [objects] if target.name else objects["items"]
            rows = table(target.resource, single, include=request.query.get("includeObject", "Metadata"))
            return web.json_response(rows | {"metadata": {"resourceVersion": str(self._store.version)}})
        return web.json_response(objects)

    async def _log(self, request: web.Request, target: Target) -> web.StreamResponse:
        pod = self._store.get(PODS, target.name, target.namespace)
        tail = request.query.get("tailLines", "")
        lines = self._logs(
            pod,
            container=request.query.get("container", ""),
            follow=flag(request.query, "follow"),
            tail_lines=int(tail) if tail.isdigit() else None,
        )
        return await _streamed(request, lines, "text/plain")


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


def _parsed(body: bytes) -> Any:
    if not body.strip():
        return {}
    try:
        return json.loads(body)
    except ValueError:
        import yaml

    try:
        return yaml.safe_load(body)
    except yaml.YAMLError as error:
        raise bad_request(f"the body is neither JSON nor YAML: {error}") from error


def _dry_run(request: web.Request, body: Any) -> bool:
    asked = request.query.getall("dryRun", []) or (body.get("dryRun") or [] if isinstance(body, dict) else [])
    if asked not in ([], ["All"]):
        raise bad_request(f"invalid dryRun {asked}: supported values: All")
    return bool(asked)
