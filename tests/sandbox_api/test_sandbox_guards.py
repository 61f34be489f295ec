"""What holds writes back: rehearsals, missing permissions and disruption budgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.sandbox.api.access import attempt_of, permit, review
from harness.sandbox.api.target import parse_target
from harness.sandbox.api.verbs import as_rehearsed, create, delete, evict, is_rehearsal, patch, replace
from harness.sandbox.objects import set_condition
from harness.sandbox.resources import CONFIGMAPS, DEPLOYMENTS, NETWORKPOLICIES, PDBS, PODS, ApiError
from harness.sandbox.store import Store

Obj = dict[str, Any]
Play = Callable[..., None]
Shop = Callable[..., Obj]

POD = "/api/v1/namespaces/default/pods/"
EVERY = {"selector": {"matchLabels": {"app": "shop"}}}


def deny(store: Store, *lines: str) -> None:
    meta = {"name": "lch-sandbox-denied", "namespace": "kube-system"}
    store.create(CONFIGMAPS, {"metadata": meta, "data": {"rules": "\n".join(lines)}})


def allowed(store: Store, **attributes: str) -> bool:
    return bool(review(store, {"spec": {"resourceAttributes": attributes}})["status"]["allowed"])


def budget(store: Store, **spec: object) -> None:
    store.create(PDBS, {"metadata": {"name": "shop"}, "spec": EVERY | spec})


def counts(store: Store) -> tuple[int, int, int, int]:
    status = store.get(PDBS, "shop", "default")["status"]
    return tuple(status[key] for key in ("expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed"))


def evict_first(store: Store) -> str:
    """Evict the first pod that is not being deleted; the API's answer, in words."""
    pod = next(pod for pod in store.list(PODS) if "deletionTimestamp" not in pod["metadata"])["metadata"]["name"]
    try:
        return str(evict(store, parse_target(f"{POD}{pod}/eviction"), {})["status"])
    except ApiError as error:
        return f"{error.code} {error.message}"


def test_a_rehearsal_changes_nothing_and_answers_like_the_real_thing(
    store: Store, reconciled: Play, shop: Shop
) -> None:
    reconciled(lambda: store.create(DEPLOYMENTS, shop(replicas=1)))
    before, present = store.version, store.get(DEPLOYMENTS, "shop", "default")
    place = parse_target("/apis/apps/v1/namespaces/default/deployments/shop")
    scale = parse_target("/apis/apps/v1/namespaces/default/deployments/shop/scale")
    (pod,) = store.list(PODS)
    more = {"spec": {"replicas": 9}}

    patched = as_rehearsed(patch(store.fork(), place, "application/merge-patch+json", more), present)
    assert (patched["spec"]["replicas"], patched["metadata"]["generation"]) == (9, 2)
    assert patched["metadata"]["resourceVersion"] == present["metadata"]["resourceVersion"]
    assert as_rehearsed(replace(store.fork(), scale, more), present)["spec"] == {"replicas": 9}
    gone = delete(store.fork(), parse_target(POD + pod["metadata"]["name"]), {})
    assert "deletionTimestamp" in gone["metadata"]
    assert evict(store.fork(), parse_target(f"{POD}{pod['metadata']['name']}/eviction"), {})["status"] == "Success"
    with pytest.raises(ApiError, match=r"already exists$"):
        create(store.fork(), parse_target("/apis/apps/v1/namespaces/default/deployments"), shop())

    assert store.version == before
    assert store.get(DEPLOYMENTS, "shop", "default") is present


def test_what_would_belong_to_a_rehearsed_job_can_be_rehearsed(store: Store, shop: Shop) -> None:
    template = {"spec": shop()["spec"]["template"]["spec"] | {"restartPolicy": "Never"}}
    body = {"metadata": {"name": "switch"}, "spec": {"parallelism": 0, "template": template}}
    job = as_rehearsed(create(store.fork(), parse_target("/apis/batch/v1/namespaces/default/jobs"), body), None)
    assert "resourceVersion" not in job["metadata"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "switch", "uid": job["metadata"]["uid"]}
    policy = {"metadata": {"name": "cut", "ownerReferences": [owner]}, "spec": {"podSelector": {}}}
    target = parse_target("/apis/networking.k8s.io/v1/namespaces/default/networkpolicies")
    assert create(store.fork(), target, policy)["metadata"]["ownerReferences"] == [owner]
    assert store.list(NETWORKPOLICIES) == []


@pytest.mark.parametrize(
    ("method", "query", "body", "rehearsed"),
    [
        ("POST", {"dryRun": "All"}, {}, True),
        ("POST", {}, {"dryRun": ["All"]}, False),
        ("POST", {}, {"deleteOptions": {"dryRun": ["All"]}}, True),
        ("PATCH", {"dryRun": ""}, [{"op": "test"}], False),
        ("POST", {}, {"deleteOptions": {"gracePeriodSeconds": 1}}, False),
        ("DELETE", {}, {"dryRun": ["All"]}, True),
        ("DELETE", {"dryRun": "All"}, {}, False),
    ],
)
def test_a_rehearsal_is_asked_for_in_the_query_or_in_the_options_of_a_deletion(
    method: str, query: Obj, body: Any, *, rehearsed: bool
) -> None:
    assert is_rehearsal(method, query, body) is rehearsed


