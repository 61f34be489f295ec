"""
Controls: whole runs with real parts that must fail, refuse or stay undecided for the right reason.

A harness that cannot fail proves nothing; these prove that it can.
"""

from __future__ import annotations

import json
import shutil
import signal
from urllib.request import urlopen

import pytest
import yaml
from e2e_stage import Workplace, interrupt, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

HEALTH = """[
      {sli: error_ratio, fail: "> 20%"},
      {sli: latency_p95, fail: "> 1s"},
      {sli: server_error_ratio, fail: "> 5%"}]"""

SHORT = f"""
service: shop
title: A short run with one fault
phases:
  - name: baseline
    load: 50%
    ramp: 2s
    duration: 8s
    thresholds: &health {HEALTH}
  - name: fault
    load: 50%
    duration: 14s
    faults:
      - {{experiment: EXPERIMENT, at: 2s, for: 8s}}
    thresholds: *health
"""


def short(experiment: str) -> str:
    return SHORT.replace("EXPERIMENT", experiment)


def kinds(events: list[dict[str, object]]) -> list[object]:
    return [event["event"] for event in events]


def test_a_bad_release_fails(workplace: Workplace) -> None:
    """The broken version of the shop is found out: exit 1, by a proven breach."""
    code, out, err = workplace.run("run", "bad-release", "--plain")

    assert code == 1, err + out
    verdict = workplace.verdict("bad-release")
    assert (verdict["status"], verdict["verdict"]) == ("completed", "fail")
    breached = [f for f in verdict["findings"] if f["outcome"] == "fail"]  # type: ignore[attr-defined]
    assert "error_ratio" in {finding["sli"] for finding in breached}
    assert workplace.leftovers() == []


def test_a_prometheus_killed_mid_run_makes_the_run_inconclusive(standing: Workplace) -> None:
    """Exit 3, naming the SLIs that went blind; what the clients saw is still judged."""
    standing.write("scenarios/short.yaml", short("pod-delete"))
    process = standing.start("run", "short", "--plain")
    standing.wait_for_event("short", "inject_completed")
    (prometheus,) = standing.belonging("prometheus")
    prometheus.kill()
    out, err = process.communicate(timeout=120)

    assert process.returncode == 3, err + out
    verdict = standing.verdict("short")
    blind = [f for f in verdict["findings"] if f["reason"] == "source_unreachable"]  # type: ignore[attr-defined]
    assert {(f["phase"], f["sli"]) for f in blind} >= {("fault", "server_error_ratio")}
    assert "server_error_ratio" in out
    seen = [f for f in verdict["findings"] if f["sli"] == "error_ratio"]  # type: ignore[attr-defined]
    assert {f["outcome"] for f in seen} == {"pass"}


def test_a_selector_that_matches_nothing_is_refused_before_load_starts(standing: Workplace) -> None:
    """Exit 2, with the fault's line; not one request is sent."""
    service = standing.folder / "scenarios/services/shop.yaml"
    service.write_text(service.read_text().replace("selector: app=shop ", "selector: app=nope "))
    standing.write("scenarios/short.yaml", short("pod-delete"))
    code, _, err = standing.run("run", "short", "--plain")

    assert code == 2, err
    assert "scenarios/short.yaml:17" in err
    assert "app=nope" in err
    assert "load_started" not in kinds(standing.events("short"))


def test_a_fault_that_does_nothing_makes_the_run_inconclusive(standing: Workplace) -> None:
    """The experiment's action succeeds, no pod goes away: exit 3 because the fault is not confirmed."""
    nothing = yaml.safe_load((standing.folder / "experiments/pod-delete.yaml").read_text())
    looks = {"type": "python", "module": "chaosk8s.pod.probes", "func": "count_pods"}
    looks |= {"arguments": {"ns": "${namespace}", "label_selector": "${selector}"}}
    nothing["method"] = [{"type": "action", "name": "look", "provider": looks}]
    standing.write("experiments/nothing.yaml", yaml.safe_dump(nothing))
    standing.write("scenarios/short.yaml", short("nothing"))
    code, out, err = standing.run("run", "short", "--plain")

    assert code == 3, err + out
    verdict = standing.verdict("short")
    checks = {c["check"]: c["outcome"] for c in verdict["validity"] if c["check"] == "fault_confirmed"}  # type: ignore[attr-defined]
    assert checks == {"fault_confirmed": "inconclusive"}


