"""What the observer says of lists, watch events and broken links."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kube_doubles import ScriptedApi, pod

from harness.drivers.kubernetes.client import ApiError
from harness.drivers.kubernetes.watching import Endpoints, Pods, Watch, services_of
from harness.history.events import Body, EndpointsSeen, PodGone, PodSeen, WatchGap

SEEN = PodSeen(pod="shop-1", uid="uid-shop-1", zone="a", node="node-a", phase="Running", ready=True, terminating=False)


class ScriptEndedError(BaseException):
    """The script of answers is played; leaves a watch that would go on for ever."""


def event(kind: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode()


def watched(*answers: Any) -> tuple[list[Body], ScriptedApi]:
    """What a watch of pods reports while the API gives these answers to a list and then to watches."""
    api = ScriptedApi(answers=[*answers, ScriptEndedError()])
    said: list[Body] = []
    watch = Watch(
        api,
        "/api/v1/namespaces/shop/pods",
        {},
        Pods(lambda _: ""),
        lambda body, _: said.append(body),
        sleep=lambda _: None,
    )
    watch.first()
    with pytest.raises(ScriptEndedError):
        watch.run()
    return [_without_stamp(body) for body in said], api


def _without_stamp(body: Body) -> Body:
    return WatchGap(since_ns=0, detail=body.detail) if isinstance(body, WatchGap) else body


def listed(*pods: dict[str, Any], version: str = "5") -> dict[str, Any]:
    return {"metadata": {"resourceVersion": version}, "items": list(pods)}


def test_only_changes_are_reported() -> None:
    """A pod is reported when it is first seen and when something that matters changed."""
    pods = Pods(lambda _: "")
    not_ready = pod("shop-1", "a", ready=False)

    assert list(pods.listed([pod("shop-1", "a")])) == [SEEN]
    assert list(pods.changed("MODIFIED", pod("shop-1", "a"))) == []
    assert [body.ready for body in pods.changed("MODIFIED", not_ready) if isinstance(body, PodSeen)] == [False]
    assert list(pods.changed("DELETED", not_ready)) == [PodGone(pod="shop-1", uid="uid-shop-1")]


def test_a_new_list_reports_what_it_no_longer_holds() -> None:
    """A pod that went while nobody watched is gone, whatever the name of its successor."""
    pods = Pods(lambda _: "")
    list(pods.listed([pod("shop-0", "a", uid="old")]))

    assert list(pods.listed([pod("shop-1", "a")])) == [PodGone(pod="shop-0", uid="old"), SEEN]


def test_a_pod_without_zone_label_has_its_nodes_zone() -> None:
    """The node is asked for only when the pod is bound to one."""
    pods = Pods({"node-a": "a"}.__getitem__)
    found = pods.listed([pod("shop-1", node="node-a"), pod("shop-2", phase="Pending", ready=False)])

    assert [(body.pod, body.zone) for body in found if isinstance(body, PodSeen)] == [("shop-1", "a"), ("shop-2", "")]


def endpoint_slice(name: str, readiness: str, service: str = "shop") -> dict[str, Any]:
    """Endpoints .0, .1, ... of one slice: y is ready, n is not, ? does not say."""
    conditions: dict[str, dict[str, Any]] = {"y": {"ready": True}, "n": {"ready": False}, "?": {}}
    endpoints = [
        {"addresses": [f"10.42.0.{number}"], "conditions": conditions[one]} for number, one in enumerate(readiness)
    ]
    labels = {"kubernetes.io/service-name": service}
    return {"metadata": {"name": name, "labels": labels, "resourceVersion": "9"}, "endpoints": endpoints}


def test_ready_endpoints_are_counted_over_slices_and_reported_on_change() -> None:
    """An endpoint in two slices counts once; unknown readiness is ready; another service's slice counts nothing."""
    view = Endpoints(("shop",))
    slices = [endpoint_slice("one", "yn"), endpoint_slice("two", "??y"), endpoint_slice("other", "y", service="db")]

    assert list(view.listed(slices)) == [EndpointsSeen(service="shop", ready=3)]
    assert list(view.changed("MODIFIED", endpoint_slice("two", "yyy"))) == []
    assert list(view.changed("DELETED", endpoint_slice("two", ""))) == [EndpointsSeen(service="shop", ready=1)]


