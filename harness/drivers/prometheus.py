"""
Fetches the raw samples that a plan's Prometheus SLIs need, on a thread of its own.

Every query goes through prometheus-api-client, over a session of ours (`prometheus_http`). Instants are passed with
millisecond precision: the library rounds the ends of a range to whole seconds, but its `params` override them.

What is asked for one SLI in a phase judged on [start, end):

- `query`: role `value`, once at `end` with `$window` = the whole interval. When a rule has a `for`, also role `slice`:
  the same template with `$window` = one slice, at the end of each slice. Slices are disjoint, aligned to `start`, two
  scrape intervals long; a remainder shorter than a slice is left out. A slice without a value has no sample.
- `bad` / `total`: raw counter samples over [start - lead, end]. The lead of one and a half scrape intervals is there so
  that each series' last sample before `start` is among them: the increase inside the window is the sum of the steps
  from that sample (or from the first one, for a series born inside) to the last sample before `end`, a step down being
  a counter reset. Samples keep their own times; whoever differences them decides what to do with the lead.
- `up{$selector}` over [start, end], role `up`: scrape coverage.

An empty answer is not a failure: there simply is no Series.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from prometheus_api_client import PrometheusConnect
from urllib3.util.retry import Retry

from harness.drivers.prometheus_http import RefusedError, Session, UnavailableError
from harness.errors import DriverError
from harness.history.events import QueryFailed, QueryWarned, Stamped
from harness.history.series import Series
from harness.plan.model import Phase, Plan, Prometheus, PrometheusSli

SLICE_SCRAPES = 2  # a slice must hold two samples, or rate() has no value
LEAD_SCRAPES = 1.5  # more than one, so that scrape jitter cannot leave the lead without a sample
RETRY_TIMEOUTS = 3  # a query is tried for this many times its timeout
POINTS_MAX = 10_000  # Prometheus refuses a range query of more than 11,000 points
TARGETS_S = 10.0  # a server hands its first targets to its scrapers five seconds after it started
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0

EPOCH = datetime.fromtimestamp(0, UTC)  # stands where the library wants a datetime that our `params` override

Role = Literal["value", "slice", "bad", "total", "up"]
Labels = tuple[tuple[str, str], ...]
Samples = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A phase's judged interval on the wall clock, whole Unix milliseconds inside [start, end) of the run's time."""

    phase: str
    start_ms: int
    end_ms: int
    t0_wall_ns: int

    @property
    def length_ms(self) -> int:
        """Length of the window; 0 when it holds no whole millisecond."""
        return max(0, self.end_ms - self.start_ms)


