"""The shipped experiments, played on a sandbox: by the driver, by `chaos run`, and by a driver that is killed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import requests

from harness import sandbox
from harness.drivers.chaos.driver import ChaosDriver
from harness.errors import PlanError
from harness.history.events import Body, InjectCompleted, InjectFailed, RollbackCompleted, RollbackFailed, TargetsFrozen
from harness.plan.bind import bound
from harness.plan.model import Plan
from harness.plan.parse import parse

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

ROOT = Path(__file__).parents[2]
RUN = "drill/20261121-010203-ab12"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"
JOBS = "/apis/batch/v1/namespaces/shop/jobs"
PODS = "/api/v1/namespaces/shop/pods"


class Cluster:
    def __init__(self, endpoints: sandbox.Endpoints) -> None:
        self.endpoints = endpoints

    def names(self, path: str) -> set[str]:
        items = requests.get(self.endpoints.api_url + path, timeout=5).json()["items"]
        return {item["metadata"]["name"] for item in items}

    def plan(self, scenario: str) -> Plan:
        def read(path: str) -> str | None:
            file = ROOT / path
            return file.read_text(encoding="utf-8") if file.is_file() else None

        here = self.endpoints
        plan = parse(f"scenarios/{scenario}.yaml", read, base=str(ROOT))
        return bound(plan, url=here.url, kubeconfig=here.kubeconfig, prometheus_url=here.prometheus_url)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    state = tmp_path_factory.mktemp("sandbox")
    yield Cluster(sandbox.up("good", state, owned=True))
    sandbox.down(state)


@pytest.fixture
def driving(tmp_path: Path) -> Iterator[Callable[[Plan], ChaosDriver]]:
    drivers: list[ChaosDriver] = []

    def drive(plan: Plan) -> ChaosDriver:
        cluster = plan.service.cluster
        assert cluster is not None
        directory = tmp_path / RUN / "chaos"
        kubeconfig, context = cluster.kubeconfig, cluster.context
        drivers.append(ChaosDriver(plan, run=RUN, directory=directory, kubeconfig=kubeconfig, context=context))
        return drivers[-1]

    yield drive
    for driver in drivers:
        driver.close()


def test_a_pod_is_deleted_among_the_frozen_targets(cluster: Cluster, driving: Any) -> None:
    plan = cluster.plan("stress-150")
    (fault,) = plan.faults
    driver = driving(plan)
    before = cluster.names(PODS)

    (targets,) = (stamped.body for stamped in driver.preflight())
    driver.inject(fault)
    assert _outcome(driver) == InjectCompleted(fault="pod-delete")

    gone = before - cluster.names(PODS)
    assert len(gone) == 1
    assert isinstance(targets, TargetsFrozen)
    assert gone < set(targets.names)
    driver.rollback(fault)
    assert _outcome(driver) == RollbackCompleted(fault="pod-delete")


def test_a_zone_is_cut_off_and_reconnected(cluster: Cluster, driving: Any) -> None:
    plan = cluster.plan("zone-partition")
    (fault,) = plan.faults
    driver = driving(plan)
    driver.preflight()

    driver.inject(fault)
    assert _outcome(driver) == InjectCompleted(fault="zone-partition")
    assert len(cluster.names(POLICIES)) == len(cluster.names(JOBS)) == 1
    driver.rollback(fault)
    assert _outcome(driver) == RollbackCompleted(fault="zone-partition")

    assert cluster.names(POLICIES) == cluster.names(JOBS) == set()


def test_the_zone_of_a_killed_conductor_is_reconnected(cluster: Cluster, tmp_path: Path) -> None:
    plan = cluster.plan("zone-partition")
    (tmp_path / "plan.json").write_text(json.dumps(asdict(plan)))
    program = str(Path(__file__).parent / "owner.py")
    argv = [sys.executable, program, str(tmp_path / "plan.json"), str(tmp_path / "chaos"), RUN]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert "inject_completed\n" in iter(owner.stdout.readline, "")
        assert cluster.names(POLICIES) != set()

        owner.kill()

    begin = time.monotonic()
    while cluster.names(POLICIES) | cluster.names(JOBS):
        assert time.monotonic() - begin < 3
        time.sleep(0.02)


def test_a_selector_that_matches_nothing_is_refused_before_anything_happens(cluster: Cluster, driving: Any) -> None:
    plan = cluster.plan("stress-150")
    (fault,) = plan.faults
    nobody = replace(fault, experiment=replace(fault.experiment, selector="app=nobody"))

    with pytest.raises(PlanError, match="selector 'app=nobody' matches no pod"):
        driving(replace(plan, faults=(nobody,))).preflight()


def test_a_cluster_that_is_gone_is_reported(cluster: Cluster, driving: Any, tmp_path: Path) -> None:
    plan = cluster.plan("stress-150")
    config = Path(cluster.endpoints.kubeconfig).read_text()
    port = cluster.endpoints.api_url.rpartition(":")[2]
    (tmp_path / "dead").write_text(config.replace(port, "9"))
    assert plan.service.cluster is not None
    dead = replace(plan.service.cluster, kubeconfig=str(tmp_path / "dead"))
    driver = driving(replace(plan, service=replace(plan.service, cluster=dead)))

    driver.inject(plan.faults[0])

    failed = _outcome(driver, within_s=30)
    assert isinstance(failed, InjectFailed)
    assert failed.detail.startswith("activity 'delete-pods' failed: ")


@pytest.mark.parametrize(("experiment", "hold"), [("pod-delete", ()), ("zone-partition", ("--var", "hold_s:int=1"))])
def test_chaos_toolkit_plays_it_as_well(
    cluster: Cluster, tmp_path: Path, experiment: str, hold: tuple[str, ...]
) -> None:
    chaos = str(Path(sys.executable).with_name("chaos"))
    done = subprocess.run(
        [chaos, "--no-version-check", "run", *hold, str(ROOT / "experiments" / f"{experiment}.yaml")],
        env={**os.environ, "KUBECONFIG": cluster.endpoints.kubeconfig},
        cwd=tmp_path,
        capture_output=True,
        timeout=30,
        check=False,
    )

    journal = json.loads((tmp_path / "journal.json").read_text())
    assert done.returncode == 0
    assert {run["status"] for run in journal["run"] + journal["rollbacks"]} == {"succeeded"}
    assert cluster.names(POLICIES) == set()


def _outcome(driver: ChaosDriver, within_s: float = 15) -> Body:
    kinds = (InjectCompleted, InjectFailed, RollbackCompleted, RollbackFailed)
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        for stamped in driver.poll():
            if isinstance(stamped.body, kinds):
                return stamped.body
        time.sleep(0.01)
    raise AssertionError(f"nothing came of it within {within_s} s")
