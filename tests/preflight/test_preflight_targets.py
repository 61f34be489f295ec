"""What a fault may touch: frozen before the run, refused when it is nothing, too much or everything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cluster_before import ALSO, CLUSTER, cluster, deployment, member, owned, planned, shop
from kube_doubles import pod

from harness.drivers.preflight.targets import frozen
from harness.errors import PlanError
from harness.history.events import TargetsFrozen
from harness.plan.model import Observe

SHOP = shop()


def zone_cut(name: str = "zone-cut", **asked: Any) -> Any:
    return planned(name, observe=Observe.ZONE_CUT, **asked)


def nodes_out(name: str = "node-drain", **asked: Any) -> Any:
    return planned(name, observe=Observe.NODES_OUT, **asked)


def refused(fault: Any, seen: Any = None, allowed: Any = CLUSTER, faults: Any = None) -> list[str]:
    """Why, without the place."""
    with pytest.raises(PlanError) as caught:
        frozen(fault, faults or [fault], seen or cluster(*SHOP), allowed)
    assert {(one.path, one.line, one.where) for one in caught.value.problems} == {
        ("scenarios/s.yaml", 9, f"fault '{fault.name}'")
    }
    return [one.what for one in caught.value.problems]


def test_targets_are_the_running_pods_that_match() -> None:
    """Pending and terminating pods and pods of others are no targets; names come sorted, with UIDs and owners."""
    others = (
        member("shop-0", "a", phase="Pending"),
        member("shop-9", "a", terminating=True),
        member("db-1", "a", app="db"),
    )

    found = frozen(planned(max_targets=1), [], cluster(SHOP[2], SHOP[0], SHOP[1], *others), CLUSTER)

    assert found == TargetsFrozen(
        fault="pod-delete",
        names=("shop-1", "shop-2", "shop-3"),
        uids=("uid-shop-1", "uid-shop-2", "uid-shop-3"),
        owners=("uid-shop-rs",),
    )


def test_a_fault_with_a_zone_is_about_pods_there() -> None:
    assert frozen(planned(zone="b"), [], cluster(*SHOP), CLUSTER).names == ("shop-2", "shop-5")


def test_a_selector_that_matches_nothing_is_refused() -> None:
    remedy = "correct the selector or the namespace, or deploy the service"
    assert refused(planned(selector="app=shop,x=y")) == [
        f"selector 'app=shop,x=y' matches no pod in namespace 'shop'; {remedy}"
    ]


@pytest.mark.parametrize(("namespace", "selector"), [("shop", "app=db"), ("db", "app=shop"), ("db", "app in (db)")])
def test_what_the_service_does_not_own_is_refused_whoever_made_the_plan(namespace: str, selector: str) -> None:
    assert refused(planned(namespace=namespace, selector=selector), allowed=ALSO) == [
        (
            f"selector '{selector}' in namespace '{namespace}' is outside the service's blast radius; "
            "narrow it, or allow it with cluster.also in the service file"
        )
    ]


def test_what_the_service_file_allows_beside_its_own_is_allowed() -> None:
    theirs = [member(f"db-{zone}", zone, app="db", namespace="db") for zone in "abc"]

    found = frozen(planned(namespace="db", selector="app=db", max_targets=2), [], cluster(*SHOP, *theirs), ALSO)

    assert found.names == ("db-a", "db-b", "db-c")


def test_an_empty_selector_is_refused() -> None:
    assert refused(planned(selector=" ")) == ["its selector is empty, which would match every pod; write one"]


@pytest.mark.parametrize(
    ("asked", "touched"),
    [
        ({"max_targets": None}, 6),
        ({"max_targets": 3}, 3),
        ({"max_targets": 9}, 6),
        ({"max_targets": 1, "configuration": {"share": 0.5}}, 3),
        ({"max_targets": 1, "configuration": {"share": "34%"}}, 3),
    ],
)
def test_a_fault_that_may_touch_more_than_the_cap_is_refused(asked: dict[str, Any], touched: int) -> None:
    """Without a count all that match may be touched; a count beyond what matches touches that; shares round up."""
    assert refused(planned(**asked), allowed=replace(CLUSTER, max_share=1.0)) == [
        f"would touch {touched} pods, at most 2 allowed; touch fewer, or raise cluster.max_pods in the service file"
    ]


def test_a_share_of_a_workload_is_counted_over_all_of_it() -> None:
    """Both pods of zone b can be of the same workload; a ReplicaSet belongs to its Deployment."""
    two = [member("shop-1", "a"), member("shop-2", "b"), member("shop-3", "b")]

    assert refused(planned(zone="b"), cluster(*two), replace(CLUSTER, max_share=0.5)) == [
        (
            "would touch 2 of 3 pods of Deployment 'shop' (67%), at most 50% allowed; "
            "touch fewer, or raise cluster.max_share in the service file"
        )
    ]
    assert frozen(planned(zone="b"), [], cluster(*two), CLUSTER).names == ("shop-2", "shop-3")


def test_old_and_new_pods_of_a_rollout_are_one_workload() -> None:
    new = owned(member("shop-7", "a"), "shop-rs-2")
    seen = cluster(*SHOP[:2], new)
    both = [*seen.replica_sets["shop"], owned(seen.replica_sets["shop"][0], "shop", "Deployment") | {}]
    both[1] = {**both[1], "metadata": {**both[1]["metadata"], "name": "shop-rs-2", "uid": "uid-shop-rs-2"}}

    found = frozen(planned(max_targets=2), [], replace(seen, replica_sets={"shop": tuple(both)}), CLUSTER)

    assert found.owners == ("uid-shop-rs", "uid-shop-rs-2")


def test_a_pod_that_nothing_would_replace_is_never_deleted() -> None:
    naked = pod("shop-9", "c")

    assert refused(planned(max_targets=1), cluster(*SHOP, naked)) == [
        "nothing controls pod 'shop-9', so nothing would replace it; leave it out of the selector"
    ]


# -- zones ------------------------------------------------------------------------------------------------------------


def test_a_zone_cut_touches_every_pod_of_its_zone_but_canaries() -> None:
    """The zone is the pod's label, else its node's; pods of other applications are cut off too, so they are named."""
    unlabelled = member("shop-7", "", node="node-a")
    bystander = pod("job-1", "a", app="job")
    canary = pod("lch-canary-a", "a", app="canary", labels={"lch.dev/run": "r"})

    found = frozen(
        zone_cut(zone="a"), [], cluster(*SHOP[:3], unlabelled, bystander, canary), replace(CLUSTER, max_pods=3)
    )

    assert found.names == ("job-1", "shop-1", "shop-7")


def test_bystanders_count_against_the_caps() -> None:
    """A cut reaches pods that the selector does not match, so they use up the blast radius."""
    theirs = (member("db-1", "a", app="db"), member("db-2", "a", app="db"))

    assert refused(zone_cut(zone="a"), cluster(*SHOP[:3], *theirs)) == [
        (
            "would touch 2 of 2 pods of Deployment 'db' (100%), at most 80% allowed; "
            "touch fewer, or raise cluster.max_share in the service file"
        ),
        "would touch 3 pods, at most 2 allowed; touch fewer, or raise cluster.max_pods in the service file",
    ]


@pytest.mark.parametrize("observe", [Observe.ZONE_CUT, Observe.PATHS_DEGRADED, Observe.NODES_OUT])
def test_a_zone_without_pods_is_refused_and_the_zones_there_are_named(observe: Observe) -> None:
    """A misspelt zone is a plan error, not a fault on nothing."""
    assert refused(planned("f", observe=observe, zone="zone-a")) == [
        "selector 'app=shop' matches no pod of zone 'zone-a' in namespace 'shop'; its pods' zones: a, b, c"
    ]


@pytest.mark.parametrize("observe", [Observe.ZONE_CUT, Observe.PATHS_DEGRADED, Observe.NODES_OUT])
def test_the_only_zone_is_never_hit(observe: Observe) -> None:
    """Somebody must be left to serve."""
    assert refused(planned("f", observe=observe, zone="a"), cluster(SHOP[0], SHOP[3])) == [
        (
            "zone 'a' has all 2 pods in namespace 'shop': nothing would be left to serve; "
            "spread the service over more zones"
        )
    ]


def test_one_zone_at_a_time() -> None:
    """Whatever is done to them; one after the other is fine, and so is the same zone twice."""
    first = zone_cut(zone="a")
    second = nodes_out(zone="b", at_s=15.0, until_s=30.0)
    later = nodes_out(zone="b", at_s=20.0, until_s=30.0)
    same = planned("slow", observe=Observe.PATHS_DEGRADED, zone="a", at_s=15.0)

    assert refused(first, faults=[first, second]) == [
        "zones a and b would be hit at the same time; one at a time, or move a fault"
    ]
    assert frozen(first, [first, later, same], cluster(*SHOP), CLUSTER).names == ("shop-1", "shop-4")


# -- nodes ------------------------------------------------------------------------------------------------------------


def test_a_fault_on_nodes_takes_what_is_on_them_but_what_belongs_to_them() -> None:
    """Drawn from the nodes that bear the service; a DaemonSet's pods go and come with their node."""
    agent = owned(pod("agent-1", "a", app="agent"), "agent", "DaemonSet")
    beside = member("db-1", "a", app="db"), member("db-2", "b", app="db")
    seen = cluster(*SHOP[:2], *beside, agent)

    found = frozen(nodes_out(max_targets=1), [], seen, CLUSTER)

    assert (found.nodes, found.names) == (("node-a", "node-b"), ("db-1", "db-2", "shop-1", "shop-2"))


