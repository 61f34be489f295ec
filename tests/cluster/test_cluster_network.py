"""What a NetworkPolicy does to connections, proven by canaries: the cut begins and ends within the bounds they tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cluster_place import Place
from kube_doubles import plan
from plan_values import fault

from harness.drivers.faults import partition
from harness.drivers.faults.sweep import sweep
from harness.drivers.kubernetes.driver import KubernetesObserver
from harness.history.events import CanaryCounted, CanarySeen, Stamped
from harness.plan.model import Observe, Plan

pytestmark = [pytest.mark.real, pytest.mark.cluster, pytest.mark.timeout(400)]

RUN = "conformance/partition"
APP = "lch-parted"


def cut_plan(place: Place, zone: str) -> Plan:
    asked = fault("zone-cut", observe=Observe.ZONE_CUT, zone=zone, namespace=place.namespace, selector=f"app={APP}")
    whole = plan((asked,), kubeconfig=place.kubeconfig, selector=f"app={APP}")
    assert whole.service.cluster is not None
    cluster = replace(whole.service.cluster, context=place.context, namespace=place.namespace, deployment=APP)
    return replace(whole, service=replace(whole.service, cluster=cluster))


@pytest.fixture
def parted(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A zone of several that has a pod; nothing of the run is left afterwards."""
    if len(set(place.zones().values())) < 2:
        pytest.skip("the nodes are not in several zones")
    monkeypatch.setenv("KUBECONFIG", place.kubeconfig)
    monkeypatch.setenv("LCH_LEASED", "1")  # the dead-man Job, which owns the canaries, is not the fault's to end
    if place.context:
        monkeypatch.setenv("KUBERNETES_CONTEXT", place.context)
    place.deployment(APP, 3)
    zones = {place.zone_of(pod) for pod in place.ready_pods(f"app={APP}")}
    if len(zones) < 2:
        pytest.skip("the scheduler put all pods into one zone")
    yield min(zones)
    sweep(place.api, [place.namespace], RUN)


def gather(observer: KubernetesObserver, seen: list[Stamped], done: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until_s, [stamped.body for stamped in seen]
        time.sleep(0.05)
        seen += observer.poll()


def across(seen: list[Stamped], zone: str, *, ok: bool) -> list[CanarySeen]:
    """Reports of new connections of this outcome on paths with one end in the zone."""
    reports = [stamped.body for stamped in seen if isinstance(stamped.body, CanarySeen)]
    return [
        one for one in reports if one.via == "new" and one.ok is ok and (one.from_zone == zone) != (one.to_zone == zone)
    ]


def inside_is_whole(seen: list[Stamped], zone: str, since_ns: int) -> bool:
    """Whether in some second from then on no probe inside the zone failed."""
    counts = [stamped.body for stamped in seen if isinstance(stamped.body, CanaryCounted)]
    inside = [one for one in counts if one.from_zone == one.to_zone == zone and one.lo_ns > since_ns]
    return any(one.failed == 0 < one.sent for one in inside)


def test_a_policy_cuts_a_zone_off_and_its_removal_ends_that(place: Place, parted: str, tmp_path: Path) -> None:
    """In both directions; the inside of the zone stays connected."""
    observer = KubernetesObserver(cut_plan(place, parted), run=RUN, log_dir=tmp_path)
    try:
        paths = len(across(list(observer.preflight()), parted, ok=True))
        during: list[Stamped] = []
        asked_ns = time.monotonic_ns()
        partition.partition_zone(parted, place.namespace, f"app={APP}", run=RUN, ttl_s=120)
        gather(observer, during, lambda: len(across(during, parted, ok=False)) >= paths)
        assert all(one.hi_ns > asked_ns for one in across(during, parted, ok=False))
        cut_ns = time.monotonic_ns()
        gather(observer, during, lambda: inside_is_whole(during, parted, cut_ns))

        after: list[Stamped] = []
        asked_ns = time.monotonic_ns()
        partition.heal_zone(parted, place.namespace, run=RUN)
        gather(observer, after, lambda: len(across(after, parted, ok=True)) >= paths)
        assert all(one.hi_ns > asked_ns for one in across(after, parted, ok=True))
    finally:
        observer.close()
