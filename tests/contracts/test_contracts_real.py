"""The drivers of the real tools keep the contracts, on the sandbox's cluster and its Prometheus."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from cluster_at_rest import wait_for_rest
from contract_plans import shipped
from driver_contracts import (
    CLUSTER_CONTRACT,
    FAULT_CONTRACT,
    METRICS_CONTRACT,
    ClusterSubject,
    FaultSubject,
    MetricsSubject,
)

from harness import sandbox
from harness.drivers.chaos.driver import ChaosDriver
from harness.drivers.clock import MonotonicClock
from harness.drivers.kubernetes.driver import KubernetesObserver
from harness.drivers.prometheus import PrometheusSource
from harness.plan.bind import bound
from harness.plan.model import Plan

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

RUN = "drill/20261121-010203-ab12"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"
PODS = "/api/v1/namespaces/shop/pods"
CLOCK = MonotonicClock()


class World:
    """The sandbox as seen from outside the drivers."""

    def __init__(self, endpoints: sandbox.Endpoints) -> None:
        self._endpoints = endpoints
        self.kubeconfig = endpoints.kubeconfig
        self.up_ns = CLOCK.mono_ns()

    def plan(self, scenario: str) -> Plan:
        here = self._endpoints
        urls = {"url": here.url, "prometheus_url": here.prometheus_url}
        return bound(shipped(scenario), kubeconfig=here.kubeconfig, **urls)

    def cut(self) -> bool:
        return bool(self._items(POLICIES))

    def ready_pods(self) -> set[str]:
        """Their names, when all six are."""
        until_s = time.monotonic() + 20
        while time.monotonic() < until_s:
            ready = {item["metadata"]["name"] for item in self._items(PODS + "?labelSelector=app=shop") if _ready(item)}
            if len(ready) == 6:
                return ready
            time.sleep(0.05)
        raise AssertionError("the six pods of the shop were not ready")

    def delete_pod(self) -> None:
        name = min(self.ready_pods())
        url = f"{self._endpoints.api_url}{PODS}/{name}?gracePeriodSeconds=0"
        requests.delete(url, timeout=5).raise_for_status()

    def _items(self, path: str) -> list[dict]:  # type: ignore[type-arg]
        return requests.get(self._endpoints.api_url + path, timeout=5).json()["items"]  # type: ignore[no-any-return]


def _ready(pod: dict) -> bool:  # type: ignore[type-arg]
    conditions = {one["type"]: one["status"] for one in pod.get("status", {}).get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    state_dir = tmp_path_factory.mktemp("sandbox")
    yield World(sandbox.up(version="good", state_dir=state_dir, owned=True))
    sandbox.down(state_dir)


@pytest.fixture
def world(shared: World) -> World:
    wait_for_rest(shared.kubeconfig)
    return shared


@pytest.mark.parametrize("holds", FAULT_CONTRACT)
def test_chaos_toolkit_keeps_the_contract(holds: Callable[[FaultSubject], None], world: World, tmp_path: Path) -> None:
    plan = world.plan("zone-partition")
    cluster = plan.service.cluster
    assert cluster is not None
    kubeconfig, context, turns = cluster.kubeconfig, cluster.context, itertools.count()

    def make() -> ChaosDriver:
        directory = tmp_path / str(next(turns)) / RUN / "chaos"
        return ChaosDriver(plan, run=RUN, directory=directory, kubeconfig=kubeconfig, context=context)

    holds(FaultSubject(make=make, fault=plan.faults[0], on=world.cut, clock=CLOCK))


@pytest.mark.parametrize("holds", CLUSTER_CONTRACT)
def test_the_kubernetes_observer_keeps_the_contract(
    holds: Callable[[ClusterSubject], None], world: World, tmp_path: Path
) -> None:
    plan = world.plan("stress-150")
    subject = ClusterSubject(
        make=lambda: KubernetesObserver(plan, run=RUN, log_dir=tmp_path),
        pods=world.ready_pods,
        delete_pod=world.delete_pod,
        clock=CLOCK,
    )
    holds(subject)


@pytest.mark.parametrize("holds", METRICS_CONTRACT)
def test_the_prometheus_source_keeps_the_contract(holds: Callable[[MetricsSubject], None], world: World) -> None:
    plan = world.plan("baseline")
    CLOCK.wait(world.up_ns + 17_000_000_000, ())  # the window asked for begins ten seconds ago
    holds(MetricsSubject(make=lambda: PrometheusSource(plan), plan=plan, clock=CLOCK))
