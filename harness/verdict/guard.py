"""
The live abort guard: which abort threshold of the phase in force is proven breached, asked every second or oftener.

A rule without `for` trips on evidence that may be looked at all the time (see `evidence`): since the phase began, or in
its last ten seconds, so that a good half hour does not hide an outage. What happens within an eighth of a second is
taken for one event, and more where the phase so far showed longer bursts. A look costs what is new since the last.

Answers still outstanding may turn out either way, so only what is already certain counts. Rules on Prometheus, and
those relative to the baseline, cannot be decided live and never trip.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from harness.history.events import PhaseEnded, PhaseStarted
from harness.history.load import LoadFrame
from harness.history.run import Run
from harness.plan.model import ClientMeasure, ClientSli, Phase, Plan, Threshold, Tier
from harness.schedule.load import knots_of, stream_names
from harness.verdict.case import sli_of
from harness.verdict.client import ClientWindow, Offered, Tally, counts_of, quantile_of, whole_seconds
from harness.verdict.deciding import Asked, slice_holds
from harness.verdict.evidence import Spread, proven
from harness.verdict.interval import Second, design_effect, with_blackouts
from harness.verdict.ruling import holds

ALPHA_PHASE = 0.001  # chance of a false abort by the evidence of the whole phase
ALPHA_RECENT = 0.05  # and by that of its last seconds, in the phase as a whole
RECENT_S = 10
EVENTS_PER_S = 8.0  # at most so many independent events are seen in a second

_SECONDS_MIN = 3  # without a black-out, fewer show nothing but one burst
_SETTLING_S = 2  # beyond the deadline, until the last outcome of a second is in the record

_Key = tuple[str | None, str | None]  # request name, stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Tripped:
    """An abort threshold that is proven breached."""

    phase: str
    sli: str
    rule: str
    group: str | None = None


def tripped(run: Run, t_s: float) -> Tripped | None:
    """The first abort threshold of the phase in force that is proven breached `t_s` seconds into the run so far."""
    phase = _phase_in_force(run)
    if phase is None:
        return None
    guard = Guard(run.plan)
    guard.enter(phase)
    guard.add(run.frames)
    return guard.look(t_s)


def _phase_in_force(run: Run) -> Phase | None:
    for event in reversed(run.events):
        if isinstance(event.body, PhaseEnded):
            return None
        if isinstance(event.body, PhaseStarted):
            name = event.body.phase
            return next((phase for phase in run.plan.phases if phase.name == name), None)
    return None


class Guard:
    """The abort thresholds of the phase in force, and what was seen of it so far."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._phase: Phase | None = None
        self._rules: list[tuple[Threshold, ClientSli]] = []
        self._records: dict[_Key, dict[int, Tally]] = {}
        self._watches: dict[tuple[int, str | None], _Watch] = {}
        self._names: set[str] = set()

    def enter(self, phase: Phase | None) -> None:
        """A phase begins (None: the one in force ended); what was seen is forgotten."""
        self._phase = phase
        self._rules = [(rule, sli) for rule in (phase.thresholds if phase else ()) if (sli := self._watched(rule))]
        self._records, self._watches, self._names = {}, {}, set()

    def add(self, frames: Iterable[LoadFrame]) -> None:
        """More of the load record; seconds outside the phase are passed over."""
        if self._phase is None or not self._rules:
            return
        seconds = whole_seconds(self._phase.start_s, self._phase.end_s)
        for frame in frames:
            if frame.second in seconds:
                self._count(frame)

    def look(self, t_s: float) -> Tripped | None:
        """The first threshold that is proven breached by the seconds that are over `t_s` seconds into the run."""
        phase = self._phase
        if phase is None:
            return None
        over = whole_seconds(phase.start_s, min(t_s, phase.end_s))
        for number, (threshold, sli) in enumerate(self._rules):
            for group, own in self._groups(threshold, sli):
                watch = self._watches.get((number, group))
                if watch is None:
                    watch = self._watches[number, group] = _Watch(self._plan, phase, own, threshold)
                if watch.breached(self._records.get((own.series, own.stream), {}), over.stop):
                    return Tripped(phase=phase.name, sli=sli.name, rule=threshold.rule.text, group=group)
        self._forget()
        return None

    def _forget(self) -> None:
        """Drop the seconds that no threshold needs any more."""
        settled = min((watch.settled for watch in self._watches.values()), default=0)
        for record in self._records.values():
            for second in [second for second in record if second < settled]:
                del record[second]

    def _watched(self, threshold: Threshold) -> ClientSli | None:
        if threshold.tier is not Tier.ABORT or threshold.rule.relative_to == "baseline":
            return None
        sli = sli_of(self._plan, threshold.sli)
        return sli if isinstance(sli, ClientSli) else None

    def _count(self, frame: LoadFrame) -> None:
        if frame.series:
            self._names.add(frame.series)
        for series, stream in self._keys():
            if (series is None or series == frame.series) and (stream is None or stream == frame.stream):
                record = self._records.setdefault((series, stream), {})
                tally = record.get(frame.second)
                if tally is None:
                    tally = record[frame.second] = Tally(frame.second)
                tally.add(frame)
                if series is not None and frame.steps is not None:
                    tally.add_steps(frame.steps)

    def _keys(self) -> set[_Key]:
        return {(own.series, own.stream) for rule, sli in self._rules for _, own in self._groups(rule, sli)}

    def _groups(self, threshold: Threshold, sli: ClientSli) -> Iterator[tuple[str | None, ClientSli]]:
        if threshold.each is None:
            yield None, sli
        elif threshold.each == "stream":
            yield from ((name, replace(sli, stream=name)) for name in stream_names(self._plan))
        else:
            yield from ((name, replace(sli, series=name)) for name in sorted(self._names))


