"""Delays, losses and partitions by Chaos Mesh: what is asked of it, and that it is undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from chaoslib.exceptions import ActivityFailed
from zone_stage import ZONE, StoreApi, act_on, cluster, state

from harness.drivers.faults import act, network
from harness.drivers.faults.network import between_zones, percentage, recovered
from harness.drivers.kubernetes.client import ApiError
from harness.errors import DriverError
from harness.sandbox.objects import set_condition
from harness.sandbox.resources import JOBS, NETWORKCHAOS, NODES
from harness.sandbox.store import Store

CHAOS = "/apis/chaos-mesh.org/v1alpha1/namespaces/shop/networkchaos"
PARTITION = {"action": "partition"}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(act, "PAUSE_S", 0.0)


def injecting(store: Store) -> Callable[[str, str], None]:
    """A Chaos Mesh that injects whatever comes at once."""

    def inject(method: str, _path: str) -> None:
        if method == "POST":
            for chaos in store.list(NETWORKCHAOS):
                store.update(
                    NETWORKCHAOS,
                    chaos["metadata"]["name"],
                    "shop",
                    lambda obj: set_condition(obj, "AllInjected", "True"),
                )

    return inject


@pytest.fixture
def store() -> Store:
    return cluster()


@pytest.fixture
def api(store: Store) -> StoreApi:
    api = StoreApi(store)
    api.after = injecting(store)
    return api


def test_a_zone_is_set_against_each_other_zone_that_has_pods(api: StoreApi, store: Store) -> None:
    """One object per pair, both directions, with an end of its own, owned by the run's dead-man Job."""
    delay = {"action": "delay", "delay": {"latency": "100ms", "jitter": "10ms", "correlation": "0"}}

    done = between_zones(act_on(api), "a", "app=shop", "network", delay)

    assert done == {
        "zone": "a",
        "namespace": "shop",
        "pods": ["shop-a"],
        "objects": ["lch-delay-a-b-77ceec1a", "lch-delay-a-c-77ceec1a"],
        "ttl_s": 60,
    }
    chaos = store.get(NETWORKCHAOS, "lch-delay-a-b-77ceec1a", "shop")
    assert chaos["apiVersion"] == "chaos-mesh.org/v1alpha1"
    assert chaos["spec"] == delay | {
        "mode": "all",
        "selector": {"namespaces": ["shop"], "nodeSelectors": {ZONE: "a"}},
        "direction": "both",
        "target": {"mode": "all", "selector": {"namespaces": ["shop"], "nodeSelectors": {ZONE: "b"}}},
        "duration": "60s",
    }
    assert chaos["metadata"]["labels"] == {"lch.dev/run": "s_1", "lch.dev/role": "network", "lch.dev/zone": "a"}
    [job] = store.list(JOBS)
    assert chaos["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]


def test_a_zone_that_has_no_other_known_beside_it_is_refused() -> None:
    """There would be nothing between them, and the action would have done nothing."""
    store = cluster("ab", labelled=False)
    store.update(NODES, "node-b", "", lambda node: node["metadata"].update(labels={}))
    before = state(store)

    with pytest.raises(DriverError, match=r"^zone 'a': no zone is known of any other pod in namespace 'shop'$"):
        between_zones(act_on(StoreApi(store)), "a", "app=shop", "role", PARTITION)
    assert state(store) == before


def test_recovering_removes_what_this_run_did_to_this_zone(api: StoreApi, store: Store) -> None:
    """Twice is fine; other runs, zones and roles stay."""
    between_zones(act_on(api, run="s_2"), "a", "app=shop", "network", PARTITION)
    between_zones(act_on(api), "b", "app=shop", "network", PARTITION)
    before = state(store)
    between_zones(act_on(api), "a", "app=shop", "network", PARTITION)

    done = recovered(act_on(api), "a", "network")

    names = ["networkchaos/lch-partition-a-b-77ceec1a", "networkchaos/lch-partition-a-c-77ceec1a"]
    assert done == {"zone": "a", "namespace": "shop", "removed": names}
    assert state(store) == before
    assert recovered(act_on(api), "a", "network")["removed"] == []


def test_a_name_that_is_taken_is_an_error_and_what_was_made_is_taken_back(api: StoreApi, store: Store) -> None:
    """An old object would not be injected again: taking it for success would measure nothing."""
    api.refuse = {("POST", CHAOS): 409}
    before = state(store)

    with pytest.raises(ApiError, match=r"409$"):
        between_zones(act_on(api, leased=False), "a", "app=shop", "network", PARTITION)

    assert state(store) == before


def test_what_is_never_injected_is_an_error(api: StoreApi, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """And taken back."""
    monkeypatch.setattr(network, "INJECT_S", 0.0)
    api.after = lambda *_: None
    before = state(store)

    names = "lch-partition-a-b-77ceec1a, lch-partition-a-c-77ceec1a"
    with pytest.raises(DriverError, match=rf"after 0 s still not: NetworkChaos {names} all injected$"):
        between_zones(act_on(api, leased=False), "a", "app=shop", "network", PARTITION)

    assert state(store) == before


def test_a_cluster_without_chaos_mesh_says_so(api: StoreApi) -> None:
    """Its API server knows no such address."""
    api.refuse = {("POST", CHAOS): 404}

    with pytest.raises(DriverError, match=r"^kubernetes http://store: knows no NetworkChaos; install Chaos Mesh$"):
        between_zones(act_on(api), "a", "app=shop", "network", PARTITION)


def test_recovering_where_chaos_mesh_is_not_finds_nothing(api: StoreApi) -> None:
    """There can be nothing to undo."""
    api.refuse = {("GET", CHAOS): 404}

    assert recovered(act_on(api), "a", "network")["removed"] == []


def test_a_rehearsal_asks_and_does_not_wait(store: Store) -> None:
    """Nothing is injected, so nothing is waited for."""
    api = StoreApi(store, dry=True)
    before = state(store)

    between_zones(act_on(api), "a", "app=shop", "network", PARTITION)

    assert api.asked == [("POST", "/apis/batch/v1/namespaces/shop/jobs"), ("POST", CHAOS), ("POST", CHAOS)]
    assert state(store) == before


@pytest.mark.parametrize(("loss", "percent"), [(0.25, "25"), ("25%", "25"), ("0.5", "50"), (1, "100"), (0.001, "0.1")])
def test_a_share_is_told_in_per_cent(loss: Any, percent: str) -> None:
    """As Chaos Mesh wants it: a text."""
    assert percentage(loss) == percent


@pytest.mark.parametrize("loss", [0, -0.1, 1.5, "25", "x%", "", float("nan")])
def test_what_is_no_share_is_refused(loss: Any) -> None:
    """A bare 25 might be meant as a quarter or as everything."""
    with pytest.raises(ActivityFailed, match=r"give a share like 0\.25, or a text like '25%'$"):
        percentage(loss)


def test_delays_that_mean_nothing_are_refused() -> None:
    """Before anything is asked of a cluster."""
    with pytest.raises(ActivityFailed, match=r"^delay_zone: delay_ms 10, jitter_ms 20: "):
        network.delay_zone("a", "shop", "app=shop", 10, 20)
