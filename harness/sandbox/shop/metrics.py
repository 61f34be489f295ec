"""What a shop counts, and how Prometheus reads it (text format 0.0.4)."""

from __future__ import annotations

import time
from bisect import bisect_left

import psutil

ROUTES = ("/items", "/orders", "other")
# An edge at every latency threshold that a scenario is likely to use: shares below are then exact.
EDGES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """Counters and one histogram per route, since the process started."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.inflight = 0
        # Series exist from the start at 0: Prometheus cannot see the first increase of a series that appears with it.
        self._requests = dict.fromkeys((("/items", 200), ("/items", 500), ("/orders", 201), ("/orders", 500)), 0)
        self._buckets = {route: [0] * (len(EDGES_S) + 1) for route in ROUTES}
        self._sum_s = dict.fromkeys(ROUTES, 0.0)
        self._process = psutil.Process()

    def request(self, route: str, code: int, seconds: float) -> None:
        """Count one answered request of one of ROUTES."""
        self._requests[route, code] = self._requests.get((route, code), 0) + 1
        self._buckets[route][bisect_left(EDGES_S, seconds)] += 1
        self._sum_s[route] += seconds

    def text(self) -> str:
        """The exposition that /metrics answers with."""
        lines = ["# TYPE shop_requests_total counter"]
        lines += [
            f'shop_requests_total{{code="{code}",route="{route}"}} {count}'
            for (route, code), count in sorted(self._requests.items())
        ]
        lines.append("# TYPE shop_request_duration_seconds histogram")
        for route in sorted(self._buckets):
            lines += self._histogram(route)
        lines += self._gauges()
        return "\n".join(lines) + "\n"

    def _histogram(self, route: str) -> list[str]:
        name, total, lines = "shop_request_duration_seconds", 0, []
        edges = (*(f"{edge:g}" for edge in EDGES_S), "+Inf")
        for edge, count in zip(edges, self._buckets[route], strict=True):
            total += count
            lines.append(f'{name}_bucket{{route="{route}",le="{edge}"}} {total}')
        return [
            *lines,
            f'{name}_sum{{route="{route}"}} {self._sum_s[route]:.6f}',
            f'{name}_count{{route="{route}"}} {total}',
        ]

    def _gauges(self) -> list[str]:
        return [
            "# TYPE shop_inflight gauge",
            f"shop_inflight {self.inflight}",
            "# TYPE shop_info gauge",
            f'shop_info{{version="{self.version}"}} 1',
            "# TYPE process_cpu_seconds_total counter",
            f"process_cpu_seconds_total {time.process_time():.6f}",
            "# TYPE process_resident_memory_bytes gauge",
            f"process_resident_memory_bytes {self._process.memory_info().rss}",
            "# TYPE process_start_time_seconds gauge",
            f"process_start_time_seconds {self._process.create_time():.3f}",
        ]
