"""
Shipped twins of the drivers: they play a script on a clock that jumps, so that ten minutes of run take milliseconds.

A fake keeps the contract of `drivers.base` that the real driver keeps, and one contract suite holds both to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from harness.drivers.base import LoadBatch
from harness.errors import DriverError
from harness.history.events import (
    Body,
    DeploymentSeen,
    EndpointsSeen,
    FaultArmed,
    InjectCompleted,
    InjectFailed,
    LoadStarted,
    LoadStopped,
    NodeSeen,
    PodGone,
    PodSeen,
    ReplicaSetSeen,
    RollbackCompleted,
    RollbackFailed,
    RunEnded,
    Stamped,
    TargetsFrozen,
)
from harness.history.histogram import Histogram
from harness.history.load import BINS_PER_SECOND, LoadFrame, WorkerHealth
from harness.history.series import EVERY_SLI, Labels, Role, Samples, Series
from harness.plan.model import Fault, Phase, Plan, PrometheusSli
from harness.schedule.load import arrivals_of

S = 1_000_000_000
BIN_NS = S // BINS_PER_SECOND
WALL_EPOCH_NS = 1_700_000_000 * S


class FakeClock:
    """A clock that stands still while anything works and jumps when it is waited on."""

    def __init__(self, start_ns: int = 1000 * S) -> None:
        self._now_ns = start_ns
        self._start_ns = start_ns
        self._calls: list[tuple[int, int]] = []
        self.on_jump: Callable[[int], None] | None = None  # told the new instant; tests interrupt here

    def mono_ns(self) -> int:
        """The instant the clock stands at."""
        return self._now_ns

    def wall_ns(self) -> int:
        """Unix time that goes with it."""
        return WALL_EPOCH_NS + self._now_ns - self._start_ns

    def wait(self, until_mono_ns: int, fds: Sequence[int]) -> None:  # noqa: ARG002 - fakes have no descriptors
        """Jump to `until_mono_ns`."""
        self._now_ns = max(self._now_ns, until_mono_ns)
        if self.on_jump:
            self.on_jump(self._now_ns)


@dataclass(slots=True)
class _Reports:
    """What a fake will report and when."""

    clock: FakeClock
    waiting: list[Stamped] = field(default_factory=list)

    def after(self, delay_s: float, *bodies: Body) -> None:
        at_ns = self.clock.mono_ns() + round(delay_s * S)
        self.waiting += [Stamped(mono_ns=at_ns, body=body) for body in bodies]

    def due(self) -> list[Stamped]:
        now_ns = self.clock.mono_ns()
        due = [report for report in self.waiting if report.mono_ns <= now_ns]
        self.waiting = [report for report in self.waiting if report.mono_ns > now_ns]
        return sorted(due, key=lambda report: report.mono_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Degraded:
    """From `start_s` to `end_s` this share of arrivals fails."""

    start_s: float
    end_s: float
    bad_share: float


class FakeLoad:
    """A generator whose arrivals are all sent and answered in 10 ms, but for the scripted degradations."""

    def __init__(self, plan: Plan, clock: FakeClock, degraded: Sequence[Degraded] = ()) -> None:
        self._clock, self._degraded = clock, degraded
        self._arrivals = arrivals_of(plan)
        self._reports = _Reports(clock)
        self._t0_ns: int | None = None
        self._until_ns: int | None = None
        self._done = 0  # whole seconds already reported
        self.closed = False

    def prepare(self) -> int:
        """One worker."""
        return 1

    def start(self, t0_mono_ns: int) -> None:
        """Begin at the given instant."""
        self._t0_ns = t0_mono_ns
        self._reports.after(0.0, LoadStarted(workers=1))

    def stop(self) -> None:
        """Plan no arrivals from now."""
        assert self._t0_ns is not None
        self._until_ns = self._clock.mono_ns() - self._t0_ns
        self._reports.after(0.5, LoadStopped(scheduled_until_ns=self._until_ns))

    def fds(self) -> Sequence[int]:
        """None: the clock jumps."""
        return ()

    def poll(self) -> Sequence[Stamped]:
        """LoadStarted, LoadStopped."""
        return self._reports.due()

    def take(self) -> LoadBatch:
        """The frames of every whole second since the last call."""
        if self._t0_ns is None:
            return LoadBatch(frames=(), health=())
        now_ns = self._clock.mono_ns() - self._t0_ns
        end_ns = now_ns if self._until_ns is None else min(now_ns, self._until_ns)
        last = max(self._done, -(-end_ns // S) if self._until_ns is not None else end_ns // S)
        seconds = range(self._done, last)
        self._done = last
        frames = tuple(frame for second in seconds for frame in self._second(second, end_ns))
        health = tuple(
            WorkerHealth(second=second, worker="fake", cpu_ratio=0.1, stall_s_max=0.001) for second in seconds
        )
        return LoadBatch(frames=frames, health=health)

    def _second(self, second: int, end_ns: int) -> tuple[LoadFrame, ...]:
        edges = [min(second * S + index * BIN_NS, end_ns) for index in range(BINS_PER_SECOND + 1)]
        before = [self._arrivals.before(edge) for edge in edges]
        bins = tuple(after - start for start, after in pairwise(before))
        bad = tuple(self._bad(second + index / BINS_PER_SECOND, count) for index, count in enumerate(bins))
        planned, failed = sum(bins), sum(bad)
        response, lag = Histogram(), Histogram()
        response.record(10_000, planned - failed)
        lag.record(200, planned)
        return (
            LoadFrame(second=second, series="", planned=planned),
            LoadFrame(
                second=second,
                series="GET /",
                sent=planned,
                ok=planned - failed,
                failed=failed,
                response=response,
                service=response,
                lag=lag,
                good_bins=tuple(count - lost for count, lost in zip(bins, bad, strict=True)),
                bad_bins=bad,
                errors=(("http_503", failed),) if failed else (),
            ),
        )

    def _bad(self, t_s: float, count: int) -> int:
        share = max((one.bad_share for one in self._degraded if one.start_s <= t_s < one.end_s), default=0.0)
        return round(count * share)

    def close(self) -> None:
        """Nothing runs."""
        self.closed = True


class FakeCluster:
    """A node of ready pods of one deployment; `kill` takes one away and brings a replacement a second later."""

    def __init__(self, clock: FakeClock, pods: int = 6) -> None:
        self._reports = _Reports(clock)
        self._pods = [(f"pod-{number}", f"uid-{number}") for number in range(pods)]
        self._made = self._wanted = pods
        self.closed = False

    @property
    def names(self) -> tuple[str, ...]:
        """The pods there are."""
        return tuple(name for name, _ in self._pods)

    def preflight(self) -> Sequence[Stamped]:
        """All pods, ready."""
        self.closed = False
        node = NodeSeen(node="node-a", zone="zone-a", ready=True, schedulable=True, taints=())
        self._reports.after(0.0, node, *(self._seen(*pod) for pod in self._pods), *self._counted())
        return self._reports.due()

    def kill(self) -> None:
        """The first pod is deleted now; its replacement is ready a second later."""
        name, uid = self._pods.pop(0)
        self._reports.after(0.0, PodGone(pod=name, uid=uid), *self._counted())
        self._pods.append((f"pod-{self._made}", f"uid-{self._made}"))
        self._made += 1
        self._reports.after(1.0, self._seen(*self._pods[-1]), *self._counted())

    def _seen(self, name: str, uid: str) -> PodSeen:
        return PodSeen(
            pod=name,
            uid=uid,
            zone="zone-a",
            node="node-a",
            phase="Running",
            ready=True,
            terminating=False,
            owner="uid-shop-1",
        )

    def _counted(self) -> tuple[EndpointsSeen, ReplicaSetSeen, DeploymentSeen]:
        """The service's endpoints and how the rollout stands, with the pods that there are now."""
        count, wanted = len(self._pods), self._wanted
        revision = ReplicaSetSeen(
            replica_set="shop-1", uid="uid-shop-1", deployment="shop", revision=1, replicas=wanted, ready=count
        )
        rollout = DeploymentSeen(
            deployment="shop",
            generation=1,
            observed=1,
            wanted=wanted,
            replicas=wanted,
            updated=wanted,
            ready=count,
            available=count,
            stuck=False,
        )
        return EndpointsSeen(service="shop", ready=count, zones=(("zone-a", count),)), revision, rollout

    def fds(self) -> Sequence[int]:
        """None: the clock jumps."""
        return ()

    def poll(self) -> Sequence[Stamped]:
        """Pods and endpoints as they change, while it watches."""
        due = self._reports.due()
        return () if self.closed else due

    def close(self) -> None:
        """Nothing runs."""
        self.closed = True


