"""How far a fault may reach: never outside the frozen targets, never beyond the caps."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pod_stage import Obj, node, pod, replica_set

from harness.drivers.faults.radius import Ask, Radius, around, asked, frozen, serves
from harness.errors import DriverError

SHOP = [pod(f"shop-{n}") for n in range(6)]


def radius(of: list[Obj] = SHOP, **said: Any) -> Radius:
    usual = {"max_pods": 100, "max_share": 0.8, "max_nodes": 0, "nodes": {}}
    owners = frozenset(one["metadata"]["ownerReferences"][0]["uid"] for one in of)
    named = {one["metadata"]["uid"]: one["metadata"]["name"] for one in of}
    return Radius(**({"pods": named, "owners": owners} | usual | said))


def chosen(limits: Radius, ask: Ask, pods: list[Obj] = SHOP, **more: Any) -> list[str]:
    found = limits.choose(ask, among=pods, everyone=more.pop("everyone", pods), draw=Random(1), **more)
    return sorted(one["metadata"]["name"] for one in found)


def refusal(limits: Radius, ask: Ask, pods: list[Obj] = SHOP, **more: Any) -> str:
    with pytest.raises(DriverError) as caught:
        chosen(limits, ask, pods, **more)
    return str(caught.value)


def test_as_many_are_taken_as_are_asked_for() -> None:
    """A share is rounded up."""
    assert len(chosen(radius(), Ask(count=2))) == 2
    assert len(chosen(radius(), Ask(count=0, share=0.4))) == 3


def test_the_same_seed_takes_the_same_pods_and_others_take_others() -> None:
    """Drawn at random, so that it is not always the oldest that dies."""

    def draw(seed: int) -> tuple[str, ...]:
        found = radius().choose(Ask(count=2), among=SHOP, everyone=SHOP, draw=Random(seed))
        return tuple(one["metadata"]["name"] for one in found)

    assert draw(7) == draw(7)
    assert len({draw(seed) for seed in range(20)}) > 5


def test_a_cap_that_forbids_the_count_is_named() -> None:
    """Which of them, and what it allows."""
    assert refusal(radius(max_pods=2), Ask(count=3)) == "3 pods are asked for, max_pods allows 2; take fewer"
    assert refusal(radius(max_share=0.5), Ask(count=4)) == (
        "4 pods are asked for, max_share 50% of a workload allows 3, and one ready pod of each has to stay; take fewer"
    )
    assert refusal(radius(), Ask(count=7)) == (
        "7 pods are asked for, 6 of 6 that match may be taken: ready, replaced by a controller, and among the frozen"
        " targets"
    )


def test_a_share_takes_what_the_caps_allow() -> None:
    """But not nothing."""
    assert len(chosen(radius(max_pods=2), Ask(count=0, share=1.0))) == 2
    assert len(chosen(radius(max_share=0.8), Ask(count=0, share=0.8))) == 4
    assert "max_share 10% of a workload allows 0" in refusal(radius(max_share=0.1), Ask(count=0, share=1.0))


def test_one_ready_pod_of_a_workload_stays() -> None:
    """Unless the cap says that all may go; then one pod stays, ready or not, where there are several."""
    two = [pod("a"), pod("b", ready=False)]
    assert "allows 0" in refusal(radius(two), Ask(count=1), two)
    assert chosen(radius(two, max_share=1.0), Ask(count=1), two) == ["a"]
    assert "allows 5" in refusal(radius(max_share=1.0), Ask(count=6))


def test_the_only_replica_may_be_taken_where_the_cap_allows_all() -> None:
    """And nowhere else."""
    one = [pod("a")]
    assert "max_share 80% of a workload allows 0" in refusal(radius(one), Ask(count=1), one)
    assert chosen(radius(one, max_share=1.0), Ask(count=1), one) == ["a"]


@pytest.mark.parametrize(
    "unfit",
    [
        pod("x", terminating=True),
        pod("x", phase="Succeeded"),
        pod("x", phase="Pending", ready=False),
        pod("x", ready=False),
        pod("x", owner=None),
        pod("x", annotations={"kubernetes.io/config.mirror": "1"}),
        pod("x", labels={"lch.dev/run": "s_1"}),
    ],
    ids=["terminating", "completed", "pending", "not ready", "unmanaged", "the kubelet's", "ours"],
)
def test_pods_that_serve_nobody_or_would_not_come_back_are_no_candidates(unfit: Obj) -> None:
    """Only pods that are up and would be replaced."""
    limits = radius([pod("x"), *SHOP[:2]], max_share=1.0)
    assert "x" not in chosen(limits, Ask(count=0, share=1.0), [unfit, *SHOP[:2]])


def test_a_replacement_is_inside_by_its_owner() -> None:
    """A pod of another owner is not."""
    limits = radius(SHOP[:2], pods={})
    assert limits.holds(pod("new"))
    assert not limits.holds(pod("new", owner="rs-other"))


def test_pods_of_a_later_rollout_of_the_same_deployment_are_inside() -> None:
    """Whether the ReplicaSet was frozen, or the Deployment."""
    sets = [replica_set("rs-shop", "shop"), replica_set("rs-new", "shop"), replica_set("rs-other", "other")]
    for owners in ({"rs-shop"}, {"uid-shop"}):
        limits = radius(owners=frozenset(owners)).following(sets)
        assert limits.holds(pod("new", owner="rs-new"))
        assert not limits.holds(pod("new", owner="rs-other"))


def test_pods_of_two_revisions_are_one_workload() -> None:
    """In the middle of a rollout the cap counts both."""
    mixed = [pod("old", owner="rs-shop"), *(pod(f"new-{n}", owner="rs-new") for n in range(4))]
    limits = radius(mixed, max_share=0.4).following([replica_set("rs-shop", "shop"), replica_set("rs-new", "shop")])
    assert len(chosen(limits, Ask(count=2), mixed)) == 2
    assert "allows 2" in refusal(limits, Ask(count=3), mixed)


def test_pods_taken_before_count_until_their_successors_are_ready() -> None:
    """A later round takes what is left, which may be nothing."""
    ask = Ask(count=2)
    back = [*SHOP[:5], pod("new-1", ready=False)]
    assert len(chosen(radius(max_pods=2), ask, back, touched={"rs-shop": 2})) == 1
    assert chosen(radius(max_pods=1), ask, back, touched={"rs-shop": 1}) == []
    assert len(chosen(radius(max_pods=2), ask, SHOP, touched={"rs-shop": 2})) == 2
    assert chosen(radius(max_pods=2), ask, [], touched={"rs-shop": 2}) == []


def test_an_argument_narrows_the_share_and_never_widens_it() -> None:
    """Whatever the experiment's configuration says."""
    assert radius(max_share=0.5).narrowed("80%").max_share == 0.5
    assert radius(max_share=0.5).narrowed(0.2).max_share == 0.2
    assert radius(max_share=0.5).narrowed(None).max_share == 0.5
    with pytest.raises(DriverError, match=r"^max_share 'much' is not a percentage up to 100%, such as 50%$"):
        radius().narrowed("much")


