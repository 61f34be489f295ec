"""The cluster that the conformance suite plays on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster_place import Place, named_cluster, place_at

from harness import sandbox

NAMESPACES = "/api/v1/namespaces"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    named = named_cluster()
    if named:
        place = place_at(*named, named[2], sandbox=False)
        yield place
    else:
        state_dir = tmp_path_factory.mktemp("sandbox")
        endpoints = sandbox.up(version="store", state_dir=state_dir, owned=True)
        place = place_at(endpoints.kubeconfig, None, "conformance", "shop", sandbox=True)
        place.api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "conformance"}})
        yield place
        sandbox.down(state_dir)
    place.api.close()
    place.dry.close()


@pytest.fixture
def place(cluster: Place) -> Iterator[Place]:
    """The cluster; what the test makes through it is deleted afterwards."""
    yield cluster
    cluster.clear()
