"""What `harness heal`, `harness halt` and every run do about what is left: their words and their exit codes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.cli import healing
from harness.cli.healing import NotRestoredError, halt_runs, heal_all, heal_before, heal_leftovers
from harness.drivers.chaos.halt import Halted
from harness.drivers.faults.sweeping import LeftError
from harness.errors import DriverError, ExitCode, PlanError
from harness.plan.model import Cluster

CLUSTER = Cluster(
    kubeconfig="/home/me/config", context="here", namespace="shop", selector="app=shop", deployment=None, max_pods=1
)
RUN = "drill/20261121-010203-ab12"
SERVICE = """
title: A service with a cluster
url: http://127.0.0.1:1
load: {{baseline: 1/s, locustfile: shop.py}}
cluster: {{kubeconfig: /home/me/config, context: here, namespace: {name}, selector: app=shop, max_pods: 1}}
slis: {{error_ratio: {{client: error_ratio}}}}
"""


def test_what_cannot_be_undone_forbids_a_run(tmp_path: Path) -> None:
    entry = tmp_path / RUN / "chaos" / "ledger" / "cut.json"
    entry.parent.mkdir(parents=True)
    entry.write_text("torn")

    with pytest.raises(NotRestoredError, match=f"^heal: {RUN}: cut: .*delete {entry}$") as refused:
        heal_leftovers(tmp_path)

    assert refused.value.exit_code is ExitCode.NOT_RESTORED


def test_what_is_left_in_the_cluster_forbids_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _sweeping(monkeypatch, LeftError("kubernetes here: node/b: still there after 30 s"))

    with pytest.raises(NotRestoredError, match="node/b: still there"):
        heal_before(CLUSTER, tmp_path, faults=False)


def test_a_cluster_that_does_not_answer_forbids_faults_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _sweeping(monkeypatch, DriverError("kubernetes here: no answer"))

    with pytest.raises(DriverError, match="no answer"):
        heal_before(CLUSTER, tmp_path, faults=True)
    assert heal_before(CLUSTER, tmp_path, faults=False) == [
        "heal: whether faults were left in the cluster is not known: kubernetes here: no answer"
    ]


def test_what_cannot_be_undone_in_one_place_does_not_keep_another_from_being_healed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    services = [_service(tmp_path, name) for name in ("one", "two")]
    entry = tmp_path / RUN / "chaos" / "ledger" / "cut.json"
    entry.parent.mkdir(parents=True)
    entry.write_text("torn")
    answers = [DriverError("kubernetes one: no answer"), ("node/b",)]
    asked = _sweeping(monkeypatch, *answers)

    with pytest.raises(NotRestoredError, match=f"(?s)^heal: node/b: undone\nheal: {RUN}: cut: .*\n.* no answer$"):
        heal_all(tmp_path, services, None)

    assert [one["namespace"] for one in asked] == ["one", "two"]
    entry.unlink()
    _sweeping(monkeypatch, *answers)
    with pytest.raises(DriverError, match=r"^heal: node/b: undone\nkubernetes one: no answer$"):
        heal_all(tmp_path, services, None)


def test_runs_that_ended_here_are_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / RUN / "chaos" / "ledger").mkdir(parents=True)
    asked = _sweeping(monkeypatch, ("networkpolicy/cut",))

    assert heal_before(CLUSTER, tmp_path, faults=True) == ["heal: networkpolicy/cut: undone"]
    assert asked == [{"namespace": "shop", "run": None, "over": [RUN]}]


def test_a_service_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"nowhere\.yaml:1: no such service; scenarios/services/ has: "):
        heal_all(tmp_path, ["nowhere"], None)


def test_without_anything_left_that_is_said(tmp_path: Path) -> None:
    assert heal_all(tmp_path, (), None) == ["nothing to heal"]
    assert halt_runs(tmp_path) == ["No run is going on"]


def test_a_halt_that_is_not_proven_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fine = Halted(run="a/1", faults=2, took_s=0.214, killed=False, problem="")
    bad = Halted(run="b/2", faults=1, took_s=90, killed=True, problem="cut: no route")
    monkeypatch.setattr(healing, "halt", lambda _results: (fine,))
    assert halt_runs(tmp_path) == ["halt: a/1: 2 faults undone after 0.21 s"]
    monkeypatch.setattr(healing, "halt", lambda _results: (fine, bad))

    with pytest.raises(NotRestoredError) as refused:
        halt_runs(tmp_path)

    how = "its conductor did not react and was killed"
    assert str(refused.value).endswith(f"halt: b/2: not proven undone, {how}: cut: no route")


def _service(folder: Path, name: str) -> str:
    """The path of a service file with a cluster of its own."""
    file = folder / f"{name}.yaml"
    file.write_text(SERVICE.format(name=name))
    (folder / "shop.py").touch()
    return str(file)


def _sweeping(monkeypatch: pytest.MonkeyPatch, *answers: Exception | Sequence[str]) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = []

    def sweep(cluster: Cluster, **more: Any) -> Sequence[str]:
        answer = answers[len(asked) % len(answers)]
        asked.append({"namespace": cluster.namespace, **more})
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(healing, "sweep_in_child", sweep)
    return asked
