"""What the end of a run waits for, in which order, and for how long at most."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conductor_stage import small_plan

from harness.conductor.ending import Unfinished, awaited
from harness.history.views import FaultWindow, fault_windows
from harness.plan.model import Observe, Plan

PLAN = small_plan()  # deadline 5 s, so 15 s for the last arrivals; Prometheus may take 15 s and 3 x 5 s more
DONE = Unfinished(load=False, faults=(), rollbacks=True, observed=True, audit=False, metrics=False)
UNDER_WAY = fault_windows(PLAN, [])[0]  # injected, as far as the end of the run is concerned; nothing came of it yet
BACK = replace(UNDER_WAY, rollback_ns=1)
SEEN = (1, 2)


def lasting() -> Plan:
    """The fault's effect lasts until it is undone."""
    (fault,) = PLAN.faults
    return replace(PLAN, faults=(replace(fault, experiment=replace(fault.experiment, observe=Observe.ZONE_CUT)),))


def with_fault(window: FaultWindow) -> Unfinished:
    return replace(DONE, faults=(window,))


def test_nothing_is_awaited_when_all_is_done() -> None:
    assert awaited(DONE, PLAN, 0.0) is None


@pytest.mark.parametrize(
    ("unfinished", "what", "limit_s"),
    [
        (replace(DONE, load=True), "the last arrivals", 15.0),
        (with_fault(UNDER_WAY), "the rollback of pod-delete", 60.0),
        (with_fault(replace(BACK, confirmed=SEEN)), "the effect of pod-delete to be gone", 120.0),
        (replace(DONE, metrics=True), "Prometheus", 45.0),
    ],
)
def test_each_is_awaited_within_its_bound(unfinished: Unfinished, what: str, limit_s: float) -> None:
    assert awaited(unfinished, PLAN, limit_s - 0.001) == what
    assert awaited(unfinished, PLAN, limit_s) is None


def test_the_audit_is_awaited_for_as_long_as_its_driver_takes() -> None:
    assert awaited(replace(DONE, audit=True), PLAN, 3600.0) == "the data-loss audit"


def test_faults_come_before_the_audit_and_prometheus_after_it() -> None:
    """What was written while a fault was on is read back when it is gone."""
    everything = replace(with_fault(UNDER_WAY), load=True, audit=True, metrics=True)
    order = [
        awaited(everything, PLAN, 0.0),
        awaited(replace(everything, load=False), PLAN, 0.0),
        awaited(replace(everything, load=False, faults=()), PLAN, 0.0),
        awaited(replace(everything, load=False, faults=(), audit=False), PLAN, 0.0),
    ]
    assert order == ["the last arrivals", "the rollback of pod-delete", "the data-loss audit", "Prometheus"]


def test_a_broken_fault_driver_answers_no_rollback() -> None:
    assert awaited(replace(with_fault(UNDER_WAY), rollbacks=False), PLAN, 0.0) is None


def test_an_effect_that_nobody_watches_is_not_awaited() -> None:
    assert awaited(replace(with_fault(replace(BACK, confirmed=SEEN)), observed=False), PLAN, 0.0) is None


def test_pods_that_nobody_saw_go_need_not_come_back() -> None:
    assert awaited(with_fault(BACK), PLAN, 0.0) is None


def test_what_lasts_must_be_seen_gone_though_it_was_never_seen_on() -> None:
    """Unless the rollback has failed: then somebody is told that it is still there."""
    failed = replace(UNDER_WAY, rollback_failed="refused")
    assert awaited(with_fault(BACK), lasting(), 0.0) == "the effect of pod-delete to be gone"
    assert awaited(with_fault(failed), lasting(), 0.0) is None
    assert awaited(with_fault(replace(BACK, gone=SEEN)), lasting(), 0.0) is None