def test_any_other_kind_of_rehearsal_is_refused() -> None:
    with pytest.raises(ApiError, match=r'dryRun: Unsupported value: "Some": supported values: "All"$'):
        is_rehearsal("POST", {"dryRun": "Some"}, {})


def test_everything_is_allowed_until_a_line_denies_it(store: Store) -> None:
    assert allowed(store, verb="delete", resource="pods", namespace="shop")
    deny(store, "delete /pods", "create /pods/eviction", "* networking.k8s.io/networkpolicies", "patch */*")
    assert not allowed(store, verb="delete", resource="pods", namespace="shop")
    assert allowed(store, verb="list", resource="pods")
    assert not allowed(store, verb="create", resource="pods", subresource="eviction")
    assert allowed(store, verb="create", resource="pods")
    assert not allowed(store, verb="get", group="networking.k8s.io", resource="networkpolicies")
    assert not allowed(store, verb="patch", group="apps", resource="deployments", subresource="scale")
    assert review(store, {"spec": {"nonResourceAttributes": {"path": "/healthz", "verb": "get"}}})["status"]["allowed"]


def test_a_review_must_say_what_it_asks(store: Store) -> None:
    with pytest.raises(ApiError, match=r"^BadRequest: spec: Required value"):
        review(store, {"spec": {}})


def test_what_is_denied_is_refused_but_never_the_denial_itself(store: Store) -> None:
    deny(store, "* */*")
    pod, own = parse_target(POD + "a"), parse_target("/api/v1/namespaces/kube-system/configmaps/lch-sandbox-denied")
    message = (
        r'^Forbidden: pods "a" is forbidden: User "sandbox" cannot delete resource "pods" in API group ""'
        r' in the namespace "default"$'
    )
    with pytest.raises(ApiError, match=message):
        permit(store, pod, attempt_of("DELETE", pod, watch=False))
    permit(store, own, attempt_of("DELETE", own, watch=False))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 5}, (6, 6, 5, 1)),
        ({"minAvailable": "50%"}, (6, 6, 3, 3)),
        ({"maxUnavailable": 1}, (6, 6, 5, 1)),
        ({"maxUnavailable": "25%"}, (6, 6, 4, 2)),
        ({"minAvailable": 7}, (6, 6, 7, 0)),
    ],
)
def test_a_budget_says_how_many_pods_may_go(
    store: Store, reconciled: Play, shop: Shop, spec: Obj, expected: tuple[int, ...]
) -> None:
    reconciled(lambda: budget(store, **spec), lambda: store.create(DEPLOYMENTS, shop()))
    assert counts(store) == expected


def test_an_eviction_beyond_the_budget_is_refused_and_counts_again_once_the_pod_is_replaced(
    store: Store, reconciled: Play, shop: Shop
) -> None:
    reconciled(lambda: budget(store, maxUnavailable=1), lambda: store.create(DEPLOYMENTS, shop()))
    refused = "429 Cannot evict pod as it would violate the pod's disruption budget."
    assert [evict_first(store.fork()), evict_first(store), evict_first(store)] == ["Success", "Success", refused]
    reconciled()
    assert counts(store) == (6, 6, 5, 1)
    assert evict_first(store) == "Success"


def test_a_refusal_names_the_budget(store: Store, reconciled: Play, shop: Shop) -> None:
    reconciled(lambda: budget(store, minAvailable="100%"), lambda: store.create(DEPLOYMENTS, shop()))
    pod = store.list(PODS)[0]["metadata"]["name"]
    with pytest.raises(ApiError) as refused:
        evict(store, parse_target(f"{POD}{pod}/eviction"), {})
    why = "The disruption budget shop needs 6 healthy pods and has 6 currently"
    assert refused.value.details == {"causes": [{"reason": "DisruptionBudget", "message": why}]}


def test_a_pod_that_is_not_ready_may_go_while_enough_others_are(store: Store, reconciled: Play, shop: Shop) -> None:
    reconciled(lambda: budget(store, minAvailable=5), lambda: store.create(DEPLOYMENTS, shop()))
    first, second, *_ = [pod["metadata"]["name"] for pod in store.list(PODS)]
    store.update(PODS, first, "default", lambda pod: set_condition(pod, "Ready", "False"))
    assert evict(store, parse_target(f"{POD}{first}/eviction"), {})["status"] == "Success"
    with pytest.raises(ApiError, match=r"^TooManyRequests: "):
        evict(store, parse_target(f"{POD}{second}/eviction"), {})
