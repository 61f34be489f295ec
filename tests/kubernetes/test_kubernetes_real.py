"""The observer, the canaries and the zone cut on the sandbox's cluster: real processes, real traffic."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard

import pytest
from cluster_at_rest import wait_for_rest
from kube_doubles import plan
from plan_values import fault

from harness import sandbox
from harness.drivers.faults import network, partition
from harness.drivers.faults.sweep import sweep
from harness.drivers.kubernetes.client import ApiClient
from harness.drivers.kubernetes.driver import KubernetesObserver
from harness.drivers.kubernetes.objects import (
    deployments_path,
    jobs_path,
    leases_path,
    name_of,
    node_path,
    pods_path,
    policies_path,
)
from harness.errors import DriverError
from harness.history.events import (
    Body,
    CanaryCounted,
    CanarySeen,
    ClusterWarned,
    DeploymentSeen,
    EndpointsSeen,
    LeaseSeen,
    NodeSeen,
    PodGone,
    PodSeen,
    PreflightChecked,
    ReplicaSetSeen,
    Stamped,
)
from harness.plan.model import Observe

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

CUT = fault("zone-cut", observe=Observe.ZONE_CUT, zone="zone-a")
ACROSS = {("zone-a", "zone-b"), ("zone-a", "zone-c"), ("zone-b", "zone-a"), ("zone-c", "zone-a")}
NOT_ACROSS = {("zone-a", "zone-a"), ("zone-b", "zone-c"), ("zone-c", "zone-b")}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sandbox.Endpoints]:
    state_dir = tmp_path_factory.mktemp("sandbox")
    yield sandbox.up(version="good", state_dir=state_dir, owned=True)
    sandbox.down(state_dir)


@pytest.fixture
def api(cluster: sandbox.Endpoints, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiClient]:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.delenv("KUBERNETES_CONTEXT", raising=False)
    monkeypatch.setenv("LCH_LEASED", "1")  # the dead-man Job, which owns the canaries, is not the fault's to end
    wait_for_rest(cluster.kubeconfig)
    client = ApiClient(str(cluster.kubeconfig), None)
    yield client
    client.close()


@pytest.fixture
def observing(cluster: sandbox.Endpoints, tmp_path: Path) -> Iterator[Callable[..., KubernetesObserver]]:
    started: list[KubernetesObserver] = []

    def observe(*faults: object, run: str) -> KubernetesObserver:
        wanted = plan(faults, kubeconfig=str(cluster.kubeconfig))  # type: ignore[arg-type]
        started.append(KubernetesObserver(wanted, run=run, log_dir=tmp_path))
        return started[-1]

    yield observe
    for one in started:
        one.close()


def poll_until(
    observer: KubernetesObserver, done: Callable[[list[Stamped]], bool], limit_s: float = 30.0
) -> list[Stamped]:
    """Everything polled until `done` says so."""
    seen: list[Stamped] = []
    deadline = time.monotonic() + limit_s
    while not done(seen):
        assert time.monotonic() < deadline, [stamped.body for stamped in seen]
        time.sleep(0.02)
        seen += observer.poll()
    return seen


def bodies(seen: list[Stamped], kind: type[Body]) -> list[Body]:
    return [stamped.body for stamped in seen if isinstance(stamped.body, kind)]


def latest(seen: list[Stamped]) -> dict[tuple[str, str, str], CanarySeen]:
    """The latest report of each lane of each path: on a busy machine any may seem to fail for a moment."""
    return {(one.from_zone, one.to_zone, one.via): one for one in bodies(seen, CanarySeen) if is_path(one)}


def paths(seen: list[Stamped], *, ok: bool) -> set[tuple[str, str]]:
    """The paths whose latest reports, over new and over open connections, are both `ok`."""
    there = latest(seen).items()
    lanes = [{path[:2] for path, one in there if path[2] == via and one.ok is ok} for via in ("new", "open")]
    return lanes[0] & lanes[1]


def is_path(body: Body) -> TypeGuard[CanarySeen]:
    return isinstance(body, CanarySeen)


def ours(api: ApiClient) -> list[str]:
    """What carries a run's label in the namespace."""
    found = [
        api.items(path("shop"), {"labelSelector": "lch.dev/run"}) for path in (pods_path, jobs_path, policies_path)
    ]
    return sorted(name_of(obj) for objs in found for obj in objs)


