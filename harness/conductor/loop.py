"""
The one loop with effects: plays the cues on the drivers and writes down what happens.

Everything that can wait is waited for in one place, `clock.wait`; drivers are told to act and polled for what came
of it. However the run ends (the last cue, an abort threshold, Ctrl-C, a broken driver, a full disk), it is brought down
the same way: faults are rolled back, the load is drained, what Prometheus holds is fetched, and only then does the loop
return.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from harness.conductor.ending import AUDIT, Unfinished, awaited, linger
from harness.drivers.base import Clock, Drivers, SignalSource
from harness.errors import DriverError, HarnessError, StoppedError
from harness.history.audit import AuditCompleted, AuditFailed, AuditReadRequested
from harness.history.events import (
    AbortTripped,
    Body,
    CanaryCounted,
    CanarySeen,
    DriverBroke,
    Event,
    InjectRequested,
    Interrupted,
    LoadFailed,
    LoadStartRequested,
    LoadStopped,
    LoadStopRequested,
    PhaseEnded,
    PhaseStarted,
    RollbackRequested,
    RunEnded,
    RunStarted,
    Stamped,
    Status,
    WatchGap,
)
from harness.history.load import LoadFrame
from harness.history.views import FaultWindow, fault_windows
from harness.plan.model import Fault, Phase, Plan
from harness.record import Record
from harness.schedule.compile import fetch_lag_s
from harness.schedule.cues import Cue, Fetch, Inject, LoadEnd, PhaseEnd, PhaseStart, Rollback
from harness.verdict.guard import Guard

TICK_NS = 200_000_000  # how often drivers are looked at when nothing wakes the loop
GUARD_NS = 200_000_000  # how often abort thresholds are evaluated
LEAD_NS = 500_000_000  # between telling the workers to start and t = 0

S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a live view may show: the instant, what is new, and the record so far."""

    t_s: float
    events: tuple[Event, ...]  # since the last progress
    frames: tuple[LoadFrame, ...]  # since the last progress
    faults: tuple[FaultWindow, ...]
    closing: str | None  # what is being waited for at the end


def conduct(  # noqa: PLR0913 - the four collaborators of the one loop, the signals, and who watches
    plan: Plan,
    cues: Sequence[Cue],
    drivers: Drivers,
    clock: Clock,
    record: Record,
    *,
    signals: SignalSource,
    watch: Callable[[Progress], None],
) -> Status:
    """
    Run the plan; return how execution ended. The history ends with RunEnded unless the disk is full.

    Raises PlanError or DriverError when preflight refuses, StoppedError when a signal ends it: then no load was started
    and nothing was injected.
    The caller closes drivers and record.
    """
    return _Conductor(plan, deque(cues), drivers, clock, record, signals, watch).run()


