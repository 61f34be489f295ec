"""What the cluster undoes by itself when nobody renews it: the dead-man Job, and what it owns."""

from __future__ import annotations

import time

import pytest
from cluster_place import Obj, Place, refused, until

from harness.drivers.kubernetes.objects import dead_man_job, jobs_path, leases_path, owned_by

pytestmark = [pytest.mark.real, pytest.mark.cluster, pytest.mark.timeout(120)]

LATE_S = 30.0  # for controllers that work through a queue


def config_map(name: str, owner: Obj | None = None) -> Obj:
    owners = {} if owner is None else {"ownerReferences": owned_by(owner)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name} | owners, "data": {"of": name}}


def test_a_job_without_pods_ends_at_its_deadline_and_takes_along_what_it_owns(place: Place) -> None:
    """Not before, also when the deadline was put off meanwhile; its pods, had it any, are not needed for that."""
    jobs, maps = jobs_path(place.namespace), f"/api/v1/namespaces/{place.namespace}/configmaps"
    began = time.monotonic()
    for name, ttl_s in (("lch-brief", 2), ("lch-renewed", 4)):
        job = place.make(jobs, dead_man_job(name, place.namespace, {}, ttl_s))
        place.make(maps, config_map(name, job))
    place.api.patch(f"{jobs}/lch-renewed", {"spec": {"activeDeadlineSeconds": 8}})

    def there(name: str) -> bool:
        return place.there(f"{jobs}/{name}") or place.there(f"{maps}/{name}")

    until(lambda: not there("lch-brief"), "the brief job is gone with what it owned", 2 + LATE_S)
    brief_s = time.monotonic() - began
    renewed_stands = there("lch-renewed")
    until(lambda: not there("lch-renewed"), "the renewed job is gone with what it owned", 8 + LATE_S)
    renewed_s = time.monotonic() - began

    assert brief_s > 1.0  # its start is a whole second
    assert renewed_stands or brief_s > 7.0
    assert renewed_s > 7.0


def test_what_a_job_owns_goes_when_somebody_deletes_it(place: Place) -> None:
    """This is how anybody stops a run; what belongs to nobody stays."""
    jobs, maps = jobs_path(place.namespace), f"/api/v1/namespaces/{place.namespace}/configmaps"
    job = place.make(jobs, dead_man_job("lch-deleted", place.namespace, {}, 600))
    place.make(maps, config_map("lch-owned", job))
    place.make(maps, config_map("lch-free"))

    place.api.delete(f"{jobs}/lch-deleted")

    until(lambda: not place.there(f"{maps}/lch-owned"), "what the job owned is gone", LATE_S)
    assert place.there(f"{maps}/lch-free")


def test_a_lease_that_somebody_else_renewed_is_not_taken(place: Place) -> None:
    """Of two that decide on the same version of it, one is refused."""
    where = leases_path(place.namespace)
    spec = {"holderIdentity": "first", "leaseDurationSeconds": 30, "renewTime": "2026-01-01T00:00:00.000000Z"}
    lease = place.make(
        where,
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "lch-lease"}, "spec": spec},
    )

    def take(holder: str) -> Obj:
        same = {"op": "test", "path": "/metadata/resourceVersion", "value": lease["metadata"]["resourceVersion"]}
        return place.api.edit(
            f"{where}/lch-lease", [same, {"op": "replace", "path": "/spec/holderIdentity", "value": holder}]
        )

    assert take("second")["spec"]["holderIdentity"] == "second"
    assert refused(lambda: take("third")) in (409, 422)
    assert place.api.get(f"{where}/lch-lease")["spec"]["holderIdentity"] == "second"
