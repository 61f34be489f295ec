"""Itineraries, courses and accounts: who runs which arrivals, and who owes them."""

from __future__ import annotations

from collections import Counter
from itertools import chain, islice

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.drivers.locust.accounts import Accounts
from harness.drivers.locust.stripes import Course, Itinerary, Leg
from harness.history.load import LoadFrame
from harness.schedule.load import Arrivals, Knot

S = 1_000_000_000
MS = 1_000_000
TEN = Arrivals((Knot(0, 10), Knot(4, 10)))  # at 50, 150, 250, ... ms
FIVE = Arrivals((Knot(0, 5), Knot(4, 5)))
IDLE = Leg(0, 0, 0)


def lost(*counts: tuple[int, int]) -> tuple[LoadFrame, ...]:
    return tuple(LoadFrame(second=second, series="", lost=n) for second, n in counts)


def planned(*counts: tuple[int, int]) -> tuple[LoadFrame, ...]:
    return tuple(LoadFrame(second=second, series="", planned=n) for second, n in counts)


def accounts_of(workers: int) -> Accounts:
    accounts = Accounts({"": TEN}, 4 * S)
    accounts.join(range(workers), 0)
    return accounts


def times(itinerary: Itinerary, from_ns: int = 0) -> list[int]:
    return [t_ns for t_ns, _ in itinerary.times([TEN], from_ns)]


@settings(max_examples=40)
@given(st.integers(0, 5 * S), st.integers(0, 5 * S), st.integers(0, 5 * S), st.integers(0, 2))
def test_an_itinerary_counts_what_it_walks(cut_ns, stop_ns, from_ns, of):
    itinerary = Itinerary((Leg(0, 0, 2),), 4 * S).with_leg(Leg(cut_ns, 0, of)).stopped(stop_ns)
    assert itinerary.count(TEN.before, from_ns, 10 * S) == len(times(itinerary, from_ns))


