"""The reaper: when it undoes what, and that its manifest is what its sources say."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import sandbox
from harness.drivers.faults import reaper_manifest
from harness.drivers.faults.act import Act
from harness.drivers.faults.marks import Change
from harness.drivers.faults.reaper import Reaper, reap
from harness.drivers.kubernetes.client import ApiClient
from harness.drivers.kubernetes.objects import node_path

ROOT = Path(__file__).parent.parent.parent
NODE = "/api/v1/nodes/node-a"


def marked(name: str = "node-a", *, run: str = "s_1", ttl_s: float = 60, leased: bool = True) -> dict[str, Any]:
    said = {"run": run, "ttl_s": ttl_s, "leased": leased, "changes": []}
    labels, annotations = {"lch.dev/run": run}, {"lch.dev/undo": json.dumps(said)}
    metadata = {
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": "7",
        "labels": labels,
        "annotations": annotations,
    }
    return {"metadata": metadata}


def lease(renewed: str, *, run: str = "s_1", lasts_s: int = 30) -> dict[str, Any]:
    metadata = {"name": "lch-harness", "labels": {"lch.dev/run": run}}
    return {"metadata": metadata, "spec": {"renewTime": renewed, "leaseDurationSeconds": lasts_s}}


def reasons(reaper: Reaper, now_s: float, *, objects: Any = None, leases: Any = ()) -> list[str]:
    """Why the (by default one) marked object is undone at that time; empty when it is not."""
    found = [marked()] if objects is None else objects
    return [why for _, why in reaper.due(list(found), list(leases), now_s)]


def test_a_lease_that_is_renewed_keeps_the_changes() -> None:
    """Whatever the clock of whoever renews it says."""
    reaper = Reaper()

    for now in range(0, 58, 2):
        assert reasons(reaper, 1000.0 + now, leases=[lease(f"2001-01-01T00:00:{now // 10:02}Z")]) == []


def test_a_lease_that_is_no_longer_renewed_is_waited_out_by_the_reaper_s_own_clock() -> None:
    """From when it first saw the renewal, for as long as the Lease says."""
    reaper = Reaper()

    assert reasons(reaper, 0.0, leases=[lease("t1", lasts_s=10)]) == []
    assert reasons(reaper, 4.0, leases=[lease("t2", lasts_s=10)]) == []
    assert reasons(reaper, 14.0, leases=[lease("t2", lasts_s=10)]) == []
    assert reasons(reaper, 14.1, leases=[lease("t2", lasts_s=10)]) == ["the run's Lease was not renewed for 10 s"]


def test_a_run_without_a_lease_is_dead_when_that_is_seen_twice() -> None:
    """Once may be an old answer; another run's Lease does not count."""
    reaper = Reaper()

    assert reasons(reaper, 0.0, leases=[lease("t1", run="s_2")]) == []
    assert reasons(reaper, 2.0, leases=[lease("t2", run="s_2")]) == ["the run has no Lease"]


def test_a_lease_that_is_there_again_counts_anew() -> None:
    """The second look decides, not the first."""
    reaper = Reaper()

    assert reasons(reaper, 0.0) == []
    assert reasons(reaper, 2.0, leases=[lease("t1")]) == []
    assert reasons(reaper, 4.0) == []


def test_without_a_keeper_the_changes_last_for_their_own_time() -> None:
    """From when the reaper first saw them."""
    reaper, objects = Reaper(), [marked(leased=False, ttl_s=30)]

    assert reasons(reaper, 5.0, objects=objects) == []
    assert reasons(reaper, 34.9, objects=objects) == []
    assert reasons(reaper, 35.0, objects=objects) == ["30 s have passed"]


def test_their_own_time_is_the_last_resort_with_a_keeper_too() -> None:
    """A harness that renews its Lease for ever and undoes nothing is not well."""
    reaper = Reaper()

    for now in range(0, 60, 2):
        assert reasons(reaper, float(now), leases=[lease(f"t{now}")]) == []
    assert reasons(reaper, 60.0, leases=[lease("t60")]) == ["60 s have passed"]


def test_a_change_that_is_added_to_a_mark_has_its_own_time() -> None:
    """The mark of two faults of a run on one object; one of them began later."""
    reaper = Reaper()

    assert reasons(reaper, 0.0, objects=[marked(leased=False, ttl_s=30)]) == []
    assert reasons(reaper, 29.0, objects=[marked(leased=False, ttl_s=40)]) == []
    assert reasons(reaper, 68.9, objects=[marked(leased=False, ttl_s=40)]) == []
    assert reasons(reaper, 69.0, objects=[marked(leased=False, ttl_s=40)]) == ["40 s have passed"]


