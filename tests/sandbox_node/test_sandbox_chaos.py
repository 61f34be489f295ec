"""NetworkChaos means what Chaos Mesh says: which packets, how late, and whether at all."""

import asyncio
import selectors
from random import Random

import pytest

from harness.sandbox.network.chaos import (
    CLEAR,
    CUT,
    Fault,
    Way,
    fault_of,
    problem_of,
    records_of,
    seconds,
    way_between,
)
from harness.sandbox.network.fabric import Network
from harness.sandbox.network.lane import Lane
from harness.sandbox.resources import NAMESPACES, NETWORKCHAOS
from harness.sandbox.resources import NODES as NODE_OBJECTS
from harness.sandbox.resources import PODS as POD_OBJECTS
from harness.sandbox.store import Store

ZONE = "topology.kubernetes.io/zone"
NODES = {f"node-{zone}": {"metadata": {"name": f"node-{zone}", "labels": {ZONE: zone}}} for zone in "ab"}


def pod(name: str, zone: str, *, namespace: str = "shop", app: str = "shop", ip: str = "x") -> dict:
    labels = {"app": app}
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"nodeName": f"node-{zone}"},
        "status": {"podIP": ip},
    }


A, B, DB, ELSEWHERE, UNBORN = (
    pod("a", "a"),
    pod("b", "b"),
    pod("db", "b", app="db"),
    pod("other", "a", namespace="other"),
    pod("unborn", "a", ip=""),
)
PODS = [A, B, DB, ELSEWHERE, UNBORN]


def zone(name: str) -> dict:
    return {"namespaces": ["shop"], "nodeSelectors": {ZONE: name}}


def chaos(**spec) -> dict:
    base = {"action": "partition", "mode": "all", "selector": zone("a"), "direction": "both"}
    base |= {"target": {"mode": "all", "selector": zone("b")}}
    return {"metadata": {"name": "c", "namespace": "shop"}, "spec": base | spec}


def selected(obj: dict) -> list[tuple[str, str]]:
    return [(record["selectorKey"], record["id"]) for record in records_of(obj, PODS, NODES)]


def test_pods_are_selected_by_namespace_node_and_label():
    assert selected(chaos()) == [(".", "shop/a"), (".Target", "shop/b"), (".Target", "shop/db")]
    only_db = {"mode": "all", "selector": {"labelSelectors": {"app": "db"}}}
    assert selected(chaos(target=only_db)) == [(".", "shop/a"), (".Target", "shop/db")]
    everywhere = {"namespaces": ["shop", "other"], "nodeSelectors": {ZONE: "a"}}
    assert selected(chaos(selector=everywhere))[:2] == [(".", "shop/a"), (".", "other/other")]


def test_a_fault_is_between_the_pods_in_its_records():
    obj = chaos(action="delay", delay={"latency": "100ms", "jitter": "10ms"})
    obj["status"] = {"experiment": {"containerRecords": records_of(obj, PODS, NODES)}}

    fault = fault_of(obj, {"shop/a": "1", "shop/b": "2", "shop/new": "9"})

    way = Way(delay_s=0.1, jitter_s=0.01)
    assert fault == Fault(sources=frozenset("1"), targets=frozenset("2"), direction="both", way=way)


@pytest.mark.parametrize(("direction", "there", "back"), [("to", CUT, CLEAR), ("from", CLEAR, CUT), ("both", CUT, CUT)])
def test_the_direction_says_which_packets(direction, there, back):
    fault = Fault(sources=frozenset("1"), targets=frozenset("2"), direction=direction, way=CUT)
    assert (way_between([fault], "1", "2"), way_between([fault], "2", "1")) == (there, back)
    assert way_between([fault], "1", "3") == way_between([fault], "2", "3") == CLEAR


def test_without_a_target_everything_that_leaves_is_meant():
    fault = Fault(sources=frozenset("1"), targets=None, direction="to", way=CUT)
    assert (way_between([fault], "1", "out"), way_between([fault], "out", "1")) == (CUT, CLEAR)


def test_faults_add_up():
    slow = Fault(sources=frozenset("1"), targets=None, direction="to", way=Way(delay_s=0.1, loss=0.5))
    assert way_between([slow, slow], "1", "2") == Way(delay_s=0.2, loss=0.75)


@pytest.mark.parametrize(("text", "expected"), [("200ms", 0.2), ("1m30s", 90.0), ("1.5h", 5400.0), ("60s", 60.0)])
def test_durations_are_go_s(text, expected):
    assert seconds(text) == expected


MODES = (
    "spec: Unsupported value: the sandbox knows the mode all, and the selectors "
    "namespaces, nodeSelectors, labelSelectors"
)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({}, ""),
        ({"action": "loss", "loss": {"loss": "25", "correlation": "0"}, "duration": "60s"}, ""),
        (
            {"action": "bandwidth"},
            (
                "spec: Unsupported value: the sandbox knows the actions partition, delay, loss and the directions "
                "to, from, both"
            ),
        ),
        (
            {"mode": "one"},
            MODES,
        ),
        (
            {"target": {"mode": "all", "selector": {"pods": {}}}},
            MODES,
        ),
        ({"duration": "soon"}, "spec: Invalid value: ValueError: 'soon': use a duration like 200ms or 1m30s"),
        ({"action": "delay"}, "spec: Invalid value: KeyError: 'delay'"),
    ],
)
def test_what_the_sandbox_cannot_do_is_refused(spec, problem):
    assert problem_of(chaos(**spec)["spec"]) == problem