def test_nodes_are_chosen_among_the_frozen_ones_only() -> None:
    """And no more than the cap."""
    nodes = [node("node-a"), node("node-b"), node("node-c")]
    limits = radius(nodes={"uid-node-a": "node-a", "uid-node-b": "node-b"}, max_nodes=1)
    taken = {limits.choose_nodes(Ask(count=1), nodes, Random(seed))[0]["metadata"]["name"] for seed in range(20)}
    assert taken == {"node-a", "node-b"}
    with pytest.raises(DriverError, match=r"^2 nodes are asked for, max_nodes allows 1; take fewer$"):
        limits.choose_nodes(Ask(count=2), nodes, Random(1))
    with pytest.raises(DriverError, match=r"^1 nodes are asked for, of 1 that fit 0 are frozen targets$"):
        limits.choose_nodes(Ask(count=1), nodes[2:], Random(1))


@pytest.mark.parametrize(
    ("count", "share", "meant"),
    [
        (2, "", Ask(count=2)),
        ("2", None, Ask(count=2)),
        (1, 0, Ask(count=1)),
        (1, "50%", Ask(count=0, share=0.5)),
        (1, 0.5, Ask(count=0, share=0.5)),
    ],
)
def test_a_share_wins_over_the_count(count: object, share: object, meant: Ask) -> None:
    """No share: an empty text, nothing, or zero."""
    assert asked(count, share) == meant


@pytest.mark.parametrize(
    ("count", "share", "message"),
    [
        (0, "", "count '0' is not a whole number from 1 on"),
        (1.5, "", "count '1.5' is not a whole number from 1 on"),
        (1, "120%", "share '120%' is not a percentage up to 100%, such as 50%"),
        (1, "half", "share 'half' is not a percentage up to 100%, such as 50%"),
    ],
)
def test_what_is_no_number_is_refused(count: object, share: object, message: str) -> None:
    """With what would be one."""
    with pytest.raises(DriverError) as caught:
        asked(count, share)
    assert str(caught.value) == message


def test_the_radius_is_read_from_the_file_that_the_environment_names(tmp_path: Path) -> None:
    """And what cannot be read, is not taken for no limits."""
    path = tmp_path / "t.json"
    said = {"pods": {"u": "p"}, "owners": ["o"], "nodes": {}, "max_pods": 2, "max_share": 0.5, "max_nodes": 1}
    path.write_text(json.dumps(said))
    expected = Radius(pods={"u": "p"}, owners=frozenset("o"), nodes={}, max_pods=2, max_share=0.5, max_nodes=1)
    assert frozen({"LCH_TARGETS": str(path)}) == expected
    assert frozen({}) is None
    path.write_text("{}")
    with pytest.raises(
        DriverError, match=r"^LCH_TARGETS: the targets in '.*t.json' cannot be read: KeyError\('pods'\)$"
    ):
        frozen({"LCH_TARGETS": str(path)})