def test_what_has_no_mark_or_one_that_cannot_be_read_is_left_alone() -> None:
    """Pods that a run created carry its label, and are not the reaper's."""
    created: dict[str, Any] = {"metadata": {"name": "canary", "uid": "u", "labels": {"lch.dev/run": "s_1"}}}
    broken, strange, stale = marked("broken"), marked("strange"), marked("stale")
    broken["metadata"]["annotations"]["lch.dev/undo"] = "{"
    strange["metadata"]["annotations"]["lch.dev/undo"] = '{"run":"s_1","ttl_s":1,"leased":false,"changes":["?"]}'
    stale["metadata"]["labels"]["lch.dev/run"] = "s_2"
    reaper = Reaper()

    for now in (0.0, 2.0, 1000.0):
        assert reasons(reaper, now, objects=[created, broken, strange, stale]) == []


class Answers:
    """An API server of fixed lists; `edit` fails as told."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.edited: list[tuple[str, str]] = []
        pod = marked("p", leased=False, ttl_s=0)
        pod["metadata"]["namespace"] = "shop"
        nodes = [marked("n", leased=False, ttl_s=0), marked("m", leased=False, ttl_s=9)]
        self.lists = {"/api/v1/nodes": nodes, "/api/v1/pods": [pod]}

    def items(self, path: str) -> list[Any]:
        return self.lists.get(path.split("?", maxsplit=1)[0], [])

    def edit(self, path: str, operations: list[Any]) -> None:
        if self.failure:
            raise self.failure
        self.edited.append((path, operations[0]["path"]))


def test_each_undo_is_one_request_for_one_version_and_one_line() -> None:
    """So two reapers may act at once."""
    api = Answers()

    said = reap(api, Reaper(), 0.0)  # type: ignore[arg-type]

    pod, node = "/api/v1/namespaces/shop/pods/p", "/api/v1/nodes/n"
    assert api.edited == [(node, "/metadata/resourceVersion"), (pod, "/metadata/resourceVersion")]
    assert said == [f"undone: {node}: 0 s have passed", f"undone: {pod}: 0 s have passed"]


def test_an_undo_that_fails_is_told_and_the_others_go_on() -> None:
    """It comes again the next time."""
    said = reap(Answers(OSError("409")), Reaper(), 0.0)  # type: ignore[arg-type]

    assert said == ["not undone yet: /api/v1/nodes/n: 409", "not undone yet: /api/v1/namespaces/shop/pods/p: 409"]


def test_the_manifest_is_what_its_sources_say() -> None:
    """`python -m harness.drivers.faults.reaper_manifest > deploy/reaper.yaml` writes it."""
    assert (ROOT / "deploy/reaper.yaml").read_text(encoding="utf-8") == reaper_manifest.manifest()
    documents = list(yaml.safe_load_all(reaper_manifest.manifest()))
    assert documents == reaper_manifest.objects()


@pytest.mark.real
def test_the_program_in_the_manifest_needs_nothing_but_python() -> None:
    """Nor does it hold what Kubernetes would take for a reference to a variable."""
    program = reaper_manifest.program()

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], env={}, capture_output=True, text=True, check=False, timeout=10
    )

    assert "import harness" not in program
    assert "$(" not in program
    assert done.stderr.strip().splitlines()[-1] == "KeyError: 'KUBERNETES_SERVICE_HOST'"


@pytest.mark.real
@pytest.mark.timeout(90)
def test_a_dead_run_s_mark_is_undone_in_the_cluster(tmp_path: Path) -> None:
    """By whichever of the two reapers comes first; a living run's is left alone."""
    endpoints = sandbox.up("good", tmp_path, owned=True)
    api = ApiClient(endpoints.kubeconfig, None)
    try:
        reaper_manifest.install(endpoints.api_url)
        reaper_manifest.install(endpoints.api_url)
        cordon = [Change(path=("spec", "unschedulable"), ours=True)]
        dead = Act(api=api, namespace="shop", run="dead_1", ttl_s=600, leased=True)
        living = Act(api=api, namespace="shop", run="living_1", ttl_s=600, leased=False)
        dead.change(node_path("node-a"), cordon)
        living.change(node_path("node-b"), cordon)

        until = time.monotonic() + 40.0
        while api.get(node_path("node-a"))["spec"].get("unschedulable"):
            assert time.monotonic() < until, "not undone"
            time.sleep(0.1)

        assert "lch.dev/undo" not in (api.get(node_path("node-a"))["metadata"].get("annotations") or {})
        assert api.get(node_path("node-b"))["spec"]["unschedulable"] is True
        pods = api.items("/api/v1/namespaces/lch-system/pods")
        assert len({pod["spec"]["nodeName"] for pod in pods}) == 2
    finally:
        api.close()
        sandbox.down(tmp_path)
