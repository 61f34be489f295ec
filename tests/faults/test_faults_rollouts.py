"""Rollouts and scaling of a deployment: what changes, what is refused, and that it is as before."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from chaoslib.exceptions import ActivityFailed
from pod_stage import AUTOSCALERS, DEPLOYMENTS, PODS, Cluster, deployment, pod, shop

from harness.drivers.faults.radius import taken_at_once
from harness.drivers.faults.rollouts import restart_rollout, scale, set_image, undo_rollout, unscale

On = Callable[[Cluster], Cluster]
SHOP: dict[str, Any] = {"namespace": "shop", "selector": "app=shop", "deployment": "shop"}
UNDO: dict[str, Any] = {"namespace": "shop", "deployment": "shop"}
PATH = f"{DEPLOYMENTS}/shop"


def rolling(cluster: Cluster) -> Cluster:
    """With a controller that completes every rollout at once."""

    def completed(_method: str, _path: str) -> None:
        found = cluster.stored[PATH]
        replicas = found["spec"]["replicas"]
        counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), replicas)
        found["status"] = {"observedGeneration": found["metadata"]["generation"], **counts}

    cluster.then = completed
    return cluster


def image(cluster: Cluster) -> str:
    return str(cluster.stored[PATH]["spec"]["template"]["spec"]["containers"][0]["image"])


def test_a_restart_changes_nothing_but_an_annotation_of_the_template(on: On) -> None:
    """The time as RFC 3339 has it, as kubectl writes it."""
    cluster = on(rolling(Cluster(shop())))
    before = deepcopy(cluster.stored[PATH]["spec"])

    done = restart_rollout(**SHOP)

    after = cluster.stored[PATH]["spec"]
    written = after["template"]["metadata"].pop("annotations")
    assert after == before
    assert done == {
        "deployment": "shop",
        "restarted_at": written["kubectl.kubernetes.io/restartedAt"],
        "generation": 2,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(done["restarted_at"]))


def test_an_image_is_changed_and_changed_back(on: On) -> None:
    """The deployment is then as it was, also when the undo is played twice."""
    cluster = on(rolling(Cluster(shop())))
    before = deepcopy(cluster.stored[PATH])

    done = set_image(**SHOP, image="shop:bad", run="s/1")
    during = image(cluster)
    undone = undo_rollout(**UNDO, run="s/1")

    assert done == {
        "deployment": "shop",
        "container": "main",
        "image_before": "shop:good",
        "image": "shop:bad",
        "generation": 2,
    }
    assert during == "shop:bad"
    assert undone == {"deployment": "shop", "undone": True, "complete": True, "images": ["shop:good"]}
    assert cluster.stored[PATH]["spec"] == before["spec"]
    assert "lch.dev/run" not in cluster.stored[PATH]["metadata"]["labels"]
    assert undo_rollout(**UNDO, run="s/1")["undone"] is False


def test_a_third_version_that_somebody_rolled_out_meanwhile_stays(on: On) -> None:
    """What is not ours any more is not changed back."""
    cluster = on(rolling(Cluster(shop())))
    set_image(**SHOP, image="shop:bad")
    cluster.stored[PATH]["spec"]["template"]["spec"]["containers"][0]["image"] = "shop:fixed"
    assert undo_rollout(**UNDO)["images"] == ["shop:fixed"]
    assert "lch.dev/undo" not in cluster.stored[PATH]["metadata"]["annotations"]


def test_an_undo_waits_until_the_rollout_is_complete(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says what it waited for when that takes too long; paused deployments never get there."""
    cluster = on(Cluster(shop()))
    set_image(**SHOP, image="shop:bad")
    what = "after 0 s still not: deployment 'shop' with all replicas of its former template, available"
    with pytest.raises(ActivityFailed, match=f"{what}$"):
        undo_rollout(**UNDO, timeout_s=0)
    assert image(cluster) == "shop:good"

    monkeypatch.setenv("LCH_LEASED", "1")
    assert undo_rollout(**UNDO, timeout_s=0)["complete"] is False
    cluster.stored[PATH]["spec"]["paused"] = True
    with pytest.raises(ActivityFailed, match=f"{what}; it is paused: resume it$"):
        undo_rollout(**UNDO, timeout_s=0)


