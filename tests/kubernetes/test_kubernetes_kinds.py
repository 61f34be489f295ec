"""What lists and watch events of each kind of objects come to: only what is new becomes an event of the run."""

from __future__ import annotations

from typing import Any

from kube_doubles import node, pod

from harness.drivers.kubernetes import kinds
from harness.history.events import (
    ClusterWarned,
    DeploymentSeen,
    EndpointsSeen,
    LeaseSeen,
    NodeGone,
    NodeSeen,
    PodGone,
    PodSeen,
    ReplicaSetSeen,
)

SEEN = PodSeen(pod="shop-1", uid="uid-shop-1", zone="a", node="node-a", phase="Running", ready=True, terminating=False)


def no_zone(_: str) -> str:
    return ""


def test_only_changes_are_reported() -> None:
    """A pod is reported when it is first seen and when something that matters changed."""
    view = kinds.pods(no_zone, {})
    not_ready = pod("shop-1", "a", ready=False)

    assert list(view.listed([pod("shop-1", "a")])) == [SEEN]
    assert list(view.changed("MODIFIED", pod("shop-1", "a"))) == []
    assert [body.ready for body in view.changed("MODIFIED", not_ready) if isinstance(body, PodSeen)] == [False]
    assert list(view.changed("DELETED", not_ready)) == [PodGone(pod="shop-1", uid="uid-shop-1")]


def test_a_new_list_reports_what_it_no_longer_holds() -> None:
    """A pod that went while nobody watched is gone, whatever the name of its successor."""
    view = kinds.pods(no_zone, {})
    list(view.listed([pod("shop-0", "a", uid="old")]))

    assert list(view.listed([pod("shop-1", "a")])) == [PodGone(pod="shop-0", uid="old"), SEEN]


def test_a_pod_without_zone_label_has_its_nodes_zone() -> None:
    """The node is asked for only when the pod is bound to one."""
    view = kinds.pods({"node-a": "a"}.__getitem__, {})
    found = view.listed([pod("shop-1", node="node-a"), pod("shop-2", phase="Pending", ready=False)])

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
    view = kinds.Endpoints(("shop",), no_zone)
    slices = [endpoint_slice("one", "yn"), endpoint_slice("two", "??y"), endpoint_slice("other", "y", service="db")]

    assert list(view.listed(slices)) == [EndpointsSeen(service="shop", ready=3)]
    assert list(view.changed("MODIFIED", endpoint_slice("two", "yyy"))) == []
    assert list(view.changed("DELETED", endpoint_slice("two", ""))) == [EndpointsSeen(service="shop", ready=1)]


def test_a_service_without_endpoints_is_reported_as_none_ready() -> None:
    """Nothing is evidence too."""
    assert list(kinds.Endpoints(("shop",), no_zone).listed([])) == [EndpointsSeen(service="shop", ready=0)]


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

    assert kinds.services_of(services, [pod("shop-1", labels={"tier": "y"})]) == ("web",)


def test_ready_endpoints_are_told_by_zone() -> None:
    """The endpoint's own zone, else its node's; a zone that lost its last one is told to have none."""
    view = kinds.Endpoints(("shop",), {"node-b": "b", "": ""}.__getitem__)

    def slice_of(*endpoints: dict[str, Any]) -> dict[str, Any]:
        numbered = [{"addresses": [f"10.42.0.{number}"]} | one for number, one in enumerate(endpoints)]
        return endpoint_slice("one", "") | {"endpoints": numbered}

    both = slice_of({"zone": "a"}, {"zone": "a"}, {"nodeName": "node-b"}, {})
    one = slice_of({"zone": "a"}, {"zone": "a"}, {"nodeName": "node-b", "conditions": {"ready": False}})

    assert list(view.listed([both])) == [EndpointsSeen(service="shop", ready=4, zones=(("a", 2), ("b", 1)))]
    assert list(view.changed("MODIFIED", one)) == [EndpointsSeen(service="shop", ready=2, zones=(("a", 2), ("b", 0)))]


