"""Reading back: what is missing has to be missing from the list and by itself, and for some time."""

import asyncio

import pytest

from harness.drivers.audit import reading
from harness.drivers.audit.reading import Found, read_back
from harness.errors import DriverError


class Scripted:
    """A service that lists and holds what it is told, one answer after the other; the last one stays."""

    def __init__(self, lists, there=()):
        self.lists, self.there = list(lists), there

    async def ids(self, prefix):
        return self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]

    async def get(self, name):
        return self.there.get(name, False) if isinstance(self.there, dict) else name in self.there


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(reading, "PAUSE_S", 0.0)


def read(service, *acknowledged):
    return asyncio.run(read_back(service, "w", acknowledged, settle_s=0.0))


def test_everything_is_there():
    assert read(Scripted([["w1", "w2"]]), "w1", "w2") == Found(("w1", "w2"), frozenset())


def test_what_neither_the_list_nor_a_read_shows_is_missing():
    assert read(Scripted([["w1"]]), "w1", "w2") == Found(("w1",), frozenset({"w2"}))


def test_what_a_read_of_its_own_shows_is_not_missing():
    assert read(Scripted([["w1"]], there=["w2"]), "w1", "w2") == Found(("w1",), frozenset())


def test_a_service_without_an_answer_is_asked_again():
    assert read(Scripted([None, None, ["w1"]]), "w1") == Found(("w1",), frozenset())


def test_what_comes_late_is_not_missing():
    service = Scripted([["w1"], ["w1"], ["w1", "w2"]])
    found = asyncio.run(read_back(service, "w", ["w1", "w2"], settle_s=60.0))
    assert found == Found(("w1", "w2"), frozenset())


@pytest.mark.parametrize(
    ("service", "why"),
    [
        (Scripted([None]), "it did not list them"),
        (Scripted([["w1"]], there={"w2": None}), "1 reads had no answer"),
    ],
)
def test_what_cannot_be_read_back_is_no_result(service, why, monkeypatch):
    monkeypatch.setattr(reading, "READ_BACK_S", 0.1)
    with pytest.raises(DriverError, match=rf"^what was written could not be read back within 0.1 s: {why}$"):
        read(service, "w1", "w2")
