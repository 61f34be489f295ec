"""Tasks that steer, break or outlive their arrivals, in a process of its own: it imports Locust and gevent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def told():
    """What the probe saw: one process for all tests of this module."""
    command = [sys.executable, str(Path(__file__).with_name("task_probe.py"))]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_user_that_only_steers_lets_the_event_loop_turn_and_keeps_its_arrival(told):
    assert told["turned"]
    assert told["outcomes"]["Undecided"] == {"decided ok": 1}


def test_a_task_set_that_could_not_be_entered_is_tried_again_once_for_each_arrival(told):
    """Users that cannot log in must not try as often as they can, and the failure is the service's."""
    assert told["tries"] == [1, 2, 3, 4, 4]
    assert told["outcomes"]["Shopper"] == {"Shop connect_refused": 2, "bought ok": 2}


def test_a_greenlet_that_outlives_its_arrival_does_not_fail_the_next(told):
    assert told["outcomes"]["Parent"] == {"work 1 ok": 1, "work 2 ok": 1}


def test_an_arrival_that_a_busy_user_passed_on_goes_to_a_free_one(told):
    assert told["outcomes"]["Visitor"] == {"went ok": 1}


def test_after_a_user_could_not_start_others_wait_and_the_next_serves_all_that_queued(told):
    assert told["logins"] == [1, 2]
    assert told["outcomes"]["Locked"] == {"worked ok": 3}


def test_listeners_hear_of_every_task_that_raised(told):
    assert told["errors"] == ["ConnectionRefusedError"] * 3


def test_a_class_of_weight_zero_takes_no_part(told):
    assert told["weights"] == ["Undecided", "every User class has weight 0; give one a weight"]