class FakeFaults:
    """Plays faults by killing pods of a FakeCluster. `effect=False` does nothing and says it worked."""

    def __init__(
        self, plan: Plan, clock: FakeClock, cluster: FakeCluster, *, effect: bool = True, fail: str = ""
    ) -> None:
        self._plan, self._cluster, self._effect, self._fail = plan, cluster, effect, fail
        self._reports = _Reports(clock)
        self.active: set[str] = set()
        self.closed = False

    def preflight(self) -> Sequence[Stamped]:
        """All pods of the cluster are targets."""
        for fault in self._plan.faults:
            self._reports.after(0.0, TargetsFrozen(fault=fault.name, names=self._cluster.names))
        return self._reports.due()

    def inject(self, fault: Fault) -> None:
        """Armed at once, injected 50 ms later."""
        if self._fail == "inject":
            self._reports.after(0.0, InjectFailed(fault=fault.name, detail="scripted"))
            return
        self.active.add(fault.name)
        self._reports.after(0.0, FaultArmed(fault=fault.name))
        self._reports.after(0.05, InjectCompleted(fault=fault.name))
        if self._effect:
            self._cluster.kill()

    def rollback(self, fault: Fault) -> None:
        """Rolled back 50 ms later, once however often it is asked until then."""
        ends = (RollbackCompleted, RollbackFailed)
        if any(isinstance(one.body, ends) and one.body.fault == fault.name for one in self._reports.waiting):
            return
        if self._fail == "rollback":
            self._reports.after(0.05, RollbackFailed(fault=fault.name, detail="scripted"))
            return
        self.active.discard(fault.name)
        self._reports.after(0.05, RollbackCompleted(fault=fault.name))

    def fds(self) -> Sequence[int]:
        """None: the clock jumps."""
        return ()

    def poll(self) -> Sequence[Stamped]:
        """What became of injections and rollbacks."""
        return self._reports.due()

    def close(self) -> None:
        """Everything still active is undone, as the real driver's children do when their pipe closes."""
        self.active.clear()
        self.closed = True


