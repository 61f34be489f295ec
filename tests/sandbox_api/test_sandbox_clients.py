"""The kubernetes Python client and chaosk8s against the sandbox: every reply is a well-typed object."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

Shop = Callable[..., dict[str, Any]]


@pytest.fixture
def k8s(cluster: Any, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The kubernetes package, connected to a cluster where the shop is ready."""
    import kubernetes

    # The package reads KUBECONFIG only once, when it is imported.
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(cluster.kubeconfig))
    kubernetes.config.load_kube_config(config_file=str(cluster.kubeconfig))
    kubernetes.client.AppsV1Api().create_namespaced_deployment("default", shop())
    eventually(lambda: ready(kubernetes) == 6)
    return kubernetes


def ready(k8s: Any) -> int:
    return k8s.client.AppsV1Api().read_namespaced_deployment("shop", "default").status.ready_replicas or 0


def eventually(probe: Callable[[], bool], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not probe():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


def test_every_list_is_well_typed(k8s: Any) -> None:
    core, apps, client = k8s.client.CoreV1Api(), k8s.client.AppsV1Api(), k8s.client
    counts = {
        call.__name__: len(call().items)
        for call in (
            core.list_namespace,
            core.list_node,
            core.list_pod_for_all_namespaces,
            core.list_service_for_all_namespaces,
            core.list_config_map_for_all_namespaces,
            apps.list_deployment_for_all_namespaces,
            apps.list_replica_set_for_all_namespaces,
            client.BatchV1Api().list_job_for_all_namespaces,
            client.DiscoveryV1Api().list_endpoint_slice_for_all_namespaces,
            client.NetworkingV1Api().list_network_policy_for_all_namespaces,
            client.CoordinationV1Api().list_lease_for_all_namespaces,
        )
    }
    assert list(counts.values()) == [3, 3, 6, 0, 0, 1, 1, 0, 0, 0, 0]
    assert {event.reason for event in core.list_event_for_all_namespaces().items} >= {"Scheduled", "ScalingReplicaSet"}


def test_replies_to_writes_are_well_typed(k8s: Any) -> None:
    core, apps, client = k8s.client.CoreV1Api(), k8s.client.AppsV1Api(), k8s.client
    assert apps.patch_namespaced_deployment("shop", "default", {"spec": {"replicas": 4}}).spec.replicas == 4
    scale = apps.read_namespaced_deployment_scale("shop", "default")
    assert (scale.spec.replicas, scale.status.selector) == (4, "app=shop")
    patch = [{"op": "add", "path": "/spec/unschedulable", "value": True}]
    assert core.patch_node("node-a", patch).spec.unschedulable is True
    pod = core.list_namespaced_pod("default", label_selector="app=shop", limit=1).items[0].metadata.name
    assert core.delete_namespaced_pod(pod, "default", grace_period_seconds=0).metadata.name == pod
    policy = {"metadata": {"name": "deny"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    networking = client.NetworkingV1Api()
    assert networking.create_namespaced_network_policy("default", policy).spec.policy_types == ["Ingress"]
    assert networking.delete_namespaced_network_policy("deny", "default").status == "Success"
    lease = {"metadata": {"name": "run"}, "spec": {"holderIdentity": "me", "renewTime": "2026-01-01T00:00:00.000000Z"}}
    assert client.CoordinationV1Api().create_namespaced_lease("default", lease).spec.holder_identity == "me"
    service = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]}}
    assert core.create_namespaced_service("default", service).spec.cluster_ip.startswith("10.43.")
    assert core.delete_namespaced_service("web", "default").metadata.name == "web"
    assert core.read_namespaced_pod_log(core.list_namespaced_pod("default").items[0].metadata.name, "default")


def test_a_conflict_and_a_missing_object_raise_with_their_code(k8s: Any) -> None:
    apps = k8s.client.AppsV1Api()
    found = apps.read_namespaced_deployment("shop", "default")
    found.metadata.resource_version = "1"
    with pytest.raises(k8s.client.ApiException) as refused:
        apps.replace_namespaced_deployment("shop", "default", found)
    assert refused.value.status == 409
    with pytest.raises(k8s.client.ApiException) as missing:
        apps.read_namespaced_deployment("nope", "default")
    assert missing.value.status == 404


