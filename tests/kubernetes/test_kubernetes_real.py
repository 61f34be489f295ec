"""The observer, the canaries and the zone cut on the sandbox's cluster: real processes, real traffic."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kube_doubles import fault, plan

from harness import sandbox
from harness.drivers.chaos import zone
from harness.drivers.kubernetes.client import ApiClient
from harness.drivers.kubernetes.driver import KubernetesObserver
from harness.drivers.kubernetes.objects import jobs_path, name_of, pods_path, policies_path
from harness.drivers.kubernetes.targets import resolve_in_child
from harness.errors import DriverError, PlanError
from harness.history.events import Body, CanarySeen, EndpointsSeen, PodGone, PodSeen, Stamped, TargetsFrozen
from harness.plan.model import Observe

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

S = 1_000_000_000
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


def paths(seen: list[Stamped], *, ok: bool) -> set[tuple[str, str]]:
    """The paths whose latest report is `ok`."""
    latest = {(one.from_zone, one.to_zone): one.ok for one in bodies(seen, CanarySeen) if isinstance(one, CanarySeen)}
    return {path for path, state in latest.items() if state is ok}


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
    assert len(pods) == 6
    assert all(pod.ready for pod in pods)
    assert {pod.zone for pod in pods} == {"zone-a", "zone-b", "zone-c"}
    assert bodies(first, EndpointsSeen) == [EndpointsSeen(service="shop", ready=6)]

    before_ns = time.monotonic_ns()
    api.delete(pods_path("shop", pods[0].pod))
    after = poll_until(
        observer,
        lambda seen: (
            bool(bodies(seen, PodGone)) and EndpointsSeen(service="shop", ready=6) in bodies(seen, EndpointsSeen)
        ),
    )

    assert bodies(after, PodGone) == [PodGone(pod=pods[0].pod, uid=pods[0].uid)]
    assert EndpointsSeen(service="shop", ready=5) in bodies(after, EndpointsSeen)
    successors = [body for body in bodies(after, PodSeen) if isinstance(body, PodSeen) and body.uid != pods[0].uid]
    assert successors[-1].ready
    assert all(before_ns < stamped.mono_ns < time.monotonic_ns() for stamped in after)


def test_a_zone_cut_is_seen_by_canaries_across_it_and_by_nobody_else(
    api: ApiClient, observing: Callable[..., KubernetesObserver]
) -> None:
    """Paths across fail within the bounds told; paths inside the zone and between the others stay; healing restores."""
    observer = observing(CUT, run="cut/1")
    first = list(observer.preflight())
    assert paths(first, ok=True) == ACROSS | NOT_ACROSS

    cut_ns = time.monotonic_ns()
    done = zone.partition_zone("zone-a", "shop", "app=shop", run="cut/1", ttl_s=60)
    cut_done_ns = time.monotonic_ns()
    during = poll_until(observer, lambda seen: len(paths(seen, ok=False)) >= 4)
    during += poll_until(observer, lambda _: time.monotonic_ns() > cut_done_ns + 3 * S)
    assert paths(during, ok=False) == ACROSS
    assert paths(during, ok=True) == set()
    for one in bodies(during, CanarySeen):
        assert isinstance(one, CanarySeen)
        assert one.lo_ns <= cut_done_ns
        assert one.hi_ns >= cut_ns
        assert one.hi_ns - one.lo_ns < 1 * S

    heal_ns = time.monotonic_ns()
    healed = zone.heal_zone("zone-a", "shop", run="cut/1")
    after = poll_until(observer, lambda seen: len(paths(seen, ok=True)) >= 4)
    assert healed["removed"] == [f"job/{done['job']}", f"networkpolicy/{done['policy']}"]
    assert paths(after, ok=True) == ACROSS
    assert all(one.hi_ns >= heal_ns for one in bodies(after, CanarySeen) if isinstance(one, CanarySeen))

    observer.close()
    zone.sweep(os.environ["KUBECONFIG"], None, "shop", "cut/1")  # waits for pods that are still being deleted
    assert ours(api) == []


def test_a_cut_that_nobody_heals_is_undone_by_the_cluster(api: ApiClient) -> None:
    """The dead-man Job takes the policy with it."""
    zone.partition_zone("zone-b", "shop", "app=shop", run="dead/1", ttl_s=2)
    assert len(ours(api)) == 2

    deadline = time.monotonic() + 15.0
    while ours(api):
        assert time.monotonic() < deadline, ours(api)
        time.sleep(0.1)

    assert zone.heal_zone("zone-b", "shop", run="dead/1")["removed"] == []


def test_canaries_of_a_killed_observer_are_swept(api: ApiClient, observing: Callable[..., KubernetesObserver]) -> None:
    """Nothing that carries the run's label outlives the sweep; polling tells that the observer is gone."""
    observer = observing(CUT, run="killed/1")
    observer.preflight()
    child = observer._child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()

    with pytest.raises(DriverError, match=r"^kubernetes: the observer ended by itself; see .*observer\.log$"):
        poll_until(observer, lambda _: False)
    removed = zone.sweep(os.environ["KUBECONFIG"], None, "shop", "killed/1")

    # The canaries may go with their job before the sweep comes to them.
    assert [name for name in removed if name.startswith("job/lch-canaries-")]
    assert ours(api) == []


def test_targets_are_found_by_a_child_process(cluster: sandbox.Endpoints, api: ApiClient) -> None:
    """With the same values and the same errors as in this process."""
    kubeconfig = str(cluster.kubeconfig)
    shop = api.items(pods_path("shop"), {"labelSelector": "app=shop"})
    in_zone = sorted(name_of(pod) for pod in shop if pod["spec"]["nodeName"] == "node-a")

    found = resolve_in_child([CUT], kubeconfig=kubeconfig, context=None, max_pods=2)
    with pytest.raises(PlanError) as caught:
        resolve_in_child([fault(selector="app=nope")], kubeconfig=kubeconfig, context=None, max_pods=2)

    assert found == (TargetsFrozen(fault="zone-cut", names=tuple(in_zone)),)
    assert [(problem.path, problem.line) for problem in caught.value.problems] == [("scenarios/s.yaml", 9)]
