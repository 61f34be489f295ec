"""Itineraries, accounts and tallies: the engine's plain arithmetic."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.drivers.locust.accounts import Accounts
from harness.drivers.locust.outcomes import error_class
from harness.drivers.locust.stripes import Itinerary, Leg, beyond
from harness.drivers.locust.tally import OTHER, SERIES_MAX, Tally
from harness.errors import RecordError
from harness.history.histogram import Histogram
from harness.history.load import LoadFrame, frame_from_dict, frame_to_dict
from harness.schedule.load import Arrivals, Knot

S = 1_000_000_000
TEN = Arrivals((Knot(0, 10), Knot(4, 10)))  # at 50, 150, 250, ... ms


def lost(*counts: tuple[int, int]) -> tuple[LoadFrame, ...]:
    return tuple(LoadFrame(second=second, series="", lost=n) for second, n in counts)


def planned(*counts: tuple[int, int]) -> tuple[LoadFrame, ...]:
    return tuple(LoadFrame(second=second, series="", planned=n) for second, n in counts)


@given(st.integers(0, 5 * S), st.integers(0, 5 * S), st.integers(0, 5 * S))
def test_an_itinerary_counts_what_it_walks(cut_ns, stop_ns, from_ns):
    itinerary = Itinerary((Leg(0, 0, 2),), 4 * S).with_leg(Leg(cut_ns, 0, 1)).stopped(stop_ns)
    assert itinerary.count(TEN, from_ns, 10 * S) == len(list(itinerary.times(TEN, from_ns)))


def test_survivors_take_over_every_arrival_from_the_cut_on():
    one, two = Itinerary((Leg(0, 0, 2),), 4 * S), Itinerary((Leg(0, 1, 2),), 4 * S)
    after = [*one.with_leg(Leg(2 * S, 0, 1)).times(TEN), *two.stopped(2 * S).times(TEN)]
    assert sorted(after) == [TEN.at(k) for k in range(40)]


def test_what_a_late_message_let_through_is_counted_by_second():
    assert beyond(Itinerary((Leg(0, 0, 1),), 4 * S), TEN, int(0.8 * S), int(1.3 * S)) == {0: 2, 1: 3}


def test_planned_arrivals_are_reported_once_their_second_is_over():
    accounts = Accounts(TEN, 2, 4 * S)
    assert accounts.close(S - 1) == ()
    assert accounts.close(2 * S) == planned((0, 10), (1, 10))
    assert accounts.stop(int(2.55 * S)) == int(2.55 * S)
    assert accounts.close(10 * S) == planned((2, 5))
    assert accounts.close(10 * S) == ()


def test_a_dead_worker_loses_what_it_owed_and_did_not_settle():
    accounts = Accounts(TEN, 2, 4 * S)
    accounts.settle(1, {0: 5, 1: 2})
    assert accounts.restripe(1, int(2.4 * S)) == {0: Leg(int(2.4 * S), 0, 1)}
    assert accounts.lost_with(1) == lost((1, 3), (2, 2))
    assert accounts.alive == (0,)


def test_without_any_worker_everything_is_lost():
    accounts = Accounts(TEN, 1, 4 * S)
    accounts.settle(0, {0: 10})
    accounts.close(S)
    assert accounts.restripe(0, int(1.5 * S)) == {}
    assert accounts.lost_with(0) == lost((1, 5))
    assert accounts.close(3 * S) == (
        LoadFrame(second=1, series="", planned=10, lost=5),
        LoadFrame(second=2, series="", planned=10, lost=10),
    )


def test_arrivals_let_through_by_a_late_message_count_as_planned_and_can_be_lost():
    accounts = Accounts(TEN, 2, 4 * S)
    assert accounts.exceed(0, {3: 2}) == planned((3, 2))
    accounts.stop(S)
    accounts.restripe(0, S)
    assert accounts.lost_with(0) == lost((0, 5), (3, 2))


def test_a_tally_keeps_outcomes_apart_by_second_and_series():
    tally = Tally(slow_ns=S // 2)
    tally.ok("GET /", 10_000_000, 10_100_000, 12_000_000)
    tally.ok("GET /", 20_000_000, 20_100_000, 900_000_000)
    tally.failed("GET /", 30_000_000, 30_100_000, "http_503")
    tally.timed_out("GET /", 40_000_000, 41_000_000)
    tally.dropped("User", S)
    first, second = tally.take()
    response, service, lag = Histogram(), Histogram(), Histogram()
    response.record(2000), response.record(880_000)
    service.record(1900), service.record(879_900)
    lag.record(100, 3), lag.record(1000)
    assert first == LoadFrame(
        second=0,
        series="GET /",
        sent=4,
        ok=2,
        failed=1,
        timed_out=1,
        response=response,
        service=service,
        lag=lag,
        good_bins=(0, 1, *[0] * 98),
        bad_bins=(0, 0, 1, 1, 1, *[0] * 95),
        errors=(("http_503", 1), ("timeout", 1)),
    )
    assert second == LoadFrame(second=1, series="User", dropped=1, bad_bins=(1, *[0] * 99), errors=(("dropped", 1),))
    assert tally.take() == ()
    assert frame_from_dict(frame_to_dict(first)) == first


def test_too_many_request_names_share_one_series():
    tally = Tally(slow_ns=S)
    for number in range(SERIES_MAX + 5):
        tally.dropped(f"GET /{number}", 0)
    frames = {frame.series: frame.dropped for frame in tally.take()}
    assert len(frames) == SERIES_MAX + 1
    assert frames[OTHER] == 5


def test_a_frame_of_another_format_is_a_record_error():
    with pytest.raises(RecordError, match="not a frame of this format"):
        frame_from_dict({"series": "x"})


class HTTPError(OSError):
    """As requests' own: an OSError without a number."""


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), 0, "connect_refused"),
        (RuntimeError("wrapped", ConnectionResetError(errno.ECONNRESET, "reset")), 0, "reset"),
        (TimeoutError("timed out"), 0, "timeout"),
        (HTTPError("503 Server Error"), 503, "http_503"),
        (ValueError("odd"), 0, "ValueError"),
    ],
)
def test_failures_are_named_by_their_cause(error, status, expected):
    assert error_class(error, status) == expected
