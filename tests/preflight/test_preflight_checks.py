"""What is checked before a fault is played, beside what it may touch: warnings, and refusals with their remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cluster_before import CLUSTER, cluster, member, owned, planned, shop
from kube_doubles import pod
from plan_values import at

from harness.drivers.faults.permissions import HOLD, Permission
from harness.drivers.preflight.checks import Scope, identity, scopes
from harness.drivers.preflight.look import preflight
from harness.drivers.preflight.seen import Seen
from harness.errors import PlanError
from harness.history.events import PreflightChecked, TargetsFrozen
from harness.plan.model import Fault, Observe

AT = "scenarios/s.yaml:9: fault"
SHOP = shop()
CUT = planned("cut", observe=Observe.ZONE_CUT, zone="a", method=["partition.partition_zone"])
DRAIN = planned("drain", observe=Observe.NODES_OUT, zone="a", method=["nodes.drain_nodes"])
OUTAGE = planned("outage", observe=Observe.NODES_OUT, zone="a", method=["zones.stop_zone"])
DELETE = planned("delete", max_targets=1, method=["pods.delete_pods"])
PATCH_NODES = Permission(group="", resource="nodes", verb="patch", namespaced=False)
DELETE_JOBS = Permission(group="batch", resource="jobs", verb="delete")


def found(*faults: Fault, seen: Seen | None = None, denied: frozenset[Scope] = frozenset()) -> list[Any]:
    return list(preflight(faults, seen or cluster(*SHOP), CLUSTER, denied=denied))


def checked(check: str, *faults: Fault, **more: Any) -> list[tuple[bool, str]]:
    """What that check said."""
    bodies = found(*faults, **more)
    return [(one.ok, one.detail) for one in bodies if isinstance(one, PreflightChecked) and one.check == check]


def refused(*faults: Fault, **more: Any) -> list[str]:
    with pytest.raises(PlanError) as caught:
        found(*faults, **more)
    return [f"{one.path}:{one.line}: {one.where}: {one.what}" for one in caught.value.problems]


def test_targets_come_first_in_the_faults_order_then_the_checks() -> None:
    bodies = found(replace(DELETE, name="two"), DELETE)

    assert [one.fault for one in bodies if isinstance(one, TargetsFrozen)] == ["two", "delete"]
    assert [type(one) for one in bodies] == [TargetsFrozen] * 2 + [PreflightChecked] * 2


def test_everything_wrong_is_told_at_once() -> None:
    """What one fault may not touch, what another may not do."""
    nothing = planned("nothing", selector="app=shop,x=y", source=at(4), at_s=30.0, until_s=40.0)

    told = refused(nothing, DRAIN, denied=frozenset({("", PATCH_NODES)}))

    assert [one.partition(" ")[0] for one in told] == ["scenarios/s.yaml:4:", "scenarios/s.yaml:9:"]


# -- permissions ------------------------------------------------------------------------------------------------------


def test_all_that_is_needed_is_asked_for_once() -> None:
    """Nodes for the whole cluster; the hold and the sweep once per namespace, whatever the faults."""
    asked = scopes((DELETE, DRAIN))

    assert len(asked) == len(set(asked))
    assert ("", PATCH_NODES) in asked
    assert {("shop", one) for one in HOLD} <= set(asked)
    assert {namespace for namespace, _ in asked} == {"shop", ""}


def test_what_is_not_allowed_is_refused_where_it_is_needed() -> None:
    """The hold belongs to the first fault, the node to the one that changes it."""
    denied = frozenset({("", PATCH_NODES), ("shop", DELETE_JOBS)})

    assert refused(DELETE, replace(DRAIN, at_s=30.0, until_s=40.0), denied=denied) == [
        (
            f"{AT} 'delete': the account may not delete jobs.batch in namespace 'shop', "
            "which the fault, its undo or its proof needs; allow it, see deploy/rbac.yaml"
        ),
        (
            f"{AT} 'drain': the account may not patch nodes, "
            "which the fault, its undo or its proof needs; allow it, see deploy/rbac.yaml"
        ),
    ]


def test_a_fault_that_nobody_could_see_is_refused() -> None:
    """To watch nodes proves that one was drained; that pods were deleted is seen without."""
    watch = Permission(group="", resource="nodes", verb="watch", namespaced=False)

    assert refused(DELETE, replace(DRAIN, at_s=30.0, until_s=40.0), denied=frozenset({("", watch)})) == [
        (
            f"{AT} 'drain': the account may not watch nodes, "
            "which the fault, its undo or its proof needs; allow it, see deploy/rbac.yaml"
        ),
    ]


def test_an_action_nothing_is_known_of_is_a_warning() -> None:
    foreign = planned("foreign", max_targets=1, method=["chaosk8s.pod.actions.kill"])

    assert checked("permissions", foreign) == [
        (
            False,
            "fault 'foreign': not checked, for what chaosk8s.pod.actions.kill asks of the cluster is not known",
        )
    ]


# -- open paths -------------------------------------------------------------------------------------------------------


def policy(name: str, spec: dict[str, Any], **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


def test_a_policy_that_would_keep_a_path_open_is_refused() -> None:
    """Only when it allows something, to a pod that is to be cut off."""
    harmless = (
        policy("deny", {"podSelector": {}}),
        policy("theirs", {"podSelector": {"matchLabels": {"app": "x"}}, "ingress": [{}]}),
    )
    allowing = policy("open", {"podSelector": {"matchLabels": {"app": "shop"}}, "ingress": [{}]})

    assert checked("open_paths", CUT, seen=cluster(*SHOP, policies={"shop": harmless})) == [
        (True, "fault 'cut': none of 2 network policies keeps a path of its 2 pods open")
    ]
    assert refused(CUT, seen=cluster(*SHOP, policies={"shop": (*harmless, allowing)})) == [
        (
            f"{AT} 'cut': network policy 'open' allows traffic of pod 'shop-1', so a cut would not hold; "
            "remove the policy for the experiment"
        )
    ]


def test_a_cut_that_was_left_on_is_refused() -> None:
    left = policy("lch-cut", {"podSelector": {}}, **{"lch.dev/run": "s_0"})

    assert refused(CUT, seen=cluster(*SHOP, policies={"shop": (left,)})) == [
        f"{AT} 'cut': network policy 'lch-cut' is left from run 's_0'; harness heal removes it"
    ]


def test_policies_do_not_matter_to_faults_without_any() -> None:
    allowing = policy("open", {"podSelector": {}, "ingress": [{}]})

    assert checked("open_paths", DELETE, seen=cluster(*SHOP, policies={"shop": (allowing,)})) == []


# -- PodDisruptionBudgets ---------------------------------------------------------------------------------------------


def budget(*, allowed: int, healthy: int, app: str = "shop") -> dict[str, Any]:
    status = {"disruptionsAllowed": allowed, "desiredHealthy": healthy, "expectedPods": 6}
    return {"metadata": {"name": "pdb"}, "spec": {"selector": {"matchLabels": {"app": app}}}, "status": status}


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (
            budget(allowed=2, healthy=4),
            [(True, "fault 'drain': PodDisruptionBudget 'pdb' allows 2 evictions of its 6 pods now")],
        ),
        (
            budget(allowed=0, healthy=4),
            [(False, "fault 'drain': PodDisruptionBudget 'pdb' allows no evictions of its 6 pods now")],
        ),
        (budget(allowed=0, healthy=6, app="db"), []),
    ],
    ids=["room", "no room now", "of others"],
)
def test_a_budget_that_may_hold_up_a_drain_is_told(one: Any, said: list[tuple[bool, str]]) -> None:
    assert checked("disruption_budget", DRAIN, seen=cluster(*SHOP, budgets={"shop": (one,)})) == said


def test_a_budget_that_never_allows_an_eviction_is_refused() -> None:
    seen = cluster(*SHOP, budgets={"shop": (budget(allowed=0, healthy=6),)})

    assert refused(DRAIN, seen=seen) == [
        (
            f"{AT} 'drain': PodDisruptionBudget 'pdb' wants all 6 pods healthy, so none can ever be "
            "evicted; relax it, or take the nodes out another way"
        )
    ]
    assert checked("disruption_budget", OUTAGE, seen=seen) == []  # a power cut asks nobody


# -- autoscalers ------------------------------------------------------------------------------------------------------


def test_an_autoscaler_that_would_scale_back_is_refused() -> None:
    """One of another deployment does not matter."""
    others = {"metadata": {"name": "other"}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "db"}}}
    scaler = {"metadata": {"name": "hpa"}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "shop"}}}
    fault = planned("scale", observe=Observe.SCALED_DOWN, deployment="shop", configuration={"replicas": 4})

    assert refused(fault, seen=cluster(*SHOP, autoscalers={"shop": (others, scaler)})) == [
        (
            f"{AT} 'scale': HorizontalPodAutoscaler 'hpa' would scale deployment 'shop' back; "
            "remove it for the experiment"
        )
    ]
    assert len(found(fault, seen=cluster(*SHOP, autoscalers={"shop": (others,)}))) == 2


# -- what the run depends on ------------------------------------------------------------------------------------------


def beside(name: str, zone: str, what: str, *, ready: bool = True) -> dict[str, Any]:
    made = pod(name, zone, labels={"app.kubernetes.io/name": what}, ready=ready)
    made["metadata"]["namespace"] = "lch-system"
    return made


@pytest.mark.parametrize(
    ("reapers", "said"),
    [
        ([], (False, "no reaper runs, so its changes stay if this machine dies; see deploy/README.md")),
        (["a"], (False, "no reaper is ready where the fault does not strike; run two, in different zones")),
        (["a", "b"], (True, "1 of 2 reapers ready where the fault does not strike")),
        (None, (False, "whether a reaper runs is not known: the account may not list everybody's pods")),
    ],
    ids=["none", "in the zone", "outside", "unseen"],
)
def test_a_fault_that_changes_objects_wants_a_reaper_elsewhere(
    reapers: list[str] | None, said: tuple[bool, str]
) -> None:
    there = None if reapers is None else tuple(beside(f"reaper-{zone}", zone, "lch-reaper") for zone in reapers)

    assert checked("reaper", DRAIN, seen=cluster(*SHOP, beside=there)) == [(said[0], f"fault 'drain': {said[1]}")]
    assert checked("reaper", DELETE, seen=cluster(*SHOP, beside=there)) == []


def test_where_nodes_are_drawn_one_reaper_more_is_enough() -> None:
    """Whichever node goes, one reaper stays."""
    drawn = planned("drain", observe=Observe.NODES_OUT, max_targets=1, method=["nodes.drain_nodes"])
    two = (beside("reaper-a", "a", "lch-reaper"), beside("reaper-b", "b", "lch-reaper"))

    assert checked("reaper", drawn, seen=cluster(*SHOP, beside=two)) == [
        (True, "fault 'drain': reapers are ready on 2 nodes, more than the 1 it takes")
    ]
    assert [ok for ok, _ in checked("reaper", drawn, seen=cluster(*SHOP, beside=two[:1]))] == [False]
    assert checked("nodes", drawn, seen=cluster(*SHOP)) == [
        (True, "fault 'drain': on node-a, node-b, node-c, of which it takes 1, are 6 pods of namespace 'shop'")
    ]


def test_a_reaper_that_is_not_ready_does_not_count() -> None:
    seen = cluster(*SHOP, beside=(beside("reaper", "b", "lch-reaper", ready=False),))

    assert [ok for ok, _ in checked("reaper", DRAIN, seen=seen)] == [False]


def test_what_measures_should_not_be_where_the_fault_strikes() -> None:
    """A network fault strikes only its own namespace; a node's loss everything on it."""
    seen = cluster(*SHOP, beside=(beside("prom-0", "a", "prometheus"), beside("h-0", "b", "load-chaos-harness")))

    assert checked("blast_zone", OUTAGE, seen=seen) == [
        (False, "fault 'outage': pod 'prom-0' of the measurement is where it strikes; move it elsewhere")
    ]
    assert checked("blast_zone", CUT, seen=seen) == []


