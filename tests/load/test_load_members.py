"""Who takes part, what they report, and how far their clocks are apart."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.drivers.locust.members import Member, Members
from harness.drivers.locust.offset import WINDOW_NS, Offset
from harness.drivers.locust.reports import Condition, Reports

S = 1_000_000_000
US = 1_000


@settings(max_examples=40)
@given(st.lists(st.integers(1, 12), max_size=40))
def test_a_report_counts_once_however_often_and_in_whatever_order_it_comes(numbers):
    member = Member(index=0, name="worker-0", place=0)
    assert [number for number in numbers if member.is_new(number)] == list(dict.fromkeys(numbers))


def test_members_are_never_mistaken_for_one_another():
    members = Members()
    first, second, heir = members.local(0), members.remote("far"), members.local(0, 2)
    assert [(member.index, member.name) for member in members] == [(0, "worker-0"), (1, "far-1"), (2, "worker-0.2")]
    members.drop(second)
    assert members.get(1) is None
    assert list(members) == [first, heir]


def test_the_quickest_message_tells_how_far_the_clocks_are_apart():
    offset = Offset()
    assert offset.best(0) is None
    offset.measured(0, 5 * S + 900 * US, 5 * S + 900 * US, 1000 * US)  # slow on the way there
    offset.measured(0, 5 * S + 40 * US, 5 * S + 60 * US, 100 * US)
    assert offset.best(100 * US) == (5 * S, 40 * US)


def test_old_measurements_no_longer_count():
    offset = Offset()
    offset.measured(0, 5 * S, 5 * S, 2 * US)
    offset.measured(WINDOW_NS + S, WINDOW_NS + 6 * S + 100 * US, WINDOW_NS + 6 * S + 100 * US, WINDOW_NS + S + 200 * US)
    assert offset.best(WINDOW_NS + S + 200 * US) == (5 * S, 100 * US)


def test_a_clock_that_stood_still_makes_what_was_measured_before_void():
    offset = Offset()
    offset.measured(0, 5 * S + 10 * US, 5 * S + 10 * US, 20 * US)
    offset.measured(S, 6 * S + S // 2 + 100 * US, 6 * S + S // 2 + 100 * US, S + 200 * US)
    assert offset.best(S + 200 * US) == (5 * S + S // 2, 100 * US)


@settings(max_examples=40)
@given(
    st.integers(-(10**15), 10**15), st.lists(st.tuples(st.integers(0, S), st.integers(0, S)), min_size=1, max_size=9)
)
def test_the_true_offset_is_within_the_uncertainty(true_ns, delays_ns):
    offset = Offset()
    for number, (there_ns, back_ns) in enumerate(delays_ns):
        t1_ns = number * S
        t2_ns = t1_ns + there_ns + true_ns
        offset.measured(t1_ns, t2_ns, t2_ns + US, t1_ns + there_ns + US + back_ns)
    best_ns, uncertainty_ns = offset.best(len(delays_ns) * S)
    assert abs(best_ns - true_ns) <= uncertainty_ns + 1


def test_an_answer_that_the_network_held_up_is_no_word_of_now():
    """Else a worker that was cut off, and has been given up, would go on when the cut is over."""
    reports = Reports(lambda _: None, Condition(), heard_ns=5 * S)
    for sent_ns in (7 * S, 6 * S):
        reports.heard({"number": None, "t1": sent_ns, "t2": 0, "t3": 0})
        assert reports.heard_ns == 7 * S


def test_counts_are_sent_again_until_they_are_heard():
    sent: list[dict] = []
    reports = Reports(sent.append, Condition(epoch=3, ready=True))
    reports.counts(b"one")
    reports.counts(b"two")
    reports.heard({"number": 1, "t1": 0, "t2": 0, "t3": 0})
    reports._unheard[2] = (0, reports._unheard[2][1])  # long ago
    reports.beat()
    reports.heard({"number": 2, "t1": 0, "t2": 0, "t3": 0})
    reports.beat()
    told = [(report["number"], report.get("data")) for report in sent]
    assert told == [(1, b"one"), (2, b"two"), (2, b"two"), (None, None)]
    assert {report["epoch"] for report in sent} == {3}
    assert reports.all_heard
