"""The faults on pods, nodes, deployments and leaders on the sandbox's cluster; some of them by plain `chaos run`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import sandbox
from harness.drivers.faults import leader, nodes, pods, rollouts
from harness.drivers.kubernetes.client import ApiClient
from harness.drivers.kubernetes.objects import (
    NODES_PATH,
    Obj,
    budgets_path,
    deployments_path,
    labels_of,
    leases_path,
    name_of,
    node_of,
    pods_path,
    ready,
    terminating,
)

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
SHOP: dict[str, Any] = {"namespace": "shop", "selector": "app=shop"}


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sandbox.Endpoints]:
    state_dir = tmp_path_factory.mktemp("sandbox")
    yield sandbox.up(version="store", state_dir=state_dir, owned=True)
    sandbox.down(state_dir)


class Cluster:
    def __init__(self, api: ApiClient) -> None:
        self.api = api

    def pods(self, app: str = "shop") -> list[Obj]:
        """The app's pods that are ready and stay."""
        found = self.api.items(pods_path("shop"), {"labelSelector": f"app={app}"})
        return [pod for pod in found if ready(pod) and not terminating(pod)]

    def deployment(self, name: str = "shop") -> Obj:
        return self.api.get(deployments_path("shop", name))

    def images(self) -> set[str]:
        return {str(pod["spec"]["containers"][0]["image"]) for pod in self.pods()}

    def holder(self) -> str:
        """Of the store's Lease; empty without one."""
        leases = [one for one in self.api.items(leases_path("shop")) if name_of(one) == "store"]
        return str(leases[0]["spec"].get("holderIdentity") or "") if leases else ""

    def whole(self) -> bool:
        """All pods of one version are ready, and one of the store's leads."""
        counts = (len(self.pods()), len(self.pods("store")))
        leads = any(self.holder().startswith(name_of(pod)) for pod in self.pods("store"))
        return counts == (6, 3) and self.images() == {"shop:good"} and leads

    def cordoned(self) -> list[str]:
        return [name_of(node) for node in self.api.items(NODES_PATH) if node["spec"].get("unschedulable")]

    def marked(self) -> list[str]:
        """What carries a run's label."""
        found = [*self.api.items(NODES_PATH), *self.api.items(deployments_path("shop"))]
        return [name_of(obj) for obj in found if "lch.dev/run" in labels_of(obj)]


