"""Stock kubectl against the sandbox: the habits of an operator work without extra flags."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KUBECTL = shutil.which("kubectl")
pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(180),
    pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed"),
]

MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, namespace: shop, labels: {app: shop}}
spec:
  replicas: 6
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
        - {name: shop, image: "shop:good", ports: [{containerPort: 8080, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: shop}
spec:
  selector: {app: shop}
  type: LoadBalancer
  ports: [{port: 80, targetPort: http}]
"""

Kubectl = Callable[..., str]


def eventually(probe: Callable[[], bool], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not probe():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def kubectl(cluster: Any, tmp_path: Path) -> Kubectl:
    """Runs kubectl in the namespace shop, where the shop has been applied and is ready; returns what it printed."""
    manifest = tmp_path / "shop.yaml"
    manifest.write_text(MANIFEST)

    def run(*arguments: str) -> str:
        command = [str(KUBECTL), "--namespace", "shop", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("apply", "-f", str(manifest))
    run("rollout", "status", "deployment/shop", "--timeout=30s")
    return run


def rows(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines()[1:]]


def pods(kubectl: Kubectl) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(kubectl("get", "pods", "-o", "json"))["items"]
    return items


def test_get_shows_the_usual_columns(kubectl: Kubectl) -> None:
    output = kubectl("get", "nodes,pods,deploy,rs,svc,endpointslices", "-o", "wide")
    blocks = [block.splitlines() for block in output.split("\n\n")]
    assert [" ".join(block[0].split()) for block in blocks] == [
        "NAME STATUS ROLES AGE VERSION ZONE",
        "NAME READY STATUS RESTARTS AGE IP NODE",
        "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR",
        "NAME DESIRED CURRENT READY AGE CONTAINERS IMAGES SELECTOR",
        "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR",
        "NAME ADDRESSTYPE PORTS ENDPOINTS AGE",
    ]
    assert [len(block) - 1 for block in blocks] == [3, 6, 1, 1, 1, 1]
    assert blocks[2][1].split()[:4] == ["deployment.apps/shop", "6/6", "6", "6"]
    assert blocks[4][1].split()[1:5:2] == ["LoadBalancer", "<pending>"]
    assert blocks[5][1].split()[3].count(",") == 5


@pytest.mark.parametrize("kinds", ["all", "jobs,networkpolicies,leases,configmaps,events", "ns"])
def test_get_knows_every_kind_and_the_category_all(kubectl: Kubectl, kinds: str) -> None:
    assert "No resources" not in kubectl("get", kinds, "-o", "wide")


def test_get_w_shows_changes_as_they_happen(kubectl: Kubectl, tmp_path: Path) -> None:
    seen = tmp_path / "watch.txt"
    victim = pods(kubectl)[0]["metadata"]["name"]
    with seen.open("w") as output:
        watching = subprocess.Popen([str(KUBECTL), "--namespace", "shop", "get", "pods", "-w"], stdout=output)
        try:
            eventually(lambda: len(seen.read_text().splitlines()) == 7)
            kubectl("delete", "pod", victim)
            eventually(lambda: seen.read_text().count("Running") >= 7)
        finally:
            watching.kill()
            watching.wait()
    assert any(line.split()[0] == victim and "Terminating" in line for line in seen.read_text().splitlines())


def test_describe_pod_shows_its_events(kubectl: Kubectl) -> None:
    output = kubectl("describe", "pod", pods(kubectl)[0]["metadata"]["name"])
    assert "Successfully assigned shop/shop-" in output
    assert "Started container" in output
    assert "Controlled By:  ReplicaSet/shop-" in output


@pytest.mark.parametrize("what", ["deployment/shop", "service/shop", "node/node-a", "replicasets"])
def test_describe_knows_the_other_kinds(kubectl: Kubectl, what: str) -> None:
    assert "Name: " in kubectl("describe", *what.split("/"))


def test_a_deleted_pod_is_replaced(kubectl: Kubectl) -> None:
    victim = pods(kubectl)[0]["metadata"]
    assert kubectl("delete", "pod", victim["name"]) == f'pod "{victim["name"]}" deleted\n'
    eventually(lambda: len(pods(kubectl)) == 6)
    assert victim["uid"] not in {pod["metadata"]["uid"] for pod in pods(kubectl)}


def test_scale(kubectl: Kubectl) -> None:
    assert kubectl("scale", "deploy/shop", "--replicas=2") == "deployment.apps/shop scaled\n"
    kubectl("rollout", "status", "deployment/shop", "--timeout=30s")
    eventually(lambda: len(pods(kubectl)) == 2)


def test_restart_and_undo(kubectl: Kubectl) -> None:
    before = {pod["metadata"]["uid"] for pod in pods(kubectl)}
    assert kubectl("rollout", "restart", "deploy/shop") == "deployment.apps/shop restarted\n"
    assert "successfully rolled out" in kubectl("rollout", "status", "deploy/shop", "--timeout=30s")
    eventually(lambda: len(pods(kubectl)) == 6)
    assert not before & {pod["metadata"]["uid"] for pod in pods(kubectl)}
    kubectl("set", "image", "deploy/shop", "shop=shop:bad")
    kubectl("rollout", "status", "deploy/shop", "--timeout=30s")
    assert [row[0] for row in rows(kubectl("rollout", "history", "deploy/shop"))[1:] if row] == ["1", "2", "3"]
    assert kubectl("rollout", "undo", "deploy/shop") == "deployment.apps/shop rolled back\n"
    kubectl("rollout", "status", "deploy/shop", "--timeout=30s")
    eventually(lambda: {pod["spec"]["containers"][0]["image"] for pod in pods(kubectl)} == {"shop:good"})
    assert [row[0] for row in rows(kubectl("rollout", "history", "deploy/shop"))[1:] if row] == ["1", "3", "4"]


def test_cordon_drain_and_uncordon(kubectl: Kubectl) -> None:
    assert kubectl("cordon", "node-a") == "node/node-a cordoned\n"
    assert rows(kubectl("get", "nodes"))[0][:2] == ["node-a", "Ready,SchedulingDisabled"]
    kubectl("drain", "node-a", "--timeout=40s")  # which every kubectl reports in words of its own
    eventually(lambda: len(pods(kubectl)) == 6)
    assert {pod["spec"]["nodeName"] for pod in pods(kubectl)} == {"node-b", "node-c"}
    assert kubectl("uncordon", "node-a") == "node/node-a uncordoned\n"
    assert rows(kubectl("get", "nodes"))[0][:2] == ["node-a", "Ready"]


def test_label_and_annotate(kubectl: Kubectl) -> None:
    assert kubectl("label", "node", "node-a", "disk=fast") == "node/node-a labeled\n"
    assert [row[0] for row in rows(kubectl("get", "nodes", "-l", "disk in (fast)"))] == ["node-a"]
    kubectl("label", "node", "node-a", "disk-")
    kubectl("annotate", "deploy", "shop", "note=hello")


def test_apply_again_changes_only_what_differs(kubectl: Kubectl, tmp_path: Path) -> None:
    manifest = tmp_path / "shop.yaml"
    unchanged = "namespace/shop unchanged\ndeployment.apps/shop unchanged\nservice/shop unchanged\n"
    assert kubectl("apply", "-f", str(manifest)) == unchanged
    manifest.write_text(MANIFEST.replace("replicas: 6", "replicas: 3").replace("shop:good", "shop:new"))
    assert "deployment.apps/shop configured" in kubectl("apply", "-f", str(manifest))
    kubectl("rollout", "status", "deploy/shop", "--timeout=30s")
    assert rows(kubectl("get", "deploy"))[0][1] == "3/3"


def test_logs_and_wait(kubectl: Kubectl) -> None:
    name = pods(kubectl)[0]["metadata"]["name"]
    assert kubectl("logs", name) == "first\nsecond\n"
    assert kubectl("logs", "-f", "--tail=1", name) == "second\nfollowed\n"
    assert kubectl("wait", "--for=condition=Available", "deploy/shop") == "deployment.apps/shop condition met\n"


def test_delete_waits_for_what_is_below(kubectl: Kubectl) -> None:
    assert kubectl("delete", "deploy", "shop", "--wait") == 'deployment.apps "shop" deleted\n'
    eventually(lambda: pods(kubectl) == [])


BUDGET = """
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: shop}
spec: {minAvailable: 6, selector: {matchLabels: {app: shop}}}
"""


def test_a_drain_waits_for_the_disruption_budget(kubectl: Kubectl, tmp_path: Path) -> None:
    manifest = tmp_path / "budget.yaml"
    manifest.write_text(BUDGET)
    kubectl("apply", "-f", str(manifest))
    eventually(lambda: rows(kubectl("get", "pdb"))[0][:4] == ["shop", "6", "N/A", "0"])
    before = {pod["metadata"]["uid"] for pod in pods(kubectl)}
    drain = [str(KUBECTL), "drain", "node-a", "--timeout=4s"]  # less than its five seconds between two attempts
    done = subprocess.run(drain, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Cannot evict pod as it would violate the pod's disruption budget." in done.stderr
    assert {pod["metadata"]["uid"] for pod in pods(kubectl)} == before
    kubectl("delete", "pdb", "shop")
    kubectl("drain", "node-a", "--timeout=40s")


def test_a_taint_empties_a_node_and_is_shown(kubectl: Kubectl) -> None:
    assert kubectl("taint", "node", "node-a", "outage=run:NoExecute") == "node/node-a tainted\n"
    eventually(lambda: {pod["spec"]["nodeName"] for pod in pods(kubectl)} == {"node-b", "node-c"})
    assert "outage=run:NoExecute" in kubectl("describe", "node", "node-a")
    assert kubectl("taint", "node", "node-a", "outage-") == "node/node-a untainted\n"


def test_a_rehearsal_by_the_server_changes_nothing(kubectl: Kubectl, tmp_path: Path) -> None:
    manifest = tmp_path / "shop.yaml"
    manifest.write_text(MANIFEST.replace("replicas: 6", "replicas: 3"))
    before = kubectl("get", "deploy,pods", "-o", "name")
    applied = kubectl("apply", "-f", str(manifest), "--dry-run=server")
    assert "deployment.apps/shop configured (server dry run)" in applied
    name = pods(kubectl)[0]["metadata"]["name"]
    assert kubectl("delete", "pod", name, "--dry-run=server") == f'pod "{name}" deleted (server dry run)\n'
    assert "server dry run" in kubectl("create", "configmap", "x", "--dry-run=server")
    assert kubectl("get", "deploy,pods", "-o", "name") == before


def test_a_missing_permission_can_be_rehearsed(kubectl: Kubectl) -> None:
    ask = [str(KUBECTL), "--namespace", "shop", "auth", "can-i", "delete", "pods"]
    assert kubectl(*ask[3:]) == "yes\n"
    literal = "--from-literal=rules=delete /pods"
    kubectl("--namespace", "kube-system", "create", "configmap", "lch-sandbox-denied", literal)
    done = subprocess.run(ask, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "no - forbidden by the ConfigMap lch-sandbox-denied\n")
    refused = [*ask[:3], "delete", "pod", pods(kubectl)[0]["metadata"]["name"]]
    done = subprocess.run(refused, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert 'User "sandbox" cannot delete resource "pods" in API group "" in the namespace "shop"' in done.stderr


def test_the_manifests_of_the_harness_can_be_applied(kubectl: Kubectl) -> None:
    folder = Path(__file__).parents[2] / "deploy"
    command = [str(KUBECTL), "apply", "-f", str(folder)]
    first, again = (subprocess.run(command, capture_output=True, text=True, timeout=60, check=False) for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert "clusterrole.rbac.authorization.k8s.io/" in first.stdout
    assert "created" not in again.stdout
    assert "No resources" not in kubectl("get", "clusterroles,clusterrolebindings")
