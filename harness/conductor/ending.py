"""What the end of a run waits for, and for how long at most: nothing may keep a run from ending."""

from __future__ import annotations

from dataclasses import dataclass

from harness.drivers.base import Clock, Exporter, SignalSource
from harness.history.views import FaultWindow
from harness.plan.model import Experiment, Observe, Plan

AUDIT = "the data-loss audit"

DRAIN_S = 10.0  # beyond the arrivals' deadline, for the last frames to come in
ROLLBACK_S = 60.0  # for rollbacks to return
GONE_S = 60.0  # after that, for the effect to be seen gone
FETCH_S = 15.0  # for Prometheus to answer, beyond the time its last query may take

LAST_SCRAPES = 2  # the exporter stays up for so many after the end
SCRAPE_S = 15.0  # how often Prometheus is taken to scrape, where the plan does not say
LOOK_NS = 200_000_000  # between two looks at how often it was scraped

S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """What has not come to its end; what a broken driver can no longer tell is not waited for."""

    load: bool  # arrivals are still unaccounted for
    faults: tuple[FaultWindow, ...]  # what was injected
    rollbacks: bool  # rollbacks can still be answered
    observed: bool  # the cluster is still watched
    audit: bool  # not read back yet
    metrics: bool  # Prometheus still owes an answer


def awaited(unfinished: Unfinished, plan: Plan, waited_s: float) -> str | None:
    """What a run that has been ending for `waited_s` still waits for, as shown to people; None when nothing is left."""
    drain_s = plan.service.load.deadline_s + DRAIN_S
    if unfinished.load and waited_s < drain_s:
        return "the last arrivals"
    experiments = {fault.name: fault.experiment for fault in plan.faults}
    for window in unfinished.faults:
        if unfinished.rollbacks and _rolling_back(window) and waited_s < ROLLBACK_S:
            return f"the rollback of {window.fault}"
        if unfinished.observed and _must_go(window, experiments[window.fault]) and waited_s < ROLLBACK_S + GONE_S:
            return f"the effect of {window.fault} to be gone"
    if unfinished.audit:
        return AUDIT  # its driver ends it in time
    if unfinished.metrics and waited_s < drain_s + _fetch_s(plan):
        return "Prometheus"
    return None


def linger(exporter: Exporter, clock: Clock, signals: SignalSource, plan: Plan, ran_s: float) -> None:
    """Let Prometheus see the final numbers, as long as two scrapes take; a signal ends it at once."""
    prometheus = plan.service.prometheus
    wait_s = LAST_SCRAPES * (prometheus.scrape_interval_s if prometheus else SCRAPE_S) + 1
    if not exporter.scrapes()[0] and ran_s > wait_s:
        return  # nobody ever scraped it
    now_ns = clock.mono_ns()
    until_ns = now_ns + round(wait_s * S)
    while exporter.scrapes()[1] < LAST_SCRAPES and now_ns < until_ns and not signals.poll():
        clock.wait(min(until_ns, now_ns + LOOK_NS), signals.fds())
        now_ns = clock.mono_ns()


def _rolling_back(window: FaultWindow) -> bool:
    return not window.rollback_ns and not window.rollback_failed


def _must_go(window: FaultWindow, experiment: Experiment) -> bool:
    """Whether its effect is to be seen gone: it was seen, or would last if it was there, and is not given up."""
    lasts = experiment.observe is not Observe.PODS_REPLACED
    return not window.gone and bool(window.confirmed or (lasts and not window.rollback_failed))


def _fetch_s(plan: Plan) -> float:
    """How long Prometheus may take: every query is given up after three times its timeout."""
    prometheus = plan.service.prometheus
    return FETCH_S + (3 * prometheus.timeout_s if prometheus else 0.0)