def test_a_service_without_endpoints_is_reported_as_none_ready() -> None:
    """Nothing is evidence too."""
    assert list(Endpoints(("shop",)).listed([])) == [EndpointsSeen(service="shop", ready=0)]


def test_services_are_those_that_select_one_of_the_pods() -> None:
    """A service without selector selects nothing."""

    def service(name: str, **selector: str) -> dict[str, Any]:
        return {"metadata": {"name": name}, "spec": {"selector": selector}}

    services = [
        service("web", app="shop"),
        service("db", app="db"),
        service("none"),
        service("all", app="shop", tier="x"),
    ]

    assert services_of(services, [pod("shop-1", labels={"tier": "y"})]) == ("web",)


def test_a_watch_that_ends_in_good_order_goes_on_where_it_was() -> None:
    """Bookmarks move the version; no gap is reported."""
    bookmark = event("BOOKMARK", {"metadata": {"resourceVersion": "41"}})
    said, api = watched(listed(pod("shop-1", "a")), [bookmark], [])

    assert said == [SEEN]
    assert [query.get("resourceVersion") for query in api.asked] == [None, "5", "41", "41"]


def test_a_link_that_breaks_is_a_gap_until_the_watch_is_open_again() -> None:
    """The gap is told when it is noticed and again when it ends; the watch resumes, it does not list again."""
    gone = pod("shop-1", "a")
    said, api = watched(listed(gone), ApiError("no answer", None), [event("DELETED", gone)])

    gap = WatchGap(since_ns=0, detail="pods: no answer")
    assert said == [SEEN, gap, gap, PodGone(pod="shop-1", uid="uid-shop-1")]
    assert [query.get("resourceVersion") for query in api.asked] == [None, "5", "5", "7"]


@pytest.mark.parametrize(
    "expired",
    [ApiError("too old", 410), [event("ERROR", {"kind": "Status", "code": 410, "message": "too old"})]],
    ids=["refused", "in the stream"],
)
def test_a_version_the_server_forgot_is_listed_anew(expired: Any) -> None:
    """After 410 everything is listed; what changed meanwhile is reported after the gap."""
    said, api = watched(listed(pod("shop-0", "a")), expired, listed(pod("shop-1", "a"), version="90"), [])

    assert said[1:] == [WatchGap(since_ns=0, detail="pods: too old"), PodGone(pod="shop-0", uid="uid-shop-0"), SEEN]
    assert [query.get("resourceVersion") for query in api.asked] == [None, "5", None, "90", "90"]


def test_another_error_in_the_stream_is_a_gap_and_a_new_list() -> None:
    """The server ended the watch for a reason of its own."""
    failed = [event("ERROR", {"kind": "Status", "code": 500, "message": "etcd"})]
    said, _ = watched(listed(pod("shop-1", "a")), failed, listed(pod("shop-1", "a")), [])

    gap = WatchGap(since_ns=0, detail="pods: kubernetes http://127.0.0.1:1: watch /api/v1/namespaces/shop/pods: etcd")
    assert said == [SEEN, gap, gap]


def test_a_torn_line_is_a_gap() -> None:
    """What cannot be read is not guessed."""
    said, _ = watched(listed(pod("shop-1", "a")), [b'{"type": "ADD'], [])

    assert [type(body) for body in said] == [PodSeen, WatchGap, WatchGap]


def test_an_event_that_could_not_be_taken_is_asked_for_again() -> None:
    """The zone of a pod's node could not be read for a moment; the pod is not lost for it."""
    answers = iter([ApiError("no answer", None), "a"])

    def zone_of_node(_: str) -> str:
        answer = next(answers)
        if isinstance(answer, ApiError):
            raise answer
        return answer

    added = event("ADDED", pod("shop-1", node="node-a"))
    api = ScriptedApi(answers=[listed(), [added], [added], ScriptEndedError()])
    said: list[Body] = []
    watch = Watch(api, "/pods", {}, Pods(zone_of_node), lambda body, _: said.append(body), sleep=lambda _: None)
    watch.first()
    with pytest.raises(ScriptEndedError):
        watch.run()

    assert [query.get("resourceVersion") for query in api.asked] == [None, "5", "5", "7"]
    assert said[-1] == SEEN