def test_what_else_a_node_takes_with_it_is_told() -> None:
    """What comes and goes with its node is not worth a word."""
    stranger = member("x-1", "a", app="x", namespace="other")
    agent = owned(member("agent-1", "a", namespace="kube-system"), "agent", "DaemonSet")

    assert checked("nodes", DRAIN, seen=cluster(*SHOP, crowd={"node-a": (SHOP[0], stranger, agent)})) == [
        (False, "fault 'drain': on node-a are 2 pods of namespace 'shop', and 1 of other namespaces (other)")
    ]
    assert checked("nodes", DRAIN, seen=cluster(*SHOP, crowd={"node-a": (SHOP[0], SHOP[3])})) == [
        (True, "fault 'drain': on node-a are 2 pods of namespace 'shop'")
    ]
    assert [ok for ok, _ in checked("nodes", DRAIN, seen=cluster(*SHOP, crowd=None))] == [False]


# -- the least a real outage takes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "toleration", "power", "floor"),
    [
        ((1, 31), {"tolerationSeconds": 300}, False, "340 s (40 s until it gives the node up, 300 s that its"),
        ((1, 33), {"tolerationSeconds": 300}, False, "350 s (50 s until it gives the node up, 300 s that its"),
        ((1, 33), {"tolerationSeconds": 30}, False, "80 s (50 s until it gives the node up, 30 s that its"),
        ((1, 33), {"tolerationSeconds": 0}, False, "50 s (50 s until it gives the node up, 0 s that its"),
        ((1, 33), {"key": "other"}, False, "50 s (50 s until it gives the node up, 0 s that its"),
        ((1, 32), {"tolerationSeconds": 5}, True, "9 s (4 s until it gives the node up, 5 s that its"),
    ],
)
def test_how_long_kubernetes_takes_at_least_is_said_before(
    version: tuple[int, int],
    toleration: dict[str, object],
    power: bool,  # noqa: FBT001
    floor: str,
) -> None:
    """A fault that ends before is told that nothing will be seen."""
    seen = cluster(*tolerating(toleration), version=version)
    if power:
        nodes = tuple(
            one | {"metadata": one["metadata"] | {"annotations": {"lch.dev/power": "on"}}} for one in seen.nodes
        )
        seen = replace(seen, nodes=nodes)
    said = f"fault 'outage': Kubernetes replaces no pod of a lost node before {floor} pods tolerate)"

    assert checked("failover_floor", replace(OUTAGE, until_s=370.0), seen=seen) == [(True, said)]
    late = "; the fault lasts 3 s, so none will be seen"
    assert checked("failover_floor", replace(OUTAGE, until_s=13.0), seen=seen) == [(False, said + late)]
    assert checked("failover_floor", DRAIN, seen=seen) == []


def test_pods_that_tolerate_a_lost_node_for_ever_are_never_replaced() -> None:
    said = "Kubernetes replaces no pod of a lost node at all, for its pods tolerate that for ever"
    assert checked("failover_floor", replace(OUTAGE, until_s=370.0), seen=cluster(*tolerating({}))) == [
        (False, f"fault 'outage': {said}; the fault lasts 360 s, so none will be seen")
    ]


def tolerating(toleration: dict[str, object]) -> list[dict[str, Any]]:
    """The shop's pods, with one toleration."""
    taint = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}
    return [one | {"spec": one["spec"] | {"tolerations": [taint | toleration]}} for one in SHOP]


# -- which cluster ----------------------------------------------------------------------------------------------------


def test_the_cluster_is_named_and_pinning_it_is_advised() -> None:
    assert identity(replace(CLUSTER, uid="u-1"), "u-1", "https://k").detail == "https://k is cluster u-1, as pinned"
    assert identity(CLUSTER, "u-1", "https://k").detail == (
        "https://k is cluster u-1; any cluster would do: pin it with cluster.uid in the service file"
    )