class _Counted(NamedTuple):
    """A second, the arrivals in it that are bad for certain, and all of them."""

    second: int
    bad: int
    total: int


_Sum = tuple[float, float]  # bad, total


@dataclass(slots=True)
class _Watch:
    """One threshold on one group, and what is settled of its evidence."""

    plan: Plan
    phase: Phase
    sli: ClientSli
    threshold: Threshold
    settled: int = field(init=False)  # seconds before this one are in the sums
    bad: float = 0.0
    total: float = 0.0
    spread: Spread = field(default_factory=Spread)
    run: int = 0  # of settled seconds at the end for which the rule holds
    asked: Asked = field(init=False)
    window: ClientWindow = field(init=False)

    def __post_init__(self) -> None:
        """The rule's limit does not change in a phase."""
        seconds = whole_seconds(self.phase.start_s, self.phase.end_s)
        offered = Offered(knots_of(self.plan, self.sli.stream)).within
        self.window = ClientWindow(seconds, (), offered)
        self.settled = seconds.start
        rule = self.threshold.rule
        of_offered = rule.relative_to == "offered"
        limit = rule.quantity * (self.window.offered_per_s if of_offered else 1.0)
        self.asked = Asked(rule=rule, limit=(limit, limit), per_second=rule.quantity if of_offered else None)

    def breached(self, record: dict[int, Tally], stop: int) -> bool:
        """Whether the rule is proven breached by the seconds before `stop`."""
        rule = self.threshold.rule
        if rule.for_s is not None:
            return self._sustained(record, stop, max(1, math.ceil(rule.for_s - 1e-6)))
        recent_s = RECENT_S if rule.any_s is None else max(1, math.ceil(rule.any_s - 1e-6))
        self._settle(record, stop, recent_s)
        recent = [self._evidence(record[second]) for second in range(self.settled, stop) if second in record]
        latest = [one for one in recent if one.second >= stop - recent_s]
        if rule.any_s is not None and stop - self.window.seconds.start < recent_s:
            return False  # no stretch of that length is over yet
        if self.sli.measure is ClientMeasure.FAILURES:
            seen = (
                sum(bad for _, bad, _ in recent) + self.bad if rule.any_s is None else sum(bad for _, bad, _ in latest)
            )
            return holds((seen, math.inf), rule, self.asked.limit) is True
        allowed = self._allowed()
        if not 0 < allowed < 1:
            return allowed <= 0 and any(one.bad for one in recent)
        stretches = max(len(self.window.seconds) / recent_s, 1.0)
        if self._proven(latest, (0.0, 0.0), allowed, ALPHA_RECENT / stretches):
            return True
        return rule.any_s is None and self._proven(recent, (self.bad, self.total), allowed, ALPHA_PHASE)

    def _proven(self, seconds: Sequence[_Counted], before: _Sum, allowed: float, alpha: float) -> bool:
        """Whether these seconds and what was before them are evidence enough that more than allowed was bad."""
        bad = before[0] + sum(one.bad for one in seconds)
        total = before[1] + sum(one.total for one in seconds)
        if bad <= allowed * total:
            return False
        marked = with_blackouts([Second(one.total, one.bad) for one in seconds])
        if sum(not one.disturbed for one in marked) == len(marked) < _SECONDS_MIN:
            return False  # one burst tells nothing of how bursts vary
        passed_s = self.settled - self.window.seconds.start + len(seconds)
        rate = (self.total + sum(one.total for one in seconds)) / passed_s
        effect = max(rate / EVENTS_PER_S, self.spread.effect(), design_effect(marked, (1,)))
        return proven(bad / effect, total / effect, allowed, alpha)

    def _settle(self, record: dict[int, Tally], stop: int, recent_s: int) -> None:
        """Put into the sums what is neither recent nor can still change."""
        age = max(recent_s, math.ceil(self.plan.service.load.deadline_s) + _SETTLING_S)
        while self.settled < stop - age:
            if self.settled in record:
                one = self._evidence(record[self.settled])
                self.bad += one.bad
                self.total += one.total
                self.spread.add(one.bad, one.total)
            self.settled += 1

    def _evidence(self, tally: Tally) -> _Counted:
        (count,) = counts_of((tally,), self.sli, self.asked.limit)
        return _Counted(tally.second, count.least, count.total)

    def _allowed(self) -> float:
        """The share of bad arrivals above which the rule is breached; of a throughput, what may be missing."""
        limit = self.asked.limit[0]
        match self.sli.measure:
            case ClientMeasure.LATENCY:
                return 1 - quantile_of(self.sli)
            case ClientMeasure.SUCCESS_RATIO:
                return 1 - limit
            case ClientMeasure.THROUGHPUT:
                return 1 - limit / self.window.offered_per_s if self.window.offered_per_s else 1.0
            case _:
                return limit

    def _sustained(self, record: dict[int, Tally], stop: int, needed: int) -> bool:
        """Whether the rule held for so many seconds in a row, whatever the unknown outcomes turn out to be."""
        age = math.ceil(self.plan.service.load.deadline_s) + _SETTLING_S
        while self.settled < stop - age:
            self.run = self.run + 1 if self._holds(record, self.settled) else 0
            self.settled += 1
            if self.run >= needed:
                return True
        run = self.run
        for second in range(self.settled, stop):
            run = run + 1 if self._holds(record, second) else 0
            if run >= needed:
                return True
        return False

    def _holds(self, record: dict[int, Tally], second: int) -> bool:
        tally = record.get(second)
        if tally is not None and not tally.planned and self.sli.series is None:
            return False  # what was to come is not known yet, so neither is what is still to come
        return slice_holds(self.window, tally, self.sli, self.asked) is True
