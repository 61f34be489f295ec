"""A small stage for whole runs on fakes: a plan, its drivers, and a conductor that plays it in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from plan_values import (
    CLUSTER,
    LOAD,
    PROMETHEUS,
    SERVICE,
    client_sli,
    fault,
    phase,
    plan_of,
    rule,
    server_sli,
    threshold,
)

from harness.conductor.loop import conduct
from harness.drivers.audit.fake import FakeAudit
from harness.drivers.base import Drivers
from harness.drivers.fake import Degraded, FakeClock, FakeCluster, FakeFaults, FakeLoad, FakeMetrics
from harness.errors import StoppedError
from harness.history.events import Body, Interrupted, Stamped, Status
from harness.plan.model import Plan, Tier
from harness.record import Record
from harness.schedule.compile import compile_plan

RULES = (
    threshold("error_ratio"),
    threshold("error_ratio", rule("> 50%", 0.5, for_s=3.0), Tier.ABORT),
    threshold("server_error_ratio"),
)


def small_plan(*, stretch: float = 1.0) -> Plan:
    """Three phases of 200 s in all (times `stretch`), at 20 arrivals/s; one pod is deleted in the middle one."""
    service = replace(
        SERVICE,
        load=replace(LOAD, baseline_per_s=20.0),
        cluster=CLUSTER,
        prometheus=PROMETHEUS,
        slis=(
            client_sli("error_ratio"),
            server_sli("server_error_ratio", bad="bad_total", total="all_total", absent_means_zero=True),
        ),
    )
    edges = {"baseline": (0, 20, 80, 1.0), "stress": (80, 85, 140, 1.5), "recovery": (140, 145, 200, 1.0)}
    phases = (
        phase(name, begin * stretch, end * stretch, level, ramp_s=(start - begin) * stretch, thresholds=RULES)
        for name, (begin, start, end, level) in edges.items()
    )
    deleted = fault("pod-delete", 95 * stretch, 140 * stretch, max_targets=1)
    return plan_of(*phases, service=service, faults=(deleted,), scenario="small")


@dataclass
class FakeSignals:
    """Ctrl-C, at the instant a test says."""

    clock: FakeClock
    at_ns: int | None = None
    sent: bool = False

    def fds(self) -> Sequence[int]:
        return ()

    def poll(self) -> Sequence[Stamped]:
        if self.at_ns is None or self.sent or self.clock.mono_ns() < self.at_ns:
            return ()
        self.sent = True
        return (Stamped(mono_ns=self.clock.mono_ns(), body=Interrupted(signal="SIGINT")),)

    @contextmanager
    def raising(self) -> Iterator[None]:
        if self.poll():
            raise StoppedError("stopped by SIGINT")
        yield


@dataclass
class Stage:
    """One run on fakes. Change what you like before `play`."""

    results: Path
    plan: Plan = field(default_factory=small_plan)
    degraded: Sequence[Degraded] = ()
    effect: bool = True
    fail: str = ""
    metrics_broken: bool = False
    lost: int = 0  # what the audit will find, where the plan has one
    audit_fail: str = ""
    interrupt_at_s: float | None = None
    record_class: type[Record] = Record

    def __post_init__(self) -> None:
        self.clock = FakeClock()

    def play(self) -> Status:
        """Conduct the whole run; afterwards `record`, `drivers`, `faults` can be looked at."""
        self.record = self.record_class.create(self.results, self.plan, given={}, environment={"started": "2026-11-21"})
        cluster = FakeCluster(self.clock)
        self.faults = FakeFaults(self.plan, self.clock, cluster, effect=self.effect, fail=self.fail)
        asked = self.plan.audit
        self.audit = FakeAudit(asked, self.clock, lost=self.lost, fail=self.audit_fail) if asked else None
        self.drivers = Drivers(
            load=FakeLoad(self.plan, self.clock, self.degraded),
            faults=self.faults,
            metrics=FakeMetrics(self.plan, self.clock, broken=self.metrics_broken),
            cluster=cluster,
            audit=self.audit,
        )
        start_ns = self.clock.mono_ns()
        at_ns = None if self.interrupt_at_s is None else start_ns + round(self.interrupt_at_s * 1e9)
        signals = FakeSignals(self.clock, at_ns)
        try:
            return conduct(
                self.plan,
                compile_plan(self.plan),
                self.drivers,
                self.clock,
                self.record,
                signals=signals,
                watch=lambda _progress: None,
            )
        finally:
            self.drivers.close()
            self.record.close()

    def bodies(self, *kinds: type[Body]) -> list[Body]:
        """The bodies of these kinds in the history, in order."""
        return [event.body for event in self.record.events if isinstance(event.body, kinds)]


def without_faults(plan: Plan) -> Plan:
    return replace(plan, faults=())


ChangeRecord = Callable[[type[Record]], type[Record]]
