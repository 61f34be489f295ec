"""
What every FaultDriver, ClusterObserver and MetricsSource must do; held against the real ones and their shipped twins.

Each function takes a subject: how to make a driver, the clock it lives on, and a hand on the world behind it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise

from harness.drivers.base import Clock, ClusterObserver, Driver, FaultDriver, MetricsSource
from harness.history.events import (
    Body,
    DeploymentSeen,
    EndpointsSeen,
    FaultArmed,
    InjectCompleted,
    InjectFailed,
    NodeSeen,
    PodGone,
    PodSeen,
    ReplicaSetSeen,
    RollbackCompleted,
    RollbackFailed,
    Stamped,
    TargetsFrozen,
)
from harness.history.series import Series
from harness.plan.model import Fault, Phase, Plan, Prometheus, PrometheusSli

S = 1_000_000_000
STEP_NS = 20_000_000
QUIET_S = 0.3  # so long nothing more may come where nothing more is expected
PROMPT_S = 0.5  # what returns at once does so within this, also on a busy machine
ENDS = (RollbackCompleted, RollbackFailed)

Done = Callable[[Sequence[Body]], bool]


def collected(driver: Driver, clock: Clock, done: Done, within_s: float = 30) -> list[Stamped]:
    """Everything polled until `done` says so of the bodies."""
    seen: list[Stamped] = []
    until_ns = clock.mono_ns() + round(within_s * S)
    while not done(bodies := [stamped.body for stamped in seen]):
        assert clock.mono_ns() < until_ns, f"not within {within_s:g} s, but: {bodies}"
        clock.wait(clock.mono_ns() + STEP_NS, driver.fds())
        with prompt():
            seen += driver.poll()
    return seen


def quiet(driver: Driver, clock: Clock) -> list[Body]:
    """What is polled during a while in which nothing should happen."""
    until_ns = clock.mono_ns() + round(QUIET_S * S)
    seen = collected(driver, clock, lambda _: clock.mono_ns() >= until_ns)
    return [stamped.body for stamped in seen]


@contextmanager
def prompt() -> Iterator[None]:
    """What is done inside must not block."""
    began_s = time.monotonic()
    yield
    assert time.monotonic() - began_s < PROMPT_S


def has(*kinds: type[Body]) -> Done:
    """Whether a body of any of these kinds is there."""
    return lambda bodies: any(isinstance(body, kinds) for body in bodies)


def only(seen: Sequence[Stamped], *kinds: type[Body]) -> list[Body]:
    """The bodies of these kinds."""
    return [stamped.body for stamped in seen if isinstance(stamped.body, kinds)]


# -- FaultDriver ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FaultSubject:
    make: Callable[[], FaultDriver]
    fault: Fault
    on: Callable[[], bool]  # whether the fault is in force in the world
    clock: Clock


def freezes_targets_and_touches_nothing(subject: FaultSubject) -> None:
    """Preflight gives each fault's targets, stamped in its own time; nothing happens until a fault is injected."""
    with closing(subject.make()) as driver:
        before_ns = subject.clock.mono_ns()
        stamped, *others = [one for one in driver.preflight() if isinstance(one.body, TargetsFrozen)]
        assert others == []
        assert isinstance(stamped.body, TargetsFrozen)
        assert stamped.body.fault == subject.fault.name
        assert stamped.body.names
        assert before_ns <= stamped.mono_ns <= subject.clock.mono_ns()
        assert quiet(driver, subject.clock) == []
        assert not subject.on()


def arms_before_it_injects_and_rolls_back_once(subject: FaultSubject) -> None:
    """FaultArmed, then InjectCompleted, then, when asked, one RollbackCompleted: the fault is on just in between."""
    name, clock = subject.fault.name, subject.clock
    with closing(subject.make()) as driver:
        driver.preflight()
        before_ns = clock.mono_ns()
        with prompt():
            driver.inject(subject.fault)
        seen = collected(driver, clock, has(InjectCompleted, InjectFailed))
        steps = (FaultArmed, InjectCompleted, InjectFailed, *ENDS)
        assert only(seen, *steps) == [FaultArmed(fault=name), InjectCompleted(fault=name)]
        stamps = [stamped.mono_ns for stamped in seen if isinstance(stamped.body, steps)]
        assert before_ns <= stamps[0] <= stamps[1] <= clock.mono_ns()
        assert subject.on()
        with prompt():
            driver.rollback(subject.fault)
        seen = collected(driver, clock, has(*ENDS))
        assert only(seen, *steps) == [RollbackCompleted(fault=name)]
        assert not subject.on()
        assert quiet(driver, clock) == []