def test_an_undo_goes_on_when_the_server_fails_for_a_moment(on: On) -> None:
    """Or somebody else changed the deployment at the same time; what it forbids it says at once."""
    cluster = on(rolling(Cluster(shop())))
    set_image(**SHOP, image="shop:bad")
    cluster.refuse = {("GET", PATH): [503, 500], ("PATCH", PATH): [409, 422, 429]}
    assert undo_rollout(**UNDO)["undone"] is True
    cluster.refuse = {("GET", PATH): [403]}
    with pytest.raises(ActivityFailed, match="refused"):
        undo_rollout(**UNDO)


def test_a_deployment_that_is_gone_has_nothing_to_undo(on: On) -> None:
    """Its changes are gone with it."""
    on(Cluster([(DEPLOYMENTS, deployment("other"))]))
    assert undo_rollout(**UNDO) == {"deployment": "shop", "undone": False, "complete": True, "images": []}
    assert unscale(**UNDO) == {"deployment": "shop", "undone": False}


def test_replicas_are_taken_away_and_given_back(on: On) -> None:
    """To none, without being asked otherwise."""
    cluster = on(rolling(Cluster(shop())))
    done = scale(**SHOP)
    assert done == {"deployment": "shop", "replicas_before": 6, "replicas": 0, "generation": 2}
    assert cluster.stored[PATH]["spec"]["replicas"] == 0
    assert unscale(**UNDO) == {"deployment": "shop", "undone": True}
    assert cluster.stored[PATH]["spec"]["replicas"] == 6
    assert unscale(**UNDO) == {"deployment": "shop", "undone": False}


def test_each_undo_takes_back_its_own_change_only(on: On) -> None:
    """Two faults of one run on one deployment."""
    cluster = on(rolling(Cluster(shop())))
    set_image(**SHOP, image="shop:bad")
    scale(**SHOP, replicas=4)
    unscale(**UNDO)
    assert (image(cluster), cluster.stored[PATH]["spec"]["replicas"]) == ("shop:bad", 6)
    undo_rollout(**UNDO)
    assert image(cluster) == "shop:good"
    assert "lch.dev/undo" not in cluster.stored[PATH]["metadata"]["annotations"]


