"""Random clusters, selectors and caps: what is frozen is inside the caps, or the fault is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

from cluster_before import CLUSTER, ZONES, cluster, member, planned
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.drivers.faults.radius import Radius, asked
from harness.drivers.kubernetes.objects import node_of, uid_of
from harness.drivers.preflight.seen import Seen
from harness.drivers.preflight.targets import frozen, workload_of
from harness.errors import DriverError, PlanError
from harness.plan.model import Cluster, Fault, Observe

APPS = ("shop", "db")


@st.composite
def clusters(draw: st.DrawFn) -> Seen:
    """Up to twelve pods of two workloads anywhere in three zones, some of them not running."""
    states = st.sampled_from(["Running"] * 4 + ["Pending", "Terminating"])
    pods = []
    for index in range(draw(st.integers(0, 12))):
        app, state = draw(st.sampled_from(APPS)), draw(states)
        phase = "Pending" if state == "Pending" else "Running"
        zone = draw(st.sampled_from(ZONES))
        pods.append(member(f"{app}-{index}", zone, app=app, phase=phase, terminating=state == "Terminating"))
    return cluster(*pods)


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    observe = draw(st.sampled_from(list(Observe)))
    configuration: dict[str, Any] = draw(
        st.sampled_from([{}, {"share": 0.5}, {"share": "30%"}, {"replicas": 1}, {"replicas": 5}])
    )
    on_zone = observe in (Observe.ZONE_CUT, Observe.PATHS_DEGRADED)
    return planned(
        "f",
        observe=observe,
        configuration=configuration,
        deployment=draw(st.sampled_from(APPS)),
        selector=draw(st.sampled_from(["app=shop", "app=db", "", "app=shop,x=y"])),
        namespace=draw(st.sampled_from(["shop", "shop", "shop", "other"])),
        zone=draw(st.sampled_from(ZONES if on_zone else (None, *ZONES))),
        max_targets=draw(st.sampled_from([None, 1, 2, 5])),
    )


caps = st.builds(
    lambda pods, nodes, share: replace(CLUSTER, max_pods=pods, max_nodes=nodes, max_share=share),
    st.integers(1, 12),
    st.integers(0, 3),
    st.sampled_from([0.2, 0.5, 0.8, 1.0]),
)


def at_once(fault: Fault, names: list[str]) -> int:
    """How many of that many targets the fault may take at the same time, at least, however it is drawn."""
    asked = fault.experiment
    if asked.observe is Observe.PODS_REPLACED and '"share"' not in asked.document and asked.max_targets:
        return min(asked.max_targets, len(names))
    if asked.observe in (Observe.ZONE_CUT, Observe.PATHS_DEGRADED):
        return len(names)
    return 1 if names and asked.observe is not Observe.SCALED_DOWN else 0


@settings(max_examples=60)
@given(seen=clusters(), fault=faults(), allowed=caps)
def test_what_is_frozen_is_inside_the_caps_and_the_blast_radius(seen: Seen, fault: Fault, allowed: Cluster) -> None:
    """Never a pod that does not run, of another namespace, or beyond the selector, where the fault goes by it."""
    asked = fault.experiment
    try:
        found = frozen(fault, [fault], seen, allowed)
    except PlanError:
        return
    targets = [pod for pod in seen.running("shop") if uid_of(pod) in found.uids]
    matched = seen.matched(asked.namespace, asked.selector)

    assert (asked.namespace, asked.selector) in {("shop", "app=shop"), ("shop", "app=shop,x=y")}
    assert found.uids
    assert len(targets) == len(found.uids) == len(set(found.uids))
    assert at_once(fault, list(found.names)) <= allowed.max_pods
    if asked.observe in (Observe.PODS_REPLACED, Observe.ROLLED_OUT, Observe.SCALED_DOWN):
        assert set(found.uids) <= set(map(uid_of, matched))
    if asked.zone and asked.observe not in (Observe.ROLLED_OUT, Observe.SCALED_DOWN):
        assert {seen.zone(pod) for pod in targets} == {asked.zone}
    if asked.observe is Observe.NODES_OUT:
        assert {node_of(pod) for pod in targets} <= set(found.nodes)
        assert allowed.max_nodes >= 1
        assert not asked.zone or len(found.nodes) <= allowed.max_nodes


@settings(max_examples=40)
@given(seen=clusters(), zone=st.sampled_from(ZONES), observe=st.sampled_from(Observe), allowed=caps)
def test_no_zone_fault_takes_too_much_of_a_workload_or_the_last_zone(
    seen: Seen, zone: str, observe: Observe, allowed: Cluster
) -> None:
    if observe not in (Observe.ZONE_CUT, Observe.PATHS_DEGRADED, Observe.NODES_OUT):
        return
    fault = planned("f", observe=observe, zone=zone)
    try:
        found = frozen(fault, [fault], seen, allowed)
    except PlanError:
        return
    sizes = Counter(workload_of(pod, seen) for pod in seen.running("shop"))
    taken = Counter(workload_of(pod, seen) for pod in seen.running("shop") if uid_of(pod) in found.uids)

    assert len(found.uids) <= allowed.max_pods
    assert all(count <= allowed.max_share * sizes[workload] + 1e-9 for workload, count in taken.items())
    assert {seen.zone(pod) for pod in seen.matched("shop", "app=shop")} - {zone}


@settings(max_examples=60)
@given(
    seen=clusters(), count=st.integers(1, 6), share=st.sampled_from(["", "50%", 0.3]), allowed=caps, seed=st.integers()
)
def test_what_an_action_takes_is_frozen_and_what_is_frozen_is_inside_the_caps(
    seen: Seen, count: int, share: object, allowed: Cluster, seed: int
) -> None:
    """From the preflight's list to the action's choice, the same caps hold."""
    fault = planned("f", max_targets=count, configuration={"share": share})
    matched = seen.matched("shop", "app=shop")
    try:
        found = frozen(fault, [fault], seen, allowed)
        radius = Radius(
            pods=dict(zip(found.uids, found.names, strict=True)),
            owners=frozenset(found.owners),
            nodes={},
            max_pods=allowed.max_pods,
            max_share=allowed.max_share,
            max_nodes=allowed.max_nodes,
        )
        taken = radius.choose(asked(count, share), among=matched, everyone=seen.pods["shop"], draw=Random(seed))
    except (PlanError, DriverError):
        return

    assert set(map(uid_of, taken)) <= set(found.uids) == set(map(uid_of, matched))
    assert 1 <= len(taken) <= allowed.max_pods
    assert len(taken) <= allowed.max_share * len(matched) + 1e-9