def rolls_back_once_however_often_it_is_asked(subject: FaultSubject) -> None:
    """A rollback under way is not begun again; one that is done is told again."""
    name, clock = subject.fault.name, subject.clock
    with closing(subject.make()) as driver:
        driver.preflight()
        driver.inject(subject.fault)
        collected(driver, clock, has(InjectCompleted, InjectFailed))
        driver.rollback(subject.fault)
        driver.rollback(subject.fault)
        seen = collected(driver, clock, has(*ENDS))
        assert [*only(seen, *ENDS), *quiet(driver, clock)] == [RollbackCompleted(fault=name)]
        driver.rollback(subject.fault)
        assert only(collected(driver, clock, has(*ENDS)), *ENDS) == [RollbackCompleted(fault=name)]


def rolls_back_while_it_injects(subject: FaultSubject) -> None:
    """A rollback asked for right after the injection leaves nothing on and is answered once."""
    clock = subject.clock
    with closing(subject.make()) as driver:
        driver.preflight()
        driver.inject(subject.fault)
        driver.rollback(subject.fault)
        seen = collected(driver, clock, has(*ENDS))
        assert only(seen, *ENDS) == [RollbackCompleted(fault=subject.fault.name)]
        assert only(seen, InjectCompleted, InjectFailed), "what became of the injection is said, too"
        assert not subject.on()
        assert quiet(driver, clock) == []


def rolls_back_what_was_never_injected(subject: FaultSubject) -> None:
    """There is nothing to undo, and that is said."""
    with closing(subject.make()) as driver:
        driver.preflight()
        driver.rollback(subject.fault)
        seen = collected(driver, subject.clock, has(*ENDS))
        assert [stamped.body for stamped in seen] == [RollbackCompleted(fault=subject.fault.name)]


def undoes_when_closed(subject: FaultSubject) -> None:
    """Close undoes what is on, may be called again, and needs no preflight before it."""
    subject.make().close()
    driver = subject.make()
    driver.preflight()
    driver.inject(subject.fault)
    collected(driver, subject.clock, has(InjectCompleted, InjectFailed))
    assert subject.on()
    driver.close()
    assert not subject.on()
    driver.close()


FAULT_CONTRACT = (
    freezes_targets_and_touches_nothing,
    arms_before_it_injects_and_rolls_back_once,
    rolls_back_once_however_often_it_is_asked,
    rolls_back_while_it_injects,
    rolls_back_what_was_never_injected,
    undoes_when_closed,
)


# -- ClusterObserver --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClusterSubject:
    make: Callable[[], ClusterObserver]
    pods: Callable[[], set[str]]  # names of the ready pods there are
    delete_pod: Callable[[], None]  # one of them, at once; it will be replaced
    clock: Clock


def lists_every_pod_and_the_endpoints(subject: ClusterSubject) -> None:
    """Preflight shows each pod, node, endpoints and rollout once, all ready; then nothing until something changes."""
    pods = subject.pods()
    with closing(subject.make()) as observer:
        before_ns = subject.clock.mono_ns()
        seen = list(observer.preflight())
        shown = [body for body in only(seen, PodSeen) if isinstance(body, PodSeen)]
        assert sorted(body.pod for body in shown) == sorted(pods)
        assert all(body.ready and not body.terminating and body.uid and body.zone for body in shown)
        assert {body.node for body in shown} <= {
            body.node for body in only(seen, NodeSeen) if isinstance(body, NodeSeen)
        }
        (endpoints,) = only(seen, EndpointsSeen)
        assert isinstance(endpoints, EndpointsSeen)
        assert (endpoints.ready, sum(count for _, count in endpoints.zones)) == (len(pods), len(pods))
        (revision,) = only(seen, ReplicaSetSeen)
        (rollout,) = only(seen, DeploymentSeen)
        assert isinstance(revision, ReplicaSetSeen)
        assert isinstance(rollout, DeploymentSeen)
        assert {body.owner for body in shown} == {revision.uid}
        assert (revision.deployment, revision.ready) == (rollout.deployment, rollout.ready)
        assert (rollout.ready, rollout.wanted, rollout.stuck) == (len(pods), len(pods), False)
        assert all(before_ns <= stamped.mono_ns <= subject.clock.mono_ns() for stamped in seen)
        assert quiet(observer, subject.clock) == []


def shows_a_pod_go_and_its_replacement_come(subject: ClusterSubject) -> None:
    """PodGone of a pod that was listed, then another one that becomes ready; endpoints fall and rise with them."""
    pods = subject.pods()
    with closing(subject.make()) as observer:
        listed = {body.pod: body.uid for body in only(observer.preflight(), PodSeen) if isinstance(body, PodSeen)}
        before_ns = subject.clock.mono_ns()
        subject.delete_pod()
        seen = collected(observer, subject.clock, lambda bodies: has(PodGone)(bodies) and _whole(bodies, listed, pods))
        (gone,) = only(seen, PodGone)
        assert isinstance(gone, PodGone)
        assert listed[gone.pod] == gone.uid
        ready = [body.ready for body in only(seen, EndpointsSeen) if isinstance(body, EndpointsSeen)]
        assert (ready[0], ready[-1]) == (len(pods) - 1, len(pods))
        assert all(before_ns <= stamped.mono_ns <= subject.clock.mono_ns() for stamped in seen)
        stamps = [stamped.mono_ns for stamped in seen if isinstance(stamped.body, PodSeen | PodGone)]
        assert all(earlier <= later for earlier, later in pairwise(stamps))


