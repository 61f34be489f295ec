"""The Prometheus driver against a tiny HTTP server that answers as told."""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import closing, suppress
from typing import Any

import pytest
from fake_prometheus import Answer, vector
from plan_values import phase, server_sli, threshold
from prometheus_plan import plan, prometheus

from harness.drivers.prometheus import PrometheusSource
from harness.errors import DriverError
from harness.history.events import QueryFailed, QueryRefused, QueryWarned
from harness.history.series import Samples, Series

pytestmark = pytest.mark.real

T0_NS = 1_000_000_000_000_000_000


class Trickle:
    """Answers every request with a byte now and then, for ever."""

    def __enter__(self) -> str:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not self._ended.wait(0.05):
                connection.sendall(b" ")

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


UP = 'up{job="shop"}[60000ms]'
CPU, MEMORY = server_sli("cpu", query="cpu[$window]"), server_sli("memory", query="memory[$window]")
STRESS = phase(thresholds=(threshold("cpu"), threshold("memory"), threshold("cpu")))


def fetched(url: str, *, timeout_s: float = 0.2) -> tuple[list[Any], list[Series]]:
    """All events and series of one fetch of the phase STRESS, [0 s, 60 s), long ago."""
    with closing(PrometheusSource(plan(prometheus(url, timeout_s=timeout_s), (CPU, MEMORY), STRESS))) as source:
        source.fetch(STRESS, 0.0, 60.0, T0_NS)
        assert select.select(source.fds(), (), (), 10)[0], "the driver's descriptor never became readable"
        events = [stamped.body for stamped in source.poll()]
        assert source.pending() == 0
        assert not select.select(source.fds(), (), (), 0)[0], "poll leaves nothing to read"
        series = list(source.take())
        assert list(source.take()) == []
        return events, series


def test_every_sli_of_the_phase_is_asked_once_with_its_coverage(serve: Any) -> None:
    fake = serve(lambda query: vector("0.5"))
    events, series = fetched(fake.url)
    labels, samples = (("pod", "shop-0"),), Samples.of([(60.0, 0.5)])
    assert events == []
    assert series == [
        Series(sli=name, phase="stress", role=role, query=query, labels=labels, samples=samples)
        for name, role, query in [
            ("", "up", UP),
            ("cpu", "value", "cpu[60000ms]"),
            ("cpu", "slice", "cpu[2000ms]"),
            ("memory", "value", "memory[60000ms]"),
            ("memory", "slice", "memory[2000ms]"),
        ]
    ]
    assert fake.asked[1] == {"query": "cpu[60000ms]", "time": "1000000060.000", "timeout": "200ms"}
    assert set(fake.headers) == {"shop"}


def test_a_phase_without_prometheus_rules_asks_nothing(serve: Any) -> None:
    fake = serve(lambda query: vector("0.5"))
    with closing(PrometheusSource(plan(prometheus(fake.url), (CPU,), phase()))) as source:
        source.fetch(phase(), 0.0, 60.0, T0_NS)
        assert source.pending() == 0
    assert fake.asked == []


def test_an_empty_answer_is_no_series_and_no_failure(serve: Any) -> None:
    assert fetched(serve(lambda query: vector()).url) == ([], [])


def test_warnings_and_infos_are_kept_per_sli(serve: Any) -> None:
    def answer(query: str) -> Answer:
        status, body = vector("0.5")
        if query.startswith("cpu"):
            body |= {"warnings": ["one store is away"], "infos": ["PromQL info: not a counter", "odd"]}
        return status, body

    events, series = fetched(serve(answer).url)
    warnings = ("one store is away", "PromQL info: not a counter", "PromQL info: odd")
    assert events == [QueryWarned(sli="cpu", phase="stress", warnings=warnings)]
    assert len(series) == 5


def test_a_warning_about_scrape_health_concerns_every_sli(serve: Any) -> None:
    def answer(query: str) -> Answer:
        status, body = vector("1")
        return status, body | ({"warnings": ["one store is away"]} if query == UP else {})

    events, _ = fetched(serve(answer).url)
    assert events == [
        QueryWarned(sli=name, phase="stress", warnings=("one store is away",)) for name in ("cpu", "memory")
    ]


def test_a_passing_outage_is_ridden_out(serve: Any) -> None:
    answers = iter([(503, "starting"), (503, "starting")])
    events, series = fetched(serve(lambda query: next(answers, vector("0.5"))).url, timeout_s=0.5)
    assert (events, len(series)) == ([], 5)


