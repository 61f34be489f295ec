"""A whole sandbox: pods, front, policies, egress, Prometheus; and nothing is left after any kind of end."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter

import psutil
import pytest

from harness import sandbox
from harness.errors import CannotRunError

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

PODS = "/api/v1/namespaces/shop/pods"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"
ZONE = "topology.kubernetes.io/zone"
ZONE_B = {"matchLabels": {ZONE: "zone-b"}}
CUT_ZONE_B = {
    "metadata": {"name": "cut-zone-b"},
    "spec": {
        "podSelector": ZONE_B,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": ZONE_B}]}],
        "egress": [{"to": [{"podSelector": ZONE_B}]}],
    },
}


EVEN = {(200, f"zone-{zone}"): 10 for zone in "abc"}  # of 30 requests


def test_requests_go_round_all_six_pods_in_three_zones(client, until):
    assert len(client.ready()) == 6
    until(lambda: Counter(client.get() for _ in range(30)) == EVEN, 8)  # once nobody is ejected any more


def test_prometheus_scrapes_every_pod_with_its_labels(client, until):
    query = client.endpoints.prometheus_url + "/api/v1/query?query=" + urllib.request.quote('up{job="shop"} == 1')

    def scraped() -> dict[str, dict[str, str]]:
        with urllib.request.urlopen(query, timeout=5) as answer:
            return {item["metric"]["pod"]: item["metric"] for item in json.load(answer)["data"]["result"]}

    expected = {
        pod["metadata"]["name"]: {
            "__name__": "up",
            "job": "shop",
            "pod": pod["metadata"]["name"],
            "zone": pod["metadata"]["labels"][ZONE],
            "instance": pod["status"]["podIP"] + ":8080",
        }
        for pod in client.pods()
    }
    until(lambda: scraped() == expected, 15)  # its discovery takes up to five seconds to see a change


def test_a_deleted_pod_drains_and_is_replaced_without_a_failed_request(client, until):
    before = client.ready()
    gone = min(before)
    client.api("DELETE", f"{PODS}/{gone}")
    answers = Counter()

    def replaced() -> bool:
        answers[client.get()[0]] += 1
        return len(client.ready() - before) == 1

    until(replaced, 5)
    until(lambda: gone not in {pod["metadata"]["name"] for pod in client.pods()}, 5)
    assert set(answers) <= {200, 504}  # 504: this machine was too busy for an answer; 502 and 503: nobody was there


def test_a_crashed_container_is_restarted(client, until):
    pod = client.pods()[0]
    name, [container] = pod["metadata"]["name"], pod["status"]["containerStatuses"]
    os.kill(int(container["containerID"].removeprefix("process://")), signal.SIGKILL)

    def restarted() -> bool:
        [now] = client.api("GET", f"{PODS}/{name}")["status"]["containerStatuses"]
        return now["restartCount"] == 1 and now["ready"]

    until(restarted, 5)
    [now] = client.api("GET", f"{PODS}/{name}")["status"]["containerStatuses"]
    assert (now["lastState"]["terminated"]["exitCode"], now["lastState"]["terminated"]["signal"]) == (137, 9)


def test_a_zone_that_lets_only_itself_in_is_cut_off_ejected_and_comes_back(client, until):
    client.api("POST", POLICIES, CUT_ZONE_B)
    answers = Counter()

    def ejected() -> bool:
        """Each of its two pods costs a request half a second, and then none for five."""
        batch = Counter(client.get() for _ in range(20))
        answers.update(batch)
        return batch == {(200, "zone-a"): 10, (200, "zone-c"): 10} and answers[504, ""] > 0

    until(ejected, 8)
    assert answers[200, "zone-b"] == 0
    assert len(client.ready()) == 6  # probes come by another way
    client.api("DELETE", f"{POLICIES}/cut-zone-b")
    until(lambda: Counter(client.get() for _ in range(30)) == EVEN, 8)


def test_a_pod_reaches_pods_and_services_through_the_network_and_a_policy_holds_it_back(client, until):
    target = next(pod for pod in client.pods() if pod["metadata"]["labels"][ZONE] == "zone-b")
    script = f"""
import time, urllib.request
def ask(url):
    try:
        return urllib.request.urlopen(url, timeout=0.3).headers["x-zone"]
    except Exception as error:
        return type(error).__name__
while True:
    urls = ("http://shop/items", "http://shop.shop.svc/items", "http://{target["status"]["podIP"]}:8080/items")
    print(*map(ask, urls))
    time.sleep(0.05)
