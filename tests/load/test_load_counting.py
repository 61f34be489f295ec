"""Tallies, what they send, and its sum: what became of arrivals, counted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.drivers.locust.collector import DETAIL_MAX, FAILURES_PER_CLASS, Collector, FailureSample, shortened
from harness.drivers.locust.journeys import Arrival, Ledger
from harness.drivers.locust.tally import DEADLINE, OTHER, SERIES_MAX, Tally
from harness.errors import RecordError
from harness.history.histogram import MAX_US, Histogram
from harness.history.load import (
    FailedRequest,
    LoadFrame,
    Steps,
    failure_from_dict,
    failure_to_dict,
    frame_from_dict,
    frame_to_dict,
)

S = 1_000_000_000
MS = 1_000_000
LIMITS_US = (100_000, 500_000)


def of(*values_us: int) -> Histogram:
    histogram = Histogram()
    for us in values_us:
        histogram.record(us)
    return histogram


def frames_of(*tallies: Tally, limits_us: tuple[int, ...] = LIMITS_US) -> tuple[LoadFrame, ...]:
    collector = Collector(limits_us)
    for tally in tallies:
        collector.add(tally.take())
    return collector.take()


def bins(**counts: int) -> tuple[int, ...]:
    return tuple(counts.get(f"at_{number}", 0) for number in range(100))


def test_outcomes_are_kept_apart_by_second_stream_and_series():
    tally = Tally(S // 2, LIMITS_US)
    tally.ok("", "GET /", 10 * MS, 10_100_000, 12 * MS)
    tally.ok("", "GET /", 20 * MS, 20_100_000, 900 * MS)
    tally.failed("", "GET /", 30 * MS, 30_100_000, 35 * MS, "http_503")
    tally.failed("", "GET /", 40 * MS, 41 * MS, 5040 * MS, DEADLINE)
    tally.dropped("buy", "User", S)
    tally.lost("", S, "begun too late")
    first, fourth, third = frames_of(tally)
    assert first == LoadFrame(
        second=0,
        series="GET /",
        sent=4,
        ok=2,
        failed=1,
        timed_out=1,
        response=of(2000, 880_000),
        service=of(1900, 879_900),
        lag=of(100, 100, 100, 1000),
        failed_response=of(5000, 5_000_000),
        slower=((100_000, 1), (500_000, 1)),
        good_bins=bins(at_1=1),
        bad_bins=bins(at_2=1, at_3=1, at_4=1),
        errors=(("deadline", 1), ("http_503", 1)),
    )
    assert fourth == LoadFrame(second=1, series="", lost=1, errors=(("begun too late", 1),))
    assert third == LoadFrame(
        second=1, stream="buy", series="User", dropped=1, bad_bins=bins(at_0=1), errors=(("dropped", 1),)
    )
    assert frames_of(tally) == ()
    assert [frame_from_dict(frame_to_dict(frame)) for frame in (first, third, fourth)] == [first, third, fourth]


def test_slower_than_a_limit_is_counted_to_the_nanosecond():
    tally = Tally(S, (1000,))
    tally.ok("", "x", 0, 0, MS)
    tally.ok("", "x", 0, 0, MS + 1)
    (frame,) = frames_of(tally, limits_us=(1000,))
    assert frame.slower == ((1000, 1),)
    assert frame.response == of(1000, 1000)


def test_single_requests_of_journeys_are_no_arrivals():
    tally = Tally(S, LIMITS_US)
    tally.step("", "GET /cart", 0, 200 * MS, None)
    tally.step("", "GET /cart", 0, MS, "http_500")
    tally.step("", "GET /cart", 0, S, DEADLINE)
    (frame,) = frames_of(tally)
    assert frame == LoadFrame(
        second=0,
        series="GET /cart",
        steps=Steps(
            ok=1,
            failed=1,
            timed_out=1,
            response=of(200_000),
            slower=((100_000, 1), (500_000, 0)),
            errors=(("deadline", 1), ("http_500", 1)),
        ),
    )
    assert frame_from_dict(frame_to_dict(frame)) == frame


def test_too_many_request_names_share_one_series():
    tally = Tally(S)
    for number in range(SERIES_MAX + 5):
        tally.dropped("", f"GET /{number}", 0)
    counts = {frame.series: frame.dropped for frame in frames_of(tally, limits_us=())}
    assert len(counts) == SERIES_MAX + 1
    assert counts[OTHER] == 5


NAMES = st.sampled_from(["GET /", "POST /orders", "Zoë\n"])
STREAMS = st.sampled_from(["", "browse"])
INSTANTS = st.integers(0, 3 * S)
LENGTHS = st.one_of(st.integers(0, 3 * MS), st.integers(0, 2 * S), st.integers(0, (MAX_US + 5) * 1000))
OUTCOMES = st.sampled_from(["ok", "http_503", DEADLINE, "dropped", "lost", "step", "step failed"])
ARRIVALS = st.lists(st.tuples(OUTCOMES, STREAMS, NAMES, INSTANTS, LENGTHS, LENGTHS, st.integers(0, 4)), max_size=60)


def count(tally: Tally, what: tuple[str, str, str, int, int, int, int]) -> None:
    outcome, stream, name, at_ns, lag_ns, took_ns, _ = what
    sent_ns = at_ns + lag_ns
    match outcome:
        case "ok":
            tally.ok(stream, name, at_ns, sent_ns, sent_ns + took_ns)
        case "dropped":
            tally.dropped(stream, name, at_ns)
        case "lost":
            tally.lost(stream, at_ns, "task raised ValueError")
        case "step" | "step failed":
            tally.step(stream, name, at_ns, sent_ns, None if outcome == "step" else "reset")
        case _:
            tally.failed(stream, name, at_ns, sent_ns, sent_ns + took_ns, outcome)


@settings(max_examples=60)
@given(ARRIVALS, st.integers(1, 5))
def test_the_sum_of_any_number_of_workers_is_the_record_of_one(arrivals, workers):
    """Bit for bit, also as it is written to disk, and however often each of them reports."""
    one, many = Tally(S // 2, LIMITS_US), [Tally(S // 2, LIMITS_US) for _ in range(workers)]
    collector = Collector(LIMITS_US)
    settled = 0
    for number, arrival in enumerate(arrivals):
        count(one, arrival)
        count(many[arrival[-1] % workers], arrival)
        if number % 7 == 0:
            settled += sum(collector.add(many[number % workers].take()).values())
    for tally in many:
        settled += sum(collector.add(tally.take()).values())
    merged, alone = collector.take(), frames_of(one)
    assert merged == alone
    assert [frame_to_dict(frame) for frame in merged] == [frame_to_dict(frame) for frame in alone]
    assert settled == sum(not arrival[0].startswith("step") for arrival in arrivals)


def test_a_frame_of_another_format_is_a_record_error():
    with pytest.raises(RecordError, match="not a frame of this format"):
        frame_from_dict({"series": "x"})


def failure(error: str, t_ns: int = 0) -> FailedRequest:
    return FailedRequest(
        t_ns=t_ns, stream="", series="GET /", error=error, status=503, peer="10.0.0.1:80", response_s=0.1, detail="busy"
    )


def test_of_failed_requests_only_a_few_are_kept():
    sample = FailureSample(most=8)
    for _ in range(2):
        for number in range(20):
            sample.add(failure("reset", number))
    assert sample.take() == tuple(failure("reset", number) for number in range(FAILURES_PER_CLASS))
    sample.add(failure("dns"))
    for number in range(20):
        sample.add(failure("reset", number))
    assert [kept.error for kept in sample.take()] == ["dns", "reset", "reset"]
    assert not sample.wants("tls")


def test_a_failed_request_is_read_back_as_it_was():
    assert failure_from_dict(failure_to_dict(failure("dns"))) == failure("dns")
    with pytest.raises(RecordError, match=r"^failed request .*: not one of this format"):
        failure_from_dict({"error": "dns"})


def test_a_long_detail_is_cut_and_put_on_one_line():
    assert shortened("a\n  b") == "a b"
    assert len(shortened("x" * 1000)) == DETAIL_MAX


def arrival_of(label: str, intended_ns: int = 0) -> Arrival:
    arrival = Arrival(intended_ns, SimpleNamespace(stream="", name="Shopper"))
    arrival.label, arrival.sent_ns = label, intended_ns
    return arrival


def requests(ledger: Ledger, arrival: Arrival, *ended: tuple[str, int, int, str | None]) -> None:
    for name, sent_ns, end_ns, error in ended:
        if arrival.name is None:
            arrival.name, arrival.sent_ns = name, sent_ns
        ledger.request(arrival, name, sent_ns, end_ns, error)


@pytest.fixture
def tally():
    return Tally(S, LIMITS_US)


@pytest.fixture
def ledger(tally):
    return Ledger(tally, [""])


def test_a_task_of_one_request_is_recorded_under_its_name(tally, ledger):
    one = arrival_of("browse")
    requests(ledger, one, ("GET /items", MS, 5 * MS, None))
    ledger.settle(one, 5 * MS)
    (frame,) = frames_of(tally)
    assert (frame.series, frame.ok, frame.response, frame.service, frame.steps) == (
        "GET /items",
        1,
        of(5000),
        of(4000),
        None,
    )


def test_a_journey_is_recorded_under_its_task_and_its_requests_besides(tally, ledger):
    one = arrival_of("buy")
    requests(ledger, one, ("POST /cart", 0, 3 * MS, None), ("POST /pay", 10 * MS, 14 * MS, "http_500"))
    ledger.settle(one, 14 * MS)
    by_series = {frame.series: frame for frame in frames_of(tally)}
    pay, cart, buy = (by_series[name] for name in ("POST /pay", "POST /cart", "buy"))
    assert (buy.sent, buy.failed, buy.errors, buy.steps) == (1, 1, (("http_500", 1),), None)
    assert (cart.sent, cart.steps.ok, cart.steps.response) == (0, 1, of(3000))
    assert (pay.sent, pay.steps.failed, pay.steps.errors) == (0, 1, (("http_500", 1),))
    assert ledger.settled == 1


def test_tasks_of_one_name_in_two_classes_are_told_apart(tally, ledger):
    journey, single = arrival_of("Buyer.index"), arrival_of("Browser.index")
    requests(ledger, journey, ("GET /items", 0, MS, None), ("POST /pay", MS, 2 * MS, None))
    requests(ledger, single, ("GET /items", 0, MS, None))
    ledger.settle(journey, 2 * MS)
    ledger.settle(single, MS)
    assert {frame.series: frame.ok for frame in frames_of(tally)} == {"index": 1, "GET /items": 1, "POST /pay": 0}


def test_a_journey_that_broke_off_is_still_one(tally, ledger):
    """Else the journeys that fail early would be missing from the journey's error ratio."""
    whole, broken, hanging = arrival_of("buy"), arrival_of("buy"), arrival_of("buy")
    requests(ledger, whole, ("POST /cart", 0, MS, None), ("POST /pay", MS, 2 * MS, None))
    ledger.settle(whole, 2 * MS)
    requests(ledger, broken, ("POST /cart", 0, MS, "reset"))
    ledger.settle(broken, MS)
    requests(ledger, hanging, ("POST /cart", 0, MS, None))
    ledger.cut(hanging, 5 * S, running=True)
    by_series = {frame.series: frame for frame in frames_of(tally)}
    assert set(by_series) == {"buy", "POST /cart", "POST /pay"}
    assert (by_series["buy"].ok, by_series["buy"].failed, by_series["buy"].timed_out) == (1, 1, 1)
    assert (by_series["POST /cart"].steps.ok, by_series["POST /cart"].steps.failed) == (2, 1)
    assert (by_series["POST /pay"].steps.ok, by_series["POST /pay"].steps.timed_out) == (1, 1)


