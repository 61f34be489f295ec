"""
What can be known of the queries before any load: each is run once, and judged as the run's will be.

Wrong is what no load will mend, and ends the run before it begins: a query that Prometheus refuses, several series
where a rule wants one, a name that is nearly another's, a limit beyond the last bucket. Everything else is told and
nothing more: a service that has served nothing yet has no requests to count, and its counter of errors need not exist.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

import promql_parser

from harness.drivers.prometheus.answers import Gathered
from harness.drivers.prometheus.api import Api
from harness.drivers.prometheus.http import RefusedError, UnavailableError
from harness.drivers.prometheus.questions import Window, health_questions, named, questions
from harness.drivers.prometheus.surroundings import at_risk
from harness.errors import DriverError, PlanError, Problem
from harness.history.events import QueryProbed
from harness.history.series import EVERY_SLI, Series, filled
from harness.plan.model import Phase, Plan, Prometheus, PrometheusSli, Source, Threshold
from harness.units import show
from harness.verdict.ruling import NoEvidenceError
from harness.verdict.server import ServerWindow, server_groups, server_measured

TARGETS_S = 10.0  # a server hands its first targets to its scrapers five seconds after it started
LOOK_BACK_MS = 60_000

_NEARLY = 0.9  # names this much alike are taken for a slip of the pen
_T0_NS = 0  # probes belong to no run: their seconds are Unix time


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """An SLI, and the rules that want it."""

    sli: PrometheusSli
    thresholds: tuple[Threshold, ...]

    @property
    def stretches_s(self) -> tuple[float, ...]:
        """How long the stretches are that its rules `in any DURATION` look at."""
        return tuple(one.rule.any_s for one in self.thresholds if one.rule.any_s is not None)


def uses_of(plan: Plan, *phases: Phase) -> tuple[Use, ...]:
    """The Prometheus SLIs that the phases' thresholds want, and those of the health score where they are judged."""
    slis = {sli.name: sli for sli in plan.service.slis if isinstance(sli, PrometheusSli)}
    found: dict[str, list[Threshold]] = {}
    for phase in phases:
        for threshold in phase.thresholds:
            if threshold.sli in slis:
                found.setdefault(threshold.sli, []).append(threshold)
        for part in plan.service.health if phase.judge else ():
            if part.sli in slis:
                found.setdefault(part.sli, [])
    return tuple(Use(sli=slis[name], thresholds=tuple(rules)) for name, rules in found.items())