def test_a_deleted_pod_is_seen_to_go_and_its_successor_to_become_ready(
    api: ApiClient, observing: Callable[..., KubernetesObserver]
) -> None:
    """First everything that is there, then only what changes, stamped when it arrives."""
    observer = observing(run="observe/1")
    first = list(observer.preflight())
    pods = [body for body in bodies(first, PodSeen) if isinstance(body, PodSeen)]
    (replica_set,) = bodies(first, ReplicaSetSeen)
    assert isinstance(replica_set, ReplicaSetSeen)
    assert (replica_set.deployment, replica_set.revision, replica_set.ready) == ("shop", 1, 6)
    assert len(pods) == 6
    assert all(pod.ready and pod.owner == replica_set.uid for pod in pods)
    assert {pod.zone for pod in pods} == {"zone-a", "zone-b", "zone-c"}
    zones = (("zone-a", 2), ("zone-b", 2), ("zone-c", 2))
    assert bodies(first, EndpointsSeen) == [EndpointsSeen(service="shop", ready=6, zones=zones)]
    assert [one.ready for one in bodies(first, DeploymentSeen) if isinstance(one, DeploymentSeen)] == [6]
    assert sorted(one.node for one in bodies(first, NodeSeen) if isinstance(one, NodeSeen)) == [
        "node-a",
        "node-b",
        "node-c",
    ]
    assert bodies(first, PreflightChecked) == []

    before_ns = time.monotonic_ns()
    api.delete(pods_path("shop", pods[0].pod))

    def replaced(seen: list[Stamped]) -> bool:
        """Each kind has its own watch, and none waits for the others."""
        rollouts = [one.ready for one in bodies(seen, DeploymentSeen) if is_rollout(one)]
        comes = [one for one in bodies(seen, PodSeen) if isinstance(one, PodSeen) and one.uid != pods[0].uid]
        there = any(one.ready for one in comes[-1:])
        return bool(bodies(seen, PodGone)) and there and (ready(seen)[-1:], rollouts[-1:]) == ([6], [6])

    after = poll_until(observer, replaced)

    assert bodies(after, PodGone) == [PodGone(pod=pods[0].pod, uid=pods[0].uid)]
    assert ready(after)[0] == 5
    assert all(before_ns < stamped.mono_ns < time.monotonic_ns() for stamped in after)


