"""
The generator's own record as a Prometheus endpoint, served from a plain thread while a run lasts.

The numbers are those of the load frames, so they come about a second after the fact and only ever grow. Nothing is
decided from them: the verdict reads the frames themselves.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from harness.drivers.base import LoadBatch
from harness.errors import CannotRunError
from harness.history.events import (
    LoadStarted,
    LoadStopRequested,
    PhaseEnded,
    PhaseStarted,
    RunEnded,
    RunStarted,
    Stamped,
    WorkerJoined,
    WorkerLost,
)
from harness.history.histogram import Histogram, bounds_of
from harness.history.load import LoadFrame, Steps, WorkerHealth
from harness.plan.model import Plan
from harness.schedule.load import knots_of, latency_limits_us, rate_at

SERIES_MAX = 200  # pairs of stream and series with labels of their own
OTHER = "(other)"  # where what comes beyond is counted

RESPONSE_US = (
    *(1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 400_000, 500_000),
    *(750_000, 1_000_000, 1_500_000, 2_000_000, 3_000_000, 5_000_000, 10_000_000, 30_000_000),
)
LAG_US = (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)
APART = 0.01  # a usual edge nearer to a limit than this share of it gives way

OUTCOMES = ("ok", "failed", "timed_out", "dropped")
LABELS = ("stream", "series")
HEALTH_S = 5  # a worker that said nothing for this long has nothing in flight that is known
_US = 1e6


class MetricsServer:
    """
    The real Exporter: counts what it is told of a run and serves it at `address`, "HOST:PORT" (port 0: any free one).

    It listens from the moment it is made. Raises CannotRunError when it cannot.
    """

    def __init__(self, plan: Plan, address: str) -> None:
        self._book = Book(plan)
        registry = CollectorRegistry()
        registry.register(self._book)
        host, port = _host_and_port(address)
        try:
            self._server: WSGIServer | None
            self._server, self._thread = start_http_server(port, addr=host, registry=registry)
        except (OSError, OverflowError) as error:
            hint = "end what listens there, or give load.metrics in the service file another address"
            raise CannotRunError(f"metrics: cannot listen on {address}: {error}", hint=hint) from error
        self.address = f"{_bracketed(_reachable(host))}:{self._server.server_port}"

    def note(self, stamped: Stamped) -> None:
        """Take note of what happened."""
        self._book.note(stamped)

    def count(self, batch: LoadBatch) -> None:
        """Add frames and health."""
        self._book.count(batch)

    def scrapes(self) -> tuple[int, int]:
        """How often it was scraped so far, and how often since the run ended."""
        return self._book.scrapes, self._book.scrapes_after

    def close(self) -> None:
        """Stop listening. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            self._thread.join()


@dataclass(slots=True)
class _Answers:
    """Outcomes and response times of one stream and series since the run began, of arrivals or of steps."""

    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    response: list[int] = field(default_factory=list)  # cumulative, one per edge
    response_s: float = 0.0

    def add(self, frame: LoadFrame | Steps, edges: Sequence[int]) -> None:
        for outcome in OUTCOMES:
            self.outcomes[outcome] += getattr(frame, outcome, 0)
        self.errors.update(dict(frame.errors))
        counts = _cumulative(frame.response, edges)
        for limit, slower in frame.slower:  # counted exactly by the generator
            if limit in edges:
                counts[bisect_left(edges, limit)] = frame.ok - slower
        self.response = _summed(self.response, counts)
        self.response_s += _seconds(frame.response)


@dataclass(slots=True)
class _Cell:
    """What became of the arrivals of one stream and series, and of requests inside journeys by that name."""

    sent: int = 0
    lag: list[int] = field(default_factory=list)
    lag_s: float = 0.0
    arrivals: _Answers = field(default_factory=_Answers)
    steps: _Answers = field(default_factory=_Answers)