def until(done: Callable[[], bool], limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def cluster(endpoints: sandbox.Endpoints, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The sandbox with all its pods ready, whatever a test before did."""
    for name in [name for name in os.environ if name.startswith("LCH_")] + ["KUBERNETES_CONTEXT"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(endpoints.kubeconfig))
    api = ApiClient(str(endpoints.kubeconfig), None)
    found = Cluster(api)
    until(found.whole)
    yield found
    api.close()


def chaos_run(experiment: str, folder: Path, **configuration: str) -> dict[str, Any]:
    """The journal of a plain `chaos run` of a shipped experiment."""
    given = [word for key, value in configuration.items() for word in ("--var", f"{key}={value}")]
    path = ROOT / "experiments" / f"{experiment}.yaml"
    argv = [str(Path(sys.executable).with_name("chaos")), "--no-version-check", "run", *given, str(path)]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    journal: dict[str, Any] = json.loads((folder / "journal.json").read_text())
    return journal


def outputs(journal: dict[str, Any]) -> list[Any]:
    return [one["output"] for one in (*journal["run"], *journal["rollbacks"])]


def test_chaos_run_deletes_pods_of_a_zone(cluster: Cluster, tmp_path: Path) -> None:
    """A share of them, as many as rounding up makes; others take their place."""
    before = {pod["metadata"]["uid"] for pod in cluster.pods()}
    ((node, _),) = Counter(map(node_of, cluster.pods())).most_common(1)
    in_zone = {pod["metadata"]["uid"] for pod in cluster.pods() if node_of(pod) == node}

    (done,) = outputs(chaos_run("pod-delete", tmp_path, zone=node.replace("node", "zone"), share="50%"))

    gone = {one["uid"] for one in done["rounds"][0]}
    assert len(gone) == -(-len(in_zone) // 2)
    assert gone <= in_zone
    until(cluster.whole)
    assert {pod["metadata"]["uid"] for pod in cluster.pods()} & before == before - gone


def test_chaos_run_rolls_a_bad_version_out_and_back(cluster: Cluster, tmp_path: Path) -> None:
    """The former ReplicaSet serves again, and nothing of ours is left on the deployment."""
    spec = cluster.deployment()["spec"]
    owners = {pod["metadata"]["ownerReferences"][0]["uid"] for pod in cluster.pods()}

    method, rollback = outputs(chaos_run("bad-rollout", tmp_path, **{"hold_s:int": "1"}))

    assert (method["image_before"], method["image"]) == ("shop:good", "shop:bad")
    assert (rollback["undone"], rollback["images"]) == (True, ["shop:good"])
    assert cluster.deployment()["spec"] == spec
    assert cluster.marked() == []
    until(cluster.whole)
    assert {pod["metadata"]["ownerReferences"][0]["uid"] for pod in cluster.pods()} == owners


def test_a_drain_waits_for_the_disruption_budget(cluster: Cluster) -> None:
    """Its node is empty then, takes nothing until it is brought back, and the budget was kept."""
    budget = {"metadata": {"name": "shop"}, "spec": {"minAvailable": 5, "selector": {"matchLabels": {"app": "shop"}}}}
    cluster.api.create(budgets_path("shop"), budget)
    try:
        until(lambda: bool(cluster.api.get(budgets_path("shop", "shop")).get("status", {}).get("disruptionsAllowed")))
        done = nodes.drain_nodes(**SHOP, run="drain/1")
    finally:
        cluster.api.delete(budgets_path("shop", "shop"))

    assert done["nodes"] == cluster.cordoned() == cluster.marked()
    until(cluster.whole)
    assert {node_of(pod) for pod in cluster.pods()}.isdisjoint(cluster.cordoned())
    assert nodes.undrain_nodes(namespace="shop", run="drain/1") == {"nodes": done["nodes"]}
    assert (cluster.cordoned(), cluster.marked()) == ([], [])


def test_the_leader_of_the_store_is_deleted_and_another_takes_over(cluster: Cluster) -> None:
    """The pod that the lease named is gone; the lease names another."""
    done = leader.delete_leader(namespace="shop", selector="app=store", lease="store")

    assert done["holder_after"] != done["holder_before"] != cluster.holder()
    assert done["uid"] not in {pod["metadata"]["uid"] for pod in cluster.pods("store")}
    assert isinstance(done["taken_over_s"], float)


def test_replicas_are_taken_away_and_given_back(cluster: Cluster) -> None:
    """Only the frozen part of the deployment's pods is left alone."""
    assert rollouts.scale(**SHOP, deployment="shop", replicas=2)["replicas_before"] == 6
    until(lambda: len(cluster.pods()) == 2)
    assert rollouts.unscale(namespace="shop", deployment="shop")["undone"]
    until(cluster.whole)
    assert cluster.marked() == []


def test_a_rehearsal_is_checked_by_the_server_and_changes_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every action, as before a run."""

    def state() -> list[tuple[str, str, Any]]:
        found = [*cluster.api.items(NODES_PATH), *cluster.api.items(deployments_path("shop")), *cluster.pods()]
        return [(name_of(obj), obj["metadata"]["uid"], obj["metadata"].get("generation")) for obj in found]

    before = state()
    monkeypatch.setenv("LCH_DRY", "1")
    pods.delete_pods(**SHOP, count=2, rounds=3)
    nodes.drain_nodes(**SHOP)
    rollouts.restart_rollout(**SHOP, deployment="shop")
    rollouts.set_image(**SHOP, deployment="shop", image="shop:bad")
    rollouts.scale(**SHOP, deployment="shop")
    leader.delete_leader(namespace="shop", selector="app=store", lease="store")
    assert (state(), cluster.cordoned(), cluster.marked()) == (before, [], [])
