"""What the generator tells Prometheus of a run: exact at the plan's limits, monotone, bounded in labels."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conductor_stage import small_plan
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from harness.drivers.base import LoadBatch
from harness.drivers.metrics import OTHER, SERIES_MAX, Book, edges_with
from harness.history.events import (
    Body,
    LoadStarted,
    LoadStopRequested,
    PhaseEnded,
    PhaseStarted,
    RunEnded,
    RunStarted,
    Stamped,
    Status,
    WorkerJoined,
    WorkerLost,
)
from harness.history.histogram import Histogram
from harness.history.load import LoadFrame, Steps, WorkerHealth
from harness.plan.model import Plan, Stream

S = 1_000_000_000
SLOW_US = 1_000_000  # of the small plan, whose thresholds are none of latency


def told(book: Book, *bodies: Body, mono_ns: int = 0) -> None:
    for body in bodies:
        book.note(Stamped(mono_ns=mono_ns, body=body))


def counted(book: Book, *frames: LoadFrame, health: tuple[WorkerHealth, ...] = ()) -> None:
    book.count(LoadBatch(frames=frames, health=health))


def scraped(book: Book) -> dict[str, float]:
    """Every sample as Prometheus would read it: `name{label="value"}` -> value, labels in order of their names."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(generate_latest(book).decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def answered(*response_us: int, slower: int = 0, failed: int = 0) -> LoadFrame:
    response, lag = Histogram(), Histogram()
    for us in response_us:
        response.record(us)
    lag.record(150, len(response_us) + failed)
    return LoadFrame(
        second=1,
        series="GET /",
        sent=len(response_us) + failed,
        ok=len(response_us),
        failed=failed,
        response=response,
        lag=lag,
        slower=((SLOW_US, slower),),
        errors=(("http_503", failed),) if failed else (),
    )


def test_arrivals_are_counted_by_outcome_and_error_class() -> None:
    book = Book(small_plan())
    counted(book, LoadFrame(second=1, series="", planned=7, lost=1), answered(900, 900, failed=3))
    counted(book, LoadFrame(second=2, series="GET /", dropped=1, errors=(("dropped", 1),)))

    seen = scraped(book)
    assert {
        name: value for name, value in seen.items() if name.startswith(("load_arrivals", "load_out", "load_err"))
    } == {
        'load_arrivals_offered_total{stream=""}': 7,
        'load_arrivals_lost_total{stream=""}': 1,
        'load_arrivals_sent_total{series="GET /",stream=""}': 5,
        'load_outcomes_total{outcome="ok",series="GET /",stream=""}': 2,
        'load_outcomes_total{outcome="failed",series="GET /",stream=""}': 3,
        'load_outcomes_total{outcome="timed_out",series="GET /",stream=""}': 0,
        'load_outcomes_total{outcome="dropped",series="GET /",stream=""}': 1,
        'load_errors_total{error="http_503",series="GET /",stream=""}': 3,
        'load_errors_total{error="dropped",series="GET /",stream=""}': 1,
    }


def bucket(seen: dict[str, float], le: str, name: str = "load_response_seconds") -> float:
    return seen[f'{name}_bucket{{le="{le}",series="GET /",stream=""}}']


def test_a_failure_is_slower_than_anything() -> None:
    """A fast 503 is in no bucket but the last, so that no percentile gets better by it."""
    book = Book(small_plan())
    counted(book, answered(900, 40_000, failed=2))

    seen = scraped(book)
    assert [bucket(seen, le) for le in ("0.001", "0.02", "0.05", "30.0", "+Inf")] == [1, 1, 2, 2, 4]
    assert seen['load_response_seconds_count{series="GET /",stream=""}'] == 4
    assert [bucket(seen, le, "load_start_lag_seconds") for le in ("0.0001", "0.0002", "+Inf")] == [0, 4, 4]


def test_at_a_limit_of_the_plan_the_generators_own_exact_count_stands() -> None:
    """1,000,000 and 1,000,100 us share a histogram bucket; the generator knows which of them was slower."""
    book = Book(small_plan())
    counted(book, answered(999_000, 1_000_000, 1_000_100, slower=1))

    assert bucket(scraped(book), "1.0") == 2


def test_without_an_exact_count_what_may_be_slower_counts_as_slower() -> None:
    book = Book(small_plan())
    counted(book, replace(answered(999_000, 1_000_000, 1_000_100), slower=()))

    assert bucket(scraped(book), "1.0") == 1


