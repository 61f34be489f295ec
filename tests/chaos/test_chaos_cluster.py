"""The shipped experiments, played on a sandbox: by the driver, by `chaos run`, and by a driver that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from cluster_at_rest import wait_for_rest

from harness import sandbox
from harness.drivers.chaos.driver import ChaosDriver
from harness.drivers.faults.sweeping import sweep_in_child
from harness.errors import DriverError, PlanError
from harness.history.events import (
    Body,
    HoldLost,
    InjectCompleted,
    InjectFailed,
    RollbackCompleted,
    RollbackFailed,
    TargetsFrozen,
)
from harness.plan.bind import bound
from harness.plan.model import Plan
from harness.plan.parse import parse

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
RUN = "drill/20261121-010203-ab12"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"
CHILD = "harness.drivers.chaos.child"
WATCHDOG = "harness.drivers.chaos.watchdog"
KEEPER = "harness.drivers.chaos.keeper"
JOBS = "/apis/batch/v1/namespaces/shop/jobs"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/shop/leases"
PODS = "/api/v1/namespaces/shop/pods"


class Cluster:
    def __init__(self, endpoints: sandbox.Endpoints) -> None:
        self.endpoints = endpoints

    def names(self, path: str) -> set[str]:
        items = requests.get(self.endpoints.api_url + path, timeout=5).json()["items"]
        return {item["metadata"]["name"] for item in items}

    def renewed(self) -> str:
        """When the Lease says that it was renewed."""
        lease = requests.get(f"{self.endpoints.api_url}{LEASES}/lch-harness", timeout=5).json()
        return str(lease["spec"]["renewTime"])

    def plan(self, scenario: str) -> Plan:
        def read(path: str) -> str | None:
            file = ROOT / path
            return file.read_text(encoding="utf-8") if file.is_file() else None

        here = self.endpoints
        plan = parse(f"scenarios/{scenario}.yaml", read, base=str(ROOT))
        return bound(plan, url=here.url, kubeconfig=here.kubeconfig, prometheus_url=here.prometheus_url)


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sandbox.Endpoints]:
    state = tmp_path_factory.mktemp("sandbox")
    yield sandbox.up("good", state, owned=True)
    sandbox.down(state)


@pytest.fixture
def cluster(endpoints: sandbox.Endpoints) -> Cluster:
    wait_for_rest(endpoints.kubeconfig)
    return Cluster(endpoints)


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

    targets = next(stamped.body for stamped in driver.preflight() if isinstance(stamped.body, TargetsFrozen))
    driver.inject(fault)
    assert _outcome(driver) == InjectCompleted(fault="pod-delete")

    gone = before - cluster.names(PODS)
    assert len(gone) == 1
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
    assert len(cluster.names(POLICIES)) == 1
    assert cluster.names(LEASES) == {"lch-harness"}
    driver.rollback(fault)
    assert _outcome(driver) == RollbackCompleted(fault="zone-partition")
    assert cluster.names(POLICIES) == set()
    driver.close()

    assert cluster.names(JOBS) == cluster.names(LEASES) == set()


@pytest.mark.parametrize("with_it", [(CHILD,), (CHILD, WATCHDOG)])
def test_the_zone_of_a_killed_conductor_is_reconnected(
    cluster: Cluster, tmp_path: Path, with_it: tuple[str, ...]
) -> None:
    plan = _soon(cluster.plan("zone-partition"), 6)
    (tmp_path / "plan.json").write_text(json.dumps(asdict(plan)))
    program = str(Path(__file__).parent / "owner.py")
    argv = [sys.executable, program, str(tmp_path / "plan.json"), str(tmp_path / "chaos"), RUN, "60"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert "inject_completed\n" in iter(owner.stdout.readline, "")
        assert cluster.names(POLICIES) != set()

        family = psutil.Process(owner.pid).children()
        os.kill(owner.pid, signal.SIGSTOP)  # so that it cannot react before its own death
        for process in _playing(family, *with_it):
            process.kill()
        owner.kill()

    _within(40, lambda: cluster.names(POLICIES) == set())
    _within(40, lambda: cluster.names(JOBS) == cluster.names(LEASES) == set())  # what nobody renews, the cluster ends


def test_a_second_run_on_the_same_target_is_refused(cluster: Cluster, driving: Any, tmp_path: Path) -> None:
    plan = _soon(cluster.plan("zone-partition"), 9)
    driving(plan).preflight()
    assert plan.service.cluster is not None
    directory, kubeconfig = tmp_path / "other" / "chaos", plan.service.cluster.kubeconfig
    other = ChaosDriver(plan, run="other/1", directory=directory, kubeconfig=kubeconfig, context=None)

    with pytest.raises(DriverError, match="run 'drill_20261121-010203-ab12' holds the Lease lch-harness in namespace"):
        other.preflight()
    other.close()


def test_whoever_deletes_a_runs_job_ends_its_faults(cluster: Cluster, driving: Any) -> None:
    plan = _soon(cluster.plan("zone-partition"), 9)
    driver = driving(plan)
    driver.preflight()
    driver.inject(plan.faults[0])
    assert _outcome(driver) == InjectCompleted(fault="zone-partition")

    for name in cluster.names(JOBS):
        requests.delete(f"{cluster.endpoints.api_url}{JOBS}/{name}", timeout=5)

    seen = _until(driver, RollbackCompleted)
    (why,) = [body.detail for body in seen if isinstance(body, HoldLost)]
    assert why in {
        "the dead-man Job in namespace 'shop' was deleted",
        "the Lease lch-harness in namespace 'shop' was deleted",  # with the Job, between two looks
    }
    assert cluster.names(POLICIES) == set()


def _playing(family: Iterable[psutil.Process], *modules: str) -> list[psutil.Process]:
    """Those that run one of the modules; one that has ended has no command line any more."""
    found = []
    for process in family:
        with suppress(psutil.Error):
            if any(module in " ".join(process.cmdline()) for module in modules):
                found.append(process)
    return found


def test_a_killed_keeper_is_replaced(cluster: Cluster, driving: Any) -> None:
    plan = cluster.plan("zone-partition")
    driver = driving(plan)
    driver.preflight()
    before = cluster.renewed()

    keepers = _playing(psutil.Process().children(), KEEPER)
    for keeper in keepers:
        keeper.kill()
    assert keepers != []

    _within(30, lambda: cluster.renewed() != before)
    assert cluster.names(LEASES) == {"lch-harness"}
    driver.inject(plan.faults[0])
    assert _outcome(driver) == InjectCompleted(fault="zone-partition")


def test_a_sweep_leaves_nothing_of_a_run(cluster: Cluster, driving: Any) -> None:
    plan = cluster.plan("zone-partition")
    driver = driving(plan)
    driver.preflight()
    driver.inject(plan.faults[0])
    assert _outcome(driver) == InjectCompleted(fault="zone-partition")

    assert plan.service.cluster is not None
    with pytest.raises(DriverError, match="the service pins another"):
        sweep_in_child(replace(plan.service.cluster, uid="another"), run=RUN)
    undone = sweep_in_child(plan.service.cluster, run=RUN)

    assert "lease/lch-harness" in undone
    assert cluster.names(POLICIES) == cluster.names(JOBS) == cluster.names(LEASES) == set()


def test_a_selector_that_matches_nothing_is_refused_before_anything_happens(cluster: Cluster, driving: Any) -> None:
    plan = cluster.plan("stress-150")
    (fault,) = plan.faults
    nobody = replace(fault, experiment=replace(fault.experiment, selector="app=nobody"))
    assert plan.service.cluster is not None
    asked = replace(plan.service, cluster=replace(plan.service.cluster, selector="app=nobody"))

    with pytest.raises(PlanError, match="selector 'app=nobody' matches no pod"):
        driving(replace(plan, service=asked, faults=(nobody,))).preflight()


def test_a_cluster_that_is_gone_is_reported(cluster: Cluster, driving: Any, tmp_path: Path) -> None:
    plan = cluster.plan("stress-150")
    config = Path(cluster.endpoints.kubeconfig).read_text()
    port = cluster.endpoints.api_url.rpartition(":")[2]
    (tmp_path / "dead").write_text(config.replace(port, "9"))
    assert plan.service.cluster is not None
    dead = replace(plan.service.cluster, kubeconfig=str(tmp_path / "dead"))
    driver = driving(replace(plan, service=replace(plan.service, cluster=dead)))

    driver.inject(plan.faults[0])

    failed = _outcome(driver)
    assert isinstance(failed, InjectFailed)
    assert failed.detail.startswith("nothing was injected: activity 'delete-pods' ")


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
        timeout=90,
        check=False,
    )

    journal = json.loads((tmp_path / "journal.json").read_text())
    assert done.returncode == 0
    assert {run["status"] for run in journal["run"] + journal["rollbacks"]} == {"succeeded"}
    assert cluster.names(POLICIES) == set()


def _until(driver: ChaosDriver, kind: type, within_s: float = 40) -> list[Body]:
    seen: list[Body] = []
    end = time.monotonic() + within_s
    while not any(isinstance(body, kind) for body in seen):
        assert time.monotonic() < end, seen
        seen += [stamped.body for stamped in driver.poll()]
        time.sleep(0.02)
    return seen


def _outcome(driver: ChaosDriver, within_s: float = 40) -> Body:
    kinds = (InjectCompleted, InjectFailed, RollbackCompleted, RollbackFailed)
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        for stamped in driver.poll():
            if isinstance(stamped.body, kinds):
                return stamped.body
        time.sleep(0.01)
    raise AssertionError(f"nothing came of it within {within_s} s")


def _soon(plan: Plan, dead_man_s: float) -> Plan:
    """The plan, of which the cluster keeps nothing for longer than that after it last heard from us."""
    assert plan.service.cluster is not None
    return replace(plan, service=replace(plan.service, cluster=replace(plan.service.cluster, dead_man_s=dead_man_s)))


def _within(seconds: float, true: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