def test_endpoints_that_move_to_another_zone_are_news() -> None:
    """As many are ready as before, but elsewhere."""
    view = kinds.Endpoints(("shop",), no_zone)

    def in_zone(zone: str) -> dict[str, Any]:
        return endpoint_slice("one", "") | {"endpoints": [{"addresses": ["10.42.0.1"], "zone": zone}]}

    assert list(view.listed([in_zone("a")])) == [EndpointsSeen(service="shop", ready=1, zones=(("a", 1),))]
    assert list(view.listed([in_zone("b")])) == [EndpointsSeen(service="shop", ready=1, zones=(("a", 0), ("b", 1)))]


def test_a_pod_that_two_selectors_match_is_told_once() -> None:
    """It belongs to the view that saw it first, also when it goes."""
    claims: dict[str, object] = {}
    first, second = kinds.pods(no_zone, claims), kinds.pods(no_zone, claims)

    assert list(first.listed([pod("shop-1", "a")])) == [SEEN]
    assert list(second.listed([pod("shop-1", "a")])) == []
    assert list(second.changed("DELETED", pod("shop-1", "a"))) == []
    assert list(first.changed("DELETED", pod("shop-1", "a"))) == [PodGone(pod="shop-1", uid="uid-shop-1")]


def test_a_pod_is_told_with_what_controls_it() -> None:
    """Other owners do not count."""
    owned = pod("shop-1", "a")
    owned["metadata"]["ownerReferences"] = [{"uid": "uid-job"}, {"uid": "uid-rs", "controller": True}]

    (body,) = kinds.pods(no_zone, {}).listed([owned])

    assert isinstance(body, PodSeen)
    assert body.owner == "uid-rs"


def test_nodes_are_told_by_what_a_fault_or_the_platform_changes() -> None:
    """Unknown readiness is none; a heartbeat is no news."""

    def seen(ready: str = "True", **spec: Any) -> dict[str, Any]:
        one = node("node-a", "a") | {"spec": spec, "status": {"conditions": [{"type": "Ready", "status": ready}]}}
        one["metadata"] |= {"uid": "uid-node-a"}
        return one

    view = kinds.nodes()
    taints = [{"key": "z", "effect": "NoExecute"}, {"key": "a", "effect": "NoSchedule"}]
    well = NodeSeen(node="node-a", zone="a", ready=True, schedulable=True, taints=())

    assert list(view.listed([seen()])) == [well]
    assert list(view.changed("MODIFIED", seen())) == []
    assert list(view.changed("MODIFIED", seen("Unknown", unschedulable=True, taints=taints))) == [
        NodeSeen(node="node-a", zone="a", ready=False, schedulable=False, taints=("a", "z"))
    ]
    assert list(view.listed([])) == [NodeGone(node="node-a")]


def workload(name: str, *, owner: str = "", **parts: Any) -> dict[str, Any]:
    controlled = [{"name": owner, "uid": f"uid-{owner}", "controller": True}] if owner else []
    metadata = {"name": name, "uid": f"uid-{name}", "ownerReferences": controlled} | parts.pop("metadata", {})
    return {"metadata": metadata, "spec": {"replicas": 3}, "status": {}} | parts


def test_a_deployments_rollout_is_told_by_its_numbers() -> None:
    """Absent numbers are zero; one that is not asked about is passed by."""
    status = {"observedGeneration": 4, "replicas": 4, "updatedReplicas": 1, "readyReplicas": 3, "availableReplicas": 2}
    stuck = [{"type": "Progressing", "status": "False"}, {"type": "Available", "status": "True"}]
    view = kinds.deployments({"shop"})
    metadata = {"generation": 5}

    (fresh,) = view.listed([workload("shop", metadata=metadata), workload("other")])
    (rolling,) = view.changed(
        "MODIFIED", workload("shop", metadata=metadata, status=status | {"conditions": stuck}, spec={"replicas": 3})
    )
    (gone,) = view.changed("DELETED", workload("shop"))

    numbers = {"replicas": 0, "updated": 0, "ready": 0, "available": 0}
    assert fresh == DeploymentSeen(deployment="shop", generation=5, observed=0, wanted=3, stuck=False, **numbers)
    assert rolling == DeploymentSeen(
        deployment="shop",
        generation=5,
        observed=4,
        wanted=3,
        replicas=4,
        updated=1,
        ready=3,
        available=2,
        stuck=True,
    )
    assert gone == DeploymentSeen(deployment="shop", generation=5, observed=4, wanted=0, stuck=False, **numbers)


