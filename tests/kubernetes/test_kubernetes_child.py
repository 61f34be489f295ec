"""The child processes when the cluster is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kube_doubles import kubeconfig, plan
from plan_values import fault

from harness.drivers.kubernetes.driver import KubernetesObserver
from harness.errors import DriverError
from harness.plan.model import Observe

NOBODY = "http://127.0.0.1:1"


@pytest.mark.real
def test_an_observer_without_a_cluster_refuses_to_begin(tmp_path: Path) -> None:
    """The child's reason is the conductor's error, and the child is gone."""
    observer = KubernetesObserver(plan(kubeconfig=kubeconfig(tmp_path, NOBODY)), run="s/1", log_dir=tmp_path / "logs")

    with pytest.raises(DriverError, match=rf"^kubernetes {NOBODY}: GET /api/v1/nodes: no answer: "):
        observer.preflight()

    assert observer.fds() == ()
    assert (tmp_path / "logs" / "observer.log").read_text() == ""


def test_a_service_without_kubeconfig_cannot_be_observed(tmp_path: Path) -> None:
    """There is no default cluster."""
    with pytest.raises(DriverError, match=r"^kubernetes: service 'shop' names no kubeconfig; nothing can be observed$"):
        KubernetesObserver(plan(kubeconfig=None), run="s/1", log_dir=tmp_path)


def test_zone_cuts_in_two_namespaces_are_refused_because_canaries_stand_in_one(tmp_path: Path) -> None:
    """A path is told by its zones alone."""
    here = fault("zone-cut", observe=Observe.ZONE_CUT, zone="a")
    elsewhere = fault("slow-zone", observe=Observe.PATHS_DEGRADED, zone="a", namespace="other")

    with pytest.raises(DriverError) as caught:
        KubernetesObserver(plan((here, elsewhere), kubeconfig="/k"), run="s/1", log_dir=tmp_path)

    assert str(caught.value) == (
        "kubernetes: scenarios/s.yaml:9: faults cut or degrade zones in the namespaces other, shop, "
        "canaries watch one; use one namespace"
    )


def test_the_observer_is_told_everything_that_the_faults_are_about(tmp_path: Path) -> None:
    """Other pods, other deployments, the zones to be watched, the smallest limit of slowness."""
    faults = (
        fault("zone-cut", observe=Observe.ZONE_CUT, zone="b", namespace="data"),
        fault("slow-b", observe=Observe.PATHS_DEGRADED, zone="b", namespace="data", slow_s=0.2),
        fault("slow-a", observe=Observe.PATHS_DEGRADED, zone="a", namespace="data", slow_s=0.1),
        fault("kill", selector="app=db"),
    )
    observer = KubernetesObserver(plan(faults, kubeconfig="/k"), run="s/1", log_dir=tmp_path)

    assert observer._orders == {
        "kubeconfig": "/k",
        "context": None,
        "namespace": "shop",
        "selector": "app=shop",
        "others": [("data", "app=shop"), ("shop", "app=db")],
        "deployments": [("shop", "shop")],
        "faults": True,
        "cut": ["a", "b"],
        "cut_in": "data",
        "slow_s": 0.1,
        "run": "s/1",
        "ttl_s": 630,
    }


def test_the_conductors_side_does_not_import_the_kubernetes_client() -> None:
    """Half a second and the library's global state stay in the children."""
    modules = "harness.drivers.kubernetes.driver, sys"
    code = f"import {modules}; print('kubernetes' in sys.modules)"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout == "False\n"
