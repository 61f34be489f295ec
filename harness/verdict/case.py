"""A recorded run as rules see it, with what several of them need worked out once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.history.events import QueryFailed, QueryRefused, QueryWarned, RunEnded
from harness.history.run import Run
from harness.history.series import EVERY_SLI, Series
from harness.plan.model import Better, ClientMeasure, ClientSli, Plan, PrometheusSli, Sli, Unit
from harness.schedule.load import Knot, knots_of, stream_names
from harness.verdict.client import ClientWindow, Offered, Tally, tallies, whole_seconds
from harness.verdict.measuring import client_measured
from harness.verdict.model import Check, Reason
from harness.verdict.relative import Baseline, scaled
from harness.verdict.ruling import Measured, NoEvidenceError
from harness.verdict.server import Clients, ServerWindow, server_groups, server_measured
from harness.verdict.window import Window

Member = tuple[str, str]  # a label and its value: which of the series that Prometheus returned are judged


@dataclass(slots=True)
class Case:
    """A recorded run; `disturbed` and `impacts` are seconds, see ClientWindow."""

    run: Run
    windows: Sequence[Window]
    knots: Sequence[Knot]
    disturbed: frozenset[int]  # seconds of faults and of their impacts
    limited: Mapping[str, Check]  # phase -> the load check it failed
    facts: frozenset[int] = frozenset()  # seconds of faults alone
    _offered: dict[str | None, Offered] = field(default_factory=dict)
    _tallies: dict[tuple[str | None, str | None], dict[int, Tally]] = field(default_factory=dict)
    _clients_of: dict[tuple[str, str | None, str | None], ClientWindow] = field(default_factory=dict)
    _series_of: dict[tuple[str, str], list[Series]] = field(default_factory=dict)
    _sent: dict[str, Clients] = field(default_factory=dict)  # phase -> what became of all requests
    _servers: dict[tuple[str, str, Member | None], ServerWindow] = field(default_factory=dict)
    _measured: dict[tuple[str, Sli, Member | None], Measured | NoEvidenceError] = field(default_factory=dict)

    def offered(self, stream: str | None = None) -> Offered:
        """The arrivals that the plan offers, of one stream or of all."""
        if stream not in self._offered:
            known = stream is not None and stream in stream_names(self.run.plan)
            self._offered[stream] = Offered(knots_of(self.run.plan, stream) if known else self.knots)
        return self._offered[stream]

    def tallies(self, series: str | None, stream: str | None = None) -> dict[int, Tally]:
        """Second -> tally of one request name, of one stream, or of all."""
        key = (series, stream)
        if key not in self._tallies:
            self._tallies[key] = tallies(self.run.frames, series, stream)
        return self._tallies[key]

    def client(self, window: Window, sli: ClientSli) -> ClientWindow:
        """The load record of a phase for an SLI; raises NoEvidenceError when the generator was the bottleneck."""
        check = self.limited.get(window.phase.name)
        if check is not None:
            raise NoEvidenceError(Reason.GENERATOR_LIMITED, f"{check.check}: {check.detail}")
        return self.record(window, sli.series, sli.stream)

    def record(self, window: Window, series: str | None = None, stream: str | None = None) -> ClientWindow:
        """The load record of a phase, whether it may be judged or not."""
        key = (window.phase.name, series, stream)
        if key not in self._clients_of:
            seconds = whole_seconds(window.start_s, window.end_s) if window.entered else range(0)
            found = self.tallies(series, stream)
            inside = tuple(found[second] for second in seconds if second in found)
            offered = self.offered(stream).within
            self._clients_of[key] = ClientWindow(seconds, inside, offered, self.facts, self.disturbed)
        return self._clients_of[key]

    def server(self, window: Window, sli: PrometheusSli, member: Member | None = None) -> ServerWindow:
        """What Prometheus returned for an SLI in a phase, or for one group of its series."""
        key = (window.phase.name, sli.name, member)
        if key not in self._servers:
            self._servers[key] = self._server(window, sli, member)
        return self._servers[key]

    def _server(self, window: Window, sli: PrometheusSli, member: Member | None) -> ServerWindow:
        name, run = window.phase.name, self.run
        said = [event.body for event in run.events if isinstance(event.body, QueryFailed | QueryRefused | QueryWarned)]
        own = [body for body in said if body.sli == sli.name and body.phase == name]
        series = self._series(name, sli.name) + self._series(name, EVERY_SLI)
        broke_off = not any(isinstance(event.body, RunEnded) for event in run.events)
        unasked = ("the record broke off before Prometheus was asked",) if broke_off and not (series or own) else ()
        found = ServerWindow(
            start_s=window.start_s,
            end_s=window.end_s,
            scrape_s=self.scrape_s,
            series=series,
            failures=tuple(body.detail for body in own if isinstance(body, QueryFailed)) or unasked,
            refusals=tuple(body.detail for body in own if isinstance(body, QueryRefused)),
            warnings=tuple(text for body in own if isinstance(body, QueryWarned) for text in body.warnings),
            disturbed=self.disturbed,
            facts=self.facts,
            clients=self._clients(window),
            selector=prometheus.selector if (prometheus := run.plan.service.prometheus) else "",
        )
        if member is None:
            return found
        label, value = member
        groups = server_groups(found, sli, label)
        return groups[value] if value in groups else replace(found, series=())

    def _series(self, phase: str, sli: str) -> tuple[Series, ...]:
        """What Prometheus returned for an SLI in a phase; an hour's run has a thousand series, asked for often."""
        if not self._series_of:
            for one in self.run.series:
                self._series_of.setdefault((one.phase, one.sli), []).append(one)
        return tuple(self._series_of.get((phase, sli), ()))

    def _clients(self, window: Window) -> Clients | None:
        """What became of all requests of a phase; None when the generator was the bottleneck."""
        name = window.phase.name
        if name in self.limited:
            return None
        if name not in self._sent:
            inside = self.record(window).tallies
            failed = sum(one.bad + one.unknown for one in inside)
            self._sent[name] = Clients(sent=sum(one.sent for one in inside), failed=failed)
        return self._sent[name]

    @property
    def scrape_s(self) -> float:
        """How often Prometheus reads counters."""
        prometheus = self.run.plan.service.prometheus
        return prometheus.scrape_interval_s if prometheus else 1.0

    def measured(self, window: Window, sli: Sli, member: Member | None = None) -> Measured:
        """The SLI's value in a phase; raises NoEvidenceError."""
        key = (window.phase.name, sli, member)
        if key not in self._measured:
            try:
                self._measured[key] = (
                    client_measured(self.client(window, sli), sli)
                    if isinstance(sli, ClientSli)
                    else server_measured(self.server(window, sli, member), sli)
                )
            except NoEvidenceError as error:
                self._measured[key] = error
        found = self._measured[key]
        if isinstance(found, NoEvidenceError):
            raise found
        return found

    def baseline(self) -> Window | None:
        """The first judged phase at 100 % load without a fault that ran to its end."""
        faulty = {fault.phase for fault in self.run.plan.faults}
        fitting = (
            window
            for window in self.windows
            if window.finished
            and window.phase.judge
            and window.phase.load_level == 1.0
            and window.phase.name not in faulty
        )
        return next(fitting, None)

    def compared_with(self, window: Window, sli: Sli, member: Member | None) -> Baseline:
        """What the SLI was in the baseline phase, at this phase's load; raises NoEvidenceError when unknown."""
        base = self.baseline()
        if base is None:
            detail = "no judged phase at 100 % load without a fault ran to its end"
            raise NoEvidenceError(Reason.NO_BASELINE, detail)
        itself = base.phase.name == window.phase.name
        try:
            value = self.measured(base, sli, member)
        except NoEvidenceError as error:
            detail = f"baseline phase {base.phase.name}: {error.detail}"
            raise NoEvidenceError(Reason.NO_BASELINE, detail) from error
        if not itself and (value.value is None or value.lo is None or value.hi is None):
            detail = f"baseline phase {base.phase.name} has no finite {sli.name}"
            raise NoEvidenceError(Reason.NO_BASELINE, detail)
        scale = 1.0 if itself else self._load_scale(window, base, sli)
        return Baseline(phase=base.phase.name, value=scaled(value, scale), scale=scale, itself=itself)

    def _load_scale(self, window: Window, base: Window, sli: Sli) -> float:
        """
        How many times the baseline's load a phase has, for what grows with load; 1 for ratios, times and the like.

        Throughput is compared per second, a count over the whole phase.
        """
        count = isinstance(sli, ClientSli) and sli.measure is ClientMeasure.FAILURES
        if not count and not (sli.unit is Unit.PER_SECOND and sli.better is Better.HIGHER):
            return 1.0
        offered = self.offered(sli.stream if isinstance(sli, ClientSli) else None)
        there, here = (offered.within(one.start_s, one.end_s) for one in (base, window))
        if not count:
            there, here = there / (base.end_s - base.start_s), here / (window.end_s - window.start_s)
        return here / there if there > 0 else 1.0


def sli_of(plan: Plan, name: str) -> Sli:
    """The SLI of a name; raises LookupError."""
    for sli in plan.service.slis:
        if sli.name == name:
            return sli
    raise LookupError(f"service '{plan.service.name}' has no SLI '{name}'")