def test_the_fullest_nodes_are_reckoned_with() -> None:
    pods = [member("shop-1", "a"), *(member(f"shop-{index}", "b") for index in range(2, 6))]

    assert refused(nodes_out(max_targets=1), cluster(*pods)) == [
        "would touch 4 pods, at most 2 allowed; touch fewer, or raise cluster.max_pods in the service file"
    ]


def test_a_zones_nodes_are_all_taken() -> None:
    found = frozen(nodes_out(zone="c", max_targets=1), [], cluster(*SHOP), CLUSTER)

    assert (found.nodes, found.names) == (("node-c",), ("shop-3", "shop-6"))


def test_a_node_may_be_named() -> None:
    """Others are then no targets; one that is not there is refused."""
    found = frozen(nodes_out(configuration={"node": "node-b"}), [], cluster(*SHOP), CLUSTER)

    assert (found.nodes, found.names) == (("node-b",), ("shop-2", "shop-5"))
    assert refused(nodes_out(configuration={"node": "node-x"})) == [
        "there is no node 'node-x'; there are: node-a, node-b, node-c"
    ]


def test_a_fault_on_the_holder_of_a_lease_touches_one_pod() -> None:
    found = frozen(planned(configuration={"lease": "shop"}), [], cluster(*SHOP), replace(CLUSTER, max_pods=1))

    assert len(found.names) == 6