def test_nodes_leases_rollouts_and_warnings_are_told_as_they_change(
    api: ApiClient, observing: Callable[..., KubernetesObserver]
) -> None:
    """Each by its own watch; what was there before is told once at the start."""
    observer = observing(run="observe/2")
    observer.preflight()
    cordoned = {"spec": {"unschedulable": True}}
    lease = {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "me"}}
    nowhere = {"nodeSelector": {"no": "node"}, "containers": [{"name": "x", "image": "shop:good"}]}
    try:
        api.patch(node_path("node-c"), cordoned)
        api.create(leases_path("shop"), {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"} | lease)
        api.create(
            pods_path("shop"), {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "nowhere"}, "spec": nowhere}
        )
        api.patch(deployments_path("shop", "shop"), {"spec": {"replicas": 7}})
        seen = poll_until(
            observer,
            lambda seen: bool(
                bodies(seen, NodeSeen)
                and bodies(seen, LeaseSeen)
                and "pod/nowhere" in warned(seen)
                and [one for one in bodies(seen, DeploymentSeen) if is_rollout(one) and one.ready == 7]
            ),
        )
    finally:
        api.patch(node_path("node-c"), {"spec": {"unschedulable": None}})
        api.patch(deployments_path("shop", "shop"), {"spec": {"replicas": 6}})
        api.delete(leases_path("shop", "leader"))
        api.delete(pods_path("shop", "nowhere"))

    (node,) = bodies(seen, NodeSeen)[:1]
    assert isinstance(node, NodeSeen)
    assert (node.node, node.zone, node.ready, node.schedulable) == ("node-c", "zone-c", True, False)
    assert bodies(seen, LeaseSeen) == [LeaseSeen(lease="leader", holder="me")]
    assert warned(seen)["pod/nowhere"] == "FailedScheduling"


def warned(seen: list[Stamped]) -> dict[str, str]:
    """Why the cluster warned, by what it warned about."""
    return {one.about: one.reason for one in bodies(seen, ClusterWarned) if isinstance(one, ClusterWarned)}


def is_rollout(body: Body) -> TypeGuard[DeploymentSeen]:
    return isinstance(body, DeploymentSeen)


def test_what_may_not_be_read_is_left_out_and_that_is_said(
    api: ApiClient, observing: Callable[..., KubernetesObserver]
) -> None:
    """Pods and endpoints are watched all the same; a fault that only the nodes show is the preflight's affair."""
    denied = {"metadata": {"name": "lch-sandbox-denied"}, "data": {"1": "list /nodes", "2": "list /events"}}
    maps = "/api/v1/namespaces/kube-system/configmaps"
    api.create(maps, {"apiVersion": "v1", "kind": "ConfigMap"} | denied)
    try:
        first = list(observing(run="observe/3").preflight())
    finally:
        api.delete(f"{maps}/lch-sandbox-denied")

    left_out = [one for one in bodies(first, PreflightChecked) if isinstance(one, PreflightChecked)]
    assert [(one.check, one.ok, one.detail.partition(":")[0]) for one in left_out] == [
        ("observer", False, "nodes of the cluster are not watched"),
        ("observer", False, "events of shop are not watched"),
        ("observer", False, "events of default are not watched"),
    ]
    assert {one.zone for one in bodies(first, PodSeen) if isinstance(one, PodSeen)} == {"zone-a", "zone-b", "zone-c"}
    assert ready(first) == [6]
    assert bodies(first, NodeSeen) == []


def ready(seen: list[Stamped]) -> list[int]:
    """How many endpoints of the shop were ready, one after the other."""
    return [one.ready for one in bodies(seen, EndpointsSeen) if isinstance(one, EndpointsSeen)]


def test_a_zone_cut_is_seen_by_canaries_across_it_and_by_nobody_else(
    api: ApiClient, observing: Callable[..., KubernetesObserver]
) -> None:
    """Paths across fail within the bounds told; paths inside the zone and between the others stay; healing restores."""
    observer = observing(CUT, run="cut/1")
    first = list(observer.preflight())
    assert paths(first, ok=True) == ACROSS | NOT_ACROSS
    (lag,) = bodies(first, PreflightChecked)
    assert isinstance(lag, PreflightChecked)
    assert (lag.check, lag.ok) == ("watch_latency", True)

    cut_ns = time.monotonic_ns()
    partition.partition_zone("zone-a", "shop", "app=shop", run="cut/1", ttl_s=60)
    cut_done_ns = time.monotonic_ns()
    during = poll_until(observer, lambda seen: paths(seen, ok=False) == ACROSS <= lost(seen))
    during += poll_until(observer, lambda seen: unhurt(seen, cut_done_ns) >= NOT_ACROSS)
    assert not unhurt(during, cut_done_ns) & ACROSS
    cuts = [one for path, one in latest(during).items() if path[:2] in ACROSS]
    assert all(one.lo_ns <= cut_done_ns and one.hi_ns >= cut_ns for one in cuts)

    heal_ns = time.monotonic_ns()
    partition.heal_zone("zone-a", "shop", run="cut/1")
    after = poll_until(observer, lambda seen: paths(seen, ok=True) >= ACROSS)
    assert all(one.hi_ns >= heal_ns for path, one in latest(after).items() if path[:2] in ACROSS)

    observer.close()
    sweep(api, ["shop"], "cut/1")  # waits for pods that are still being deleted
    assert ours(api) == []


def test_slow_paths_are_counted_by_the_second(api: ApiClient, observing: Callable[..., KubernetesObserver]) -> None:
    """Across the zone's border every answer is late, inside it none; that is no cut."""
    slow = replace(CUT, experiment=replace(CUT.experiment, observe=Observe.PATHS_DEGRADED, slow_s=0.1))
    observer = observing(slow, run="slow/1")
    observer.preflight()

    network.delay_zone("zone-a", "shop", "app=shop", 80, run="slow/1", ttl_s=60)
    seen = poll_until(observer, lambda seen: all_slow(seen) >= ACROSS and mostly_quick(seen) >= NOT_ACROSS)
    network.restore_network("zone-a", "shop", run="slow/1")
    seen += poll_until(observer, lambda seen: mostly_quick(seen) >= ACROSS)

    assert paths(seen, ok=False) == set()
    observer.close()
    sweep(api, ["shop"], "slow/1")
    assert ours(api) == []


def all_slow(seen: list[Stamped]) -> set[tuple[str, str]]:
    """The paths on which no probe of some second was answered in time, and some were answered."""
    counts = filter(is_count, bodies(seen, CanaryCounted))
    return {(one.from_zone, one.to_zone) for one in counts if one.slow > 0 and one.slow + one.failed == one.sent}


def mostly_quick(seen: list[Stamped]) -> set[tuple[str, str]]:
    """The paths on which most probes of some second were answered in time."""
    counts = filter(is_count, bodies(seen, CanaryCounted))
    return {(one.from_zone, one.to_zone) for one in counts if 2 * (one.slow + one.failed) < one.sent}


def unhurt(seen: list[Stamped], since_ns: int) -> set[tuple[str, str]]:
    """The paths on which no probe of some second from then on failed."""
    counts = filter(is_count, bodies(seen, CanaryCounted))
    return {(one.from_zone, one.to_zone) for one in counts if one.lo_ns > since_ns and one.failed == 0 < one.sent}


def is_count(body: Body) -> TypeGuard[CanaryCounted]:
    return isinstance(body, CanaryCounted)


def lost(seen: list[Stamped]) -> set[tuple[str, str]]:
    """The paths on which every probe of some second failed."""
    counts = filter(is_count, bodies(seen, CanaryCounted))
    return {(one.from_zone, one.to_zone) for one in counts if one.failed == one.sent > 0}


def test_a_killed_observer_is_noticed_and_its_canaries_are_swept(
    api: ApiClient, observing: Callable[..., KubernetesObserver]
) -> None:
    """Nothing that carries the run's label outlives the sweep; polling tells that the observer is gone."""
    observer = observing(CUT, run="killed/1")
    observer.preflight()
    assert observer._child is not None
    child = observer._child.process
    os.kill(child.pid, signal.SIGKILL)
    child.wait()

    with pytest.raises(DriverError, match=r"^kubernetes: the observer ended by itself; see .*observer\.log$"):
        poll_until(observer, lambda _: False)
    removed = sweep(api, ["shop"], "killed/1")

    assert [name for name in removed if name.startswith("job/lch-dead-man-")]
    assert ours(api) == []