def test_streams_are_walked_together_in_order_of_time():
    walked = Itinerary((Leg(0, 1, 2),), 1 * S).times([TEN, FIVE])
    assert [(t_ns // MS, stream) for t_ns, stream in walked] == [
        (150, 0),
        (300, 1),
        (350, 0),
        (550, 0),
        (700, 1),
        (750, 0),
        (950, 0),
    ]


@st.composite
def itineraries(draw):
    legs = draw(st.lists(st.tuples(st.integers(0, 4 * S), st.integers(1, 3)), max_size=3))
    itinerary = Itinerary((Leg(0, 0, 1),), 4 * S)
    for from_ns, of in sorted(legs):
        itinerary = itinerary.with_leg(Leg(from_ns, 0, of))
    return itinerary.stopped(draw(st.integers(0, 4 * S)))


@settings(max_examples=40)
@given(itineraries(), itineraries())
def test_two_itineraries_are_the_same_until_they_part(one, other):
    parts_ns = one.parts_from(other)
    assert one.parts_from(one) == one.until_ns
    assert [t for t in times(one) if t < parts_ns] == [t for t in times(other) if t < parts_ns]


@settings(max_examples=40)
@given(st.lists(st.tuples(itineraries(), st.integers(0, 40)), min_size=1, max_size=4))
def test_a_worker_begins_what_it_is_told_however_late_it_is_told(changes):
    """What it begins is its final itinerary, and what it reports as exceeded; after one change, nothing twice."""
    course = Course([TEN, FIVE], 4 * S)
    begun: Counter[tuple[int, int]] = Counter()
    exceeded: Counter[tuple[int, int]] = Counter()
    ahead, next_ns = iter(()), 0
    for itinerary, more in changes:
        extra, ahead = course.change(itinerary, next_ns)
        exceeded.update(extra)
        begun.update(islice(ahead, more))
        upcoming = next(ahead, None)
        next_ns = upcoming and upcoming[0]
        ahead = chain(() if upcoming is None else (upcoming,), ahead)
    begun.update(ahead)
    wanted = Counter((stream, t_ns // S) for t_ns, stream in itinerary.times([TEN, FIVE]))
    assert Counter((stream, t_ns // S) for t_ns, stream in begun.elements()) == wanted + exceeded
    assert len(changes) > 2 or max(begun.values(), default=1) == 1


def test_planned_arrivals_are_reported_once_their_second_is_over():
    accounts = accounts_of(2)
    assert accounts.close(S - 1) == ()
    assert accounts.close(2 * S) == planned((0, 10), (1, 10))
    assert accounts.stop(int(2.55 * S)) == int(2.55 * S)
    assert accounts.close(10 * S) == planned((2, 5))
    assert accounts.close(10 * S) == ()


def test_a_worker_that_leaves_loses_what_it_owed_and_did_not_settle():
    accounts = accounts_of(2)
    accounts.settle(1, {("", 0): 5, ("", 1): 2})
    accounts.leave(1, int(2.4 * S))
    assert accounts.itinerary(0) == Itinerary((Leg(0, 0, 2), Leg(int(2.4 * S), 0, 1)), 4 * S)
    assert accounts.lost_with(1) == lost((1, 3), (2, 2))
    assert accounts.alive == (0,)


def test_a_worker_that_joins_shares_from_then_on():
    accounts = accounts_of(1)
    accounts.join([7], 2 * S)
    shared = sorted(times(accounts.itinerary(0)) + times(accounts.itinerary(7)))
    assert shared == [TEN.at(k) for k in range(40)]
    assert accounts.itinerary(7).legs == (IDLE, Leg(2 * S, 1, 2))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["join", "leave"]), st.integers(0, 4 * S)), max_size=6))
def test_whoever_comes_and_goes_every_arrival_is_owed_by_one_or_lost(changes):
    accounts, worker = accounts_of(1), 0
    for what, from_ns in changes:
        if what == "join":
            worker += 1
            accounts.join([worker], from_ns)
        elif accounts.alive:
            accounts.leave(accounts.alive[0], from_ns)
    owed = [t_ns for one in range(worker + 1) for t_ns in times(accounts.itinerary(one))]
    orphaned = sum(frame.lost for frame in accounts.close(4 * S))
    assert len(set(owed)) == len(owed)
    assert len(owed) + orphaned == 40


def test_without_any_worker_everything_is_lost():
    accounts = accounts_of(1)
    accounts.settle(0, {("", 0): 10})
    accounts.close(S)
    accounts.leave(0, int(1.5 * S))
    assert accounts.lost_with(0) == lost((1, 5))
    assert accounts.close(3 * S) == (
        LoadFrame(second=1, series="", planned=10, lost=5),
        LoadFrame(second=2, series="", planned=10, lost=10),
    )


def test_arrivals_let_through_by_a_late_message_count_as_planned_and_can_be_lost():
    accounts = accounts_of(2)
    assert accounts.exceed(0, {("", 3): 2}) == planned((3, 2))
    accounts.stop(S)
    accounts.leave(0, S)
    assert accounts.lost_with(0) == lost((0, 5), (3, 2))


def test_what_is_settled_is_forgotten_and_not_lost_later():
    accounts = accounts_of(2)
    accounts.settle(0, {("", 0): 5, ("", 1): 5})
    accounts.settle(1, {("", 0): 5, ("", 1): 4})
    accounts.close(2 * S)
    accounts.forget(2 * S)
    assert accounts._settled[0] == {("", 1): 5}
    accounts.leave(1, 2 * S)
    assert accounts.lost_with(1) == lost((1, 1))


def test_streams_are_accounted_for_apart():
    accounts = Accounts({"browse": TEN, "buy": FIVE}, 4 * S)
    accounts.join([0], 0)
    accounts.settle(0, {("browse", 0): 10, ("buy", 0): 3})
    accounts.leave(0, S)
    assert accounts.close(S) == (
        LoadFrame(second=0, stream="browse", series="", planned=10),
        LoadFrame(second=0, stream="buy", series="", planned=5),
    )
    assert accounts.lost_with(0) == (LoadFrame(second=0, stream="buy", series="", lost=2),)