@dataclass(slots=True)
class _Conductor:
    plan: Plan
    cues: deque[Cue]
    drivers: Drivers
    clock: Clock
    record: Record
    signals: SignalSource
    watch: Callable[[Progress], None]

    t0_ns: int = 0
    wall_ns: int = 0
    status: Status = Status.COMPLETED
    detail: str = "all cues played"
    closing_ns: int | None = None  # when bringing down began
    phase: Phase | None = None  # the phase in force
    guard: Guard = field(init=False)
    fetched: set[str] = field(default_factory=set)
    entered: dict[str, tuple[Phase, float]] = field(default_factory=dict)  # name -> phase, end or now
    injected: dict[str, Fault] = field(default_factory=dict)
    rolling_back: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)  # drivers that raised: left alone from then on
    load_done: bool = False
    audit_asked: bool = False  # to read back
    audit_done: bool = False
    stop_asked: bool = False
    next_guard_ns: int = 0
    seen_events: int = 0
    new_frames: list[LoadFrame] = field(default_factory=list)
    windows: tuple[FaultWindow, ...] = ()
    windows_at: int = -1

    def __post_init__(self) -> None:
        """The guard watches the plan's phases."""
        self.guard = Guard(self.plan)

    # -- the loop ---------------------------------------------------------------------------------------------

    def run(self) -> Status:
        try:
            with self.signals.raising():  # preflight waits for others, and has nothing to bring down
                early = self._preflight()
        except HarnessError as error:
            self._refused(error)
            raise
        self._start(early)
        while not self._finished():
            self._play_due_cues()
            self._poll()
            self._guard()
            self._tell()
            self.clock.wait(self._next_ns(), self._fds())
        self._end()
        return self.status

    def _preflight(self) -> list[Stamped]:
        early: list[Stamped] = []
        if self.drivers.faults:  # first, because it knows the lines of a plan that does not fit the cluster
            early += self.drivers.faults.preflight()
        if self.drivers.cluster:
            early += self.drivers.cluster.preflight()
        if self.drivers.metrics:
            early += self.drivers.metrics.preflight()
        if self.drivers.audit:
            early += self.drivers.audit.preflight()
        workers = self.drivers.load.prepare()
        early.append(Stamped(mono_ns=self.clock.mono_ns(), body=LoadStartRequested(workers=workers)))
        return early

    def _refused(self, error: HarnessError) -> None:
        self.t0_ns, self.wall_ns = self.clock.mono_ns(), self.clock.wall_ns()
        self._note(RunStarted(run=self.record.name, wall_ns=self.wall_ns))
        status = Status.INTERRUPTED if isinstance(error, StoppedError) else Status.CRASHED
        self._note(RunEnded(status=status, detail=f"ended before the load started: {error}"))

    def _start(self, early: Sequence[Stamped]) -> None:
        self.t0_ns = self.clock.mono_ns() + LEAD_NS
        self.wall_ns = self.clock.wall_ns() + LEAD_NS
        self.next_guard_ns = self.t0_ns + GUARD_NS
        self._note(RunStarted(run=self.record.name, wall_ns=self.wall_ns), self.t0_ns)
        for stamped in early:
            self._note(self._since_start(stamped.body), stamped.mono_ns)
        self._write(self.record.point_latest)
        self._ask("load", lambda: self.drivers.load.start(self.t0_ns))
        if audit := self.drivers.audit:
            self._ask("audit", lambda: audit.start(self.t0_ns))

    def _end(self) -> None:
        self._poll()  # what was answered between the last look and the end
        self._note(RunEnded(status=self.status, detail=self.detail))
        self._tell()
        if self.drivers.exporter and self.status is not Status.INTERRUPTED:
            ran_s = self._t_s(self.clock.mono_ns())
            linger(self.drivers.exporter, self.clock, self.signals, self.plan, ran_s)

    # -- cues -------------------------------------------------------------------------------------------------

    def _play_due_cues(self) -> None:
        while self.cues and self._at_ns(self.cues[0]) <= self.clock.mono_ns():
            self._play(self.cues.popleft())

    def _play(self, cue: Cue) -> None:
        match cue:
            case PhaseStart(phase=phase):
                self.phase = phase
                self.guard.enter(phase)
                self.entered[phase.name] = (phase, phase.end_s)
                self._note(PhaseStarted(phase=phase.name), self._at_ns(cue))
            case PhaseEnd(phase=phase):
                self.phase = None
                self.guard.enter(None)
                self._note(PhaseEnded(phase=phase.name), self._at_ns(cue))
            case Inject(fault=fault):
                self._inject(fault)
            case Rollback(fault=fault):
                self._roll_back(fault)
            case Fetch(phase=phase):
                self._fetch(phase)
            case LoadEnd():
                self._stop_load()

    def _inject(self, fault: Fault) -> None:
        faults = self.drivers.faults
        if faults is None or "faults" in self.broken:
            return
        self.injected[fault.name] = fault
        self._note(InjectRequested(fault=fault.name))
        self._ask("faults", lambda: faults.inject(fault))

    def _roll_back(self, fault: Fault) -> None:
        faults = self.drivers.faults
        if faults is None or fault.name not in self.injected or fault.name in self.rolling_back:
            return
        self.rolling_back.add(fault.name)
        self._note(RollbackRequested(fault=fault.name))
        self._ask("faults", lambda: faults.rollback(fault))

    def _fetch(self, phase: Phase) -> None:
        metrics = self.drivers.metrics
        if metrics is None or phase.name in self.fetched or phase.name not in self.entered:
            return
        self.fetched.add(phase.name)
        end_s = self.entered[phase.name][1]
        self._ask("metrics", lambda: metrics.fetch(phase, phase.start_s, end_s, self.wall_ns))

    def _stop_load(self) -> None:
        if not self.stop_asked:
            self.stop_asked = True
            self._note(LoadStopRequested())
            self._ask("load", self.drivers.load.stop)

    # -- what happens -----------------------------------------------------------------------------------------

    def _poll(self) -> None:
        for stamped in self.signals.poll():
            self._note(stamped.body, stamped.mono_ns)
            if isinstance(stamped.body, Interrupted):
                self._bring_down(Status.INTERRUPTED, f"interrupted by {stamped.body.signal}")
        for name, driver in self.drivers.all():
            self._ask(name, lambda driver=driver: self._take(driver.poll()))  # type: ignore[misc]
        self._ask("load", self._take_load)
        if self.drivers.metrics:
            self._ask("metrics", self._take_series)

    def _take(self, reports: Sequence[Stamped]) -> None:
        for stamped in reports:
            self._note(self._since_start(stamped.body), stamped.mono_ns)
            match stamped.body:
                case LoadStopped():
                    self.load_done = True
                case AuditCompleted() | AuditFailed():
                    self.audit_done = True
                case LoadFailed(detail=detail):
                    self.load_done = True
                    self._bring_down(Status.CRASHED, f"the load generator broke: {detail}")

    def _take_load(self) -> None:
        batch = self.drivers.load.take()
        if self.drivers.exporter:
            self.drivers.exporter.count(batch)
        self.new_frames += batch.frames
        self.guard.add(batch.frames)
        self._write(lambda: self.record.load(batch.frames, batch.health, batch.failures))

    def _take_series(self) -> None:
        if self.drivers.metrics:
            series = self.drivers.metrics.take()
            self._write(lambda: self.record.series(series))

    def _guard(self) -> None:
        """The live abort guard: the verdict's own rules, applied to the phase so far."""
        now_ns = self.clock.mono_ns()
        if now_ns < self.next_guard_ns or self.phase is None or self.closing_ns is not None:
            return
        self.next_guard_ns = now_ns + GUARD_NS
        trip = self.guard.look(self._t_s(now_ns))
        if trip is not None:
            self._note(AbortTripped(phase=trip.phase, sli=trip.sli, rule=trip.rule))
            self._bring_down(Status.ABORTED, f"{trip.sli} {trip.rule} in phase {trip.phase}")

    # -- bringing down ----------------------------------------------------------------------------------------

    def _bring_down(self, status: Status, detail: str) -> None:
        """End early: drop all cues, roll back, stop the load, fetch what the entered phases left in Prometheus."""
        if self.status is not Status.COMPLETED:
            return  # what came first is why
        self.status, self.detail = status, detail
        now_ns = self.clock.mono_ns()
        self.closing_ns = now_ns
        now_s = self._t_s(now_ns)
        for name, (phase, end_s) in self.entered.items():
            self.entered[name] = (phase, min(end_s, now_s))
        waiting = [cue for cue in self.cues if isinstance(cue, Fetch) and cue.phase.name in self.entered]
        lag_s = fetch_lag_s(self.plan)
        self.cues = deque(sorted((self._early(cue, now_s + lag_s) for cue in waiting), key=lambda cue: cue.at_s))
        for fault in self.injected.values():
            self._roll_back(fault)
        self._stop_load()

    def _early(self, cue: Fetch, at_s: float) -> Fetch:
        return Fetch(at_s=min(cue.at_s, at_s), phase=cue.phase)

    def _finished(self) -> bool:
        if self.cues:
            return False
        if self.closing_ns is None:
            self.closing_ns = self.clock.mono_ns()
        waiting_for = self._awaited()
        if waiting_for == AUDIT and not self.audit_asked and (audit := self.drivers.audit):
            self.audit_asked = True
            self._note(AuditReadRequested())
            self._ask("audit", audit.read_back)
        return waiting_for is None

    def _awaited(self) -> str | None:
        """What the end of the run still waits for; None when nothing is left."""
        assert self.closing_ns is not None
        audit, metrics = self.drivers.audit, self.drivers.metrics
        unfinished = Unfinished(
            load=not self.load_done and "load" not in self.broken,
            faults=tuple(window for window in self._fault_windows() if window.fault in self.injected),
            rollbacks="faults" not in self.broken,
            observed="cluster" not in self.broken,
            audit=bool(audit and not self.audit_done and "audit" not in self.broken),
            metrics=bool(metrics and "metrics" not in self.broken and metrics.pending()),
        )
        return awaited(unfinished, self.plan, (self.clock.mono_ns() - self.closing_ns) / S)

    # -- small things -----------------------------------------------------------------------------------------

    def _ask(self, name: str, action: Callable[[], None]) -> None:
        """Do something with a driver; when it is broken for good, say so and bring the run down."""
        if name in self.broken:
            return
        try:
            action()
        except DriverError as error:
            self.broken.add(name)
            self._note(DriverBroke(driver=name, detail=str(error)))
            self._bring_down(Status.CRASHED, str(error))

    def _note(self, body: Body, mono_ns: int | None = None) -> None:
        stamp = self.clock.mono_ns() if mono_ns is None else mono_ns
        self._write(lambda: self.record.event(stamp - self.t0_ns, body))
        if self.drivers.exporter:
            self.drivers.exporter.note(Stamped(mono_ns=stamp, body=body))

    def _write(self, action: Callable[[], object]) -> None:
        """Write to the record; a disk that does not take it ends the run, after everything is undone."""
        try:
            action()
        except OSError as error:
            self._bring_down(Status.CRASHED, f"{self.record.directory}: the record could not be written: {error}")

    def _fault_windows(self) -> tuple[FaultWindow, ...]:
        if self.windows_at != len(self.record.events):
            self.windows = fault_windows(self.plan, self.record.events)
            self.windows_at = len(self.record.events)
        return self.windows

    def _tell(self) -> None:
        if not self.new_frames and self.seen_events == len(self.record.events):
            return
        events, frames = tuple(self.record.events[self.seen_events :]), tuple(self.new_frames)
        self.seen_events = len(self.record.events)
        self.new_frames.clear()
        closing = self._awaited() if self.closing_ns is not None else None
        now_s = self._t_s(self.clock.mono_ns())
        self.watch(Progress(t_s=now_s, events=events, frames=frames, faults=self._fault_windows(), closing=closing))

    def _next_ns(self) -> int:
        tick = self.clock.mono_ns() + TICK_NS
        return min(tick, self._at_ns(self.cues[0])) if self.cues else tick

    def _fds(self) -> list[int]:
        fds = list(self.signals.fds())
        for name, driver in self.drivers.all():
            if name not in self.broken:
                fds += driver.fds()
        return fds

    def _at_ns(self, cue: Cue) -> int:
        return self.t0_ns + round(cue.at_s * S)

    def _since_start(self, body: Body) -> Body:
        """The body with the clock readings inside it turned into nanoseconds since run start, like the event's own."""
        match body:
            case CanarySeen(lo_ns=lo_ns, hi_ns=hi_ns) | CanaryCounted(lo_ns=lo_ns, hi_ns=hi_ns):
                return replace(body, lo_ns=lo_ns - self.t0_ns, hi_ns=hi_ns - self.t0_ns)
            case WatchGap(since_ns=since_ns):
                return replace(body, since_ns=since_ns - self.t0_ns)
        return body

    def _t_s(self, mono_ns: int) -> float:
        return (mono_ns - self.t0_ns) / S
