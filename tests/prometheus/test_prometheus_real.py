"""The Prometheus driver against a real Prometheus server that scrapes itself every second."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from native_exporter import NativeExporter
from plan_values import phase, rule, server_sli, threshold
from prometheus_plan import plan, prometheus

from harness.drivers.prometheus import PrometheusSource
from harness.drivers.prometheus.questions import Question
from harness.history.events import QueryProbed
from harness.history.series import Series
from harness.verdict.model import Reason
from harness.verdict.ruling import Measured, Ruling
from harness.verdict.server import ServerWindow, server_measured, server_ruling

BINARY = shutil.which("prometheus")
pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(60),
    pytest.mark.skipif(BINARY is None, reason="prometheus is not on PATH"),
]

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: shop
    static_configs: [{{targets: ["{address}"]}}]
  - job_name: native
    static_configs: [{{targets: ["{native}"]}}]
"""


@pytest.fixture(scope="module")
def native() -> Iterator[NativeExporter]:
    exporter = NativeExporter()
    yield exporter
    exporter.close()


@pytest.fixture(scope="module")
def server(native: NativeExporter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server that has scraped itself for a few seconds."""
    folder: Path = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "prometheus.yml").write_text(CONFIG.format(address=address, native=native.address))
    arguments = [
        str(BINARY),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=error",
        "--enable-feature=native-histograms",
    ]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _scraping(f"http://{address}")
    finally:
        process.terminate()
        process.wait(10)


def _scraping(url: str) -> str:
    for _ in range(200):
        try:
            query = {"query": "min(count_over_time(up[1m]))"}
            answer = requests.get(f"{url}/api/v1/query", query, timeout=2).json()["data"]["result"]
            if answer and float(answer[0]["value"][1]) >= 8:
                return url
        except (requests.ConnectionError, KeyError, ValueError):
            pass
        time.sleep(0.1)
    pytest.fail("prometheus did not scrape itself within 20 s")


SLIS = (
    server_sli("scrapes", query="sum(count_over_time(up{$selector}[$window]))"),
    server_sli(
        "errors",
        bad='prometheus_http_requests_total{$selector,code=~"5.."}',
        total="prometheus_http_requests_total{$selector}",
    ),
)
STRESS = phase(thresholds=(threshold("scrapes", rule(for_s=4.0)), threshold("errors")))


def fetched(url: str, start_s: float, end_s: float, t0_wall_ns: int) -> list[Series]:
    with closing(PrometheusSource(plan(prometheus(url, timeout_s=5), SLIS, STRESS))) as source:
        source.preflight()
        source.fetch(STRESS, start_s, end_s, t0_wall_ns)
        until_s = time.monotonic() + 10
        while source.pending() and time.monotonic() < until_s:
            time.sleep(0.01)
        assert [stamped.body for stamped in source.poll()] == []
        return list(source.take())


def test_a_window_of_a_real_server_holds_its_own_samples_at_their_own_times(server: str) -> None:
    t0_wall_ns = time.time_ns() - 6_123_456_789
    series = fetched(server, 0.5, 5.0, t0_wall_ns)
    by_role = {(one.sli, one.role): one for one in series if dict(one.labels).get("handler", "/metrics") == "/metrics"}
    assert ("errors", "bad") not in by_role
    up = by_role["", "up"]
    assert len(up.samples) in {4, 5}
    assert all(0.5 <= t_s <= 5.0 and value == 1.0 for t_s, value in up.samples)
    assert any(t_s * 1000 % 1000 > 0 for t_s, _ in up.samples), "sample times are not rounded to seconds"
    whole = by_role["scrapes", "value"]
    assert [value for _, value in whole.samples] == [float(len(up.samples))]
    assert whole.samples[0][0] == pytest.approx(5.0, abs=0.001)
    slices = by_role["scrapes", "slice"]
    assert [t_s for t_s, _ in slices.samples] == pytest.approx([2.5, 4.5], abs=0.002)
    for end_s, value in slices.samples:
        assert value == sum(end_s - 2.0 <= t_s <= end_s for t_s, _ in up.samples)
    total = by_role["errors", "total"].samples
    assert total[0][0] < 0.5, "the lead holds the last sample before the window"
    assert total[0][0] >= -1.01
    assert total[-1][1] - total[0][1] == len(total) - 1, "one scrape of /metrics per sample"


def test_the_end_of_a_range_is_exact_to_the_millisecond(server: str) -> None:
    now_ms = time.time_ns() // 1_000_000
    with closing(PrometheusSource(plan(prometheus(server, timeout_s=5), SLIS, STRESS))) as source:
        asked = Question(role="slice", query="time()", from_ms=now_ms - 3_333, at_ms=now_ms - 333, step_ms=1000)
        [answer] = source._api.send(asked)
    assert [round(at * 1000) for at, _ in answer["values"]] == [now_ms - 3_333 + 1000 * n for n in range(4)]
    assert [round(float(value) * 1000) for _, value in answer["values"]] == [
        now_ms - 3_333 + 1000 * n for n in range(4)
    ]


SLOW = server_sli("slow", histogram="request_seconds{$selector}", quantile=0.95)


def native_window(url: str, limit_s: float) -> tuple[Measured, Ruling]:
    """The native histogram of the last few seconds, judged as a run's phase is."""
    judged = phase(thresholds=(threshold("slow"),))
    made = plan(replace(prometheus(url, timeout_s=5), selector='job="native"'), (SLOW,), judged)
    t0_wall_ns = time.time_ns() - 6_500_000_000
    with closing(PrometheusSource(made)) as source:
        [told] = [stamped.body for stamped in source.preflight()]
        assert isinstance(told, QueryProbed)
        assert told.value == pytest.approx(0.4, abs=0.02)
        source.fetch(judged, 0.5, 5.5, t0_wall_ns)
        until_s = time.monotonic() + 10
        while source.pending() and time.monotonic() < until_s:
            time.sleep(0.01)
        assert [stamped.body for stamped in source.poll()] == []
        found = tuple(source.take())
    seen = ServerWindow(
        start_s=0.5, end_s=5.5, scrape_s=1.0, series=found, failures=(), warnings=(), disturbed=frozenset()
    )
    measured = server_measured(seen, SLOW)
    return measured, server_ruling(seen, SLOW, rule("> T", limit_s), (limit_s, limit_s), measured)


def test_a_native_histogram_of_a_real_server_is_decided_at_its_own_edges(server: str) -> None:
    measured, ruling = native_window(server, 0.2)
    assert measured.lo == pytest.approx(2 ** (-11 / 8))
    assert measured.hi == pytest.approx(2 ** (-10 / 8))
    assert measured.samples >= 300
    assert ruling.holds is True, "a tenth is above 0.2 s, whichever edge around it is taken"
    assert native_window(server, 0.5)[1].holds is False
    assert native_window(server, 0.4)[1].reason is Reason.BUCKET_LIMITED