class Lint:
    """Looks at everything that the plan will ask."""

    def __init__(self, plan: Plan, api: Api, closing: threading.Event) -> None:
        prometheus = plan.service.prometheus
        assert prometheus is not None  # who has none asks nothing
        self._plan, self._api, self._closing = plan, api, closing
        self._prometheus: Prometheus = prometheus
        self._problems: list[Problem] = []

    def checked(self) -> tuple[QueryProbed, ...]:
        """What each query answers; raises DriverError, or PlanError with everything that the files have wrong."""
        try:
            self._clock()
            uses = uses_of(self._plan, *self._plan.phases)
            if not uses:
                return ()
            self._await_targets()
            window, ups = self._look_back()
            probed = [self._probed(use, window, ups) for use in uses]
            probed += [
                QueryProbed(sli="prometheus", value=None, detail=text) for text in at_risk(self._plan, self._api)
            ]
        except (UnavailableError, RefusedError) as error:
            raise DriverError(f"prometheus {self._prometheus.url}: {error}") from error
        if self._problems:
            raise PlanError(tuple(self._problems))
        return tuple(probed)

    def _clock(self) -> None:
        """Phases are windows on the wall clock: more than half a scrape interval off would judge wrong samples."""
        before_s = time.time()
        theirs_s = float(self._api.instant("time()")[1])
        after_s = time.time()
        ahead_s = min(theirs_s - before_s, 0.0) + max(theirs_s - after_s, 0.0)
        if abs(ahead_s) > self._prometheus.scrape_interval_s / 2:
            raise DriverError(
                f"prometheus {self._prometheus.url}: its clock differs from this host's by {ahead_s:+.3f} s, more than "
                f"half a scrape interval; synchronise both clocks"
            )

    def _await_targets(self) -> None:
        """Return when a target of the service has been scraped; one that just started gets TARGETS_S."""
        query = f"up{{{self._prometheus.selector}}}"
        until_s = time.monotonic() + TARGETS_S
        while True:
            found = self._api.instant(query)
            if any(one["value"][1] == "1" for one in found):
                return
            if time.monotonic() > until_s or self._closing.wait(0.2):
                break
        where = f"prometheus {self._prometheus.url}"
        if found:
            what = f"{where}: all {len(found)} targets that match {query} are down"
            raise DriverError(what, hint="see that the service is up, and that Prometheus can reach it")
        what = f"{where}: nothing it scrapes matches {query}"
        raise DriverError(what, hint="correct `selector` under `prometheus` in the service file")

    def _look_back(self) -> tuple[Window, tuple[Series, ...]]:
        """The last minute, or as much of it as the targets have been scraped, and how that went."""
        now_ms = time.time_ns() // 1_000_000
        minute = Window(phase="", start_ms=now_ms - LOOK_BACK_MS, end_ms=now_ms, t0_wall_ns=_T0_NS)
        gathered = Gathered(EVERY_SLI, "", _T0_NS)
        for one in health_questions(self._prometheus, minute):
            gathered.add(one, self._api.send(one))
        ups = tuple(gathered.series())
        first_ms = min((round(one.samples.times[0] * 1000) for one in ups if len(one.samples)), default=now_ms - 1)
        start_ms = max(minute.start_ms, min(first_ms, now_ms - 1))
        return Window(phase="", start_ms=start_ms, end_ms=now_ms, t0_wall_ns=_T0_NS), ups

    def _probed(self, use: Use, window: Window, ups: tuple[Series, ...]) -> QueryProbed:
        """Value and sentence for one SLI."""
        gathered = Gathered(use.sli.name, "", _T0_NS)
        self._api.forget_warnings()
        for one in questions(use.sli, self._prometheus, window, stretches_s=use.stretches_s):
            gathered.add(one, self._api.send(one))
        series = gathered.series()
        self._shape(use, series)
        notes = [*self._edges(use, series), *self._absent(use.sli, series)]
        seen = ServerWindow(
            start_s=window.start_s,
            end_s=window.end_s,
            scrape_s=self._prometheus.scrape_interval_s,
            series=(*series, *ups),
            failures=(),
            warnings=self._api.warnings(),
            disturbed=frozenset(),
            selector=self._prometheus.selector,
        )
        labels = sorted({one.each for one in use.thresholds if one.each is not None})
        value, said = _whole(seen, use.sli) if not labels else (None, _each(seen, use.sli, labels[0]))
        return QueryProbed(sli=use.sli.name, value=value, detail="; ".join((said, *notes)))

    def _shape(self, use: Use, series: list[Series]) -> None:
        """Several series, where a rule wants one."""
        values = [one for one in series if one.role == "value"]
        if len(values) <= 1:
            return
        for threshold in use.thresholds:
            if threshold.each is None:
                names = sorted({name for one in values for name, _ in one.labels} - {"__name__"})
                what = f"the query of '{use.sli.name}' returns {len(values)} series; aggregate them, or judge each of "
                self._wrong(threshold.source, what + (", ".join(names) or "a label"))

    def _edges(self, use: Use, series: list[Series]) -> Iterator[str]:
        """Limits that are no edge of the buckets; one beyond the last of them can never be breached."""
        buckets = [one for one in series if one.role == "bucket"]
        if any(not (one.label("__name__") or "_bucket").endswith("_bucket") for one in buckets):
            return  # a native histogram grows buckets where they are needed
        edges = sorted({float(text) for one in buckets if (text := one.label("le")) not in {None, "+Inf"}})
        for threshold in use.thresholds if edges else ():
            rule = threshold.rule
            limit = rule.quantity if rule.relative_to is None else rule.cap
            if limit is None or limit in edges:
                continue
            shown = show(limit, use.sli.unit)
            if limit > edges[-1]:
                last = show(edges[-1], use.sli.unit)
                what = (
                    f"{shown} lies beyond the last bucket of '{use.sli.name}', {last}, so that it can never be breached"
                )
                self._wrong(threshold.source, f"{what}; add a bucket there, or lower the limit")
            else:
                yield f"no bucket has its edge at {shown}, so that rule '{rule.text}' may stay open"

    def _absent(self, sli: PrometheusSli, series: list[Series]) -> Iterator[str]:
        """Metrics of which there is nothing."""
        found = {one.role for one in series}
        for role, names in _names(sli, self._prometheus.selector):
            if role in found:
                continue
            known = self._api.metric_names()
            for name in (name for name in names if name not in known):
                like = get_close_matches(name, known, n=1, cutoff=_NEARLY)
                if like and not (role == "bad" and sli.absent_means_zero):
                    what = f"'{sli.name}' asks for '{name}', which Prometheus does not have; did you mean '{like[0]}'?"
                    self._wrong(sli.source, what)
                elif role != "bad" or not sli.absent_means_zero:
                    yield f"Prometheus has no '{name}'; fine if it comes with the first request, else correct the name"

    def _wrong(self, source: Source, what: str) -> None:
        self._problems.append(Problem(path=source.path, line=source.line, where="", what=what))


def _whole(window: ServerWindow, sli: PrometheusSli) -> tuple[float | None, str]:
    length = show(round(window.end_s - window.start_s), "s")
    try:
        measured = server_measured(window, sli)
    except NoEvidenceError as error:
        return None, f"no value yet: {error.detail}"
    counted = f" of {measured.samples}" if sli.query is None else ""
    shown = "beyond the last bucket" if measured.value is None else show(measured.value, sli.unit)
    return measured.value, f"{shown}{counted} over the last {length}"


def _each(window: ServerWindow, sli: PrometheusSli, label: str) -> str:
    try:
        groups = server_groups(window, sli, label)
    except NoEvidenceError as error:
        return f"no value yet: {error.detail}"
    found = ((name, _whole(group, sli)[0]) for name, group in groups.items())
    return ", ".join(f"{name} {'no value' if value is None else show(value, sli.unit)}" for name, value in found)


def _names(sli: PrometheusSli, selector: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The metrics that an SLI asks for, and the role that their samples have; one of several names may be enough."""
    if sli.query is not None:
        yield "value", _named_in(filled(sli.query, selector, LOOK_BACK_MS))
    if sli.bad is not None and sli.total is not None:
        yield "bad", _named_in(filled(sli.bad, selector, LOOK_BACK_MS))
        yield "total", _named_in(filled(sli.total, selector, LOOK_BACK_MS))
    if sli.histogram is not None:
        yield "bucket", _named_in(filled(named(sli.histogram, "_bucket"), selector, LOOK_BACK_MS))


def _named_in(query: str) -> tuple[str, ...]:
    found: list[str] = []

    def look(node: object) -> None:
        name = getattr(node, "name", None) if type(node).__name__ == "VectorSelector" else None
        if name:
            found.append(name)

    promql_parser.walk(promql_parser.parse(query), look)
    return tuple(dict.fromkeys(found))
