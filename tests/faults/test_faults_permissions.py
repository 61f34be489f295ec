"""What the actions ask of the API server is what the table says, and what deploy/rbac.yaml allows."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from chaoslib.configuration import load_configuration
from chaoslib.provider.python import run_python_activity

from harness import sandbox
from harness.drivers import faults
from harness.drivers.faults.permissions import ACTIONS, IDENTITY, OPTIONAL, Permission, needed, rbac
from harness.drivers.kubernetes.client import ApiClient, ApiError
from harness.plan import actions

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))
PLACE = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/(?P<namespace>[^/]+)(?=/.))?"
    r"/(?P<resource>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<subresource>[^/]+))?)?"
)
VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "PUT": "update"}


def test_the_manifest_is_what_is_generated() -> None:
    """To write it anew: python -m harness.drivers.faults.permissions shop > deploy/rbac.yaml"""
    assert (ROOT / "deploy" / "rbac.yaml").read_text(encoding="utf-8") == rbac("shop")


def test_every_action_of_the_room_is_in_the_tables() -> None:
    """An action is a public function that takes secrets, as Chaos Toolkit passes them."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for module in pkgutil.iter_modules(faults.__path__):
        loaded = importlib.import_module(f"{faults.__name__}.{module.name}")
        for name, function in inspect.getmembers(loaded, inspect.isfunction):
            takes = inspect.signature(function).parameters
            if (
                not name.startswith("_")
                and function.__module__ == loaded.__name__
                and {"namespace", "secrets"} <= takes.keys()
            ):
                required = {one.name for one in takes.values() if one.default is one.empty}
                found[f"{module.name}.{name}"] = (required, takes.keys() - required - {"secrets"})
    del found["act.acting"]

    assert found.keys() == ACTIONS.keys()
    assert found == {name: (set(required), set(optional)) for name, (required, optional) in actions.ACTIONS.items()}


def test_an_action_of_others_is_unknown() -> None:
    assert needed("chaosk8s.pod.actions", "terminate_pods") is None
    assert needed("harness.drivers.faults.pods", "no_such") is None
    assert needed("harness.drivers.faults.pods", "delete_pods") == ACTIONS["pods.delete_pods"]


def test_a_permission_reads_like_a_sentence() -> None:
    assert [str(one) for one in IDENTITY] == ["get namespaces 'kube-system'"]
    evict = Permission(group="", resource="pods", subresource="eviction", verb="create")
    assert str(evict) == "create pods/eviction"
    assert str(Permission(group="apps", resource="deployments", verb="patch")) == "patch deployments.apps"


def manifests() -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(rbac("shop")) if one]


def test_nothing_is_allowed_wholesale() -> None:
    """No wildcards, no secrets, no impersonation, and nothing that makes roles or pods' commands."""
    rules = [rule for one in manifests() for rule in one.get("rules", ())]

    assert {"*"}.isdisjoint({word for rule in rules for words in rule.values() for word in words})
    resources = {resource for rule in rules for resource in rule["resources"]}
    assert resources.isdisjoint({"secrets", "serviceaccounts", "roles", "clusterroles", "pods/exec", "pods/attach"})


def test_only_the_role_for_nodes_changes_anything_beyond_the_namespace() -> None:
    """So it can be left out where no fault may take nodes."""
    wide = {one["metadata"]["name"]: one["rules"] for one in manifests() if one["kind"] == "ClusterRole"}
    changing = {name for name, rules in wide.items() for rule in rules if set(rule["verbs"]) - {"get", "list", "watch"}}

    assert set(wide) == {"load-chaos-harness-reader", "load-chaos-harness-nodes"}
    assert changing == {"load-chaos-harness-nodes"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sandbox.Endpoints]:
    state_dir = tmp_path_factory.mktemp("sandbox")
    yield sandbox.up(version="store", state_dir=state_dir, owned=True)
    sandbox.down(state_dir)


@pytest.fixture
def asked(cluster: sandbox.Endpoints, monkeypatch: pytest.MonkeyPatch) -> set[Permission]:
    """What the API server of a rehearsal is asked for, as it is asked."""
    found: set[Permission] = set()
    send = ApiClient._send

    def recorded(client: ApiClient, method: str, path: str, **more: Any) -> Any:
        found.add(permission(method, path))
        return send(client, method, path, **more)

    monkeypatch.setattr(ApiClient, "_send", recorded)
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.setenv("LCH_DRY", "1")
    for name in ("KUBERNETES_CONTEXT", "LCH_TARGETS", "LCH_RUN", "LCH_CLUSTER_UID"):
        monkeypatch.delenv(name, raising=False)
    return found


def permission(method: str, path: str) -> Permission:
    place = PLACE.fullmatch(path)
    assert place, path
    verb = VERBS.get(method) or ("get" if place["name"] else "list")
    return Permission(
        group=place["group"] or "",
        resource=place["resource"],
        subresource=place["subresource"] or "",
        verb=verb,
        namespaced=place["namespace"] is not None,
        name="kube-system" if path.endswith("/namespaces/kube-system") else "",
    )


def covered(one: Permission, table: tuple[Permission, ...]) -> bool:
    """What is allowed everywhere is allowed in a namespace."""
    same = [
        known
        for known in table
        if (known.group, known.resource, known.subresource, known.verb)
        == (one.group, one.resource, one.subresource, one.verb)
    ]
    return any(not known.namespaced or one.namespaced for known in same)


@pytest.mark.real
@pytest.mark.timeout(120)
@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_a_rehearsed_experiment_asks_for_no_more_than_the_table_says(path: Path, asked: set[Permission]) -> None:
    """Method and rollbacks of every experiment that ships, on the sandbox, which makes none of the changes."""
    experiment = yaml.safe_load(path.read_text(encoding="utf-8"))
    configuration = load_configuration(experiment["configuration"])
    for activity in [*experiment["method"], *experiment.get("rollbacks", ())]:
        provider = activity["provider"]
        if not provider["module"].startswith(faults.__name__):
            continue
        asked.clear()
        run_python_activity(activity, configuration, {})
        table = (*(needed(provider["module"], provider["func"]) or ()), *IDENTITY, *OPTIONAL)

        assert asked
        assert [str(one) for one in sorted(asked) if not covered(one, table)] == []


@pytest.mark.real
@pytest.mark.timeout(120)
def test_a_cluster_takes_the_manifest(cluster: sandbox.Endpoints) -> None:
    """Every object, in the file's order; the reaper's namespace may be there already."""
    api = ApiClient(str(cluster.kubeconfig), None)
    try:
        for one in manifests():
            plural, namespace = f"{one['kind'].lower()}s", one["metadata"].get("namespace")
            root = "/api/v1" if one["apiVersion"] == "v1" else f"/apis/{one['apiVersion']}"
            place = f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"
            if one["kind"] == "Namespace":
                with suppress(ApiError):  # it is there already
                    api.create(place, one)
                continue
            made = api.create(place, one)
            content = one.keys() - {"metadata"}
            assert {key: made[key] for key in content} == {key: one[key] for key in content}
    finally:
        api.close()
