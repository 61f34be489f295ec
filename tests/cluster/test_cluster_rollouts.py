"""How a rollout tells how far it has come, and how it is undone."""

from __future__ import annotations

import pytest
from cluster_place import Obj, Place, until

from harness.drivers.kubernetes.kinds import REVISION
from harness.drivers.kubernetes.objects import (
    controller_of,
    deployments_path,
    labels_of,
    name_of,
    replica_sets_path,
)

pytestmark = [pytest.mark.real, pytest.mark.cluster, pytest.mark.timeout(120)]

NAME = "lch-rolled"


def replica_sets(place: Place) -> dict[int, Obj]:
    """Those of the deployment, by revision."""
    found = place.api.items(replica_sets_path(place.namespace), {"labelSelector": f"app={NAME}"})
    mine = [one for one in found if (owner := controller_of(one)) and owner["name"] == NAME]
    return {int(one["metadata"]["annotations"][REVISION]): one for one in mine}


def owners(place: Place) -> set[str]:
    """The UIDs of what controls the deployment's ready pods."""
    return {owner["uid"] for pod in place.ready_pods(f"app={NAME}") if (owner := controller_of(pod))}


def complete(place: Place, generation: int) -> bool:
    status = place.api.get(deployments_path(place.namespace, NAME)).get("status", {})
    counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
    return bool(status.get("observedGeneration", 0) >= generation and counts == [2, 2, 2])


def test_a_rollout_is_observed_revised_complete_and_undone(place: Place) -> None:
    """The status is about a generation; undoing by the old template takes the old ReplicaSet, with a new number."""
    path = deployments_path(place.namespace, NAME)
    place.deployment(NAME, 2)
    (old,) = replica_sets(place).values()
    template = {"metadata": {"annotations": {"lch.dev/restarted": "1"}}}

    changed = place.api.patch(path, {"spec": {"template": template}})
    generation = changed["metadata"]["generation"]
    until(lambda: complete(place, generation), "the new revision is complete")

    revisions = replica_sets(place)
    assert sorted(revisions) == [1, 2]
    assert revisions[1]["metadata"]["uid"] == old["metadata"]["uid"]
    assert owners(place) == {revisions[2]["metadata"]["uid"]}

    deployment = place.api.get(path)
    undone = place.api.edit(
        path,
        [
            {"op": "test", "path": "/metadata/resourceVersion", "value": deployment["metadata"]["resourceVersion"]},
            {"op": "replace", "path": "/spec/template", "value": without_hash(old["spec"]["template"])},
        ],
    )
    assert undone["metadata"]["generation"] > generation
    until(lambda: complete(place, undone["metadata"]["generation"]), "the old revision is complete")

    assert {number: name_of(one) for number, one in replica_sets(place).items()} == {
        2: name_of(revisions[2]),
        3: name_of(old),
    }
    assert owners(place) == {old["metadata"]["uid"]}


def without_hash(template: Obj) -> Obj:
    labels = {key: value for key, value in labels_of(template).items() if key != "pod-template-hash"}
    return template | {"metadata": template["metadata"] | {"labels": labels}}


def test_scaling_to_nothing_and_back_keeps_the_revision(place: Place) -> None:
    """No pod is left in between."""
    path = deployments_path(place.namespace, NAME)
    place.deployment(NAME, 1)

    place.api.patch(path, {"spec": {"replicas": 0}})
    until(lambda: not place.pods(f"app={NAME}"), "no pod is left")
    place.api.patch(path, {"spec": {"replicas": 1}})
    until(lambda: len(place.ready_pods(f"app={NAME}")) == 1, "a pod is back")

    assert sorted(replica_sets(place)) == [1]
