"""
Fetches the raw samples that a plan's Prometheus SLIs need, on a thread of its own.

Every query goes through prometheus-api-client, over a session of ours (`http`). Instants are passed with millisecond
precision: the library rounds the ends of a range to whole seconds, but its `params` override them. What is asked is in
`questions`. An empty answer is not a failure: there simply is no Series.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from harness.drivers.prometheus.answers import Gathered
from harness.drivers.prometheus.api import Api
from harness.drivers.prometheus.http import RefusedError, UnavailableError
from harness.drivers.prometheus.lint import Lint, Use, uses_of
from harness.drivers.prometheus.questions import Question, Window, health_questions, questions, window_of
from harness.errors import DriverError
from harness.history.events import QueryFailed, QueryRefused, QueryWarned, Stamped
from harness.history.series import EVERY_SLI, Series
from harness.plan.model import Phase, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One fetch that was asked for."""

    window: Window
    uses: tuple[Use, ...]


class PrometheusSource:
    """
    A MetricsSource over Prometheus' HTTP API.

    `fetch` waits (on its thread, one scrape interval at most) until the last scrape of the window can have been
    ingested. A query that gets no answer is repeated for three times the service's timeout; then the SLI, and all that
    the same fetch would have asked after it, is reported as QueryFailed. One that was answered, but not with data, is
    reported as QueryRefused.
    """

    def __init__(self, plan: Plan) -> None:
        prometheus = plan.service.prometheus
        if prometheus is None:
            raise DriverError(f"prometheus: service '{plan.service.name}' has none configured")
        self._plan = plan
        self._prometheus = prometheus
        self._closing = threading.Event()
        self._api = Api(prometheus, self._closing)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the four below
        self._series: list[Series] = []
        self._events: list[Stamped] = []
        self._pending = 0
        self._broken: BaseException | None = None
        self._wake_fd, self._signal_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._work, name="prometheus", daemon=True)
        self._thread.start()

    def preflight(self) -> Sequence[Stamped]:
        """
        What every query of the plan answers now, a QueryProbed each.

        Raises DriverError when Prometheus does not answer, its clock is not ours, it scrapes nothing of the service, or
        a query cannot give what a rule needs.
        """
        bodies = Lint(self._plan, self._api, self._closing).checked()
        return [Stamped(mono_ns=time.monotonic_ns(), body=body) for body in bodies]

    def fetch(self, phase: Phase, start_s: float, end_s: float, t0_wall_ns: int) -> None:
        """Ask for the series of `phase` over [start_s, end_s) since run start; returns at once."""
        job = _Job(window=window_of(phase, start_s, end_s, t0_wall_ns), uses=uses_of(self._plan, phase))
        if job.uses and job.window.length_ms:
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
        """What went wrong with queries since the last call; raises DriverError when the thread ended by a bug."""
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
        """
        Ask everything of one job. Once Prometheus stayed away for a whole retry budget, the rest is not asked.

        Scrape health is evidence for every SLI: without it, or with a warning about it, none of them can be judged.
        """
        series: list[Series] = []
        events: list[Stamped] = []
        everywhere = self._asked(EVERY_SLI, job.window, health_questions(self._prometheus, job.window))
        series += everywhere.series
        gone = everywhere.failed if everywhere.failed and not everywhere.refused else None
        for use in job.uses:
            own = _Asked()
            if gone is None:
                asked = questions(use.sli, self._prometheus, job.window, stretches_s=use.stretches_s)
                own = self._asked(use.sli.name, job.window, asked)
                gone = own.failed if own.failed and not own.refused else None
            series += own.series
            events += self._reported(use.sli.name, job.window.phase, own, everywhere, gone)
        return series, events

    def _reported(self, sli: str, phase: str, own: _Asked, everywhere: _Asked, gone: str | None) -> list[Stamped]:
        """What went wrong with one SLI, with what went wrong for all of them."""
        bodies: list[QueryFailed | QueryRefused | QueryWarned] = []
        if failed := own.failed or everywhere.failed or gone:
            made = QueryRefused if own.refused or everywhere.refused else QueryFailed
            bodies.append(made(sli=sli, phase=phase, detail=f"prometheus {self._prometheus.url}: {failed}"))
        if said := tuple(dict.fromkeys((*own.warnings, *everywhere.warnings))):
            bodies.append(QueryWarned(sli=sli, phase=phase, warnings=said))
        return [Stamped(mono_ns=time.monotonic_ns(), body=body) for body in bodies]

    def _asked(self, sli: str, window: Window, asked: tuple[Question, ...]) -> _Asked:
        """All answers, or why not."""
        gathered = Gathered(sli, window.phase, window.t0_wall_ns)
        self._api.forget_warnings()
        try:
            for one in asked:
                gathered.add(one, self._api.retried(one))
        except (UnavailableError, RefusedError) as error:
            refused = isinstance(error, RefusedError)
            return _Asked(failed=str(error), refused=refused, warnings=self._api.warnings())
        return _Asked(series=tuple(gathered.series()), warnings=self._api.warnings())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What came of the questions about one SLI."""

    series: tuple[Series, ...] = ()
    warnings: tuple[str, ...] = ()
    failed: str | None = None
    refused: bool = False