def test_replica_sets_are_those_of_the_deployments_whose_pods_are_watched() -> None:
    """A deployment is found by the owner of a pod; its further ReplicaSets are told, too."""
    names: set[str] = set()
    view = kinds.replica_sets({"uid-shop-1"}, names)
    revision = {"annotations": {"deployment.kubernetes.io/revision": "2"}}
    status = {"replicas": 2, "readyReplicas": 1}

    first = list(view.listed([workload("shop-1", owner="shop", metadata=revision, status=status), workload("lonely")]))
    other = list(view.changed("ADDED", workload("db-1", owner="db")))
    second = list(view.changed("ADDED", workload("shop-2", owner="shop")))

    seen = ReplicaSetSeen(replica_set="shop-1", uid="uid-shop-1", deployment="shop", revision=2, replicas=2, ready=1)
    new = ReplicaSetSeen(replica_set="shop-2", uid="uid-shop-2", deployment="shop", revision=0, replicas=0, ready=0)
    assert (first, other, second, names) == ([seen], [], [new], {"shop"})


def test_leases_are_told_when_they_change_hands() -> None:
    """A renewal is no news, nor is the harness's own lease; a lease that goes is in nobody's hands."""

    def lease(name: str, **spec: Any) -> dict[str, Any]:
        return {"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": spec}

    view = kinds.leases()
    assert list(view.listed([lease("store", holderIdentity="store-0", renewTime="1"), lease("lch-harness")])) == [
        LeaseSeen(lease="store", holder="store-0")
    ]
    assert list(view.changed("MODIFIED", lease("store", holderIdentity="store-0", renewTime="2"))) == []
    assert list(view.changed("MODIFIED", lease("store", holderIdentity="store-1"))) == [
        LeaseSeen(lease="store", holder="store-1")
    ]
    assert list(view.changed("DELETED", lease("store"))) == [LeaseSeen(lease="store", holder="")]


def warning(uid: str, version: str = "1", message: str = "probe failed", name: str = "shop-1") -> dict[str, Any]:
    metadata = {"name": uid, "uid": uid, "resourceVersion": version}
    about = {"kind": "Pod", "name": name}
    return {"metadata": metadata, "involvedObject": about, "reason": "Unhealthy", "message": message}


WARNED = ClusterWarned(about="pod/shop-1", reason="Unhealthy", message="probe failed")


def test_warnings_from_before_the_start_are_not_told() -> None:
    """Not by the first list, and by a later one only when they happened again."""
    view = kinds.Warnings(lambda: 0.0)

    assert list(view.listed([warning("old"), warning("older", message="x")])) == []
    assert list(view.listed([warning("old"), warning("older", version="2", message="x")])) == [
        ClusterWarned(about="pod/shop-1", reason="Unhealthy", message="x")
    ]


def test_the_same_warning_is_told_once_a_minute() -> None:
    """Whatever the event object that carries it."""
    now = iter([0.0, 1.0, 59.9, 60.1])
    view = kinds.Warnings(lambda: next(now))
    list(view.listed([]))

    told = [list(view.changed("ADDED", warning(uid))) for uid in ("one", "two", "three", "four")]

    assert told == [[WARNED], [], [], [WARNED]]
    assert list(view.changed("DELETED", warning("one"))) == []


def test_a_flood_of_warnings_is_cut_short_and_says_so() -> None:
    """Ten in a second, and that there were more; a second later they are told again."""
    now = [0.0] * 12 + [1.5]
    view = kinds.Warnings(lambda: now.pop(0))
    list(view.listed([]))

    told = [body for number in range(13) for body in view.changed("ADDED", warning(str(number), message=str(number)))]

    assert [body.message for body in told if isinstance(body, ClusterWarned)] == [
        *(str(number) for number in range(10)),
        "more than 10 warnings in a second; some are left out",
        "12",
    ]
