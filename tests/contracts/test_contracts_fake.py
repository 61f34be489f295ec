"""The shipped twins keep the contracts of the real drivers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from contract_plans import shipped
from driver_contracts import (
    CLUSTER_CONTRACT,
    FAULT_CONTRACT,
    METRICS_CONTRACT,
    ClusterSubject,
    FaultSubject,
    MetricsSubject,
)

from harness.drivers.base import FaultDriver
from harness.drivers.fake import FakeClock, FakeCluster, FakeFaults, FakeMetrics
from harness.plan.bind import bound

ADDRESSES = {"url": "http://127.0.0.1:1", "kubeconfig": "/k", "prometheus_url": "http://127.0.0.1:2"}
PARTITION = bound(shipped("zone-partition"), **ADDRESSES)
BASELINE = bound(shipped("baseline"), **ADDRESSES)


@pytest.mark.parametrize("holds", FAULT_CONTRACT)
def test_the_fake_faults_keep_the_contract(holds: Callable[[FaultSubject], None]) -> None:
    clock = FakeClock()
    made: list[FakeFaults] = []

    def make() -> FaultDriver:
        made.append(FakeFaults(PARTITION, clock, FakeCluster(clock)))
        return made[-1]

    (fault,) = PARTITION.faults
    holds(FaultSubject(make=make, fault=fault, on=lambda: any(one.active for one in made), clock=clock))


@pytest.mark.parametrize("holds", CLUSTER_CONTRACT)
def test_the_fake_cluster_keeps_the_contract(holds: Callable[[ClusterSubject], None]) -> None:
    clock = FakeClock()
    cluster = FakeCluster(clock)
    subject = ClusterSubject(
        make=lambda: cluster, pods=lambda: set(cluster.names), delete_pod=cluster.kill, clock=clock
    )
    holds(subject)


@pytest.mark.parametrize("holds", METRICS_CONTRACT)
def test_the_fake_metrics_keep_the_contract(holds: Callable[[MetricsSubject], None]) -> None:
    clock = FakeClock()
    holds(MetricsSubject(make=lambda: FakeMetrics(BASELINE, clock), plan=BASELINE, clock=clock))
