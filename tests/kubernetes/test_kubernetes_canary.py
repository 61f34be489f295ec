"""Canaries: which pods they are, and what their lines mean."""

from __future__ import annotations

import json

import pytest
from kube_doubles import ScriptedApi, node, pod

from harness.drivers.kubernetes import canary
from harness.drivers.kubernetes.canary import Canary, Ear, Nest
from harness.drivers.kubernetes.canary_pod import Lane, Tally
from harness.errors import DriverError
from harness.history.events import CanaryCounted, CanarySeen

JOB = {"metadata": {"name": "lch-dead-man-1", "uid": "uid-job"}}
NEST = Nest(namespace="shop", run="s/1", slow_s=0.15, job=JOB)
MS = 1_000_000
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
    made = canary.pod(Canary(name="c", zone="a", twin=True), NEST, "10.0.0.1")

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
                "name": "lch-dead-man-1",
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
        {"name": "SLOW_S", "value": "0.15"},
    ]


def test_a_change_is_placed_on_our_clock_by_when_its_line_arrived() -> None:
    """The pod's clock is 9,000 ns behind; the change lay between 400 and 300 ns before the line."""
    heard = Ear().heard(line(**{"from": "a"}, to="b", via="open", ok=False, lo=600, hi=700), 10_000)

    assert heard == CanarySeen(from_zone="a", to_zone="b", ok=False, lo_ns=9_600, hi_ns=9_700, via="open")


def test_a_second_of_probes_is_placed_on_our_clock_too() -> None:
    """Its counts stay what they are."""
    counts = {"sent": 40, "failed": 2, "slow": 1}

    heard = Ear().heard(line(**{"from": "a"}, to="b", lo=0, hi=500, **counts), 10_000)

    assert heard == CanaryCounted(from_zone="a", to_zone="b", lo_ns=9_000, hi_ns=9_500, **counts)


def test_a_line_held_up_on_its_way_does_not_move_the_change() -> None:
    """The quickest line so far tells how the clocks differ."""
    ear = Ear()
    ear.heard(line(now=1_000), 10_000)

    heard = ear.heard(line(**{"from": "a"}, seq=2, now=2_000, to="b", via="new", ok=True, lo=1_600, hi=1_700), 15_000)

    assert heard == CanarySeen(from_zone="a", to_zone="b", ok=True, lo_ns=10_600, hi_ns=10_700)


def test_a_log_followed_again_tells_nothing_twice() -> None:
    """Lines are known by their number; a canary that started anew counts from the beginning."""
    ear = Ear()
    seen = {"from": "a", "to": "b", "via": "new", "ok": True, "lo": 1, "hi": 2}

    assert ear.heard(line(**seen), 10_000) is not None
    assert ear.heard(line(**seen), 12_000) is None
    assert ear.heard(line(**seen, boot=2), 13_000) is not None


@pytest.mark.parametrize("other", [b"", b"Traceback (most recent call last):", b"[]", b'{"seq": 1}'])
def test_lines_of_other_kinds_are_passed_by(other: bytes) -> None:
    """A pod's log may hold anything."""
    assert Ear().heard(other, 1) is None


def test_a_cut_of_a_zone_without_nodes_is_refused() -> None:
    """Nobody could tell whether it happened; nor where no canary can stand."""
    closed = [node("cordoned", "z") | {"spec": {"unschedulable": True}}]
    closed += [node("control-plane", "z") | {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}]
    api = ScriptedApi({"/api/v1/nodes": [node("node-a", "a"), node("node-b", "b"), *closed]})

    with pytest.raises(DriverError, match=r"cannot watch a cut of z: zones of nodes that take pods: a, b$"):
        canary.start(api, ["z"], NEST, lambda _: None)


def test_the_first_canary_is_the_seed_of_the_others() -> None:
    """Its address is known once it runs; the others are given it."""

    class Starting(ScriptedApi):
        def create(self, path: str, body: dict[str, object]) -> dict[str, object]:
            made = super().create(path, body)
            number = sum(where.startswith(PODS) for where in self.stored)
            return made | {"status": made.setdefault("status", {"phase": "Running", "podIP": f"10.42.0.{number}"})}

    api = Starting({"/api/v1/nodes": [node("node-a", "a"), node("node-b", "b")]})

    flock = canary.start(api, ["b"], NEST, lambda _: None)

    seeds = [api.stored[f"{PODS}/{one.name}"]["spec"]["containers"][0]["env"][2]["value"] for one in flock]
    assert seeds == ["", "10.42.0.1", "10.42.0.1"]


