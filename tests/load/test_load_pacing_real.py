"""The alarms, the pool's growth and the resolver, each in a process of its own, for they import Locust and gevent."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

PACED = """
import json, sys, time
import gevent
from harness.drivers.locust import pacing

pacing.alarm = getattr(pacing, sys.argv[1])
pacing.LATE_NS = 60 * 10**9  # so that only the arrival that is meant to be can be so late
begun, skipped = [], []
pacer = pacing.Pacer(
    lambda t_ns, stream: begun.append((t_ns, time.monotonic_ns() - pacer.t0_ns)),
    lambda t_ns, stream: skipped.append(t_ns),
)
pacer.t0_ns = time.monotonic_ns()
pacer.follow(iter([(t_ns, 1) for t_ns in json.loads(sys.argv[2])]))
until_s = time.monotonic() + 15
while pacer.next_ns is not None and time.monotonic() < until_s:
    gevent.sleep(0.01)
print(json.dumps({"begun": begun, "skipped": skipped}))
"""

GROWN = """
import json
from locust import User
from harness.drivers.locust.journeys import Ledger
from harness.drivers.locust.kinds import Kind
from harness.drivers.locust.slots import BEHIND_NS, Pool
from harness.drivers.locust.tally import Tally

kind = Kind("User", User, "", None)
pool = Pool(None, [[kind]], Ledger(Tally(10**9), [""]), deadline_ns=10**15, seed="")
pool.capacity = 1000
starting = []
pool.sweep(late_ns=BEHIND_NS + 1)
for _ in range(3):
    pool.begin(pool.now_ns(), 0)
starting.append(kind.starting)
pool.sweep(late_ns=0)
starting.append(kind.starting)
for _ in range(100):
    pool.begin(pool.now_ns(), 0)
starting.append(kind.starting)
print(json.dumps(starting))
"""

NAMED = """
import json, socket
import gevent
import gevent.socket
from gevent.event import AsyncResult
from harness.drivers.locust.clients import names

class Threads:
    asked = []
    def spawn(self, function, *question):
        self.asked.append(question[0])
        self.answer = AsyncResult()
        return self.answer

def ask(name):
    try:
        return gevent.socket.getaddrinfo(name, 80, 0, socket.SOCK_STREAM)[0][4][0]
    except socket.gaierror as error:
        return str(error)

names.install()
threads = gevent.get_hub().resolver.pool = Threads()
found = [ask("127.0.0.1"), ask("::1")]
for answer in ([(2, 1, 6, "", ("10.0.0.1", 80))], socket.gaierror("no such name")):
    asking = [gevent.spawn(ask, "shop.test") for _ in range(3)]
    gevent.sleep(0)
    if isinstance(answer, Exception):
        threads.answer.set_exception(answer)
    else:
        threads.answer.set(answer)
    found += [one.get() for one in asking]
print(json.dumps({"found": found, "asked": threads.asked}))
"""


def said(script: str, *arguments: str) -> Any:
    command = [sys.executable, "-c", script, *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=50).stdout)


@pytest.mark.parametrize("alarm", ["TimerfdAlarm", "LoopAlarm"])
def test_an_alarm_begins_each_arrival_once_in_order_and_never_early(alarm):
    """The first is too late; many come closer to one another than is worth a sleep."""
    close = [2 * 10**7 + 8_000 * k for k in range(500)]
    found = said(PACED, alarm, json.dumps([-61 * 10**9, 0, 10**7, 10**7, *close, 10**8]))
    assert [t_ns for t_ns, _ in found["begun"]] == [0, 10**7, 10**7, *close, 10**8]
    assert found["skipped"] == [-61 * 10**9]
    assert all(at_ns >= t_ns for t_ns, at_ns in found["begun"])


def test_users_are_added_a_few_at_a_time_and_none_while_the_event_loop_is_behind():
    """More users would not make a saturated worker quicker; what waits is helped as soon as it has caught up."""
    assert said(GROWN) == [0, 1, 16]


def test_a_name_that_many_ask_for_is_looked_up_once_and_an_address_never():
    found = said(NAMED)
    assert found["asked"] == ["shop.test", "shop.test"]
    assert found["found"] == ["127.0.0.1", "::1", *["10.0.0.1"] * 3, *["no such name"] * 3]
