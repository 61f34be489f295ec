"""What a watch says of a server that ends, breaks, forgets or talks nonsense."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kube_doubles import ScriptedApi, pod

from harness.drivers.kubernetes.client import ApiError
from harness.drivers.kubernetes.kinds import pods as pods_view
from harness.drivers.kubernetes.watch import Pace, Watch
from harness.history.events import Body, PodGone, PodSeen, WatchGap

SEEN = PodSeen(pod="shop-1", uid="uid-shop-1", zone="a", node="node-a", phase="Running", ready=True, terminating=False)


PACE = Pace(sleep=lambda _: None)


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
        pods_view(lambda _: "", {}),
        lambda body, _: said.append(body),
        pace=PACE,
    )
    watch.first()
    with pytest.raises(ScriptEndedError):
        watch.run()
    return [_without_stamp(body) for body in said], api


def _without_stamp(body: Body) -> Body:
    return WatchGap(since_ns=0, detail=body.detail) if isinstance(body, WatchGap) else body


def listed(*pods: dict[str, Any], version: str = "5") -> dict[str, Any]:
    return {"metadata": {"resourceVersion": version}, "items": list(pods)}


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
    watch = Watch(api, "/pods", {}, pods_view(zone_of_node, {}), lambda body, _: said.append(body), pace=PACE)
    watch.first()
    with pytest.raises(ScriptEndedError):
        watch.run()

    assert [query.get("resourceVersion") for query in api.asked] == [None, "5", "5", "7"]
    assert said[-1] == SEEN


def test_a_server_that_asks_for_patience_gets_it() -> None:
    """Retry-After counts where it is longer than our own pause, up to a bound."""
    slept: list[float] = []
    busy = [ApiError("busy", 429, retry_s=retry_s) for retry_s in (7.0, 900.0, None)]
    api = ScriptedApi(answers=[listed(), *busy, ScriptEndedError()])
    watch = Watch(api, "/pods", {}, pods_view(lambda _: "", {}), lambda _, __: None, pace=Pace(sleep=slept.append))
    watch.first()
    with pytest.raises(ScriptEndedError):
        watch.run()

    assert slept == [7.0, 30.0, 0.8]


def test_a_server_that_always_forgets_is_asked_slowly() -> None:
    """The first 410 is listed anew at once, the next ones after longer and longer pauses."""
    slept: list[float] = []
    answers = [one for _ in range(4) for one in (listed(), ApiError("too old", 410))]
    api = ScriptedApi(answers=[*answers, ScriptEndedError()])
    watch = Watch(api, "/pods", {}, pods_view(lambda _: "", {}), lambda _, __: None, pace=Pace(sleep=slept.append))
    watch.first()
    with pytest.raises(ScriptEndedError):
        watch.run()

    assert slept == [0.4, 0.8, 1.6]


@pytest.mark.parametrize("nonsense", [b"[]", b"7", b'{"type": "ADDED", "object": null}', b'{"type": "ADDED"}'])
def test_nonsense_is_a_gap_and_the_watch_goes_on(nonsense: bytes) -> None:
    """What came after it in the same answer is asked for again."""
    said, api = watched(listed(), [nonsense, event("ADDED", pod("shop-1", "a"))], [event("ADDED", pod("shop-1", "a"))])

    assert [type(body) for body in said] == [WatchGap, WatchGap, PodSeen]
    assert [query.get("resourceVersion") for query in api.asked] == [None, "5", "5", "7"]