class Book(Collector):
    """Adds frames up for Prometheus. Told by the conductor's thread, read by the server's."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._knots = {name: knots_of(plan, name) for name in _streams(plan)}
        self.edges = edges_with(latency_limits_us(plan))
        self._lock = threading.Lock()
        self._cells: dict[tuple[str, str], _Cell] = {}
        self._beyond: set[tuple[str, str]] = set()  # pairs counted as OTHER
        self._planned: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._health: dict[str, WorkerHealth] = {}
        self._workers = 0
        self._t0_ns: int | None = None
        self._phase: str | None = None
        self._offering = self._complete = False
        self.scrapes = self.scrapes_after = 0

    def note(self, stamped: Stamped) -> None:
        """Take note of what happened."""
        with self._lock:
            match stamped.body:
                case RunStarted():
                    self._t0_ns, self._offering = stamped.mono_ns, True
                case LoadStarted(workers=workers):
                    self._workers = workers
                case WorkerLost():
                    self._workers = max(self._workers - 1, 0)
                case WorkerJoined():
                    self._workers += 1
                case PhaseStarted(phase=phase):
                    self._phase = phase
                case PhaseEnded():
                    self._phase = None
                case LoadStopRequested():
                    self._phase, self._offering = None, False
                case RunEnded():
                    self._complete, self._workers = True, 0
                    self._health.clear()

    def count(self, batch: LoadBatch) -> None:
        """Add frames and health."""
        with self._lock:
            for frame in batch.frames:
                self._add(frame)
            for health in batch.health:
                newest = self._health.get(health.worker)
                if newest is None or newest.second <= health.second:
                    self._health[health.worker] = health

    def collect(self) -> Iterable[Metric]:
        """Everything, as Prometheus reads it."""
        with self._lock:
            self.scrapes += 1
            self.scrapes_after += self._complete
            return [*self._counters(), *self._histograms(), *self._gauges()]

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance, so that to register is not to scrape."""
        return ()

    def _add(self, frame: LoadFrame) -> None:
        self._planned[frame.stream] += frame.planned
        self._lost[frame.stream] += frame.lost
        if not (frame.sent or frame.dropped or frame.steps):
            return
        cell = self._cell(frame.stream, frame.series)
        cell.sent += frame.sent
        cell.lag = _summed(cell.lag, _cumulative(frame.lag, LAG_US))
        cell.lag_s += _seconds(frame.lag)
        cell.arrivals.add(frame, self.edges)
        cell.arrivals.response_s += _seconds(frame.failed_response)
        if frame.steps:
            cell.steps.add(frame.steps, self.edges)

    def _cell(self, stream: str, series: str) -> _Cell:
        key = (stream, series)
        if key not in self._cells and len(self._cells) >= SERIES_MAX:
            self._beyond.add(key)
            key = (stream, OTHER)
        return self._cells.setdefault(key, _Cell())

    def _counters(self) -> Iterator[Metric]:
        offered = CounterMetricFamily("load_arrivals_offered", "Arrivals the plan asked for.", labels=["stream"])
        lost = CounterMetricFamily("load_arrivals_lost", "Arrivals lost with a worker.", labels=["stream"])
        for stream in self._knots:
            offered.add_metric([stream], self._planned[stream])
            lost.add_metric([stream], self._lost[stream])
        sent = CounterMetricFamily("load_arrivals_sent", "Arrivals sent to the service.", labels=LABELS)
        for key, cell in self._cells.items():
            sent.add_metric(key, cell.sent)
        yield from (offered, lost, sent)
        yield from _outcomes("load_outcomes", "load_errors", "Arrivals", self._arrivals())
        yield from _outcomes("load_step_outcomes", "load_step_errors", "Requests inside journeys", self._steps())

    def _histograms(self) -> Iterator[Metric]:
        of_arrivals = "From the intended start to the end of the answer; what was not answered ok is only in +Inf."
        yield self._response("load_response_seconds", of_arrivals, self._arrivals())
        of_steps = "Requests inside journeys; what was not answered ok is only in +Inf."
        yield self._response("load_step_seconds", of_steps, self._steps())
        lag = HistogramMetricFamily("load_start_lag_seconds", "From the intended start to the send.", labels=LABELS)
        for key, cell in self._cells.items():
            if cell.sent:
                lag.add_metric(key, _buckets(LAG_US, cell.lag, cell.sent), cell.lag_s)
        yield lag

    def _response(self, name: str, what: str, answers: Iterable[_Named]) -> Metric:
        response = HistogramMetricFamily(name, what, labels=LABELS)
        for key, one in answers:
            response.add_metric(key, _buckets(self.edges, one.response, one.outcomes.total()), one.response_s)
        return response

    def _arrivals(self) -> list[_Named]:
        return [(key, cell.arrivals) for key, cell in self._cells.items() if cell.arrivals.outcomes.total()]

    def _steps(self) -> list[_Named]:
        return [(key, cell.steps) for key, cell in self._cells.items() if cell.steps.outcomes.total()]

    def _gauges(self) -> Iterator[Metric]:
        target = GaugeMetricFamily("load_target_rate", "Arrivals per second that the plan asks for.", labels=["stream"])
        now_s = self._now_s()
        for stream, knots in self._knots.items():
            target.add_metric([stream], rate_at(knots, now_s) if self._offering else 0.0)
        names = ["scenario", "phase"]
        phase = GaugeMetricFamily("load_phase_info", "1 for the phase under way; absent in ramps.", labels=names)
        if self._phase is not None:
            phase.add_metric([self._plan.scenario, self._phase], 1)
        newest = max((health.second for health in self._health.values()), default=0)
        in_flight = sum(item.in_flight for item in self._health.values() if item.second >= newest - HEALTH_S)
        yield from (target, phase)
        yield GaugeMetricFamily("load_in_flight", "Arrivals begun and not settled.", in_flight)
        yield GaugeMetricFamily("load_workers", "Load workers taking part.", self._workers)
        yield GaugeMetricFamily("load_series_beyond", f'Series counted as "{OTHER}".', len(self._beyond))
        yield GaugeMetricFamily("load_run_complete", "1 once the run has ended.", int(self._complete))

    def _now_s(self) -> float:
        return (time.monotonic_ns() - self._t0_ns) / 1e9 if self._t0_ns is not None else 0.0


