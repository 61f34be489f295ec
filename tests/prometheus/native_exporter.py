"""
A process to scrape that exposes one native histogram, in the protobuf form that Prometheus reads them in.

The few message fields that are needed are written out here (io.prometheus.client.MetricFamily, length-delimited).
"""

from __future__ import annotations

import math
import struct
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TYPE = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
SCHEMA = 3  # each bucket is 2^(1/8) times the one before
HISTOGRAM = 4  # MetricType


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def zigzag(number: int) -> int:
    return 2 * number if number >= 0 else -2 * number - 1


def whole(field: int, number: int) -> bytes:
    return varint(field << 3) + varint(number)


def double(field: int, number: float) -> bytes:
    return varint(field << 3 | 1) + struct.pack("<d", number)


def block(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def family(name: str, buckets: Mapping[int, int]) -> bytes:
    """A histogram with so many observations in the buckets of these indexes."""
    spans, deltas, following, before = b"", b"", 0, 0
    for n, index in enumerate(sorted(buckets)):
        offset = index if n == 0 else index - following
        spans += block(12, whole(1, zigzag(offset)) + whole(2, 1))
        deltas += whole(13, zigzag(buckets[index] - before))
        following, before = index + 1, buckets[index]
    histogram = whole(1, sum(buckets.values())) + double(2, 1.0) + whole(5, zigzag(SCHEMA)) + double(6, 1e-9)
    metric = block(7, histogram + whole(7, 0) + spans + deltas)
    message = block(1, name.encode()) + block(2, b"help") + whole(3, HISTOGRAM) + block(4, metric)
    return varint(len(message)) + message


def index_of(seconds: float) -> int:
    return math.ceil(math.log2(seconds) * 2**SCHEMA)


class NativeExporter:
    """Ninety requests of 0.1 s and ten of 0.4 s every second since it began, as a native histogram."""

    def __init__(self) -> None:
        began_s = time.monotonic()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                tenths = int((time.monotonic() - began_s) * 10)
                body = family("request_seconds", {index_of(0.1): 9 * tenths, index_of(0.4): tenths})
                self.send_response(200)
                self.send_header("Content-Type", TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