def test_a_watch_sees_a_change_when_it_happens(k8s: Any) -> None:
    core = k8s.client.CoreV1Api()
    pods = core.list_namespaced_pod("default")
    victim = pods.items[0].metadata
    watch = k8s.watch.Watch()
    kinds = []
    version = pods.metadata.resource_version
    core.patch_node("node-a", {"metadata": {"labels": {"x": "y"}}})
    begun = time.monotonic()
    core.delete_namespaced_pod(victim.name, "default")
    for event in watch.stream(core.list_namespaced_pod, "default", resource_version=version, timeout_seconds=60):
        kinds.append(event["type"])
        status = event["object"].status
        if event["object"].metadata.uid != victim.uid and status.phase == "Running":
            watch.stop()
    assert time.monotonic() - begun < 50  # not only when the watch ends
    assert {"ADDED", "MODIFIED", "DELETED"} <= set(kinds)


def test_a_dead_man_job_fires_and_takes_its_policy_with_it(k8s: Any) -> None:
    batch, networking = k8s.client.BatchV1Api(), k8s.client.NetworkingV1Api()
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "x", "image": "unused"}]}}
    spec = {"parallelism": 0, "activeDeadlineSeconds": 60, "ttlSecondsAfterFinished": 0, "template": template}
    job = batch.create_namespaced_job("default", {"metadata": {"name": "deadman"}, "spec": spec})
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "deadman", "uid": job.metadata.uid}
    policy = {"metadata": {"name": "cut", "ownerReferences": [owner]}, "spec": {"podSelector": {}}}
    networking.create_namespaced_network_policy("default", policy)
    assert batch.read_namespaced_job("deadman", "default").status.start_time is not None
    batch.patch_namespaced_job("deadman", "default", {"spec": {"activeDeadlineSeconds": 1}})
    eventually(lambda: networking.list_namespaced_network_policy("default").items == [])
    assert batch.list_namespaced_job("default").items == []


def test_chaosk8s_pod_functions(k8s: Any) -> None:
    from chaosk8s.pod.actions import terminate_pods
    from chaosk8s.pod.probes import count_pods

    before = {pod.metadata.name for pod in k8s.client.CoreV1Api().list_namespaced_pod("default").items}
    victims = terminate_pods(label_selector="app=shop", ns="default", qty=2, rand=True)
    assert set(victims) <= before
    eventually(lambda: ready(k8s) == 6)
    eventually(lambda: count_pods("app=shop", phase="Running", ns="default") == 6)
    after = {pod.metadata.name for pod in k8s.client.CoreV1Api().list_namespaced_pod("default").items}
    assert len(before & after) == 4


def test_chaosk8s_deployment_functions(k8s: Any) -> None:
    from chaosk8s.deployment.actions import rollout_deployment, scale_deployment
    from chaosk8s.deployment.probes import deployment_available_and_healthy, deployment_fully_available

    scale_deployment("shop", 3, "default")
    eventually(lambda: ready(k8s) == 3)
    before = {pod.metadata.uid for pod in k8s.client.CoreV1Api().list_namespaced_pod("default").items}
    rollout_deployment("shop", "default")
    eventually(lambda: ready(k8s) == 3)
    assert deployment_fully_available("shop", "default", timeout=30) is True
    assert deployment_available_and_healthy("shop", "default") is True

    def replaced() -> bool:
        return not before & {pod.metadata.uid for pod in k8s.client.CoreV1Api().list_namespaced_pod("default").items}

    eventually(replaced)


def test_chaosk8s_node_functions(k8s: Any) -> None:
    from chaosk8s.node.actions import cordon_node, uncordon_node

    def cordoned() -> list[str]:
        return [node.metadata.name for node in k8s.client.CoreV1Api().list_node().items if node.spec.unschedulable]

    cordon_node("node-b")
    assert cordoned() == ["node-b"]
    uncordon_node("node-b")
    assert cordoned() == []
