"""What the harness relies on when it changes something: rehearsals, conditions, and what it may do at all."""

from __future__ import annotations

import pytest
from cluster_place import Obj, Place, refused

pytestmark = [pytest.mark.real, pytest.mark.cluster, pytest.mark.timeout(120)]

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@pytest.fixture
def maps(place: Place) -> str:
    return f"/api/v1/namespaces/{place.namespace}/configmaps"


def config_map(**data: str) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "lch-map"}, "data": data}


def test_a_rehearsal_answers_as_the_change_would_and_changes_nothing(place: Place, maps: str) -> None:
    """Of every kind of change."""
    path = f"{maps}/lch-map"
    assert place.dry.create(maps, config_map(a="1"))["data"] == {"a": "1"}
    assert not place.there(path)

    stored = place.make(maps, config_map(a="1"))
    assert place.dry.patch(path, {"data": {"a": "2"}})["data"] == {"a": "2"}
    assert place.dry.edit(path, [{"op": "add", "path": "/data/b", "value": "3"}])["data"] == {"a": "1", "b": "3"}
    assert place.dry.delete(path)
    assert refused(lambda: place.dry.create(maps, config_map())) == 409
    assert refused(lambda: place.dry.edit(path, [{"op": "test", "path": "/data/a", "value": "9"}])) in (409, 422)

    found = place.api.get(path)
    assert (found["data"], found["metadata"]["resourceVersion"]) == ({"a": "1"}, stored["metadata"]["resourceVersion"])


def test_a_patch_decided_on_an_old_version_is_refused_whole(place: Place, maps: str) -> None:
    """A test of resourceVersion guards what follows it."""
    path = f"{maps}/lch-map"
    old = place.make(maps, config_map(a="1"))["metadata"]["resourceVersion"]
    place.api.patch(path, {"data": {"a": "2"}})
    operations = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": old},
        {"op": "replace", "path": "/data/a", "value": "3"},
    ]

    assert refused(lambda: place.api.edit(path, operations)) in (409, 422)
    assert place.api.get(path)["data"] == {"a": "2"}


def test_an_object_is_deleted_only_if_it_is_the_one_meant(place: Place, maps: str) -> None:
    """Its name may have come to be another's."""
    path = f"{maps}/lch-map"
    uid = place.make(maps, config_map(a="1"))["metadata"]["uid"]

    assert refused(lambda: place.api.delete(path, uid="00000000-0000-0000-0000-000000000000")) == 409
    assert place.there(path)
    assert place.api.delete(path, uid=uid)
    assert not place.api.delete(path)


def test_labels_and_annotations_can_be_taken_away_again(place: Place, maps: str) -> None:
    """A merge patch removes what it sets to null; a second time is no error."""
    path = f"{maps}/lch-map"
    place.make(maps, config_map())
    marked = {"metadata": {"labels": {"lch.dev/run": "r"}, "annotations": {"lch.dev/undo": "{}"}}}
    bare = {"metadata": {"labels": {"lch.dev/run": None}, "annotations": {"lch.dev/undo": None}}}

    assert place.api.patch(path, marked)["metadata"]["labels"] == {"lch.dev/run": "r"}
    assert [one["metadata"]["name"] for one in place.api.items(maps, {"labelSelector": "lch.dev/run=r"})] == ["lch-map"]
    for _ in range(2):
        found = place.api.patch(path, bare)["metadata"]
        assert not {"labels", "annotations"} & found.keys()


def test_the_server_says_what_we_may_do(place: Place) -> None:
    """A plain yes or no, before anything is tried."""
    attributes = {"namespace": place.namespace, "verb": "create", "resource": "configmaps", "group": ""}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }

    assert place.api.ask(REVIEWS, body)["status"]["allowed"] is True


def test_the_cluster_can_be_told_from_others(place: Place) -> None:
    """By the UID of its namespace kube-system, the same each time."""
    uids = {place.api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"] for _ in range(2)}

    assert len(uids) == 1
    assert uids != {""}
