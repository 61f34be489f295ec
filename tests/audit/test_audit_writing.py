"""Writing at a rate: what is acknowledged, refused and unknown, and which reads count as stale."""

import asyncio
import time

import pytest

from harness.drivers.audit import child, writing
from harness.drivers.audit.child import probe
from harness.drivers.audit.writing import Writing


class Scripted:
    """Answers each id's attempts in turn with the codes it was told, 201 when there are none left."""

    def __init__(self, codes=None, *, there=True, lists=True):
        self.codes, self.there, self.lists = codes or {}, there, lists
        self.asked = []

    async def put(self, name):
        self.asked.append(name)
        left = self.codes.get(name.partition(".")[2], [])
        return left.pop(0) if left else 201

    async def get(self, name):
        return self.there

    async def ids(self, prefix):
        return [prefix] if self.lists else None


class Noted:
    """A ledger that only remembers."""

    def __init__(self):
        self.names = []

    def add(self, write):
        self.names.append(write.id)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(writing, "RETRY_S", 0.0)
    monkeypatch.setattr(child, "PROBE_S", 0.0)


def written(target, count):
    """What became of the first `count` writes, which were due before anybody began, and maybe some more."""
    ledger = Noted()
    work = Writing(target, ledger, prefix="r.", rate_per_s=1000.0, writers=2)

    async def past():
        stop = asyncio.Event()
        t0_ns = time.monotonic_ns() - (count - 1) * 1_000_000
        task = asyncio.create_task(work.run(t0_ns, stop))
        while len(set(target.asked)) < count:
            await asyncio.sleep(0)
        stop.set()
        await task

    asyncio.run(past())
    return work.written(), ledger.names


def test_the_writers_take_turns_and_number_their_own_writes():
    target = Scripted()
    done, noted = written(target, 4)
    assert target.asked[:4] == ["r.0-0", "r.1-0", "r.0-1", "r.1-1"]
    assert set(noted) == set(done.acknowledged) == set(target.asked)
    assert (done.unknown, done.refused) == (0, 0)


def test_a_write_is_sent_again_with_the_same_id_until_it_is_acknowledged():
    target = Scripted({"0-0": [503, None]})
    done, _ = written(target, 2)
    assert target.asked.count("r.0-0") == 3
    assert "r.0-0" in done.acknowledged


def test_without_any_answer_among_its_attempts_a_write_is_unknown():
    done, noted = written(Scripted({"0-0": [503, None, 503]}), 2)
    assert (done.unknown, done.refused) == (1, 0)
    assert "r.0-0" not in noted


def test_answered_every_time_and_never_with_success_a_write_is_refused():
    done, noted = written(Scripted({"0-0": [503, 400, 302]}), 2)
    assert (done.unknown, done.refused) == (0, 1)
    assert "r.0-0" not in noted


def test_a_read_without_an_answer_is_not_stale():
    assert written(Scripted(there=None), 4)[0].missed == frozenset()


def test_a_read_that_does_not_see_an_acknowledged_write_is_remembered():
    done, _ = written(Scripted(there=False), 40)
    assert done.missed
    assert done.missed <= set(done.acknowledged)


@pytest.mark.parametrize(
    ("target", "lacking"),
    [
        (Scripted(), ""),
        (Scripted({"probe": [None]}), "POST /entries was not answered"),
        (Scripted({"probe": [404]}), "POST /entries was answered 404, not 2xx"),
        (Scripted(there=False), "GET /entries/ID of an acknowledged entry was answered 404"),
        (Scripted(there=None), "GET /entries/ID of an acknowledged entry was not answered"),
        (Scripted(lists=False), 'GET /entries?prefix=P did not answer {"ids": [...]}'),
    ],
)
def test_a_service_is_told_what_it_lacks_of_the_contract(target, lacking):
    said = asyncio.run(probe(target, "r.probe", "http://store"))
    assert said == (f"audit http://store: {lacking} within 0 s" if lacking else "")