def test_a_lasting_outage_fails_every_sli_within_one_retry_budget(serve: Any) -> None:
    fake = serve(lambda query: (503, {"status": "error", "error": "out of memory"}))
    began_s = time.monotonic()
    events, series = fetched(fake.url)
    assert time.monotonic() - began_s < 1.5
    assert series == []
    assert [(event.sli, event.phase) for event in events] == [("cpu", "stress"), ("memory", "stress")]
    assert all(isinstance(event, QueryFailed) and "HTTP 503: out of memory" in event.detail for event in events)


def test_a_refused_query_is_not_repeated_and_fails_its_own_sli_only(serve: Any) -> None:
    bad: Answer = (400, {"status": "error", "errorType": "bad_data", "error": "parse error: unclosed"})
    fake = serve(lambda query: bad if query.startswith("cpu") else vector("0.5"))
    events, series = fetched(fake.url)
    assert events == [
        QueryRefused(sli="cpu", phase="stress", detail=f"prometheus {fake.url}: HTTP 400: parse error: unclosed")
    ]
    assert [(one.sli, one.role) for one in series] == [("", "up"), ("memory", "value"), ("memory", "slice")]
    assert len(fake.asked) == 4


def test_a_page_that_is_not_prometheus_is_a_failure(serve: Any) -> None:
    events, series = fetched(serve(lambda query: (200, "<html>please log in</html>")).url)
    assert series == []
    assert [event.detail.split(": ", 1)[1] for event in events] == [
        "HTTP 200: not a Prometheus answer: <html>please log in</html>"
    ] * 2
    assert all(isinstance(event, QueryRefused) for event in events)


def test_an_answer_larger_than_the_harness_holds_is_a_failure(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.drivers.prometheus.http.BYTES_MAX", 1 << 20)
    fake = serve(lambda query: (200, " " * (2 << 20)) if query.startswith("cpu") else vector("0.5"))
    events, series = fetched(fake.url)
    detail = f"prometheus {fake.url}: the answer is larger than 1 MB; narrow the selector"
    assert events == [QueryRefused(sli="cpu", phase="stress", detail=detail)]
    assert {one.sli for one in series} == {"", "memory"}


def test_an_answer_that_trickles_meets_a_time_limit_too() -> None:
    with Trickle() as url:
        began_s = time.monotonic()
        events, _ = fetched(url, timeout_s=0.2)
        assert time.monotonic() - began_s < 6
    assert ["no whole answer within 0.2 s" in event.detail for event in events] == [True, True]


def test_an_answer_that_never_comes_meets_the_time_limit(serve: Any) -> None:
    until = threading.Event()

    def hang(query: str) -> Answer:
        until.wait(5)
        return vector("0.5")

    began_s = time.monotonic()
    events, _ = fetched(serve(hang).url)
    until.set()
    assert time.monotonic() - began_s < 2.5
    assert ["no whole answer within 0.2 s" in event.detail for event in events] == [True, True]


def test_a_closed_port_is_reported_in_plain_words() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        events, _ = fetched(url)
        assert ["Connection refused" in event.detail for event in events] == [True, True]
        with (
            closing(PrometheusSource(plan(prometheus(url), (CPU,), STRESS))) as source,
            pytest.raises(DriverError, match=rf"^prometheus {url}: Connection refused$"),
        ):
            source.preflight()


def test_preflight_refuses_a_prometheus_whose_clock_is_not_ours(serve: Any) -> None:
    def late(query: str) -> Answer:
        return 200, {"data": {"resultType": "scalar", "result": [1.0, str(time.time() - 3)]}}

    with (
        closing(PrometheusSource(plan(prometheus(serve(late).url), (CPU,), STRESS))) as source,
        pytest.raises(DriverError, match=r"its clock differs from this host's by -[23]\.\d+ s"),
    ):
        source.preflight()


def test_preflight_refuses_a_selector_that_no_target_matches(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo in the selector is found before load starts, not as missing samples afterwards."""
    monkeypatch.setattr("harness.drivers.prometheus.lint.TARGETS_S", 0.0)

    def nothing_up(query: str) -> Answer:
        if query == "time()":
            return 200, {"data": {"resultType": "scalar", "result": [1.0, str(time.time())]}}
        return vector()

    with (
        closing(PrometheusSource(plan(prometheus(serve(nothing_up).url), (CPU,), STRESS))) as source,
        pytest.raises(DriverError, match=r"nothing it scrapes matches up\{job=\"shop\"\}$"),
    ):
        source.preflight()


def test_closing_during_an_outage_does_not_wait_for_the_retries(serve: Any) -> None:
    fake = serve(lambda query: (503, "away"))
    source = PrometheusSource(plan(prometheus(fake.url, timeout_s=30), (CPU,), STRESS))
    source.fetch(STRESS, 0.0, 60.0, T0_NS)
    while not fake.asked:
        threading.Event().wait(0.01)
    began_s = time.monotonic()
    source.close()
    source.close()
    assert time.monotonic() - began_s < 1
