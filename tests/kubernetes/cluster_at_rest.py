"""Wait until a cluster that several tests share is at rest again, so that none meets what the one before it began."""

from __future__ import annotations

import time
from pathlib import Path

from harness.drivers.kubernetes.client import ApiClient
from harness.drivers.kubernetes.objects import deployments_path, pods_path, ready, terminating


def wait_for_rest(kubeconfig: str | Path, namespace: str = "shop", limit_s: float = 100.0) -> None:
    """Every pod is ready and stays, and the Deployments have all they ask for; AssertionError after `limit_s`."""
    api = ApiClient(str(kubeconfig), None)
    deadline = time.monotonic() + limit_s
    try:
        while not at_rest(api, namespace):
            assert time.monotonic() < deadline, f"{namespace} is not at rest after {limit_s:g} s"
            time.sleep(0.05)
    finally:
        api.close()


def at_rest(api: ApiClient, namespace: str) -> bool:
    pods = api.items(pods_path(namespace))
    wanted = sum(int(one["spec"]["replicas"]) for one in api.items(deployments_path(namespace)))
    return len(pods) == wanted and all(ready(pod) and not terminating(pod) for pod in pods)
