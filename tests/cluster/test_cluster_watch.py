"""What the observer relies on: watches that resume, end in good order, and say when they have forgotten."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from cluster_place import Obj, Place

from harness.drivers.kubernetes.client import ApiError

pytestmark = [pytest.mark.real, pytest.mark.cluster, pytest.mark.timeout(120)]

SANDBOX_REMEMBERS = 5000  # changes


@pytest.fixture
def maps(place: Place) -> str:
    return f"/api/v1/namespaces/{place.namespace}/configmaps"


def config_map(name: str) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"lch": "watched"}}}


def events(place: Place, maps: str, version: str, seconds: int = 2) -> Iterator[Obj]:
    query = {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "labelSelector": "lch=watched",
        "resourceVersion": version,
        "timeoutSeconds": str(seconds),
    }
    for line in place.api.lines(maps, query, read_s=seconds + 5.0):
        if line.strip():
            yield json.loads(line)


def seen(found: list[Obj]) -> list[tuple[str, str]]:
    return [(one["type"], one["object"]["metadata"]["name"]) for one in found if one["type"] != "BOOKMARK"]


def test_a_watch_goes_on_from_the_version_it_is_given(place: Place, maps: str) -> None:
    """Everything after it is told once, in order, and nothing before it; then it ends when it was asked to."""
    place.make(maps, config_map("lch-before"))
    version = place.api.get(maps, {"labelSelector": "lch=watched"})["metadata"]["resourceVersion"]
    place.make(maps, config_map("lch-after"))
    place.api.patch(f"{maps}/lch-after", {"data": {"a": "1"}})
    place.api.delete(f"{maps}/lch-before")
    began = time.monotonic()

    found = list(events(place, maps, version))

    assert seen(found) == [("ADDED", "lch-after"), ("MODIFIED", "lch-after"), ("DELETED", "lch-before")]
    assert time.monotonic() - began < 2 + 10
    half = found[0]["object"]["metadata"]["resourceVersion"]
    assert seen(list(events(place, maps, half)))[:1] == [("MODIFIED", "lch-after")]


def test_a_list_and_every_event_carry_a_version_to_resume_from(place: Place, maps: str) -> None:
    """Bookmarks, where the server sends them, too."""
    version = place.api.get(maps)["metadata"]["resourceVersion"]
    place.make(maps, config_map("lch-versioned"))

    found = list(events(place, maps, version))

    versions = [one["object"]["metadata"]["resourceVersion"] for one in found]
    assert version
    assert versions
    assert all(versions)


def test_a_version_that_is_too_old_is_answered_with_410(place: Place, maps: str) -> None:
    """As the answer's status, or as an event in the stream; never with silence."""
    if place.sandbox:
        place.make(maps, config_map("lch-changing"))
        for number in range(SANDBOX_REMEMBERS):
            place.api.patch(f"{maps}/lch-changing", {"data": {"n": str(number)}})
    try:
        found = next(events(place, maps, "1"), None)
        code = found["object"].get("code") if found else None
    except ApiError as error:
        code = error.status
    if code != 410 and not place.sandbox:
        pytest.skip("this cluster still remembers its first version")
    assert code == 410


def test_warnings_are_events_with_what_they_are_about(place: Place) -> None:
    """A pod that fits no node is warned about."""
    place.pod("lch-nowhere", nodeSelector={"lch.dev/no-such": "node"})
    path = f"/api/v1/namespaces/{place.namespace}/events"
    query = {"fieldSelector": "type=Warning,involvedObject.name=lch-nowhere"}
    until_s = time.monotonic() + 30
    while not (found := place.api.items(path, query)):
        assert time.monotonic() < until_s
        time.sleep(0.1)

    about = found[0]["involvedObject"]
    assert (about["kind"], about["name"], found[0]["reason"]) == ("Pod", "lch-nowhere", "FailedScheduling")
