"""Watches: the store's changes as the lines of a response, filtered by the request's selectors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping

from aiohttp import web

from harness.sandbox.api.tables import table
from harness.sandbox.api.target import Target
from harness.sandbox.resources import ApiError, Obj, bad_request
from harness.sandbox.selectors import field_selector, label_selector
from harness.sandbox.store import Change, Store, Watch

LONGEST_S = 1800.0
"""How long a watch lasts when its client does not say."""

BOOKMARK_S = 60.0
"""How often a watch that wants bookmarks gets one while nothing happens."""


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

    A resourceVersion that is too old gives one ERROR event with a Status of code 410, as real servers do.
    """
    query = request.query
    line = _Lines(target, request)
    try:
        watch = _begin(store, target, query)
    except ApiError as error:
        yield line.error(error)
        return
    bookmarks = flag(query, "allowWatchBookmarks")
    end = asyncio.get_running_loop().time() + _timeout_s(query)
    try:
        if _wants_present(query):
            present = [
                line.event("ADDED", obj) for obj in store.list(target.resource, target.namespace) if selected(obj)
            ]
            yield b"".join(present) + (line.bookmark(store.version, initial=True) if _initial(query) else b"")
        async for changes in _batches(watch, end):
            yield b"".join(filter(None, (line.change(change, selected) for change in changes)))
            if bookmarks and not changes:
                yield line.bookmark(store.version)
    except ApiError as error:
        yield line.error(error)
    finally:
        watch.close()


async def _batches(watch: Watch, end: float) -> AsyncIterator[list[Change]]:
    loop = asyncio.get_running_loop()
    while loop.time() < end:
        try:
            async with asyncio.timeout_at(min(end, loop.time() + BOOKMARK_S)):
                await watch.wait()
        except TimeoutError:
            yield []
        else:
            yield watch.pending()


def _begin(store: Store, target: Target, query: Mapping[str, str]) -> Watch:
    since = query.get("resourceVersion", "")
    if since and not since.isdigit():
        raise bad_request(f'invalid resource version "{since}"')
    return store.watch(target.resource, since=None if _wants_present(query) else int(since))


def _initial(query: Mapping[str, str]) -> bool:
    return flag(query, "sendInitialEvents")


def _wants_present(query: Mapping[str, str]) -> bool:
    return query.get("resourceVersion", "") in ("", "0") or _initial(query)


def _timeout_s(query: Mapping[str, str]) -> float:
    text = query.get("timeoutSeconds", "")
    return float(text) if text.isdigit() and int(text) else LONGEST_S


class _Lines:
    def __init__(self, target: Target, request: web.Request) -> None:
        self._resource = target.resource
        self._table = "as=Table" in request.headers.get("Accept", "")
        self._include = request.query.get("includeObject", "Metadata")

    def event(self, kind: str, obj: Obj) -> bytes:
        if self._table:
            version = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            obj = table(self._resource, [obj], include=self._include) | {"metadata": version}
        return _line(kind, obj)

    def change(self, change: Change, selected: Callable[[Obj], bool]) -> bytes | None:
        """The event of a change as seen through a selection: what leaves it is DELETED, what enters it ADDED."""
        before = change.old is not None and selected(change.old)
        after = change.type != "DELETED" and selected(change.obj)
        if not before and not after:
            return None
        kind = "MODIFIED" if before and after else "ADDED" if after else "DELETED"
        return self.event(kind, change.obj)

    def bookmark(self, version: int, *, initial: bool = False) -> bytes:
        meta: Obj = {"resourceVersion": str(version), "creationTimestamp": None}
        if initial:
            meta["annotations"] = {"k8s.io/initial-events-end": "true"}
        if self._table:
            return _line("BOOKMARK", table(self._resource, []) | {"metadata": meta})
        bare: Obj = {"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": meta}
        # Typed clients refuse to read an object without the parts its kind requires.
        return _line("BOOKMARK", bare | {"spec": {}} if self._resource.kind == "Pod" else bare)

    def error(self, error: ApiError) -> bytes:
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        return _line("ERROR", status | {"message": error.message, "reason": error.reason, "code": error.code})


def _line(kind: str, obj: Obj) -> bytes:
    return json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode() + b"\n"
