"""A small stage for whole runs on fakes: a plan, its drivers, and a conductor that plays it in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.conductor.loop import conduct
from harness.drivers.audit.fake import FakeAudit
from harness.drivers.base import Drivers
from harness.drivers.fake import Degraded, FakeClock, FakeCluster, FakeFaults, FakeLoad, FakeMetrics
from harness.errors import StoppedError
from harness.history.events import Body, Interrupted, Stamped, Status
from harness.plan.model import (
    Better,
    ClientMeasure,
    ClientSli,
    Cluster,
    Experiment,
    Fault,
    Load,
    Observe,
    Phase,
    Plan,
    Prometheus,
    PrometheusSli,
    Rule,
    Service,
    Source,
    Threshold,
    Tier,
    Unit,
)
from harness.record import Record
from harness.schedule.compile import compile_plan

HERE = Source(path="scenarios/small.yaml", line=1)
RULES = {Tier.FAIL: (">", 0.01, None), Tier.ABORT: (">", 0.5, 3.0)}


def threshold(sli: str, tier: Tier) -> Threshold:
    op, quantity, for_s = RULES[tier]
    rule = Rule(text=f"{op} {quantity:.0%}", op=op, quantity=quantity, relative_to=None, for_s=for_s)  # type: ignore[arg-type]
    return Threshold(sli=sli, tier=tier, rule=rule, source=HERE)


def phase(name: str, begin_s: float, start_s: float, end_s: float, level: float) -> Phase:
    thresholds = (
        threshold("error_ratio", Tier.FAIL),
        threshold("error_ratio", Tier.ABORT),
        threshold("server_error_ratio", Tier.FAIL),
    )
    return Phase(
        name=name,
        load_level=level,
        begin_s=begin_s,
        ramp_s=start_s - begin_s,
        settle_s=0.0,
        start_s=start_s,
        end_s=end_s,
        judge=True,
        thresholds=thresholds,
        timings=(),
        source=HERE,
    )


def small_plan(*, stretch: float = 1.0) -> Plan:
    """Three phases of 200 s in all (times `stretch`), at 20 arrivals/s; one pod is deleted in the middle one."""
    edges = [(0, 20, 80, 1.0), (80, 85, 140, 1.5), (140, 145, 200, 1.0)]
    names = ("baseline", "stress", "recovery")
    phases = tuple(
        phase(name, begin * stretch, start * stretch, end * stretch, level)
        for name, (begin, start, end, level) in zip(names, edges, strict=True)
    )
    experiment = Experiment(
        name="pod-delete",
        path="experiments/pod-delete.yaml",
        document="{}",
        observe=Observe.PODS_REPLACED,
        selector="app=shop",
        namespace="shop",
        zone=None,
        max_targets=1,
    )
    fault = Fault(
        name="pod-delete", experiment=experiment, at_s=95 * stretch, until_s=140 * stretch, phase="stress", source=HERE
    )
    client = ClientSli(
        name="error_ratio",
        measure=ClientMeasure.ERROR_RATIO,
        quantile=None,
        series=None,
        unit=Unit.RATIO,
        better=Better.LOWER,
        source=HERE,
    )
    server = PrometheusSli(
        name="server_error_ratio",
        query=None,
        bad="bad_total",
        total="all_total",
        unit=Unit.RATIO,
        better=Better.LOWER,
        absent_means_zero=True,
        source=HERE,
    )
    service = Service(
        name="shop",
        title="shop",
        url="http://127.0.0.1:1",
        load=Load(
            baseline_per_s=20.0,
            locustfile="/nowhere.py",
            arrivals="uniform",
            seed=1,
            deadline_s=5.0,
            slow_s=1.0,
            workers=1,
        ),
        cluster=Cluster(
            kubeconfig="/k", context=None, namespace="shop", selector="app=shop", deployment="shop", max_pods=2
        ),
        prometheus=Prometheus(
            url="http://127.0.0.1:2",
            headers=(),
            ca_file=None,
            verify=True,
            scrape_interval_s=1.0,
            selector='job="shop"',
            timeout_s=5.0,
        ),
        slis=(client, server),
        sandbox=None,
        source=HERE,
    )
    return Plan(
        scenario="small",
        title="small",
        service=service,
        phases=phases,
        faults=(fault,),
        end_s=phases[-1].end_s,
        time_scale=1.0,
        source=HERE,
    )


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
