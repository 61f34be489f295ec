"""What the tests of the actions share: an environment of their own, and no pauses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pod_stage import Cluster

from harness.drivers.faults import act


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[Cluster], Cluster]:
    """Have the actions of the test played on that cluster, without pauses."""
    for name in ("LCH_TARGETS", "LCH_RUN", "LCH_DRY", "LCH_CLUSTER_UID", "LCH_LEASED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(act, "PAUSE_S", 0.0)

    def play(cluster: Cluster) -> Cluster:
        def connected(_kubeconfig: str, _context: str | None, *, dry: bool) -> Cluster:
            cluster.dry = dry
            return cluster

        monkeypatch.setattr(act, "ApiClient", connected)
        return cluster

    return play


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Freeze targets as the harness does: `frozen(pods=..., owners=..., max_pods=...)`."""

    def freeze(**said: Any) -> None:
        usual = {"pods": {}, "owners": [], "nodes": {}, "max_pods": 100, "max_share": 0.8, "max_nodes": 0}
        path = tmp_path / "targets.json"
        path.write_text(json.dumps(usual | said))
        monkeypatch.setenv("LCH_TARGETS", str(path))

    return freeze
