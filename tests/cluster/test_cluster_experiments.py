"""Every shipped experiment, played by plain `chaos run`: it does what it says, undoes it, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_place import Place, until

from harness.drivers.faults.sweep import sweep
from harness.drivers.kubernetes.client import ApiError
from harness.drivers.kubernetes.objects import (
    NODES_PATH,
    RUN,
    deployments_path,
    jobs_path,
    leases_path,
    name_of,
    network_chaos_path,
    pods_path,
    policies_path,
    ready,
    replica_sets_path,
    running,
)

pytestmark = [pytest.mark.real, pytest.mark.cluster, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted(path.stem for path in (ROOT / "experiments").glob("*.yaml"))
ON_NODES = ("nodes.", "zones.")
BY_MESH = ("network.", "_by_mesh")


@pytest.fixture
def service(place: Place) -> Iterator[str]:
    """The namespace of a service whose pods are labelled app=shop, all ready: the demo's, or sleeping ones."""
    if not place.sandbox:
        place.deployment("shop", 4)
    yield place.service_namespace
    for run in (run_of(name) for name in EXPERIMENTS):
        sweep(place.api, [place.service_namespace], run)


def run_of(name: str) -> str:
    return f"conformance-{name}"


def actions(document: dict[str, Any]) -> list[str]:
    """What the experiment calls, as `module.function` within the room of faults."""
    activities = [*document["method"], *(document.get("rollbacks") or [])]
    return [f"{one['provider']['module'].rpartition('.')[2]}.{one['provider']['func']}" for one in activities]


def require(place: Place, document: dict[str, Any]) -> None:
    """Skip the test, saying what the cluster lacks for the experiment."""
    calls, asked = actions(document), document["configuration"]
    if any(part in call for call in calls for part in BY_MESH) and not served(place, network_chaos_path("default")):
        pytest.skip("the cluster has no Chaos Mesh")
    if any(call.startswith(ON_NODES) for call in calls):
        place.require_nodes()
    if "zones.stop_zone" in calls and not any(has_switch(node) for node in place.api.items(NODES_PATH)):
        pytest.skip("no node has a switch (annotation lch.dev/power)")
    if asked.get("deployment") == "store" or asked.get("lease") == "store":
        if not place.there(deployments_path(place.service_namespace, "store")):
            pytest.skip("the demo store is not deployed")
        until(lambda: place.there(leases_path(place.service_namespace, "store")), "the store has a leader")
    if "zone" in asked and asked["zone"] and len(set(place.zones().values())) < 2:
        pytest.skip("the nodes are not in several zones")


def has_switch(node: dict[str, Any]) -> bool:
    return "lch.dev/power" in (node["metadata"].get("annotations") or {})


def served(place: Place, path: str) -> bool:
    try:
        place.api.get(path)
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return True


def variables(place: Place, document: dict[str, Any]) -> Iterator[str]:
    """Of the configuration: a short hold, and on a named cluster its namespace and a zone of it."""
    asked = document["configuration"]
    if "hold_s" in asked:
        yield "hold_s:int=1"
    if not place.sandbox:
        yield f"namespace={place.service_namespace}"
        if asked.get("zone"):
            yield f"zone={min(place.zones().values())}"


def left(place: Place, run: str) -> list[str]:
    """What carries the run's label, as plural/name; its dead-man Job ends by itself."""
    namespace, label = place.service_namespace, {"labelSelector": f"{RUN}={run}"}
    collections = [path(namespace) for path in (pods_path, policies_path, deployments_path, replica_sets_path)]
    if served(place, network_chaos_path(namespace)):
        collections.append(network_chaos_path(namespace))
    found = {path: place.api.items(path, label) for path in (*collections, NODES_PATH)}
    return sorted(f"{path.rpartition('/')[2]}/{name_of(one)}" for path, objs in found.items() for one in objs)


def whole(place: Place) -> bool:
    """Whether all nodes take pods, and all deployments of the service have all of theirs, ready."""
    nodes = place.api.items(NODES_PATH)
    if any(not ready(node) or node["spec"].get("unschedulable") for node in nodes):
        return False
    for deployment in place.api.items(deployments_path(place.service_namespace)):
        labels = deployment["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        pods = place.api.items(pods_path(place.service_namespace), {"labelSelector": selector})
        if [running(pod) and ready(pod) for pod in pods] != [True] * deployment["spec"]["replicas"]:
            return False
    return True


def spread(place: Place) -> None:
    """Bring pods back into zones that an earlier experiment emptied: nobody else does."""
    zones, where = set(place.zones().values()), pods_path(place.service_namespace)
    for _ in range(10):
        found = place.api.items(where, {"labelSelector": "app=shop"})
        in_zone = {zone: [pod for pod in found if place.zone_of(pod) == zone] for zone in zones}
        fullest = max(in_zone.values(), key=len, default=[])
        if all(in_zone.values()) or len(fullest) < 2:
            return
        place.api.delete(f"{where}/{name_of(fullest[0])}", grace_s=0)
        until(lambda: whole(place), "the moved pod is ready")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_played_and_undone_by_chaos_toolkit_alone(
    name: str, place: Place, service: str, tmp_path: Path
) -> None:
    """Every activity of its method and its rollbacks succeeds; afterwards the service is whole."""
    path = ROOT / "experiments" / f"{name}.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    require(place, document)
    until(lambda: whole(place), "the service is whole before the experiment")
    spread(place)
    taints = {name_of(node): node["spec"].get("taints") for node in place.api.items(NODES_PATH)}
    given = [part for variable in variables(place, document) for part in ("--var", variable)]
    env = {key: value for key, value in os.environ.items() if not key.startswith("LCH_")}
    env |= {"KUBECONFIG": place.kubeconfig, "LCH_RUN": run_of(name), "KUBERNETES_CONTEXT": place.context or ""}

    played = subprocess.run(
        [Path(sys.executable).with_name("chaos"), "--no-version-check", "run", *given, path],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert played.returncode == 0, played.stdout + played.stderr
    journal = json.loads((tmp_path / "journal.json").read_text(encoding="utf-8"))
    activities = [*journal["run"], *journal["rollbacks"]]
    assert [one["activity"]["name"] for one in activities if one["status"] != "succeeded"] == [], played.stderr
    assert len(activities) == len(document["method"]) + len(document.get("rollbacks") or [])
    until(lambda: whole(place), "the service is whole again", 120)
    assert left(place, run_of(name)) == []
    assert {name_of(node): node["spec"].get("taints") for node in place.api.items(NODES_PATH)} == taints
    jobs = tuple(jobs_of(place, run_of(name)))
    assert sweep(place.api, [service], run_of(name)) in ((), jobs)


def jobs_of(place: Place, run: str) -> list[str]:
    found = place.api.items(jobs_path(place.service_namespace), {"labelSelector": f"{RUN}={run}"})
    return sorted(f"job/{name_of(job)}" for job in found)
