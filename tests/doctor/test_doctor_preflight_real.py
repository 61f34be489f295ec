"""`harness doctor SCENARIO` on a sandbox of its own: what a run would be told, and nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from harness import sandbox
from harness.cli.main import app
from harness.drivers.kubernetes.client import ApiClient
from harness.drivers.kubernetes.objects import RUN, jobs_path, leases_path, pods_path

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
SCENARIO = """service: SERVICE
title: T
phases:
  - name: only
    load: 100%
    duration: 60s
    faults: [{experiment: EXPERIMENT, at: 5s, for: 20s, with: WITH}]
    thresholds: [{sli: error_ratio, fail: "> 1%"}]
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sandbox.Endpoints]:
    """The sandbox that `harness` finds running."""
    state_dir = tmp_path_factory.mktemp("sandbox")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LCH_SANDBOX_DIR", str(state_dir))
        patch.chdir(ROOT)
        yield sandbox.up(version="good", state_dir=state_dir, owned=True)
        sandbox.down(state_dir)


def doctor(folder: Path, experiment: str, given: str) -> Result:
    scenario = folder / "case.yaml"
    text = SCENARIO.replace("SERVICE", str(ROOT / "scenarios/services/shop.yaml")).replace("WITH", given)
    scenario.write_text(text.replace("EXPERIMENT", str(ROOT / f"experiments/{experiment}.yaml")))
    return CliRunner().invoke(app, ["doctor", str(scenario), "--json", "--results", str(folder)])


def told(result: Result) -> dict[str, object]:
    found: dict[str, object] = json.loads(result.stdout)["preflight"]
    return found


def left(cluster: sandbox.Endpoints) -> list[str]:
    """What carries a run's label in the service's namespace."""
    api = ApiClient(str(cluster.kubeconfig), None)
    try:
        paths = (jobs_path("shop"), leases_path("shop"), pods_path("shop"))
        return [one["metadata"]["name"] for path in paths for one in api.items(path, {"labelSelector": RUN})]
    finally:
        api.close()


def test_a_fault_that_may_be_played_is_said_to_be(cluster: sandbox.Endpoints, tmp_path: Path) -> None:
    result = doctor(tmp_path, "pod-delete", "{count: 1}")

    assert result.exit_code == 0, result.output
    found = told(result)
    assert found["ready"] is True
    assert [(one["fault"], len(one["pods"])) for one in found["targets"]] == [("pod-delete", 6)]  # type: ignore[attr-defined]
    checks = {one["check"]: one["ok"] for one in found["checks"]}  # type: ignore[attr-defined]
    assert {"cluster": True, "permissions": True, "rehearsal": True}.items() <= checks.items()
    assert left(cluster) == []


def test_a_fault_that_may_not_is_refused_with_its_place(cluster: sandbox.Endpoints, tmp_path: Path) -> None:
    """Nothing is rehearsed then, and nothing stays."""
    result = doctor(tmp_path, "zone-partition", "{zone: zone-x}")

    assert result.exit_code == 4, result.output
    found = told(result)
    assert found["ready"] is False
    assert [(one["line"], one["where"]) for one in found["problems"]] == [(7, "fault 'zone-partition'")]  # type: ignore[attr-defined]
    assert left(cluster) == []
