"""What the cluster did about a fault, step by step."""

from __future__ import annotations

from verdict_case import parse

from harness.verdict.judge import judge
from harness.verdict.model import Milestone, Step

CASE = """
phase stress 0..60 load=100%
rule stress error_ratio fail > 5%
fault outage 10..30 stress pods-replaced
at 0.01 pod_seen shop-1 u1 zone-a node-a Running yes no
at 0.02 pod_seen shop-2 u2 zone-b node-b Running yes no
at 0.03 endpoints_seen shop 2
at 0.04 targets_frozen outage shop-1,shop-2
at 0.05 node_seen node-a zone-a yes yes none
at 0.06 deployment_seen shop 1 1 2 2 2 2 2 no
at 0.07 lease_seen store store-1
at 10.0 inject_requested outage
at 10.2 pod_gone shop-1 u1
at 10.3 endpoints_seen shop 1
at 10.4 endpoints_seen shop 0
at 11.0 node_seen node-a zone-a no yes none
at 11.5 lease_seen store
at 12.0 lease_seen store store-2
at 13.0 pod_seen shop-3 u3 zone-a node-a Running yes no
at 13.1 endpoints_seen shop 2
at 14.0 deployment_seen shop 2 1 2 2 0 2 2 no
at 15.0 deployment_seen shop 2 2 2 3 1 2 2 no
at 16.0 deployment_seen shop 2 2 2 2 2 2 2 no
at 20.0 node_seen node-a zone-a yes yes none
at 30.0 rollback_requested outage
at 30.1 rollback_completed outage
"""


def test_the_steps_after_a_fault_are_told_in_order_from_when_it_was_in_force() -> None:
    found = judge(parse(CASE).run()).milestones

    assert [(one.step, one.at_s, one.detail) for one in found] == [
        (Step.ENDPOINT_LEFT, 10.3, "service shop: 1 of 2"),
        (Step.NODE_NOT_READY, 11.0, "node node-a"),
        (Step.LEADER_ELECTED, 12.0, "lease store: store-2"),
        (Step.POD_READY, 13.0, "pod shop-3"),
        (Step.ENDPOINTS_BACK, 13.1, "service shop: 2"),
        (Step.ROLLOUT_OBSERVED, 15.0, "deployment shop"),
        (Step.ROLLOUT_COMPLETE, 16.0, "deployment shop"),
        (Step.NODE_READY, 20.0, "node node-a"),
    ]
    assert found[0] == Milestone(
        fault="outage",
        step=Step.ENDPOINT_LEFT,
        at_s=10.3,
        after_s=found[0].after_s,
        detail="service shop: 1 of 2",
    )
    assert round(found[0].after_s, 6) == 0.1


def test_what_happens_from_the_next_fault_on_is_told_of_that_one() -> None:
    second = CASE.replace("fault outage 10..30", "fault other 13.5..31 stress pods-replaced\nfault outage 10..30")
    events = "at 13.5 inject_requested other\nat 13.6 pod_gone shop-2 u2\nat 13.7 endpoints_seen shop 1\n"
    frozen = "at 0.05 targets_frozen other shop-1,shop-2\n"

    found = judge(parse(second + frozen + events).run()).milestones

    assert ("other", Step.ENDPOINT_LEFT, 13.7) in [(one.fault, one.step, one.at_s) for one in found]
    assert {one.step for one in found if one.fault == "outage"} == {
        Step.ENDPOINT_LEFT,
        Step.NODE_NOT_READY,
        Step.LEADER_ELECTED,
        Step.POD_READY,
        Step.ENDPOINTS_BACK,
    }


def test_a_fault_that_was_never_in_force_has_no_milestones() -> None:
    assert judge(parse(CASE.replace("at 10.2 pod_gone shop-1 u1\n", "")).run()).milestones == ()
