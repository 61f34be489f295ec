"""Watches: the store's changes as the lines of a response, filtered by the request's selectors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress

from aiohttp import web

from harness.sandbox.api.tables import table
from harness.sandbox.api.target import Target
from harness.sandbox.resources import ApiError, Obj, bad_request
from harness.sandbox.selectors import field_selector, label_selector
from harness.sandbox.store import Change, Store

LONGEST_S = 1800.0
"""How long a watch lasts when its client does not say."""

BOOKMARK_S = 10.0
"""How often a watch in which nothing happens says how far it has come; real servers do once a minute."""


def flag(query: Mapping[str, str], key: str) -> bool:
    """Whether a query parameter says yes; some clients write `True`, some `1`."""
    return query.get(key, "").lower() in ("true", "t", "1")


def selection(target: Target, query: Mapping[str, str]) -> Callable[[Obj], bool]:
    """Whether an object is in the target's namespace and satisfies the query's selectors. Raises ApiError 400."""
    by_label = label_selector(query.get("labelSelector", ""))
    by_field = field_selector(target.resource, query.get("fieldSelector", ""))

    def selected(obj: Obj) -> bool:
        meta = obj["metadata"]
        here = target.namespace in ("", meta.get("namespace", ""))
        return here and by_label(meta.get("labels") or {}) and by_field(obj)

    return selected


async def watch_lines(
    store: Store, target: Target, request: web.Request, selected: Callable[[Obj], bool]
) -> AsyncIterator[bytes]:
    """
    The lines of a watch until its timeout: one JSON event each; with no resourceVersion, first every object as ADDED.

    A resourceVersion that is too old gives one ERROR event with a Status of code 410, as real servers do. Who allows
    bookmarks gets one whenever BOOKMARK_S have passed without a change, and one at the end.
    """
    since, seconds = request.query.get("resourceVersion") or "0", request.query.get("timeoutSeconds", "")
    loop = asyncio.get_running_loop()
    end = loop.time() + (float(seconds) if seconds.isdecimal() and int(seconds) else LONGEST_S)
    as_table = "as=Table" in request.headers.get("Accept", "")

    bookmarks = flag(request.query, "allowWatchBookmarks")

    def line(kind: str, obj: Obj) -> bytes:
        if as_table:
            version = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            rows = [] if kind == "BOOKMARK" else [obj]
            obj = table(target.resource, rows, query=request.query) | {"metadata": version}
        return _line(kind, obj)

    watch = None
    try:
        if not since.isdecimal():
            raise bad_request(f'invalid resource version "{since}"')
        watch = store.watch(target.resource, since=int(since) or None)
        if since == "0":
            yield b"".join(line("ADDED", obj) for obj in store.list(target.resource) if selected(obj))
        bookmark = loop.time() + BOOKMARK_S
        while loop.time() < end:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(end, bookmark)):
                    await watch.wait()
            seen = ((_kind(change, selected), change.obj) for change in watch.pending())
            lines = [line(kind, obj) for kind, obj in seen if kind]
            if bookmarks and loop.time() >= min(end, bookmark):
                lines.append(line("BOOKMARK", _bookmark(target, store.version)))
            if lines or loop.time() >= bookmark:
                bookmark = loop.time() + BOOKMARK_S
            if lines:
                yield b"".join(lines)
    except ApiError as error:
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        yield _line("ERROR", status | {"message": error.message, "reason": error.reason, "code": error.code})
    finally:
        if watch is not None:
            watch.close()


def _kind(change: Change, selected: Callable[[Obj], bool]) -> str:
    """The event of a change as seen through a selection: what leaves is DELETED, what enters ADDED; '' for none."""
    before = change.old is not None and selected(change.old)
    after = change.type != "DELETED" and selected(change.obj)
    return ("MODIFIED" if after else "DELETED") if before else "ADDED" if after else ""


def _bookmark(target: Target, version: int) -> Obj:
    head = {"kind": target.resource.kind, "apiVersion": target.resource.api_version}
    return head | {"metadata": {"resourceVersion": str(version), "creationTimestamp": None}}


def _line(kind: str, obj: Obj) -> bytes:
    return json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode() + b"\n"
