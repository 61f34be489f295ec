"""The shipped twin of the load driver keeps the contract of the real one."""

from __future__ import annotations

import pytest
from load_contract import Subject, closes_twice_and_before_the_start, plays_the_whole_plan, stops_midway
from load_support import load_plan
from plan_values import phase

from harness.drivers.fake import FakeClock, FakeLoad

PLAN = load_plan(per_s=500, phases=(phase("a", 0, 3, ramp_s=1),))


@pytest.mark.parametrize("holds", [plays_the_whole_plan, stops_midway, closes_twice_and_before_the_start])
def test_the_fake_keeps_the_contract(holds):
    clock = FakeClock()
    holds(Subject(make=lambda plan: FakeLoad(plan, clock), clock=clock), PLAN)