class Jumping(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer."""

    def __init__(self) -> None:
        self.now = 0.0
        loop = self

        class Selector(selectors.SelectSelector):
            def select(self, timeout=None):
                loop.now += timeout or 0.0
                return super().select(0)

        super().__init__(Selector())

    def time(self) -> float:
        return self.now


def arrivals(way: Way, sizes: list[int], *, later: tuple[float, Way] | None = None, seed: int = 1) -> list[float]:
    """When packets put into a lane at once arrive, in their order; `later` is when the way becomes another."""
    loop = Jumping()
    arrived: list[tuple[int, float]] = []

    async def play() -> None:
        lane = Lane(way, Random(seed))
        for number, size in enumerate(sizes):
            lane.put(size, lambda number=number: arrived.append((number, round(loop.time(), 6))))
        if later:
            loop.call_later(later[0], lane.set_way, later[1])
        await asyncio.sleep(1000)

    try:
        loop.run_until_complete(play())
    finally:
        loop.close()
    assert [number for number, _ in arrived] == list(range(len(arrived)))
    return [at for _, at in arrived]


def test_on_a_clear_way_packets_arrive_at_once():
    assert arrivals(CLEAR, [1, 1]) == [0.0, 0.0]


def test_a_delay_is_the_same_for_all_and_jitter_keeps_their_order():
    assert arrivals(Way(delay_s=0.1), [1, 1]) == [0.1, 0.1]
    jittered = arrivals(Way(delay_s=0.1, jitter_s=0.05), [1] * 50)
    assert jittered == sorted(jittered)
    assert 0.05 <= jittered[0] < jittered[-1] <= 0.15


def test_a_lost_packet_arrives_by_its_retransmission_and_those_after_it_wait():
    alone = [at for seed in range(50) for at in arrivals(Way(loss=0.5), [1], seed=seed)]
    assert {0.0, 0.2, 0.6} < set(alone) <= {0.0, 0.2, 0.6, 1.4, 3.0, 6.2, 12.6, 25.4}
    times = arrivals(Way(loss=0.5), [1] * 30)
    assert times == sorted(times)
    assert arrivals(Way(loss=0.5), [1] * 30) == times


def test_a_big_message_is_many_packets():
    small = sum(arrivals(Way(loss=0.05), [100], seed=seed) == [0.0] for seed in range(100))
    big = sum(arrivals(Way(loss=0.05), [40 * 1448], seed=seed) == [0.0] for seed in range(100))
    assert small > 80  # 0.95 of 100
    assert big < 30  # 0.95 ** 40 = 0.13


def test_what_is_lost_too_often_never_arrives():
    assert arrivals(Way(loss=1.0), [1]) == []


def test_a_cut_holds_everything_and_its_end_lets_it_through_at_once():
    assert arrivals(CUT, [1, 1]) == []
    assert arrivals(CUT, [1, 1], later=(5.0, CLEAR)) == [5.0, 5.0]
    assert arrivals(Way(loss=1.0), [1], later=(5.0, CLEAR)) == [5.0]
    assert arrivals(Way(delay_s=60.0), [1], later=(5.0, Way(delay_s=1.0))) == [6.0]
    assert arrivals(Way(delay_s=10.0), [1], later=(5.0, CUT)) == []


def conditions(store: Store) -> dict[str, str]:
    found = store.get(NETWORKCHAOS, "c", "shop")["status"].get("conditions", [])
    return {item["type"]: item["status"] for item in found}


@pytest.mark.parametrize(
    ("duration", "running", "expected"),
    [
        ("60s", True, {"Selected": "True", "AllInjected": "True", "AllRecovered": "False"}),
        ("0s", True, {"Selected": "True", "AllInjected": "False", "AllRecovered": "True"}),
        ("60s", False, {}),
    ],
    ids=["in force", "over", "no pod to affect"],
)
def test_the_status_says_what_is_in_force(duration, running, expected):
    store = Store()
    store.create(NAMESPACES, {"metadata": {"name": "shop"}})
    for node in NODES.values():
        store.create(NODE_OBJECTS, node)
    for one in (A, B) if running else ():
        store.create(POD_OBJECTS, {**one, "spec": {**one["spec"], "containers": [{"name": "main"}]}})
    store.create(NETWORKCHAOS, chaos(duration=duration))

    async def play() -> None:
        network = Network(store)
        following = asyncio.create_task(network.run())
        for _ in range(5):
            await asyncio.sleep(0)
        following.cancel()
        network.close()

    asyncio.run(play())
    assert conditions(store) == expected
