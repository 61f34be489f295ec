"""Findings: one per threshold of a judged phase. The same rules, and this room's one place where they are applied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from harness.history.events import QueryFailed, QueryWarned
from harness.history.run import Run
from harness.plan.model import ClientSli, Plan, PrometheusSli, Sli, Threshold, Tier, Unit
from harness.schedule.load import Knot, arrivals_before
from harness.units import show
from harness.verdict.client import ClientWindow, Tally, client_measured, client_ruling, tallies, whole_seconds
from harness.verdict.model import Check, Finding, Outcome, Reason
from harness.verdict.ruling import Bounds, Measured, NoEvidenceError, Ruling, holds
from harness.verdict.server import ServerWindow, server_measured, server_ruling
from harness.verdict.window import Window


@dataclass(slots=True)
class Case:
    """A recorded run as rules see it, with what several of them need worked out once."""

    run: Run
    windows: Sequence[Window]
    knots: Sequence[Knot]
    disturbed: frozenset[int]
    limited: dict[str, Check]  # phase -> the load check it failed
    _tallies: dict[str | None, dict[int, Tally]] = field(default_factory=dict)
    _measured: dict[tuple[str, str], Measured | NoEvidenceError] = field(default_factory=dict)

    def tallies(self, series: str | None) -> dict[int, Tally]:
        """Second -> tally of one request name, or of all."""
        if series not in self._tallies:
            self._tallies[series] = tallies(self.run.frames, series)
        return self._tallies[series]

    def client(self, window: Window, sli: ClientSli) -> ClientWindow:
        """The load record of a phase for an SLI; raises NoEvidenceError when the generator was the bottleneck."""
        check = self.limited.get(window.phase.name)
        if check is not None:
            raise NoEvidenceError(Reason.GENERATOR_LIMITED, f"{check.check}: {check.detail}")
        seconds = whole_seconds(window.start_s, window.end_s)
        found = self.tallies(sli.series)
        inside = tuple(found[second] for second in seconds if second in found)
        return ClientWindow(seconds, inside, offered_by(self.knots), self.disturbed)

    def server(self, window: Window, sli: PrometheusSli) -> ServerWindow:
        """What Prometheus returned for an SLI in a phase."""
        name, run = window.phase.name, self.run
        said = [event.body for event in run.events if isinstance(event.body, QueryFailed | QueryWarned)]
        own = [body for body in said if body.sli == sli.name and body.phase == name]
        return ServerWindow(
            start_s=window.start_s,
            end_s=window.end_s,
            scrape_s=self.scrape_s,
            series=tuple(one for one in run.series if one.sli == sli.name and one.phase == name),
            failures=tuple(body.detail for body in own if isinstance(body, QueryFailed)),
            warnings=tuple(text for body in own if isinstance(body, QueryWarned) for text in body.warnings),
            disturbed=self.disturbed,
        )

    @property
    def scrape_s(self) -> float:
        """How often Prometheus reads counters."""
        prometheus = self.run.plan.service.prometheus
        return prometheus.scrape_interval_s if prometheus else 1.0

    def measured(self, window: Window, sli: Sli) -> Measured:
        """The SLI's value in a phase; raises NoEvidenceError."""
        key = (window.phase.name, sli.name)
        if key not in self._measured:
            try:
                self._measured[key] = (
                    client_measured(self.client(window, sli), sli)
                    if isinstance(sli, ClientSli)
                    else server_measured(self.server(window, sli), sli)
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


def offered_by(knots: Sequence[Knot]) -> Callable[[int], float]:
    """Second -> arrivals the plan offers in it."""
    return lambda second: arrivals_before(knots, second + 1) - arrivals_before(knots, second)


def sli_of(plan: Plan, name: str) -> Sli:
    """The SLI of a name; raises LookupError."""
    for sli in plan.service.slis:
        if sli.name == name:
            return sli
    raise LookupError(f"service '{plan.service.name}' has no SLI '{name}'")


def finding_of(case: Case, window: Window, threshold: Threshold) -> Finding:
    """The outcome of one threshold; never raises."""
    measured: Measured | None = None
    unit = Unit.RATIO
    try:
        sli = sli_of(case.run.plan, threshold.sli)
        unit = sli.unit
        if not window.entered:
            raise NoEvidenceError(Reason.NOT_RUN, f"phase {window.phase.name} was never entered")
        measured = case.measured(window, sli)
        ruling = _ruling(case, window, sli, threshold, measured)
        outcome, reason = _outcome(threshold.tier, ruling)
        detail = measured.text(unit) + (f"; {ruling.note}" if ruling.note else "")
        if not window.finished and reason is not Reason.EXCEEDED:
            outcome, reason = Outcome.INCONCLUSIVE, Reason.NOT_RUN
            detail = f"only {show(window.end_s - window.start_s, Unit.SECONDS)} of the phase were run; so far {detail}"
    except NoEvidenceError as error:
        outcome, reason, detail = Outcome.INCONCLUSIVE, error.reason, error.detail
    except Exception as error:  # a fault in judging must not cost the verdict; it is shown, and decides nothing
        outcome, reason, detail = Outcome.INCONCLUSIVE, Reason.CHECK_RAISED, f"{type(error).__name__}: {error}"
    return Finding(
        phase=window.phase.name,
        sli=threshold.sli,
        tier=threshold.tier,
        rule=threshold.rule.text,
        outcome=outcome,
        reason=reason,
        detail=detail,
        value=measured.value if measured else None,
        lo=measured.lo if measured else None,
        hi=measured.hi if measured else None,
        unit=unit,
        samples=measured.samples if measured else 0,
        coverage=measured.coverage if measured else None,
        source=threshold.source,
    )


def _ruling(case: Case, window: Window, sli: Sli, threshold: Threshold, measured: Measured) -> Ruling:
    rule = threshold.rule
    baseline = case.baseline() if rule.relative_to == "baseline" else None
    if baseline is not None and baseline.phase.name == window.phase.name and measured.value is not None:
        limit = rule.quantity * measured.value
        decided = holds((measured.value, measured.value), rule, (limit, limit))
        return Ruling(holds=decided, reason=Reason.UNDECIDED, note="this phase is the baseline")
    limits = _limit(case, window, sli, threshold, baseline)
    if isinstance(sli, ClientSli):
        return client_ruling(case.client(window, sli), sli, rule, limits)
    return server_ruling(case.server(window, sli), sli, rule, limits, measured)


def _limit(case: Case, window: Window, sli: Sli, threshold: Threshold, baseline: Window | None) -> Bounds:
    """What the value is compared with, in the SLI's unit; raises NoEvidenceError when the baseline gives none."""
    rule = threshold.rule
    if rule.relative_to is None:
        return rule.quantity, rule.quantity
    if rule.relative_to == "offered":
        seconds = whole_seconds(window.start_s, window.end_s)
        per_s = (arrivals_before(case.knots, seconds.stop) - arrivals_before(case.knots, seconds.start)) / len(seconds)
        return rule.quantity * per_s, rule.quantity * per_s
    if baseline is None:
        detail = "no judged phase at 100 % load without a fault ran to its end"
        raise NoEvidenceError(Reason.NO_BASELINE, detail)
    try:
        value = case.measured(baseline, sli)
    except NoEvidenceError as error:
        detail = f"baseline phase {baseline.phase.name}: {error.detail}"
        raise NoEvidenceError(Reason.NO_BASELINE, detail) from error
    if value.lo is None or value.hi is None:
        detail = f"baseline phase {baseline.phase.name} has no finite {sli.name}"
        raise NoEvidenceError(Reason.NO_BASELINE, detail)
    return rule.quantity * value.lo, rule.quantity * value.hi


def _outcome(tier: Tier, ruling: Ruling) -> tuple[Outcome, Reason]:
    """At target tier a rule says what is wanted, at the others what is a breach; a missed target is a warning."""
    if ruling.holds is None:
        return Outcome.INCONCLUSIVE, ruling.reason
    if ruling.holds == (tier is Tier.TARGET):
        return Outcome.PASS, Reason.WITHIN
    return (Outcome.FAIL if tier in (Tier.FAIL, Tier.ABORT) else Outcome.WARN), Reason.EXCEEDED
