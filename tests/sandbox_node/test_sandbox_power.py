"""A node that loses its power, is missed, and comes back."""

import json
from itertools import count

import psutil
import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

PODS = "/api/v1/namespaces/shop/pods"
NODE = "/api/v1/nodes/node-b"


def switch(client, power: str) -> None:
    patch = json.dumps([{"op": "replace", "path": "/metadata/annotations/lch.dev~1power", "value": power}]).encode()
    client.send("PATCH", NODE, patch, "application/json-patch+json")


def start(client, name: str, app: str) -> None:
    """A pod on node-b that stays there as long as it can."""
    container = {"name": "main", "image": "sh", "command": ["/bin/sh", "-c", "exec sleep 100"]}
    spec = {"containers": [container], "nodeName": "node-b", "tolerations": [{"operator": "Exists"}]}
    client.api("POST", PODS, {"metadata": {"name": name, "labels": {"app": app}}, "spec": spec})


def found(client, app: str) -> dict[str, dict]:
    return {pod["metadata"]["name"]: pod for pod in client.pods(app)}


def is_ready(pod) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


def pid(pod) -> int:
    return int(pod["status"]["containerStatuses"][0]["containerID"].removeprefix("process://"))


def runs(number: int) -> bool:
    try:
        return bool(psutil.Process(number).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def node_ready(client) -> str:
    return next(c["status"] for c in client.api("GET", NODE)["status"]["conditions"] if c["type"] == "Ready")


def test_a_node_without_power_is_silent_then_missed_and_restarts_its_pods_when_it_is_back(client, until):
    for name in ("kept", "forced"):
        start(client, name, "dark")
    until(lambda: all(map(is_ready, client.pods("dark"))), 10)
    before = found(client, "dark")
    on_b = {pod["metadata"]["name"] for pod in client.pods() if pod["spec"]["nodeName"] == "node-b"}
    assert client.api("GET", NODE)["metadata"]["annotations"]["lch.dev/power"] == "on"
    try:
        switch(client, "off")
        until(lambda: not any(runs(pid(pod)) for pod in before.values()), 5)
        until(lambda: node_ready(client) == "Unknown", 20)
        until(lambda: not any(map(is_ready, client.pods("dark"))) and not client.ready() & on_b, 5)
        assert [pid(pod) for pod in found(client, "dark").values()] == [pid(pod) for pod in before.values()]
        client.api("DELETE", f"{PODS}/forced")
        assert "deletionTimestamp" in found(client, "dark")["forced"]["metadata"]
        client.api("DELETE", f"{PODS}/forced", {"gracePeriodSeconds": 0})
        assert set(found(client, "dark")) == {"kept"}
    finally:
        switch(client, "on")
    until(lambda: is_ready(found(client, "dark")["kept"]), 20)
    [status] = found(client, "dark")["kept"]["status"]["containerStatuses"]
    assert (status["restartCount"], status["lastState"]["terminated"]["exitCode"]) == (1, 255)
    assert node_ready(client) == "True"
    until(lambda: "taints" not in client.api("GET", NODE)["spec"], 5)
    client.api("DELETE", f"{PODS}/kept", {"gracePeriodSeconds": 0})
    until(lambda: len(client.ready()) == 6, 20)


def test_a_pod_deleted_on_a_dead_node_stays_terminating_until_the_node_is_back(client, until):
    start(client, "late", "late")
    until(lambda: all(map(is_ready, client.pods("late"))), 10)
    try:
        switch(client, "off")
        client.api("DELETE", f"{PODS}/late")
        assert "deletionTimestamp" in found(client, "late")["late"]["metadata"]
    finally:
        switch(client, "on")
    until(lambda: not found(client, "late"), 10)
    until(lambda: len(client.ready()) == 6, 20)


def test_a_node_that_was_only_missed_for_a_moment_has_its_pods_ready_again(client, until):
    """Its kubelet, which was well all the time, says so of the node and of each pod."""
    lease, merge = (
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-b",
        "application/merge-patch+json",
    )

    def missed() -> bool:
        client.send("PATCH", lease, b'{"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}', merge)
        client.send("PATCH", NODE, json.dumps({"metadata": {"labels": {"look": str(next(looks))}}}).encode(), merge)
        return node_ready(client) == "Unknown"

    looks = count()
    until(missed, 10)  # unless a heartbeat comes in between
    until(lambda: node_ready(client) == "True" and len(client.ready()) == 6, 10)
    until(lambda: "taints" not in client.api("GET", NODE)["spec"], 5)
    client.send("PATCH", NODE, b'{"metadata": {"labels": {"look": null}}}', merge)


def test_a_pod_knows_the_api_server_and_itself(client, until):
    names = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "ME", "MY_ADDRESS", "MY_NODE", "MY_APP")
    paths = {"ME": "metadata.name", "MY_ADDRESS": "status.podIP", "MY_NODE": "spec.nodeName"}
    paths["MY_APP"] = "metadata.labels['app']"
    env = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in paths.items()]
    script = f"import os; print(*(os.environ[name] for name in {names}))"
    container = {"name": "main", "image": "python", "command": ["python3", "-c", script], "env": env}
    spec = {"containers": [container], "restartPolicy": "Never", "nodeName": "node-a"}
    client.api("POST", PODS, {"metadata": {"name": "curious", "labels": {"app": "curious"}}, "spec": spec})
    until(lambda: client.pods("curious")[0]["status"]["phase"] == "Succeeded", 10)
    said = client.api("GET", f"{PODS}/curious/log").split()
    address = client.pods("curious")[0]["status"]["podIP"]
    assert "http://{}:{}".format(*said[:2]) == client.endpoints.api_url
    assert said[2:] == ["curious", address, "node-a", "curious"]
    client.api("DELETE", f"{PODS}/curious")
