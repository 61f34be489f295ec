"""
Seeing pods and endpoints change: what a list or a watch event means (pure), and the watch that never stops trying.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from harness.drivers.kubernetes.client import ApiClient, ApiError
from harness.drivers.kubernetes.objects import (
    SERVICE_NAME,
    Obj,
    labels_of,
    name_of,
    node_of,
    ready,
    terminating,
    zone_of,
)
from harness.history.events import Body, EndpointsSeen, PodGone, PodSeen, WatchGap

# The server ends a watch in good order after WATCH_S; a link on which not even that arrives is dead. So a dead
# link is noticed although a quiet cluster sends nothing, at the price of one request per watch and WATCH_S.
WATCH_S = 10
DEAD_S = WATCH_S + 3.0
PAUSE_S, PAUSE_MAX_S = 0.2, 5.0

Report = Callable[[Body, int], None]
"""Takes what was seen and when (CLOCK_MONOTONIC, nanoseconds)."""


class View(Protocol):
    """What is known of one kind of objects; both methods say what is new compared with that."""

    def listed(self, found: Sequence[Obj]) -> Iterator[Body]:
        """These objects exist and no others."""

    def changed(self, kind: str, obj: Obj) -> Iterator[Body]:
        """A watch event of kind ADDED, MODIFIED or DELETED."""


@dataclass(slots=True)
class Pods:
    """Pods by UID. `zone_of_node` is asked for the zone of a node when a pod does not carry its zone."""

    zone_of_node: Callable[[str], str]
    known: dict[str, PodSeen] = field(default_factory=dict)

    def listed(self, found: Sequence[Obj]) -> Iterator[Body]:
        """See View."""
        there = {pod["metadata"]["uid"] for pod in found}
        for uid in [uid for uid in self.known if uid not in there]:
            yield PodGone(pod=self.known.pop(uid).pod, uid=uid)
        for pod in found:
            yield from self.changed("ADDED", pod)

    def changed(self, kind: str, obj: Obj) -> Iterator[Body]:
        """See View."""
        uid = obj["metadata"]["uid"]
        if kind == "DELETED":
            self.known.pop(uid, None)
            yield PodGone(pod=name_of(obj), uid=uid)
            return
        seen = self._seen(obj)
        if self.known.get(uid) != seen:
            self.known[uid] = seen
            yield seen

    def _seen(self, pod: Obj) -> PodSeen:
        node = node_of(pod)
        zone = zone_of(pod, {})
        return PodSeen(
            pod=name_of(pod),
            uid=pod["metadata"]["uid"],
            zone=zone or (self.zone_of_node(node) if node else ""),
            node=node,
            phase=pod.get("status", {}).get("phase", "Unknown"),
            ready=ready(pod),
            terminating=terminating(pod),
        )


@dataclass(slots=True)
class Endpoints:
    """How many endpoints of each service are ready, over all its EndpointSlices (of all address families)."""

    services: tuple[str, ...]
    slices: dict[str, Obj] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def listed(self, found: Sequence[Obj]) -> Iterator[Body]:
        """See View."""
        self.slices = {name_of(one): one for one in found}
        yield from self._news()

    def changed(self, kind: str, obj: Obj) -> Iterator[Body]:
        """See View."""
        if kind == "DELETED":
            self.slices.pop(name_of(obj), None)
        else:
            self.slices[name_of(obj)] = obj
        yield from self._news()

    def _news(self) -> Iterator[Body]:
        for service in self.services:
            mine = [one for one in self.slices.values() if labels_of(one).get(SERVICE_NAME) == service]
            count = len(
                {_target(endpoint) for one in mine for endpoint in one.get("endpoints") or [] if _in_service(endpoint)}
            )
            if self.counts.get(service) != count:
                self.counts[service] = count
                yield EndpointsSeen(service=service, ready=count)


def _in_service(endpoint: Obj) -> bool:
    # An unknown state is to be read as ready (Kubernetes API reference, EndpointConditions.ready).
    return (endpoint.get("conditions") or {}).get("ready") is not False


def _target(endpoint: Obj) -> str:
    return str((endpoint.get("targetRef") or {}).get("uid") or endpoint["addresses"][0])


def services_of(services: Sequence[Obj], pods: Sequence[Obj]) -> tuple[str, ...]:
    """The names of the services whose selector matches at least one of the pods, sorted."""
    named = []
    for service in services:
        wanted = (service["spec"].get("selector") or {}).items()
        if wanted and any(wanted <= labels_of(pod).items() for pod in pods):
            named.append(name_of(service))
    return tuple(sorted(named))


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
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api, self._path, self._query = api, path, query
        self._view, self._report, self._sleep = view, report, sleep
        self._version: str | None = None
        self._alive_ns = time.monotonic_ns()  # when the server was last heard
        self._blind: str | None = None  # why we are blind since then

    def first(self) -> list[Obj]:
        """List, report everything, and return it. Raises DriverError."""
        return self._list()

    def run(self) -> None:
        """Watch for ever."""
        pause_s = PAUSE_S
        while True:
            try:
                began = time.monotonic()
                if self._version is None:
                    self._list()
                self._watch_once()
                pause_s = PAUSE_S
                if time.monotonic() - began < 1.0:  # a server that ends every watch at once is asked slowly
                    self._sleep(PAUSE_S)
            except _ExpiredError as expired:
                self._blind, self._version = str(expired), None
            except (ApiError, ValueError, KeyError) as error:
                self._blind = str(error)
                self._tell_gap()
                self._sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_MAX_S)

    def _list(self) -> list[Obj]:
        answer = self._api.get(self._path, self._query)
        found = list(answer.get("items") or [])
        self._sees_again()
        for body in self._view.listed(found):
            self._report(body, self._alive_ns)
        self._version = answer["metadata"]["resourceVersion"]
        return found

    def _watch_once(self) -> None:
        query = {
            **self._query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(self._version),
            "timeoutSeconds": str(WATCH_S),
        }
        try:
            lines = self._api.lines(self._path, query, read_s=DEAD_S)
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
