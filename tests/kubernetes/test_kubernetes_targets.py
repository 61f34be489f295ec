"""What a fault may touch: frozen before the run, refused when it is nothing, too much or everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from kube_doubles import fault, pod

from harness.drivers.kubernetes.targets import frozen
from harness.errors import PlanError
from harness.history.events import TargetsFrozen
from harness.plan.model import Observe

NODES = {"node-a": "a", "node-b": "b", "node-c": "c"}
SHOP = [pod("shop-1", "a"), pod("shop-2", "b"), pod("shop-3", "c")]


def listing(*pods: dict[str, Any]) -> Callable[[str, str], Sequence[dict[str, Any]]]:
    """Lists the pods whose app the selector names; all for an empty selector."""
    return lambda _, selector: [one for one in pods if selector in {"", f"app={one['metadata']['labels']['app']}"}]


def zone_cut(name: str = "zone-cut", **asked: Any) -> Any:
    return fault(name, observe=Observe.ZONE_CUT, **asked)


def test_targets_are_the_running_pods_that_match() -> None:
    """Pending and terminating pods and pods of others are no targets; names come sorted."""
    others = (pod("shop-0", "a", phase="Pending"), pod("shop-4", "a", terminating=True), pod("db-1", "a", app="db"))

    found = frozen([fault(max_targets=1)], listing(SHOP[2], SHOP[0], *others), NODES, 2)

    assert found == (TargetsFrozen(fault="pod-delete", names=("shop-1", "shop-3")),)


def test_a_selector_that_matches_nothing_is_refused() -> None:
    """The problem stands where the fault was written."""
    with pytest.raises(PlanError) as caught:
        frozen([fault(selector="app=nope")], listing(*SHOP), NODES, 2)

    assert str(caught.value) == (
        "scenarios/s.yaml:9: fault 'pod-delete': selector 'app=nope' matches no pod in namespace 'shop'; "
        "correct the selector or the namespace, or deploy the service"
    )


@pytest.mark.parametrize(("count", "touched"), [(None, 3), (3, 3), (9, 3)])
def test_a_fault_that_may_touch_more_than_the_cap_is_refused(count: int | None, touched: int) -> None:
    """Without a count all that match may be touched; a count beyond what matches touches what matches."""
    with pytest.raises(PlanError) as caught:
        frozen([fault(max_targets=count)], listing(*SHOP), NODES, 2)

    assert str(caught.value) == (
        f"scenarios/s.yaml:9: fault 'pod-delete': would touch {touched} pods, at most 2 allowed; "
        "touch fewer, or raise cluster.max_pods in the service file"
    )


def test_a_zone_cut_touches_every_pod_of_its_zone_but_canaries() -> None:
    """The zone is the pod's label, else its node's; pods of other applications are cut off too, so they are named."""
    unlabelled = pod("shop-4", node="node-a")
    bystander = pod("db-1", "a", app="db")
    canary = pod("lch-canary-a", "a", app="canary", labels={"lch.dev/run": "r"})

    found = frozen([zone_cut(zone="a")], listing(*SHOP, unlabelled, bystander, canary), NODES, 3)

    assert found == (TargetsFrozen(fault="zone-cut", names=("db-1", "shop-1", "shop-4")),)


def test_bystanders_count_against_the_cap() -> None:
    """A cut reaches pods that the selector does not match, so they use up the blast radius."""
    pods = listing(*SHOP, pod("db-1", "a", app="db"), pod("db-2", "a", app="db"))

    with pytest.raises(PlanError, match=r"would touch 3 pods, at most 2 allowed"):
        frozen([zone_cut(zone="a")], pods, NODES, 2)


def test_a_zone_without_pods_is_refused_and_the_zones_there_are_named() -> None:
    """A misspelt zone is a plan error, not a cut of nothing."""
    with pytest.raises(PlanError) as caught:
        frozen([zone_cut(zone="zone-a")], listing(*SHOP), NODES, 2)

    assert str(caught.value) == (
        "scenarios/s.yaml:9: fault 'zone-cut': selector 'app=shop' matches no pod of zone 'zone-a' "
        "in namespace 'shop'; its pods' zones: a, b, c"
    )


def test_cutting_the_only_zone_is_refused() -> None:
    """Somebody must be left to serve."""
    with pytest.raises(PlanError) as caught:
        frozen([zone_cut(zone="a")], listing(SHOP[0]), NODES, 2)

    assert str(caught.value) == (
        "scenarios/s.yaml:9: fault 'zone-cut': cutting a would cut off all 1 pods in namespace 'shop'; "
        "spread the service over more zones, or cut fewer at once"
    )


def test_cuts_that_overlap_are_taken_together() -> None:
    """All zones at once is refused, one after the other is not."""
    cuts = [zone_cut(zone="a"), zone_cut("zone-cut-2", zone="b", at_s=15.0, until_s=30.0)]
    apart = [zone_cut(zone="a"), zone_cut("zone-cut-2", zone="b", at_s=20.0, until_s=30.0)]

    with pytest.raises(PlanError) as caught:
        frozen(cuts, listing(*SHOP[:2]), NODES, 2)

    assert [problem.where for problem in caught.value.problems] == ["fault 'zone-cut'", "fault 'zone-cut-2'"]
    assert [one.names for one in frozen(apart, listing(*SHOP[:2]), NODES, 2)] == [("shop-1",), ("shop-2",)]


def test_all_problems_are_reported_at_once() -> None:
    """Two wrong faults make two problems, in the order of the file."""
    faults = [fault("late", selector="app=nope", line=20), fault("early", max_targets=5, line=3)]

    with pytest.raises(PlanError) as caught:
        frozen(faults, listing(*SHOP), NODES, 2)

    assert [(problem.line, problem.where) for problem in caught.value.problems] == [
        (3, "fault 'early'"),
        (20, "fault 'late'"),
    ]