"""
    container = {"name": "main", "image": "python", "command": ["python3", "-c", script]}
    spec = {
        "containers": [container],
        "restartPolicy": "Never",
        "nodeName": "node-a",
        "terminationGracePeriodSeconds": 0,
    }
    labels = {"app": "canary", ZONE: "zone-a"}
    client.api("POST", PODS, {"metadata": {"name": "canary", "labels": labels}, "spec": spec})

    def said() -> list[str]:
        lines = client.api("GET", f"{PODS}/canary/log?tailLines=1").splitlines()
        return lines[-1].split() if lines else []

    def says(expected: str) -> bool:
        return said()[2:] == [expected]

    until(lambda: (words := said())[2:] == ["zone-b"] and set(words) <= {"zone-a", "zone-b", "zone-c"}, 5)
    client.api("POST", POLICIES, CUT_ZONE_B)
    until(lambda: says("TimeoutError"), 5)
    client.api("DELETE", f"{POLICIES}/cut-zone-b")
    until(lambda: says("zone-b"), 5)
    client.api("DELETE", f"{PODS}/canary")
    until(lambda: not client.pods("canary"), 5)


def test_a_container_that_ignores_sigterm_is_killed_with_its_children_after_its_grace(client, alive, until):
    script = "trap '' TERM; sleep 100 & echo $!; while :; do sleep 0.05; done"
    container = {"name": "main", "image": "sh", "command": ["/bin/sh", "-c", script]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    client.api("POST", PODS, {"metadata": {"name": "stubborn", "labels": {"app": "stubborn"}}, "spec": spec})
    until(lambda: client.pods("stubborn")[0]["status"]["phase"] == "Running", 5)
    until(lambda: client.api("GET", f"{PODS}/stubborn/log") != "", 5)
    stubborn = psutil.Process(int(client.api("GET", f"{PODS}/stubborn/log")))
    began = time.monotonic()
    client.api("DELETE", f"{PODS}/stubborn")
    until(lambda: not client.pods("stubborn"), 5)
    assert time.monotonic() - began > 0.9
    until(lambda: not alive([stubborn]), 5)


def test_a_pod_that_ran_to_its_end_has_succeeded_or_failed_and_keeps_its_log(client, until):
    for name, code in (("fine", 0), ("broken", 3)):
        command = ["python3", "-c", f"import os, sys; print(os.environ['POD_NAME']); sys.exit({code})"]
        spec = {"containers": [{"name": "main", "image": "python", "command": command}], "restartPolicy": "Never"}
        client.api("POST", PODS, {"metadata": {"name": name, "labels": {"app": "batch"}}, "spec": spec})

    def phases() -> dict[str, str]:
        return {pod["metadata"]["name"]: pod["status"]["phase"] for pod in client.pods("batch")}

    until(lambda: phases() == {"fine": "Succeeded", "broken": "Failed"}, 5)
    assert client.api("GET", f"{PODS}/broken/log") == "broken\n"
    for name in ("fine", "broken"):
        client.api("DELETE", f"{PODS}/{name}")


def test_up_again_is_the_same_sandbox_and_another_version_is_refused(client, state_dir):
    assert sandbox.up("good", state_dir, owned=True) == client.endpoints
    assert sandbox.status(state_dir) == client.endpoints
    with pytest.raises(CannotRunError, match=r"runs version good, version bad was asked for$"):
        sandbox.up("bad", state_dir, owned=True)


def test_a_second_sandbox_lives_beside_and_ends_when_its_owner_does(client, tmp_path, processes, alive, until):
    script = """
import pathlib, sys
from harness import sandbox
print(sandbox.up("bad", pathlib.Path(sys.argv[1]), owned=True).url, flush=True)
sys.stdin.read()
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    url = owner.stdout.readline().strip()
    bad = sandbox.status(tmp_path)
    assert (bad.url, bad.version) == (url, "bad")
    started = processes(bad)
    assert len(started) >= 9
    began = time.monotonic()
    owner.kill()
    owner.communicate()
    until(lambda: not alive(started), 8)
    assert time.monotonic() - began > 1.9  # whoever starts again at once meets it still up
    assert sandbox.status(tmp_path) is None
    assert client.get()[0] == 200


def test_after_down_no_process_and_no_state_is_left(tmp_path, processes, alive):
    endpoints = sandbox.up("good", tmp_path, owned=False)
    started = processes(endpoints)
    assert len(started) >= 9  # control plane, guard, Prometheus, six pods
    assert sandbox.down(tmp_path) is True
    assert alive(started) == []
    assert sandbox.status(tmp_path) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "logs"]
    assert sandbox.down(tmp_path) is False


def test_a_killed_control_plane_takes_every_process_with_it(tmp_path, processes, alive, until):
    endpoints = sandbox.up("good", tmp_path, owned=False)
    started = processes(endpoints)
    os.kill(endpoints.pid, signal.SIGKILL)
    until(lambda: not alive(started), 8)
    assert sandbox.status(tmp_path) is None
    assert sandbox.down(tmp_path) is False
    assert not (tmp_path / "endpoints.json").exists()


def test_what_a_killed_sandbox_left_is_cleaned_up_even_without_its_guard(tmp_path, processes, alive, until):
    endpoints = sandbox.up("good", tmp_path, owned=False)
    started = processes(endpoints)
    killed = [psutil.Process(int((tmp_path / "guard.pid").read_text())), psutil.Process(endpoints.pid)]
    for process in killed:
        process.kill()
    until(lambda: not alive(killed), 5)
    assert len(alive(started)) == len(started) - 2  # pods and Prometheus
    sandbox.down(tmp_path)
    assert alive(started) == []