def test_stopping_removes_the_runs_canaries_and_nothing_else() -> None:
    """A second stop finds nothing and is fine."""
    mine = pod("c", "a", app="x", labels={"lch.dev/run": "s_1", "lch.dev/role": "canary"})
    api = ScriptedApi({PODS: [mine, pod("shop-1", "a")]})

    canary.stop(api, "shop", "s/1")
    canary.stop(api, "shop", "s/1")

    assert api.names() == ["pods/shop-1"]


def probed(*probes: tuple[int, int | None]) -> list[dict[str, object]]:
    """
    The changes that a lane tells of probes: (sent, answered) in ms, None when not answered within 500 ms.

    Outcomes come in the order of time, as they do in a pod.
    """
    lane, said = Lane(), []
    outcomes = [(sent + 500 if answer is None else answer, sent, answer) for sent, answer in probes]
    sendings = sorted(sent for sent, _ in probes)
    for at, sent, answer in sorted(outcomes, key=lambda one: one[:2]):
        while sendings and sendings[0] <= at:
            lane.sent(sendings.pop(0) * MS)
        change = lane.failed(sent * MS) if answer is None else lane.answered(sent * MS, at * MS)
        said += [change] if change else []
    return [{key: one // MS if type(one) is int else one for key, one in change.items()} for change in said]


GOOD = tuple((sent, sent + 4) for sent in range(0, 1000, 50))
FIRST = {"ok": True, "lo": 0, "hi": 4}


def test_a_path_is_good_from_its_first_answer() -> None:
    """Failures before it mean that the peer still starts, and further answers are no news."""
    assert probed((0, None), (700, 704), (750, 754)) == [{"ok": True, "lo": 700, "hi": 704}]


def test_a_cut_lies_between_the_last_answered_probe_and_the_first_lost_ones_due_answer() -> None:
    """The first lost one was sent at 1000; good ones took 4 ms."""
    cut = tuple((sent, None) for sent in range(1000, 1400, 50))

    assert probed(*GOOD, *cut) == [FIRST, {"ok": False, "lo": 950, "hi": 1004}]


def test_four_lost_probes_in_a_row_are_no_cut() -> None:
    """Packets get lost; a later answer begins the count anew."""
    lossy = ((1000, None), (1050, None), (1100, None), (1150, None), (1200, 1204), (1250, None), (1300, 1304))

    assert probed(*GOOD, *lossy) == [FIRST]


def test_a_path_opens_after_the_last_probe_that_had_to_wait() -> None:
    """Probes sent until 2000 were held until 2013; only that of 2010 may have been sent after the opening."""
    cut = tuple((sent, None) for sent in range(1000, 1600, 50))
    held = tuple((sent, 2013) for sent in range(1600, 2000, 50))

    said = probed(*GOOD, *cut, *held, (1990, 2013), (2010, 2013), (2060, 2064))

    assert said[2:] == [{"ok": True, "lo": 1990, "hi": 2013}]


def test_what_waited_for_the_path_to_open_does_not_count_as_usual() -> None:
    """A second cut is bounded as tightly as the first."""
    cut = tuple((sent, None) for sent in range(1000, 1600, 50))
    held = tuple((sent, 2013) for sent in range(1600, 2000, 50))
    again = tuple((sent, sent + 4) for sent in range(2050, 2500, 50))
    second = tuple((sent, None) for sent in range(2500, 2800, 50))

    assert probed(*GOOD, *cut, *held, *again, *second)[-1] == {"ok": False, "lo": 2450, "hi": 2504}


def test_probes_are_counted_by_the_second_in_which_they_were_sent() -> None:
    """A second is told once all its probes must be known."""
    tally = Tally()
    for sent_ms, ok, slow in ((100, True, False), (900, True, True), (950, False, False), (1000, True, False)):
        tally.add(sent_ms * MS, ok=ok, slow=slow)

    assert tally.settled(1_700 * MS) == []
    assert tally.settled(1_800 * MS) == [{"lo": 0, "hi": 1_000 * MS, "sent": 3, "failed": 1, "slow": 1}]
    assert tally.settled(1_800 * MS) == []
