"""
The watch that never stops trying: it lists once, then keeps a view of one kind of objects up to date, and says when it
was blind.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.drivers.kubernetes.client import ApiClient, ApiError
from harness.drivers.kubernetes.objects import Obj
from harness.history.events import Body, WatchGap

Report = Callable[[Body, int], None]
"""Takes what was seen and when (CLOCK_MONOTONIC, nanoseconds)."""


class View(Protocol):
    """What is known of one kind of objects; both methods say what is new compared with that."""

    def listed(self, found: Sequence[Obj]) -> Iterator[Body]:
        """These objects exist and no others."""

    def changed(self, kind: str, obj: Obj) -> Iterator[Body]:
        """A watch event of kind ADDED, MODIFIED or DELETED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """
    How long a watch waits for what, in seconds.

    The server ends a watch in good order after `watch_s`; a link on which not even that has arrived `leeway_s` later is
    dead. So a dead link is noticed although a quiet cluster sends nothing, at the price of a request every `watch_s`.
    """

    watch_s: int = 10
    leeway_s: float = 3.0
    pause_s: float = 0.2  # before it is tried again, twice as long each time up to pause_max_s
    pause_max_s: float = 5.0
    asked_max_s: float = 30.0  # longest pause that a server may ask for
    sleep: Callable[[float], None] = time.sleep

    def pause(self, failures: int) -> float:
        """How long to wait after that many failures in a row."""
        return min(self.pause_s * 2.0 ** min(failures, 16), self.pause_max_s)


class _ExpiredError(Exception):
    """The server no longer holds the changes since our version: list anew."""


class Watch:
    """Lists once, then keeps a view up to date and reports what is new in it; blind moments become WatchGap."""

    def __init__(
        self,
        api: ApiClient,
        path: str,
        query: Mapping[str, str],
        view: View,
        report: Report,
        *,
        pace: Pace = Pace(),
    ) -> None:
        self._api, self._path, self._query = api, path, query
        self._view, self._report, self._pace = view, report, pace
        self._version: str | None = None
        self._alive_ns = time.monotonic_ns()  # when the server was last heard
        self._blind: str | None = None  # why we are blind since then

    def first(self) -> list[Obj]:
        """List, report everything, and return it. Raises ApiError."""
        return self._list()

    def run(self) -> None:
        """Watch for ever."""
        failures = 0  # in a row
        while True:
            began = time.monotonic()
            try:
                if self._version is None:
                    self._list()
                self._watch_once()
                failures = 0
                if time.monotonic() - began < 1.0:  # a server that ends every watch at once is asked slowly
                    self._pace.sleep(self._pace.pause_s)
            except _ExpiredError as expired:
                self._blind, self._version = str(expired), None
                if failures:  # a server that forgets at once, too
                    self._pace.sleep(self._pace.pause(failures))
                failures += 1
            except (ApiError, ValueError, LookupError, TypeError, AttributeError) as error:
                self._blind = str(error) or repr(error)
                self._tell_gap()
                asked_s = min(getattr(error, "retry_s", None) or 0.0, self._pace.asked_max_s)
                self._pace.sleep(max(self._pace.pause(failures), asked_s))
                failures += 1

    def _list(self) -> list[Obj]:
        answer = self._api.get(self._path, self._query)
        found, version = list(answer.get("items") or []), answer["metadata"]["resourceVersion"]
        self._sees_again()
        for body in self._view.listed(found):
            self._report(body, self._alive_ns)
        self._version = version
        return found

    def _watch_once(self) -> None:
        query = {
            **self._query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(self._version),
            "timeoutSeconds": str(self._pace.watch_s),
        }
        try:
            lines = self._api.lines(self._path, query, read_s=self._pace.watch_s + self._pace.leeway_s)
        except ApiError as error:
            if error.status == 410:
                raise _ExpiredError(str(error)) from error
            raise
        self._sees_again()
        for line in lines:
            self._alive_ns = time.monotonic_ns()
            if line.strip():
                self._take(json.loads(line))
        self._alive_ns = time.monotonic_ns()

    def _take(self, event: Obj) -> None:
        kind, obj = event["type"], event["object"]
        if kind == "ERROR":
            if obj.get("code") == 410:
                raise _ExpiredError(str(obj.get("message", "the watch expired")))
            self._version = None
            raise ApiError(f"kubernetes {self._api.url}: watch {self._path}: {obj.get('message')}", obj.get("code"))
        if kind != "BOOKMARK":
            for body in self._view.changed(kind, obj):
                self._report(body, self._alive_ns)
        self._version = obj["metadata"]["resourceVersion"]  # only now: what could not be taken is sent again

    def _sees_again(self) -> None:
        if self._blind is not None:
            self._tell_gap()
            self._blind = None
        self._alive_ns = time.monotonic_ns()

    def _tell_gap(self) -> None:
        detail = f"{self._path.rsplit('/', 1)[-1]}: {self._blind}"
        self._report(WatchGap(since_ns=self._alive_ns, detail=detail), time.monotonic_ns())


def in_background(work: Callable[[], None], name: str) -> None:
    """Run `work` in a thread that ends with the process."""
    threading.Thread(target=work, name=name, daemon=True).start()