def test_rehearsals_change_nothing(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    """But ask the server for everything."""
    monkeypatch.setenv("LCH_DRY", "1")
    cluster = on(Cluster(shop()))
    before = deepcopy(cluster.stored)
    restart_rollout(**SHOP)
    set_image(**SHOP, image="shop:bad")
    scale(**SHOP)
    undo_rollout(**UNDO)
    assert [method for method, _, _ in cluster.asked] == ["PATCH", "PATCH", "PATCH"]
    assert cluster.stored == before


def autoscaler(kind: str, name: str) -> tuple[str, Any]:
    return AUTOSCALERS, {"metadata": {"name": "hpa"}, "spec": {"scaleTargetRef": {"kind": kind, "name": name}}}


def test_an_autoscaler_of_something_else_does_not_matter(on: On) -> None:
    """Only one of the deployment would fight."""
    on(
        rolling(
            Cluster(
                [
                    *shop(),
                    autoscaler("Deployment", "db"),
                ]
            )
        )
    )
    assert scale(**SHOP, replicas=5)["replicas"] == 5


@pytest.mark.parametrize(
    ("action", "spec", "more", "message"),
    [
        (
            scale,
            {},
            [autoscaler("Deployment", "shop")],
            "HorizontalPodAutoscaler 'hpa' would scale deployment 'shop' back; remove it for the experiment",
        ),
        (scale, {"replicas": 0}, [], "deployment 'shop' has 0 replicas; 0 is not fewer, from 0 on"),
        (restart_rollout, {"paused": True}, [], "deployment 'shop' is paused, so nothing would roll out; resume it"),
        (set_image, {"paused": True}, [], "deployment 'shop' is paused, so nothing would roll out; resume it"),
        (
            set_image,
            {"revisionHistoryLimit": 0},
            [],
            "deployment 'shop' has revisionHistoryLimit 0, so no revision to go back to; raise it",
        ),
        (
            restart_rollout,
            {"selector": {"matchLabels": {"app": "none"}}},
            [],
            "deployment 'shop' has no running pod, so the fault would show nothing; is it up?",
        ),
        (
            scale,
            {"selector": {}},
            [(PODS, pod("db-1", app="db"))],
            "deployment 'shop': its pod 'db-1' is not matched by selector 'app=shop'; nothing was done",
        ),
    ],
)
def test_what_would_not_work_is_refused(
    on: On, action: Any, spec: dict[str, Any], more: list[tuple[str, Any]], message: str
) -> None:
    """Before anything is changed."""
    objects = [one for one in shop() if one[0] != DEPLOYMENTS]
    cluster = on(Cluster([*objects, (DEPLOYMENTS, deployment("shop", **spec)), *more]))
    with pytest.raises(ActivityFailed) as caught:
        action(**SHOP, **({"image": "shop:bad"} if action is set_image else {}))
    assert str(caught.value) == message
    assert cluster.asked == []


def test_the_container_must_be_clear_and_the_image_new(on: On) -> None:
    """Otherwise there is nothing to see."""
    objects = [one for one in shop() if one[0] != DEPLOYMENTS]
    made = deployment()
    made["spec"]["template"]["spec"]["containers"].append({"name": "proxy", "image": "proxy:1"})
    cluster = on(rolling(Cluster([*objects, (DEPLOYMENTS, made)])))
    with pytest.raises(ActivityFailed, match=r"^deployment 'shop' has no container ''; give one of: main, proxy$"):
        set_image(**SHOP, image="proxy:2")
    with pytest.raises(ActivityFailed, match=r"^deployment 'shop' has image 'proxy:1' already; give another$"):
        set_image(**SHOP, image="proxy:1", container="proxy")
    set_image(**SHOP, image="proxy:2", container="proxy")
    assert undo_rollout(**UNDO)["images"] == ["shop:good", "proxy:1"]
    assert cluster.asked


def test_caps_hold_for_what_is_away_at_once(on: On, frozen: Callable[..., None]) -> None:
    """Whatever the arguments say: the pods that a strategy takes away, and the replicas that are scaled away."""
    objects = [one for one in shop() if one[0] != DEPLOYMENTS]
    cluster = on(Cluster([*objects, (DEPLOYMENTS, deployment(strategy={"type": "Recreate"}))]))
    everyone = {f"uid-shop-{zone}{n}": "" for zone in "abc" for n in (1, 2)}
    for limits, action, message in (
        ({"pods": everyone, "max_pods": 2}, restart_rollout, "6 pods would be taken at once, max_pods allows 2"),
        ({"pods": everyone}, scale, "6 of 6 pods would be taken at once, max_share allows 80%"),
        (
            {"pods": {"uid-shop-a1": ""}},
            scale,
            "deployment 'shop': its pod 'shop-a2' is not among the frozen targets; nothing was done",
        ),
    ):
        frozen(**limits)
        with pytest.raises(ActivityFailed) as caught:
            action(**SHOP)
        assert str(caught.value) == message
    assert cluster.asked == []


@pytest.mark.parametrize(
    ("strategy", "taken"),
    [
        ({}, 2),
        ({"type": "Recreate"}, 10),
        ({"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}, 0),
        ({"rollingUpdate": {"maxUnavailable": "0%", "maxSurge": "0%"}}, 1),
        ({"rollingUpdate": {"maxUnavailable": "39%"}}, 3),
        ({"rollingUpdate": {"maxUnavailable": 4}}, 4),
    ],
)
def test_how_many_pods_a_rollout_takes_away_at_once(strategy: dict[str, Any], taken: int) -> None:
    """As the deployment controller counts: of what may be unavailable the fraction is dropped."""
    assert taken_at_once(deployment(replicas=10, strategy=strategy)) == taken