class FakeMetrics:
    """Answers a fetch 50 ms later, of counters that rise by 100 good events a second; or breaks, if told to."""

    def __init__(self, plan: Plan, clock: FakeClock, *, broken: bool = False) -> None:
        self._plan, self._clock, self._broken = plan, clock, broken
        self._answers: list[tuple[int, tuple[Series, ...]]] = []  # when they come in, and what they are
        self.closed = False

    def preflight(self) -> Sequence[Stamped]:
        """It answers, and has nothing to tell."""
        return ()

    def fetch(self, phase: Phase, start_s: float, end_s: float, t0_wall_ns: int) -> None:  # noqa: ARG002 - the protocol's
        """One sample a second of every counter that the phase needs, one of every template, and `up`."""
        wanted = {threshold.sli for threshold in phase.thresholds}
        slis = [sli for sli in self._plan.service.slis if isinstance(sli, PrometheusSli) and sli.name in wanted]
        series = [one for sli in slis for one in _answer(sli, phase.name, start_s, end_s)]
        if series:
            self._answers.append((self._clock.mono_ns() + S // 20, (*series, _health(phase.name, start_s, end_s))))

    def pending(self) -> int:
        """Fetches of the last 50 ms."""
        return sum(at_ns > self._clock.mono_ns() for at_ns, _ in self._answers)

    def take(self) -> Sequence[Series]:
        """The answers since the last call."""
        now_ns = self._clock.mono_ns()
        series = [one for at_ns, answer in self._answers if at_ns <= now_ns for one in answer]
        self._answers = [(at_ns, answer) for at_ns, answer in self._answers if at_ns > now_ns]
        return series

    def fds(self) -> Sequence[int]:
        """None: the clock jumps."""
        return ()

    def poll(self) -> Sequence[Stamped]:
        """Nothing to report; raises DriverError once asked for something, if it is to break."""
        if self._broken and self._answers:
            raise DriverError("fake prometheus: scripted")
        return ()

    def close(self) -> None:
        """Nothing runs."""
        self.closed = True


class FakeExporter:
    """Adds up what it is told, and is scraped once a second of the clock once the run has ended, if at all."""

    address = "127.0.0.1:9"

    def __init__(self, clock: FakeClock, *, scraped: bool = True) -> None:
        self._clock, self._scraped = clock, scraped
        self._ended_ns: int | None = None
        self.noted: list[Body] = []
        self.sent = 0
        self.closed = False

    def note(self, stamped: Stamped) -> None:
        """Keep it."""
        self.noted.append(stamped.body)
        if isinstance(stamped.body, RunEnded):
            self._ended_ns = self._clock.mono_ns()

    def count(self, batch: LoadBatch) -> None:
        """Add up what was sent."""
        self.sent += sum(frame.sent for frame in batch.frames)

    def scrapes(self) -> tuple[int, int]:
        """One before the end, one a second after it; none if nobody scrapes."""
        if not self._scraped:
            return 0, 0
        after = 0 if self._ended_ns is None else (self._clock.mono_ns() - self._ended_ns) // S
        return 1 + after, after

    def close(self) -> None:
        """Nothing listens."""
        self.closed = True


def _answer(sli: PrometheusSli, phase: str, start_s: float, end_s: float) -> Iterator[Series]:
    """What a healthy server has of an SLI in [start_s, end_s); counters also just before it."""
    counted = [start_s + step for step in range(-1, int(end_s - start_s))]
    rising = [(t_s, 1000.0 + 100.0 * (t_s - counted[0])) for t_s in counted]
    instance = ("instance", "fake:1")
    samples: dict[tuple[Role, Labels], list[tuple[float, float]]]
    if sli.query is not None:
        slices = [(start_s + 2.0 * slice_, 0.1) for slice_ in range(1, int((end_s - start_s) / 2) + 1)]
        samples = {("value", ()): [(end_s, 0.1)], ("slice", ()): slices}
    elif sli.histogram is not None:
        samples = {("bucket", (instance, ("le", "0.1"))): rising, ("count", (instance,)): rising}
    else:
        samples = {("bad", (instance,)): [(t_s, 1000.0) for t_s in counted], ("total", (instance,)): rising}
    for (role, labels), found in samples.items():
        yield Series(
            sli=sli.name, phase=phase, role=role, query=f"fake {role}", labels=labels, samples=Samples.of(found)
        )


def _health(phase: str, start_s: float, end_s: float) -> Series:
    """The one target was scraped every second."""
    samples = Samples.of((start_s + step, 1.0) for step in range(int(end_s - start_s)))
    labels = (("instance", "fake:1"),)
    return Series(sli=EVERY_SLI, phase=phase, role="up", query="fake up", labels=labels, samples=samples)
