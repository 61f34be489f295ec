"""An API server on loopback that serves pods in earnest, and plays the tricks it is told to."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kube_doubles import pod

Obj = dict[str, Any]
REFUSED = {"410": 410, "429": 429, "500": 500, "503": 503}


class Hostile:
    """
    Pods by name and the history of their changes. `tricks` are played by successive watches, then it behaves.

    hang: never answers · mute: begins to answer, then nothing · close: closes instead of answering · a status: refuses
    with it · forgotten: 410 inside the stream · torn: half a line, then the connection breaks · nonsense: what is no
    event · end: an empty answer at once · bookmarks: one bookmark, then the end.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.version = 5
        self.pods: dict[str, Obj] = {}
        self.history: list[tuple[int, str, Obj]] = []
        self.tricks: deque[str] = deque()
        self.played: list[str] = []
        self.ended = threading.Event()

    def add(self, name: str) -> None:
        self._commit("ADDED", pod(name, "a"))

    def delete(self, name: str) -> None:
        self._commit("DELETED", self.pods[name])

    def _commit(self, kind: str, obj: Obj) -> None:
        with self.changed:
            self.version += 1
            obj["metadata"]["resourceVersion"] = str(self.version)
            self.history.append((self.version, kind, obj))
            self.pods = {name: one for name, one in self.pods.items() if one is not obj}
            if kind == "ADDED":
                self.pods[obj["metadata"]["name"]] = obj
            self.changed.notify_all()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world: Hostile

    def do_GET(self) -> None:
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        self.close_connection = True
        if "watch" not in query:
            with self.world.changed:
                listed = {
                    "metadata": {"resourceVersion": str(self.world.version)},
                    "items": [*self.world.pods.values()],
                }
            self._whole(200, listed)
            return
        trick = self.world.tricks.popleft() if self.world.tricks else "none"
        self.world.played.append(trick)
        if trick == "hang":
            self.world.ended.wait(10)
        elif trick in REFUSED:
            self._whole(REFUSED[trick], {"message": f"trick {trick}"}, {"Retry-After": "1"} if trick == "429" else {})
        elif trick != "close":
            self._stream(trick, int(query["resourceVersion"]), float(query["timeoutSeconds"]))

    def _whole(self, status: int, body: Obj, headers: dict[str, str] = {}) -> None:  # noqa: B006 - read only
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, trick: str, since: int, seconds: float) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if trick == "mute":
            self.world.ended.wait(10)
        elif trick == "forgotten":
            self._line({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "forgotten"}})
        elif trick == "nonsense":
            self._line({"type": "ADDED", "object": None})
        elif trick == "bookmarks":
            self._line({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(since)}}})
        elif trick == "torn":
            self._chunk(b'{"type": "ADDED", "object": {"metada')
            return  # without the last chunk: the connection breaks
        elif trick == "none":
            self._events(since, time.monotonic() + seconds)
        self._chunk(b"")

    def _events(self, since: int, until_s: float) -> None:
        while time.monotonic() < until_s and not self.world.ended.is_set():
            with self.world.changed:
                if self.world.version <= since:
                    self.world.changed.wait(0.2)
                new = [(version, kind, obj) for version, kind, obj in self.world.history if version > since]
            for version, kind, obj in new:
                since = version
                self._line(
                    {"type": kind, "object": obj | {"metadata": obj["metadata"] | {"resourceVersion": str(since)}}}
                )

    def _line(self, event: Obj) -> None:
        self._chunk(json.dumps(event).encode() + b"\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def serving() -> Iterator[tuple[Hostile, str]]:
    """The server's world, and its URL."""
    world = Hostile()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"world": world}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # clients leave as they please
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield world, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        world.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