def test_more_nodes_than_allowed_are_refused_and_so_are_all() -> None:
    assert refused(nodes_out(), allowed=replace(CLUSTER, max_pods=9, max_nodes=2, max_share=1.0)) == [
        (
            "would take out 3 nodes (node-a, node-b, node-c), at most 2 allowed; "
            "take fewer, or raise cluster.max_nodes in the service file"
        ),
        "would take out every node that bears the service's pods (node-a, node-b, node-c); take fewer",
    ]


def test_nodes_that_are_out_at_the_same_time_count_together() -> None:
    """Drawn ones may be any; those of one zone are the same ones; what is over by then does not count."""
    drain = nodes_out(max_targets=1, at_s=15.0, until_s=30.0)
    drained, named = replace(drain, name="drain"), nodes_out(configuration={"node": "node-b"})
    allowed = replace(CLUSTER, max_nodes=1)

    assert refused(named, allowed=allowed, faults=[named, drained]) == [
        (
            "would take out 2 nodes (node-a, node-b, node-c) together with 'drain', at most 1 allowed; "
            "take fewer, or raise cluster.max_nodes in the service file"
        )
    ]
    later, cut = replace(drained, at_s=20.0), zone_cut(zone="b")
    for others in ([later], [replace(named, name="again")], [cut]):
        assert frozen(named, [named, *others], cluster(*SHOP), allowed).nodes == ("node-b",)


