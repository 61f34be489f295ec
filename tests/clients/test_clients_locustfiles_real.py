"""The features that Locust's own example locustfiles use, in locustfiles of ours, run by the real engine."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from load_contract import Played, assert_conserved, play
from load_support import load_plan
from plan_values import phase
from protocol_servers import grpc_server, websockets
from rogue import rogue_server

from harness.drivers.clock import MonotonicClock
from harness.drivers.locust.driver import LocustDriver
from harness.schedule.load import arrivals_of

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

LOCUSTFILES = Path(__file__).with_name("locustfiles")


@dataclass(frozen=True)
class Seen:
    """Two seconds of everything: arrivals by series, errors, steps of journeys, and what the processes printed."""

    ok: Counter[str]
    failed: Counter[str]
    errors: dict[str, set[str]]
    steps: Counter[str]
    worker: list[str]
    master: list[str]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    with rogue_server() as server:
        plan = load_plan(
            f"http://127.0.0.1:{server.port}",
            per_s=300,  # so that chance leaves no task out
            phases=(phase("all", 0, 2),),
            locustfile=str(LOCUSTFILES / "features.py"),
            workers=1,
        )
        return run(plan, logs)


def run(plan, logs):
    driver = LocustDriver(plan, log_dir=logs)
    try:
        driver.prepare()
        played = play(driver, MonotonicClock(), plan.end_s)
    finally:
        driver.close()
    assert_conserved(played)
    assert played.total("planned") == arrivals_of(plan).total
    return told_of(played, *((logs / f"load-{who}.log").read_text() for who in ("worker-0", "master")))


def told_of(played: Played, worker: str, master: str) -> Seen:
    seen = Seen(Counter(), Counter(), {}, Counter(), worker.splitlines(), master.splitlines())
    for frame in played.frames:
        seen.ok[frame.series] += frame.ok
        seen.failed[frame.series] += frame.failed
        seen.errors.setdefault(frame.series, set()).update(name for name, _ in frame.errors)
        if frame.steps:
            seen.steps[frame.series] += frame.steps.response.total
    return seen


def test_sequential_task_sets_go_step_by_step(seen):
    """Also through a task set in their midst; each step is an arrival. A user may be in the middle at the end."""
    first, second, third = (seen.ok[f"step {number}"] for number in (1, 2, 3))
    assert first >= second >= third > 0
    assert seen.failed["step 1"] == seen.failed["step 2"] == seen.failed["step 3"] == 0


def test_nested_task_sets_weights_in_dicts_and_functions_as_tasks_work(seen):
    assert seen.ok["forum"] > 0
    assert seen.failed["forum"] == 0


def test_markov_task_sets_and_custom_clients_are_counted_as_their_events_say(seen):
    assert seen.ok["markov fill"] > 0
    assert seen.ok["markov pay"] > 0
    assert seen.errors["a failing query"] == {"LookupError"}


@pytest.mark.parametrize("user", ["Checks", "ChecksAsEver"])
def test_checks_work_alike_with_our_client_and_locusts(seen, user):
    """failure(), success(), ResponseError, rest() and rename_request(), each heard of by the locustfile's listener."""
    (heard,) = [line.split(" ", 1)[1] for line in seen.worker if line.startswith("heard")]
    for what in ("found wanting/CatchResponseError", "found wanting/ResponseError", "forgiven/NoneType",
                 "no JSON/CatchResponseError", "renamed/NoneType", "log in/NoneType"):  # fmt: skip
        assert f"{what}/{user}" in heard


def test_checks_decide_what_is_counted(seen):
    assert (seen.errors["found wanting"], seen.ok["found wanting"]) == ({"validation"}, 0)
    assert (seen.errors["no JSON"], seen.ok["no JSON"]) == ({"validation"}, 0)
    assert (seen.errors["forgiven"], seen.errors["renamed"]) == (set(), set())
    assert seen.ok["forgiven"] > 0
    assert seen.ok["renamed"] > 0


def test_the_fast_user_s_methods_are_counted_in_capitals(seen):
    assert seen.ok["GET /ok"] > 0
    assert "get /ok" not in seen.ok


def test_a_task_of_several_requests_is_one_arrival_with_steps(seen):
    """One after the other, or in greenlets of the task's own."""
    assert seen.steps["basket"] == seen.steps["pay"] == seen.ok["order"] > 0
    assert seen.steps["part 1"] == seen.steps["part 2"] == seen.ok["both"] > 0


def test_logins_are_no_arrivals(seen):
    assert "log in" not in seen.ok
    assert "/check" not in seen.ok


def test_listeners_are_told_what_they_expect(seen):
    """On worker and master: options of their own, the runner; on the worker also that all users are spawned."""
    assert seen.worker[:3] == ["init worker True 3", "test_start 0", "spawning_complete True"]
    assert seen.master[:2] == ["init master True 3", "test_start master"]
    assert "greeted by a worker" in seen.master


def test_websocket_and_grpc_users_are_slots_like_any(tmp_path, monkeypatch):
    """Arrivals, deadlines and error classes; a call that hangs is cut off and its user goes on."""
    with websockets() as chat, grpc_server() as (port, _):
        monkeypatch.setenv("WEBSOCKET_PORT", str(chat.port))
        monkeypatch.setenv("GRPC_PORT", str(port))
        locustfile = str(LOCUSTFILES / "protocols.py")
        plan = load_plan(per_s=60, phases=(phase("all", 0, 2),), locustfile=locustfile, workers=1, deadline_s=3.0)
        seen = run(plan, tmp_path)
    assert seen.ok["ask"] > 0
    assert seen.errors["ask"] == set()
    assert seen.errors["hang up"] == {"websocket_1011"}
    assert seen.ok["RPC /shop.Shop/Once"] > 0
    assert seen.errors["RPC /shop.Shop/Once"] == {"grpc_not_found", "deadline"}