def _whole(bodies: Sequence[Body], listed: dict[str, str], pods: set[str]) -> bool:
    """Whether a pod that was not listed is ready, and as many endpoints and pods of the deployment as before."""
    new = [body for body in bodies if isinstance(body, PodSeen) and body.pod not in listed and body.ready]
    ready = [body.ready for body in bodies if isinstance(body, EndpointsSeen)]
    rollout = [body.ready for body in bodies if isinstance(body, DeploymentSeen)]
    whole = ready[-1:] == rollout[-1:] == [len(pods)]
    return any(body.uid not in listed.values() for body in new) and whole


def watches_until_closed(subject: ClusterSubject) -> None:
    """Close may be called before anything and again, and nothing is reported after it."""
    subject.make().close()
    observer = subject.make()
    observer.preflight()
    observer.close()
    subject.delete_pod()
    assert quiet(observer, subject.clock) == []
    observer.close()


CLUSTER_CONTRACT = (
    lists_every_pod_and_the_endpoints,
    shows_a_pod_go_and_its_replacement_come,
    watches_until_closed,
)


# -- MetricsSource ----------------------------------------------------------------------------------------------------

RAW = ("bad", "total", "bucket", "count")  # asked with a lead
START_S, END_S = 1.0, 9.0  # a window that a late scrape or two do not leave without samples
AGO_NS = 11 * S  # the run it belongs to began this long ago


@dataclass(frozen=True)
class MetricsSubject:
    make: Callable[[], MetricsSource]
    plan: Plan
    clock: Clock


def answers_what_is_asked(subject: MetricsSubject) -> None:
    """A fetch is pending until its series can be taken, once: those of the phase's SLIs, inside its window."""
    phase = next(phase for phase in subject.plan.phases if phase.judge)
    with closing(subject.make()) as source:
        source.preflight()
        assert source.pending() == 0
        with prompt():
            source.fetch(phase, START_S, END_S, subject.clock.wall_ns() - AGO_NS)
        assert source.pending() == 1
        assert list(source.take()) == []
        collected(source, subject.clock, lambda _: source.pending() == 0)
        series = list(source.take())
        assert list(source.take()) == []
        assert {one.phase for one in series} == {phase.name}
        assert _roles(series) == _asked(subject.plan, phase)
        for one in series:
            _inside(one, subject.plan)


def _asked(plan: Plan, phase: Phase) -> set[tuple[str, str]]:
    """SLI and role of what a phase needs."""
    used = {threshold.sli for threshold in phase.thresholds}
    slis = [sli for sli in plan.service.slis if isinstance(sli, PrometheusSli) and sli.name in used]
    return {("", "up")} | {(sli.name, role) for sli in slis for role in _kind(sli)}


def _kind(sli: PrometheusSli) -> tuple[str, ...]:
    if sli.query is not None:
        return ("value", "slice")
    return ("bucket", "count") if sli.histogram is not None else ("bad", "total")


def _roles(series: Sequence[Series]) -> set[tuple[str, str]]:
    return {(one.sli, one.role) for one in series}


def _inside(series: Series, plan: Plan) -> None:
    """Samples in time order in the window; counters may begin up to a scrape and a half before it."""
    assert isinstance(plan.service.prometheus, Prometheus)
    lead_s = 1.5 * plan.service.prometheus.scrape_interval_s if series.role in RAW else 0.0
    times = [t_s for t_s, _ in series.samples]
    assert times == sorted(times)
    assert times
    assert START_S - lead_s - 0.01 <= times[0] <= times[-1] <= END_S + 0.01
    assert series.labels == tuple(sorted(series.labels))


def asks_nothing_for_a_phase_that_needs_nothing(subject: MetricsSubject) -> None:
    """A phase without SLIs from Prometheus is no fetch."""
    phase = next(phase for phase in subject.plan.phases if not phase.thresholds)
    with closing(subject.make()) as source:
        source.fetch(phase, START_S, END_S, subject.clock.wall_ns() - AGO_NS)
        assert source.pending() == 0
        assert list(source.take()) == []


def closes_with_a_fetch_under_way(subject: MetricsSubject) -> None:
    """Close is safe at any moment, and again."""
    subject.make().close()
    source = subject.make()
    source.fetch(subject.plan.phases[-1], START_S, END_S, subject.clock.wall_ns() - AGO_NS)
    source.close()
    source.close()


METRICS_CONTRACT = (
    answers_what_is_asked,
    asks_nothing_for_a_phase_that_needs_nothing,
    closes_with_a_fetch_under_way,
)