# -- deployments ------------------------------------------------------------------------------------------------------


def rolled_out(**asked: Any) -> Any:
    return planned("rolling-restart", observe=Observe.ROLLED_OUT, **{"deployment": "shop", **asked})


@pytest.mark.parametrize(
    ("strategy", "touched"),
    [
        ({}, 1),
        ({"strategy": {"rollingUpdate": {"maxUnavailable": 3}}}, 3),
        ({"strategy": {"rollingUpdate": {"maxUnavailable": "67%"}}}, 4),
        ({"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}}}, 1),
        ({"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}, 0),
        ({"strategy": {"type": "Recreate"}}, 6),
    ],
)
def test_a_rollout_touches_as_many_at_once_as_its_strategy_says(strategy: dict[str, Any], touched: int) -> None:
    """Percentages are rounded down, as Kubernetes does."""
    seen = cluster(*SHOP, deployments={"shop": (deployment("shop", 6, **strategy),)})
    wide = replace(CLUSTER, max_pods=max(touched, 1), max_share=touched / 6)

    found = frozen(rolled_out(), [], seen, wide)

    assert (len(found.names), found.owners) == (6, ("uid-shop", "uid-shop-rs"))
    if touched > 1:
        assert refused(rolled_out(), seen, replace(wide, max_pods=touched - 1))[0].startswith(
            f"would touch {touched} pods"
        )


@pytest.mark.parametrize(("replicas", "touched"), [({}, 6), ({"replicas": 4}, 2), ({"replicas": 9}, 0)])
def test_a_scaling_touches_what_is_too_many(replicas: dict[str, Any], touched: int) -> None:
    scaled = planned("s", observe=Observe.SCALED_DOWN, deployment="shop", configuration=replicas)
    wide = replace(CLUSTER, max_pods=max(touched, 1), max_share=1.0)

    assert len(frozen(scaled, [], cluster(*SHOP), wide).names) == 6
    if touched > 1:
        assert refused(scaled, allowed=replace(wide, max_pods=1))[0].startswith(f"would touch {touched} pods")


@pytest.mark.parametrize(
    ("name", "found", "message"),
    [
        ("web", (), "there is no deployment 'web' in namespace 'shop'; there are: none"),
        ("web", (deployment("shop"),), "there is no deployment 'web' in namespace 'shop'; there are: shop"),
        (
            "shop",
            (deployment("shop", paused=True),),
            "deployment 'shop' is paused: a rollout would do nothing; kubectl rollout resume deployment/shop",
        ),
        (
            "web",
            (deployment("web", selector={"matchLabels": {"app": "web"}}),),
            "deployment 'web' has no running pod in namespace 'shop'; start it first",
        ),
        (
            "all",
            (deployment("all", selector={}),),
            "pod 'db-1' of deployment 'all' is not matched by selector 'app=shop'; name a deployment whose pods are",
        ),
    ],
    ids=["none", "misspelt", "paused", "empty", "others' pods"],
)
def test_a_deployment_that_is_not_the_services_is_refused(name: str, found: tuple[Any, ...], message: str) -> None:
    seen = cluster(*SHOP, member("db-1", "a", app="db"), deployments={"shop": found})

    assert refused(rolled_out(deployment=name), seen) == [message]
