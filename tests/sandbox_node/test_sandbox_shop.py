"""The demo shop's capacity is exact, its metrics are what Prometheus expects."""

import pytest

from harness.sandbox.shop.metrics import Metrics
from harness.sandbox.shop.service import Slots


def test_two_slots_of_25_ms_serve_80_requests_per_second():
    slots = Slots(count=2, service_s=0.025, queue_s=10.0)
    assert [slots.admit(5.0) for _ in range(4)] == pytest.approx([5.025, 5.025, 5.05, 5.05])
    assert max(slots.admit(5.0) for _ in range(76)) == pytest.approx(6.0)


def test_an_idle_slot_saves_nothing_up():
    slots = Slots(count=1, service_s=0.5, queue_s=10.0)
    assert [slots.admit(now) for now in (1.0, 4.0, 4.25)] == [1.5, 4.5, 5.0]


def test_a_request_that_would_wait_too_long_is_refused_and_takes_no_slot():
    slots = Slots(count=1, service_s=0.5, queue_s=1.0)
    assert [slots.admit(0.0) for _ in range(5)] == [0.5, 1.0, 1.5, None, None]
    assert slots.admit(0.5) == 2.0


def test_metrics_have_an_edge_at_every_usual_threshold_and_series_from_the_start():
    metrics = Metrics("good")
    for seconds in (0.05, 0.15, 0.25, 9.0):
        metrics.request("/items", 200, seconds)
    lines = [line for line in metrics.text().splitlines() if "/items" in line]
    name = 'shop_request_duration_seconds_bucket{route="/items",le='
    edges = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.2", "0.3", "0.5", "1", "2.5", "5", "+Inf")
    counts = (0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 3, 4)
    assert lines == [
        'shop_requests_total{code="200",route="/items"} 4',
        'shop_requests_total{code="500",route="/items"} 0',
        *(f'{name}"{edge}"}} {count}' for edge, count in zip(edges, counts, strict=True)),
        'shop_request_duration_seconds_sum{route="/items"} 9.450000',
        'shop_request_duration_seconds_count{route="/items"} 4',
    ]