def test_requests_inside_journeys_are_counted_apart() -> None:
    """A sum over `load_response_seconds` is of arrivals, each once."""
    book = Book(small_plan())
    response = Histogram()
    response.record(900)
    steps = Steps(ok=1, failed=2, response=response, slower=((SLOW_US, 0),), errors=(("reset", 2),))
    counted(book, LoadFrame(second=1, series="GET /", steps=steps))

    seen = scraped(book)
    assert {name: value for name, value in seen.items() if name.startswith(("load_step_out", "load_step_err"))} == {
        'load_step_outcomes_total{outcome="ok",series="GET /",stream=""}': 1,
        'load_step_outcomes_total{outcome="failed",series="GET /",stream=""}': 2,
        'load_step_outcomes_total{outcome="timed_out",series="GET /",stream=""}': 0,
        'load_step_outcomes_total{outcome="dropped",series="GET /",stream=""}': 0,
        'load_step_errors_total{error="reset",series="GET /",stream=""}': 2,
    }
    assert [bucket(seen, le, "load_step_seconds") for le in ("0.001", "1.0", "+Inf")] == [1, 1, 3]
    assert [name for name in seen if name.startswith(("load_response", "load_outcomes", "load_start_lag"))] == []


def test_usual_edges_give_way_to_limits_next_to_them() -> None:
    edges = edges_with((499_000, 1_234_000))

    assert {499_000, 1_234_000, 400_000, 750_000} <= set(edges)
    assert 500_000 not in edges
    assert list(edges) == sorted(set(edges))


def test_buckets_never_fall_with_their_edge_and_counters_never_with_time() -> None:
    book = Book(small_plan())
    before: dict[str, float] = {}
    for values in ((900,), (999_999, 1_000_000), (1_000_400, 70_000_000), (500, 10_000)):
        counted(book, answered(*values, slower=sum(us > SLOW_US for us in values)))
        after = scraped(book)
        falling = [name for name in before if "_total" in name or "_bucket" in name if after[name] < before[name]]
        buckets = [value for name, value in after.items() if name.startswith("load_response_seconds_bucket")]
        assert falling == []
        assert buckets == sorted(buckets)
        before = after


def test_beyond_the_bound_series_are_counted_together_and_how_many_is_said() -> None:
    book = Book(small_plan())
    frames = [replace(answered(900), series=f"GET /{number}") for number in range(SERIES_MAX + 3)]
    counted(book, *frames, *frames[-1:])

    seen = scraped(book)
    assert sum(value for name, value in seen.items() if name.startswith("load_arrivals_sent_total")) == SERIES_MAX + 4
    assert seen[f'load_arrivals_sent_total{{series="{OTHER}",stream=""}}'] == 4
    assert seen["load_series_beyond{}"] == 3


def gauges(book: Book) -> dict[str, float]:
    names = ("load_target_rate", "load_phase_info", "load_workers", "load_run_complete", "load_in_flight")
    return {name: value for name, value in scraped(book).items() if name.startswith(names)}


def with_streams(plan: Plan) -> Plan:
    streams = tuple(Stream(name=name, baseline_per_s=per_s, users=(), tags=()) for name, per_s in (("a", 15), ("b", 5)))
    load = replace(plan.service.load, streams=streams)
    return replace(plan, service=replace(plan.service, load=load))


def test_the_gauges_follow_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 90 s the small plan holds 150 % of 20 a second, three quarters of it in stream a."""
    monkeypatch.setattr("harness.drivers.metrics.time.monotonic_ns", lambda: 90 * S)
    book = Book(with_streams(small_plan()))
    told(book, RunStarted(run="r", wall_ns=0), LoadStarted(workers=3), WorkerLost(worker="worker-1", detail=""))
    told(book, PhaseStarted(phase="stress"), WorkerJoined(worker="worker-3"), WorkerLost(worker="x", detail=""))
    healthy = [
        WorkerHealth(second=second, worker=worker, cpu_ratio=0.1, stall_s_max=0.0, in_flight=in_flight)
        for second, worker, in_flight in ((88, "worker-0", 9), (89, "worker-0", 4), (89, "worker-2", 1), (20, "x", 100))
    ]
    counted(book, health=tuple(healthy))

    assert gauges(book) == {
        'load_target_rate{stream="a"}': 22.5,
        'load_target_rate{stream="b"}': 7.5,
        'load_phase_info{phase="stress",scenario="small"}': 1,
        "load_workers{}": 2,
        "load_in_flight{}": 5,
        "load_run_complete{}": 0,
    }


def test_at_the_end_the_target_is_zero_and_the_run_complete() -> None:
    book = Book(small_plan())
    told(book, RunStarted(run="r", wall_ns=0), LoadStarted(workers=1), PhaseStarted(phase="stress"))
    told(book, PhaseEnded(phase="stress"), LoadStopRequested(), RunEnded(status=Status.COMPLETED, detail=""))

    assert gauges(book) == {
        'load_target_rate{stream=""}': 0,
        "load_workers{}": 0,
        "load_in_flight{}": 0,
        "load_run_complete{}": 1,
    }


def test_scrapes_are_counted_in_all_and_after_the_end() -> None:
    book = Book(small_plan())
    scraped(book)
    scraped(book)
    told(book, RunEnded(status=Status.COMPLETED, detail=""))
    scraped(book)

    assert (book.scrapes, book.scrapes_after) == (3, 1)