def window_of(phase: Phase, start_s: float, end_s: float, t0_wall_ns: int) -> Window:
    """[start_s, end_s) since run start as Unix milliseconds: rounded inwards, so that no query crosses a boundary."""
    return Window(
        phase=phase.name,
        start_ms=-((-t0_wall_ns - round(start_s * 1e9)) // 1_000_000),
        end_ms=(t0_wall_ns + round(end_s * 1e9)) // 1_000_000,
        t0_wall_ns=t0_wall_ns,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One query to the API: at one instant, or at every `step_ms` of [from_ms, at_ms] when there is a step."""

    role: Role
    query: str
    at_ms: int
    from_ms: int = 0
    step_ms: int = 0


def questions(sli: PrometheusSli, prometheus: Prometheus, window: Window, *, sliced: bool) -> tuple[Question, ...]:
    """What to ask for one SLI in one window (see the module's text); `sliced` when one of its rules has a `for`."""
    health = Question(role="up", query=f"up{{{prometheus.selector}}}[{window.length_ms}ms]", at_ms=window.end_ms)
    if sli.query is not None:
        whole = _filled(sli.query, prometheus, window.length_ms)
        value = Question(role="value", query=whole, at_ms=window.end_ms)
        return (value, *(_slices(sli.query, prometheus, window) if sliced else ()), health)
    raw_ms = window.length_ms + round(LEAD_SCRAPES * prometheus.scrape_interval_s * 1000)
    counters: tuple[tuple[Role, str | None], ...] = (("bad", sli.bad), ("total", sli.total))
    asked = (
        Question(role=role, query=f"{_filled(selector, prometheus, raw_ms)}[{raw_ms}ms]", at_ms=window.end_ms)
        for role, selector in counters
        if selector is not None
    )
    return (*asked, health)


def _slices(template: str, prometheus: Prometheus, window: Window) -> tuple[Question, ...]:
    """As few range queries as the API's limit on points allows; their points are the ends of the slices."""
    slice_ms = round(SLICE_SCRAPES * prometheus.scrape_interval_s * 1000)
    count = window.length_ms // slice_ms
    query = _filled(template, prometheus, slice_ms)
    return tuple(
        Question(
            role="slice",
            query=query,
            from_ms=window.start_ms + (first + 1) * slice_ms,
            at_ms=window.start_ms + min(first + POINTS_MAX, count) * slice_ms,
            step_ms=slice_ms,
        )
        for first in range(0, count, POINTS_MAX)
    )


def _filled(template: str, prometheus: Prometheus, window_ms: int) -> str:
    """Plain replacement: PromQL itself uses `$` (in regular expressions and label_replace)."""
    return template.replace("$selector", prometheus.selector).replace("$window", f"{window_ms}ms")


def samples_of(result: Any, t0_wall_ns: int) -> list[tuple[Labels, Samples]]:
    """
    (sorted labels, samples in seconds since run start) of each series in an API result: vector, matrix or scalar.

    Raises RefusedError for what has no plain numbers (strings, native histograms).
    """
    if result and not isinstance(result[0], Mapping):
        result = [{"metric": {}, "value": result}]  # a scalar is one bare sample
    found = []
    for one in result:
        if "histogram" in one or "histograms" in one:
            raise RefusedError(
                "the answer is a native histogram; wrap the query in histogram_quantile or histogram_fraction"
            )
        values = one["values"] if "values" in one else [one["value"]]
        try:
            samples = tuple(((round(at * 1000) * 1_000_000 - t0_wall_ns) / 1e9, float(value)) for at, value in values)
        except ValueError:
            raise RefusedError("the answer is a string, not a number") from None
        found.append((tuple(sorted(one["metric"].items())), samples))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One fetch that was asked for."""

    window: Window
    slis: tuple[tuple[PrometheusSli, bool], ...]  # with whether it needs slices


class PrometheusSource:
    """
    A MetricsSource over Prometheus' HTTP API.

    `fetch` waits (on its thread, one scrape interval at most) until the last scrape of the window can have been
    ingested. A query that gets no answer is repeated for three times the service's timeout; then the SLI, and all that
    the same fetch would have asked after it, is reported as QueryFailed.
    """

    def __init__(self, plan: Plan) -> None:
        prometheus = plan.service.prometheus
        if prometheus is None:
            raise DriverError(f"prometheus: service '{plan.service.name}' has none configured")
        self._prometheus = prometheus
        self._slis = {sli.name: sli for sli in plan.service.slis if isinstance(sli, PrometheusSli)}
        self._phases = plan.phases
        self._session = Session(prometheus)
        no_retries = Retry(0, read=False)  # ours are bounded by time, and end when the driver is closed
        self._api = PrometheusConnect(prometheus.url.rstrip("/"), session=self._session, retry=no_retries)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the four below
        self._series: list[Series] = []
        self._events: list[Stamped] = []
        self._pending = 0
        self._broken: BaseException | None = None
        self._closing = threading.Event()
        self._wake_fd, self._signal_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._work, name="prometheus", daemon=True)
        self._thread.start()

    def preflight(self) -> None:
        """
        Raise DriverError when Prometheus does not answer, its clock is not ours, it scrapes nothing that the service's
        selector matches, or it refuses a query of the plan.

        Phases are windows on the wall clock, so a difference above half a scrape interval would judge wrong samples.
        A Prometheus that has just started gets TARGETS_S seconds to scrape for the first time.
        """
        before_s = time.time()
        theirs_s = float(self._checked(lambda: self._api.custom_query("time()"))[1])
        after_s = time.time()
        ahead_s = min(theirs_s - before_s, 0.0) + max(theirs_s - after_s, 0.0)
        if abs(ahead_s) > self._prometheus.scrape_interval_s / 2:
            raise DriverError(
                f"prometheus {self._prometheus.url}: its clock differs from this host's by {ahead_s:+.3f} s, more than "
                f"half a scrape interval; synchronise both clocks"
            )
        self._await_targets()
        now_ms = round(time.time() * 1000)
        for phase in self._phases:
            window = Window(phase=phase.name, start_ms=now_ms - 60_000, end_ms=now_ms, t0_wall_ns=0)
            for sli, sliced in self._used_in(phase):
                for question in questions(sli, self._prometheus, window, sliced=sliced):
                    self._checked(lambda question=question: self._send(question))  # type: ignore[misc]

    def fetch(self, phase: Phase, start_s: float, end_s: float, t0_wall_ns: int) -> None:
        """Ask for the series of `phase` over [start_s, end_s) since run start; returns at once."""
        job = _Job(window=window_of(phase, start_s, end_s, t0_wall_ns), slis=self._used_in(phase))
        if job.slis and job.window.length_ms:
            with self._lock:
                self._pending += 1
            self._jobs.put(job)

    def pending(self) -> int:
        """How many fetches have been asked for and not been answered."""
        with self._lock:
            return self._pending

    def fds(self) -> Sequence[int]:
        """Readable when a fetch was answered."""
        return (self._wake_fd,)

    def poll(self) -> Sequence[Stamped]:
        """QueryFailed and QueryWarned since the last call; raises DriverError when the thread ended by a bug."""
        with suppress(BlockingIOError):
            os.read(self._wake_fd, 4096)
        with self._lock:
            if self._broken is not None:
                raise DriverError(f"prometheus: the fetching thread ended: {self._broken!r}") from self._broken
            events, self._events = self._events, []
        return events

    def take(self) -> Sequence[Series]:
        """Series received since the last call."""
        with self._lock:
            series, self._series = self._series, []
        return series

    def close(self) -> None:
        """End the thread: at once, or when the request under way meets its time limit. Idempotent."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._jobs.put(None)
        self._thread.join(self._prometheus.timeout_s + 1)
        self._api.close()
        with self._lock:
            os.close(self._wake_fd)
            os.close(self._signal_fd)

    def _used_in(self, phase: Phase) -> tuple[tuple[PrometheusSli, bool], ...]:
        """The Prometheus SLIs of the phase's thresholds, each once, with whether a rule of it has a `for`."""
        sliced: dict[str, bool] = {}
        for threshold in phase.thresholds:
            if threshold.sli in self._slis:
                sliced[threshold.sli] = sliced.get(threshold.sli, False) or threshold.rule.for_s is not None
        return tuple((self._slis[name], needed) for name, needed in sliced.items())

    def _await_targets(self) -> None:
        """Return when a target of the service has been scraped, if the plan needs one."""
        if not any(self._used_in(phase) for phase in self._phases):
            return
        query = f"up{{{self._prometheus.selector}}}"
        deadline_s = time.monotonic() + TARGETS_S
        while not self._checked(lambda: self._api.custom_query(query)):
            if time.monotonic() > deadline_s or self._closing.wait(0.2):
                what = f"prometheus {self._prometheus.url}: nothing it scrapes matches {query}"
                raise DriverError(what, hint="correct `selector` under `prometheus` in the service file")

    def _checked(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except (UnavailableError, RefusedError) as error:
            raise DriverError(f"prometheus {self._prometheus.url}: {error}") from error

    def _work(self) -> None:
        """The thread: answer jobs until told to end. Whatever breaks it is raised by `poll`."""
        try:
            while (job := self._jobs.get()) is not None and not self._closing.is_set():
                self._await_ingestion(job.window)
                series, events = self._answered(job)
                self._hand_over(series, events)
        except BaseException as error:
            with self._lock:
                self._broken = error
            self._signal()

    def _hand_over(self, series: list[Series], events: list[Stamped]) -> None:
        with self._lock:
            self._series += series
            self._events += events
            self._pending -= 1
        self._signal()

    def _signal(self) -> None:
        with self._lock:
            if not self._closing.is_set():
                with suppress(BlockingIOError):  # the pipe is full of signals already
                    os.write(self._signal_fd, b"!")

    def _await_ingestion(self, window: Window) -> None:
        """A scrape begun before the window's end is stored when it finished: within one scrape interval."""
        scrape_s = self._prometheus.scrape_interval_s
        stored_s = window.end_ms / 1000 + scrape_s - time.time()
        self._closing.wait(min(max(stored_s, 0.0), scrape_s))

    def _answered(self, job: _Job) -> tuple[list[Series], list[Stamped]]:
        """Ask everything of one job. Once Prometheus stayed away for a whole retry budget, the rest is not asked."""
        series: list[Series] = []
        events: list[Stamped] = []
        gone: UnavailableError | None = None
        for sli, sliced in job.slis:
            self._session.annotations.clear()
            try:
                if gone is not None:
                    raise gone
                series += self._series_of(sli, job.window, questions(sli, self._prometheus, job.window, sliced=sliced))
            except (UnavailableError, RefusedError) as error:
                gone = error if isinstance(error, UnavailableError) else None
                events.append(_failed(sli, job.window, f"prometheus {self._prometheus.url}: {error}"))
            if self._session.annotations:
                said = tuple(dict.fromkeys(self._session.annotations))
                warned = QueryWarned(sli=sli.name, phase=job.window.phase, warnings=said)
                events.append(Stamped(mono_ns=time.monotonic_ns(), body=warned))
        return series, events

    def _series_of(self, sli: PrometheusSli, window: Window, asked: tuple[Question, ...]) -> list[Series]:
        """All answers, or an exception. A series whose samples came in several answers is one Series."""
        found: dict[tuple[Role, str, Labels], Samples] = {}
        for one in asked:
            for labels, samples in samples_of(self._retried(one), window.t0_wall_ns):
                key = (one.role, one.query, labels)
                found[key] = found.get(key, ()) + samples
        return [
            Series(sli=sli.name, phase=window.phase, role=role, query=query, labels=labels, samples=samples)
            for (role, query, labels), samples in found.items()
        ]

    def _retried(self, question: Question) -> Any:
        began_s = time.monotonic()
        until_s = began_s + RETRY_TIMEOUTS * self._prometheus.timeout_s
        pause_s, tries = FIRST_PAUSE_S, 0
        while True:
            tries += 1
            try:
                return self._send(question)
            except UnavailableError as error:
                if time.monotonic() + pause_s >= until_s or self._closing.wait(pause_s):
                    raise UnavailableError(f"{error} ({tries} tries in {time.monotonic() - began_s:.1f} s)") from error
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _send(self, question: Question) -> Any:
        limit = {"timeout": f"{round(self._prometheus.timeout_s * 1000)}ms"}  # ends the evaluation on the server, too
        if not question.step_ms:
            return self._api.custom_query(question.query, params={"time": _instant(question.at_ms), **limit})
        exact = {"start": _instant(question.from_ms), "end": _instant(question.at_ms)}
        return self._api.custom_query_range(
            question.query, EPOCH, EPOCH, step=f"{question.step_ms}ms", params={**exact, **limit}
        )


def _instant(unix_ms: int) -> str:
    return f"{unix_ms // 1000}.{unix_ms % 1000:03d}"


def _failed(sli: PrometheusSli, window: Window, detail: str) -> Stamped:
    return Stamped(mono_ns=time.monotonic_ns(), body=QueryFailed(sli=sli.name, phase=window.phase, detail=detail))