def test_what_hangs_from_the_start_has_the_name_its_task_last_had(tally, ledger):
    answered, hanging = arrival_of("browse"), arrival_of("browse")
    requests(ledger, answered, ("GET /items", 0, MS, None))
    ledger.settle(answered, MS)
    ledger.cut(hanging, 5 * S, running=True)
    (frame,) = frames_of(tally)
    assert (frame.series, frame.ok, frame.timed_out) == ("GET /items", 1, 1)
    (sampled,) = ledger.sampled()
    assert (sampled.error, sampled.response_s, sampled.series) == ("deadline", 5.0, "GET /items")


def test_a_busy_second_is_counted_as_exactly_as_a_quiet_one():
    """Many values are counted in another way than few."""
    tally, quiet = Tally(S, LIMITS_US), Collector(LIMITS_US)
    for k in range(20_000):
        tally.ok("", "GET /", k, k + 1000 * (k % 300), k + 1000 * (k % 9000))
    busy = frames_of(tally)
    for k in range(20_000):
        tally.ok("", "GET /", k, k + 1000 * (k % 300), k + 1000 * (k % 9000))
        if k % 1000 == 999:
            quiet.add(tally.take())
    expected = Histogram()
    for k in range(20_000):
        expected.record(k % 9000)
    assert busy == quiet.take()
    assert busy[0].response == expected
