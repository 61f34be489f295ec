"""Canaries: which pods they are, and what their lines mean."""

from __future__ import annotations

import json

import pytest
from kube_doubles import ScriptedApi, node, pod

from harness.drivers.kubernetes import canary
from harness.drivers.kubernetes.canary import Canary, Ear
from harness.errors import DriverError
from harness.history.events import CanarySeen

JOB = {"metadata": {"name": "lch-canaries-1", "uid": "uid-job"}}
PODS = "/api/v1/namespaces/shop/pods"


def line(**facts: object) -> bytes:
    return json.dumps({"boot": 1, "seq": 1, "now": 1_000, **facts}).encode()


def test_one_canary_stands_in_every_zone_and_a_twin_in_the_zone_to_be_cut() -> None:
    """Names tell the zone and the run apart."""
    assert canary.canaries(["b", "a"], ["a"], "s/1") == (
        Canary(name="lch-canary-a-77ceec1a", zone="a", twin=False),
        Canary(name="lch-canary-b-77ceec1a", zone="b", twin=False),
        Canary(name="lch-canary-a-twin-77ceec1a", zone="a", twin=True),
    )


def test_every_direction_across_zones_is_watched_and_the_inside_of_a_zone_to_be_cut() -> None:
    """Between b and b there is nobody to ask."""
    flock = canary.canaries(["a", "b"], ["a"], "s/1")

    assert canary.paths(flock) == {("a", "b"), ("b", "a"), ("a", "a")}


def test_a_canary_pod_belongs_to_the_run_and_goes_with_the_dead_man_job() -> None:
    """It stands in its zone, carries the zone's label, and no label that a service would select."""
    made = canary.pod(Canary(name="c", zone="a", twin=True), "shop", "s/1", JOB, "10.0.0.1")

    assert made["metadata"] == {
        "name": "c",
        "namespace": "shop",
        "labels": {
            "app.kubernetes.io/name": "lch-canary",
            "lch.dev/run": "s_1",
            "lch.dev/role": "canary",
            "topology.kubernetes.io/zone": "a",
        },
        "ownerReferences": [
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "name": "lch-canaries-1",
                "uid": "uid-job",
                "controller": False,
                "blockOwnerDeletion": False,
            }
        ],
    }
    assert made["spec"]["nodeSelector"] == {"topology.kubernetes.io/zone": "a"}
    container = made["spec"]["containers"][0]
    assert container["command"][:2] == ["python3", "-c"]
    assert container["env"][1:] == [
        {"name": "ZONE", "value": "a"},
        {"name": "SEED", "value": "10.0.0.1"},
        {"name": "TWIN", "value": "1"},
    ]


def test_a_change_is_placed_on_our_clock_by_when_its_line_arrived() -> None:
    """The pod's clock is 9,000 ns behind; the change lay between 400 and 300 ns before the line."""
    heard = Ear().heard(line(**{"from": "a"}, to="b", ok=False, lo=600, hi=700), 10_000)

    assert heard == CanarySeen(from_zone="a", to_zone="b", ok=False, lo_ns=9_600, hi_ns=9_700)


def test_a_line_held_up_on_its_way_does_not_move_the_change() -> None:
    """The quickest line so far tells how the clocks differ."""
    ear = Ear()
    ear.heard(line(now=1_000), 10_000)

    heard = ear.heard(line(**{"from": "a"}, seq=2, now=2_000, to="b", ok=True, lo=1_600, hi=1_700), 15_000)

    assert heard == CanarySeen(from_zone="a", to_zone="b", ok=True, lo_ns=10_600, hi_ns=10_700)


def test_a_log_followed_again_tells_nothing_twice() -> None:
    """Lines are known by their number; a canary that started anew counts from the beginning."""
    ear = Ear()
    seen = {"from": "a", "to": "b", "ok": True, "lo": 1, "hi": 2}

    assert ear.heard(line(**seen), 10_000) is not None
    assert ear.heard(line(**seen), 12_000) is None
    assert ear.heard(line(**seen, boot=2), 13_000) is not None


@pytest.mark.parametrize("other", [b"", b"Traceback (most recent call last):", b"[]", b'{"seq": 1}'])
def test_lines_of_other_kinds_are_passed_by(other: bytes) -> None:
    """A pod's log may hold anything."""
    assert Ear().heard(other, 1) is None


def test_a_cut_of_a_zone_without_nodes_is_refused() -> None:
    """Nobody could tell whether it happened."""
    api = ScriptedApi({"/api/v1/nodes": [node("node-a", "a"), node("node-b", "b")]})

    with pytest.raises(DriverError, match=r"cannot watch a cut of z: zones of nodes: a, b$"):
        canary.start(api, "shop", ["z"], "s/1", 60, lambda _: None)


def test_the_first_canary_is_the_seed_of_the_others() -> None:
    """Its address is known once it runs; the others are given it."""

    class Starting(ScriptedApi):
        def create(self, path: str, body: dict[str, object]) -> dict[str, object]:
            made = super().create(path, body)
            number = sum(where.startswith(PODS) for where in self.stored)
            return made | {"status": made.setdefault("status", {"phase": "Running", "podIP": f"10.42.0.{number}"})}

    api = Starting({"/api/v1/nodes": [node("node-a", "a"), node("node-b", "b")]})

    flock = canary.start(api, "shop", ["b"], "s/1", 60, lambda _: None)

    seeds = [api.stored[f"{PODS}/{one.name}"]["spec"]["containers"][0]["env"][2]["value"] for one in flock]
    assert seeds == ["", "10.42.0.1", "10.42.0.1"]


def test_stopping_removes_the_runs_canaries_and_nothing_else() -> None:
    """A second stop finds nothing and is fine."""
    mine = pod("c", "a", app="x", labels={"lch.dev/run": "s_1", "lch.dev/role": "canary"})
    api = ScriptedApi({PODS: [mine, pod("shop-1", "a")]})

    canary.stop(api, "shop", "s/1")
    canary.stop(api, "shop", "s/1")

    assert api.names() == ["pods/shop-1"]
