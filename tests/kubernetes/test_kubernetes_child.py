"""The child processes when the cluster is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kube_doubles import fault, kubeconfig, plan

from harness.drivers.kubernetes.driver import KubernetesObserver
from harness.drivers.kubernetes.targets import resolve_in_child
from harness.errors import DriverError
from harness.plan.model import Observe

NOBODY = "http://127.0.0.1:1"


@pytest.mark.real
def test_an_observer_without_a_cluster_refuses_to_begin(tmp_path: Path) -> None:
    """The child's reason is the conductor's error, and the child is gone."""
    observer = KubernetesObserver(plan(kubeconfig=kubeconfig(tmp_path, NOBODY)), run="s/1", log_dir=tmp_path / "logs")

    with pytest.raises(DriverError, match=rf"^kubernetes {NOBODY}: GET /api/v1/namespaces/shop/pods: no answer: "):
        observer.preflight()

    assert observer.fds() == ()
    assert (tmp_path / "logs" / "observer.log").read_text() == ""


@pytest.mark.real
def test_targets_without_a_cluster_are_an_error_of_the_driver(tmp_path: Path) -> None:
    """The child's error is the caller's."""
    with pytest.raises(DriverError, match=rf"^kubernetes {NOBODY}: GET /api/v1/namespaces/shop/pods: no answer: "):
        resolve_in_child([fault()], kubeconfig=kubeconfig(tmp_path, NOBODY), context=None, max_pods=2)


def test_a_service_without_kubeconfig_cannot_be_observed(tmp_path: Path) -> None:
    """There is no default cluster."""
    with pytest.raises(DriverError, match=r"^kubernetes: service 'shop' names no kubeconfig; nothing can be observed$"):
        KubernetesObserver(plan(kubeconfig=None), run="s/1", log_dir=tmp_path)


def test_a_zone_cut_elsewhere_is_refused_because_no_canary_watches_it(tmp_path: Path) -> None:
    """Canaries stand in the service's namespace only."""
    elsewhere = fault("zone-cut", observe=Observe.ZONE_CUT, zone="a", namespace="other")

    with pytest.raises(DriverError) as caught:
        KubernetesObserver(plan((elsewhere,), kubeconfig="/k"), run="s/1", log_dir=tmp_path)

    assert str(caught.value) == (
        "kubernetes: scenarios/s.yaml:9: fault 'zone-cut' cuts a zone in namespace 'other', canaries watch 'shop'; "
        "use one namespace"
    )


def test_the_conductors_side_does_not_import_the_kubernetes_client() -> None:
    """Half a second and the library's global state stay in the children."""
    modules = "harness.drivers.kubernetes.driver, harness.drivers.kubernetes.targets, sys"
    code = f"import {modules}; print('kubernetes' in sys.modules)"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout == "False\n"