def test_a_url_where_nothing_listens_is_refused(workplace: Workplace) -> None:
    """Exit 4 before load starts, naming the URL."""
    service = "title: nobody\nurl: http://127.0.0.1:9\nload: {baseline: 10/s, locustfile: ../locustfiles/shop.py}\n"
    workplace.write("scenarios/services/nobody.yaml", service + "slis:\n  error_ratio: {client: error_ratio}\n")
    phase = "{name: a, load: 100%, duration: 30s, thresholds: [{sli: error_ratio, fail: '> 5%'}]}"
    workplace.write("scenarios/nobody.yaml", f"service: nobody\ntitle: t\nphases:\n  - {phase}\n")
    code, _, err = workplace.run("run", "nobody", "--plain")

    assert code == 4, err
    assert "http://127.0.0.1:9" in err
    assert workplace.events("nobody") == []


def test_ctrl_c_during_a_fault_undoes_it(standing: Workplace) -> None:
    """Exit 130; the partition is gone from the cluster, the record is readable and judged as far as it goes."""
    standing.write("scenarios/short.yaml", short("zone-partition"))
    process = standing.start("run", "short", "--plain")
    standing.wait_for_event("short", "inject_completed")
    assert policies(standing) != []
    interrupt(process)
    out, err = process.communicate(timeout=120)

    assert process.returncode == 130, err + out
    assert policies(standing) == []
    assert kinds(standing.events("short"))[-1] == "run_ended"
    verdict = standing.verdict("short")
    assert (verdict["status"], verdict["restored"]) == ("interrupted", True)
    assert next(p["verdict"] for p in verdict["phases"]) == "pass"  # type: ignore[attr-defined]  # baseline was whole


def test_a_terminal_that_goes_away_during_a_fault_is_an_interruption(standing: Workplace) -> None:
    """Nobody reads any more and SIGHUP comes: the fault is undone and the run judged all the same."""
    standing.write("scenarios/short.yaml", short("zone-partition"))
    process = standing.start("run", "short", "--plain")
    standing.wait_for_event("short", "inject_completed")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGHUP)

    assert process.wait(timeout=120) == 130
    assert policies(standing) == []
    verdict = standing.verdict("short")
    assert (verdict["status"], verdict["restored"]) == ("interrupted", True)


def test_kill_minus_nine_during_a_fault_leaves_neither_fault_nor_process(standing: Workplace) -> None:
    """The watchdog undoes what the killed harness cannot; the record so far is readable and judged inconclusive."""
    standing.write("scenarios/short.yaml", short("zone-partition"))
    before = standing.leftovers()
    process = standing.start("run", "short", "--plain")
    standing.wait_for_event("short", "inject_completed")
    assert policies(standing) != []
    process.send_signal(signal.SIGKILL)
    process.communicate()

    wait_until(lambda: True if policies(standing) == [] else None, "the partition to be undone", 15)
    wait_until(lambda: True if standing.leftovers() == before else None, "the run's processes to end", 30)
    code, out, err = standing.run("judge", "results/short/latest")
    assert code == 5, err + out  # the record breaks off before anybody saw the fault gone
    verdict = standing.verdict("short")
    assert (verdict["status"], verdict["verdict"], verdict["restored"]) == ("crashed", "inconclusive", False)
    code, out, err = standing.run("heal")
    assert (code, out) == (0, "nothing to heal\n"), err


def test_a_recorded_run_is_judged_again_to_the_same_bytes(standing: Workplace) -> None:
    """Without sandbox, Prometheus or network, `judge` gives verdict.json byte for byte; other reports too."""
    standing.write("scenarios/short.yaml", short("pod-delete"))
    code, out, err = standing.run("run", "short", "--plain", "--json")
    assert code == 0, err + out
    first = (standing.latest("short") / "verdict.json").read_bytes()
    assert json.loads(out) == json.loads(first)
    assert standing.run("sandbox", "down")[0] == 0
    moved = standing.folder / "elsewhere" / "short" / standing.latest("short").resolve().name
    moved.parent.mkdir(parents=True)
    shutil.move(standing.latest("short").resolve(), moved)
    code, _, err = standing.run("judge", str(moved))

    assert code == 0, err
    assert (moved / "verdict.json").read_bytes() == first
    journal = json.loads((moved / "chaos/pod-delete.json").read_text())
    assert [activity["status"] for activity in journal["run"]] == ["succeeded"]
    deleted = [pod["name"] for pods in journal["run"][0]["output"]["rounds"] for pod in pods]
    events = [json.loads(line) for line in (moved / "history.jsonl").read_text().splitlines()]
    gone = [event["pod"] for event in events if event["event"] == "pod_gone"]
    assert gone == deleted
    assert standing.leftovers() == []


def policies(place: Workplace) -> list[str]:
    """The names of the network policies in the sandbox's shop namespace."""
    _, out, _ = place.run("sandbox", "status")
    api = next(line.split()[1] for line in out.splitlines() if line.split()[0] == "kubernetes")
    with urlopen(f"{api}/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies", timeout=10) as answer:
        return [item["metadata"]["name"] for item in json.load(answer)["items"]]