# -- properties: whatever the cluster, the list and what is asked ------------------------------------------------------

NAMES = st.integers(0, 11).map(lambda n: f"pod-{n}")
PHASES = st.sampled_from(["Running", "Running", "Running", "Pending", "Succeeded"])
OWNERS = st.sampled_from(["rs-1", "rs-2", "rs-3", None])


@st.composite
def clusters(draw: st.DrawFn) -> list[Obj]:
    names = draw(st.sets(NAMES, max_size=12))
    return [
        pod(
            name,
            owner=draw(OWNERS),
            phase=draw(PHASES),
            ready=draw(st.booleans()) or draw(st.booleans()),
            terminating=draw(st.sampled_from([False, False, True])),
        )
        for name in sorted(names)
    ]


@st.composite
def radii(draw: st.DrawFn) -> Radius:
    named = draw(st.sets(NAMES, max_size=12))
    return Radius(
        pods={f"uid-{name}": name for name in named},
        owners=frozenset(draw(st.sets(st.sampled_from(["rs-1", "rs-2", "rs-3", "dep"])))),
        nodes={},
        max_pods=draw(st.integers(0, 8)),
        max_share=draw(st.floats(0.05, 1.0)),
        max_nodes=0,
    ).following([replica_set("rs-1", "x"), replica_set("rs-2", "x")] if draw(st.booleans()) else [])


ASKS = st.one_of(st.builds(Ask, count=st.integers(1, 9)), st.builds(Ask, count=st.just(0), share=st.floats(0.01, 1.0)))


@given(pods=clusters(), limits=radii(), ask=ASKS, seed=st.integers(0, 9), data=st.data())
def test_targets_are_frozen_targets_within_the_caps(
    pods: list[Obj], limits: Radius, ask: Ask, seed: int, data: st.DataObject
) -> None:
    """For any cluster, any part of it that a selector matches, any list and caps, and anything asked."""
    matched = data.draw(
        st.lists(st.sampled_from(pods), unique_by=lambda one: one["metadata"]["name"]) if pods else st.just([])
    )
    touched = data.draw(st.none() | st.dictionaries(st.sampled_from(["rs-1", "rs-2", "uid-x"]), st.integers(0, 4)))
    try:
        taken = limits.choose(ask, among=matched, everyone=pods, draw=Random(seed), touched=touched)
    except DriverError:
        assert touched is None
        return

    assert all(one in matched and limits.holds(one) and serves(one) for one in taken)
    assert len({one["metadata"]["uid"] for one in taken}) == len(taken) <= limits.max_pods
    assert ask.share is not None or len(taken) <= ask.count
    sizes = Counter(limits.workload(one) for one in pods if alive(one))
    ready = Counter(limits.workload(one) for one in pods if serves(one))
    for workload, count in Counter(map(limits.workload, taken)).items():
        assert count <= limits.max_share * sizes[workload] + 1e-6
        assert count < sizes[workload] or (sizes[workload] == 1 and limits.max_share == 1)
        assert count < ready[workload] or limits.max_share == 1


@given(pods=clusters(), ask=ASKS, seed=st.integers(0, 9), data=st.data())
def test_without_a_list_only_what_was_matched_when_the_action_began_is_taken(
    pods: list[Obj], ask: Ask, seed: int, data: st.DataObject
) -> None:
    """Or what their controllers made since; also when the selector matches more in a later round."""
    first = data.draw(
        st.lists(st.sampled_from(pods), unique_by=lambda one: one["metadata"]["name"]) if pods else st.just([])
    )
    limits = around(first)
    owners = {one["metadata"]["ownerReferences"][0]["uid"] for one in first if one["metadata"].get("ownerReferences")}
    taken = limits.choose(ask, among=pods, everyone=pods, draw=Random(seed), touched={})
    assert all(one in first or one["metadata"]["ownerReferences"][0]["uid"] in owners for one in taken)


@given(limits=radii(), pods=clusters(), hit=st.sets(NAMES))
def test_what_may_be_taken_together_leaves_a_ready_pod_of_each_workload(
    limits: Radius, pods: list[Obj], hit: set[str]
) -> None:
    """As a drain asks."""
    taken = [one for one in pods if one["metadata"]["name"] in hit and serves(one)]
    try:
        limits.require(taken, everyone=pods)
    except DriverError:
        return
    assert len(taken) <= limits.max_pods
    ready = Counter(limits.workload(one) for one in pods if serves(one))
    for workload, count in Counter(map(limits.workload, taken)).items():
        assert count < ready[workload] or limits.max_share == 1


def alive(one: Obj) -> bool:
    return one["status"]["phase"] != "Succeeded" and "deletionTimestamp" not in one["metadata"]