_Named = tuple[tuple[str, str], _Answers]


def _outcomes(name: str, errors_name: str, what: str, answers: Iterable[_Named]) -> Iterator[Metric]:
    outcomes = CounterMetricFamily(name, f"{what} by outcome.", labels=(*LABELS, "outcome"))
    errors = CounterMetricFamily(errors_name, f"{what} that were not answered ok, by class.", labels=(*LABELS, "error"))
    for key, one in answers:
        for outcome in OUTCOMES:
            outcomes.add_metric((*key, outcome), one.outcomes[outcome])
        for error, count in sorted(one.errors.items()):
            errors.add_metric((*key, error), count)
    yield from (outcomes, errors)


def edges_with(limits_us: Sequence[int]) -> tuple[int, ...]:
    """Upper edges of the response buckets, microseconds: all limits, and the usual ones that are not next to one."""
    usual = [edge for edge in RESPONSE_US if all(abs(edge - limit) > APART * limit for limit in limits_us)]
    return tuple(sorted({*usual, *limits_us}))


def _streams(plan: Plan) -> tuple[str, ...]:
    return tuple(stream.name for stream in plan.service.load.streams) or ("",)


def _cumulative(histogram: Histogram, edges: Sequence[int]) -> list[int]:
    """How many values lie below each edge; a bucket that an edge divides, 0.1 % of it wide, counts as above."""
    counts = [0] * (len(edges) + 1)
    for index, n in histogram.counts.items():
        counts[bisect_left(edges, bounds_of(index)[1])] += n
    for i in range(1, len(edges)):
        counts[i] += counts[i - 1]
    return counts[:-1]


def _summed(left: list[int], right: list[int]) -> list[int]:
    return [a + b for a, b in zip(left, right, strict=True)] if left else right


def _seconds(histogram: Histogram) -> float:
    """The sum of all values, each taken as its bucket's middle."""
    return sum(n * sum(bounds_of(index)) / 2 for index, n in histogram.counts.items()) / _US


def _buckets(edges: Sequence[int], counts: Sequence[int], total: int) -> list[tuple[str, float]]:
    return [*((str(edge / _US), count) for edge, count in zip(edges, counts, strict=True)), ("+Inf", total)]


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    try:
        return host.strip("[]") or "127.0.0.1", int(port)
    except ValueError as error:
        message = f"metrics: {address!r} is no address to listen on"
        raise CannotRunError(message, hint="write load.metrics as HOST:PORT, e.g. 127.0.0.1:9646") from error


def _reachable(host: str) -> str:
    """An address of this machine under which what listens on `host` is reached from it."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
