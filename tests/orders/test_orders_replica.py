"""The store's rules by themselves: logs, terms, majorities and the list of members."""

import pytest

from harness.sandbox.orders.replica import Copy, Leadership, Replica, enough, most_recent


def leader(entries=(), members=("a", "b", "c"), term=1):
    replica = Replica("a")
    replica.install(term, Copy(0, tuple(entries)))
    return replica, Leadership(replica, members)


def test_a_whole_log_replaces_what_a_replica_had_from_an_older_term():
    replica = Replica("b")
    assert replica.accept(1, 0, ["x", "y"]) == 2
    assert replica.accept(2, 0, ["x"]) == 1
    assert list(replica.entries) == ["x"]


def test_entries_that_come_twice_or_late_change_nothing():
    replica = Replica("b")
    replica.accept(1, 0, ["x"])
    replica.accept(1, 1, ["y", "z"])
    assert replica.accept(1, 0, ["x"]) == 3  # the first message again
    assert replica.accept(1, 1, ["y"]) == 3
    assert list(replica.entries) == ["x", "y", "z"]


def test_a_gap_is_not_filled_by_what_comes_after_it():
    replica = Replica("b")
    replica.accept(1, 0, ["x"])
    assert replica.accept(1, 2, ["z"]) == 1
    assert list(replica.entries) == ["x"]


def test_a_part_of_a_log_says_nothing_to_a_replica_without_its_beginning():
    replica = Replica("b")
    replica.accept(1, 0, ["old"])
    assert replica.accept(2, 1, ["y"]) == 0
    assert list(replica.entries) == ["old"]


def test_a_deposed_leader_is_refused_by_whoever_promised_a_later_term():
    replica = Replica("b")
    replica.accept(1, 0, ["x"])
    assert replica.promise(2) == Copy(1, ("x",))
    assert replica.accept(1, 1, ["y"]) is None
    assert replica.promise(1) is None
    assert list(replica.entries) == ["x"]


def test_a_leader_that_promised_a_later_term_is_none_any_more():
    replica, lead = leader()
    replica.promise(2)
    assert not lead.valid


def test_an_entry_is_safe_when_two_of_three_have_it_in_this_term():
    replica, lead = leader(["x"])
    assert (lead.established, lead.committed) == (False, 0)
    replica.append("y")
    lead.note("b", 1)
    assert (lead.established, lead.committed) == (True, 1)
    lead.note("b", 2)
    assert lead.committed == 2


def test_who_is_no_member_makes_nothing_safe():
    _, lead = leader(["x"])
    lead.note("d", 1)
    assert lead.committed == 0


def test_a_leader_alone_in_its_list_makes_nothing_safe():
    _, lead = leader(["x"], members=("a",))
    assert (lead.established, lead.committed) == (False, 0)


def test_late_news_of_a_follower_takes_nothing_back():
    _, lead = leader(["x", "y"])
    lead.note("b", 2)
    lead.note("b", 1)
    assert lead.committed == 2


@pytest.mark.parametrize(
    ("reached", "members", "gone", "expected"),
    [
        ("ab", "abc", "", True),
        ("a", "abc", "", False),
        ("ad", "abc", "", False),  # d is no member
        ("a", "abc", "b", False),  # c may have what a lacks
        ("ac", "abc", "b", True),
        ("a", "abc", "bc", True),  # nobody has more than a
        ("a", "ab", "", True),
        ("", "abc", "abc", True),
        ("", "", "", True),
    ],
)
def test_promises_are_enough_when_they_leave_no_majority_to_anybody_else(reached, members, gone, expected):
    assert enough(set(reached), set(members), set(gone)) is expected


def test_the_most_recent_log_is_of_the_latest_term_then_the_longest():
    old, short, long = Copy(1, ("a", "b", "c")), Copy(2, ("a",)), Copy(2, ("a", "d"))
    assert most_recent({"a": old, "b": short, "c": long}) == long


def test_a_lost_member_is_replaced_by_one_that_has_everything():
    _, lead = leader(["x", "y"])
    lead.note("b", 2)
    lead.note("d", 2)
    assert lead.wanted(gone=()) is None  # three live
    assert lead.wanted(gone={"c"}) == {"a", "b", "d"}


def test_a_newcomer_that_is_lost_again_does_not_join():
    """It would have to be replaced next, for ever: while nothing is written, nobody lacks anything."""
    _, lead = leader(["x"])
    for who in "bde":
        lead.note(who, 1)
    assert lead.known == set("abcde")
    assert lead.wanted(gone={"c", "d"}) == {"a", "b", "e"}


def test_a_newcomer_that_lacks_a_safe_entry_does_not_join():
    replica, lead = leader(["x"])
    lead.note("b", 1)
    lead.note("d", 1)
    replica.append("y")
    lead.note("b", 2)
    assert lead.wanted(gone={"c"}) is None


def test_a_lost_member_still_counts_while_nobody_takes_its_place():
    _, lead = leader(["x"])
    lead.note("b", 1)
    assert lead.wanted(gone={"c"}) is None
    assert lead.members == {"a", "b", "c"}


def test_while_the_list_changes_both_lists_must_agree():
    replica, lead = leader(["x"])
    lead.note("b", 1)
    lead.note("d", 1)
    lead.propose({"a", "b", "d"})
    replica.append("y")
    lead.note("d", 2)
    assert lead.committed == 1  # of the old list only the leader has it
    lead.note("b", 2)
    assert lead.committed == 2
    lead.settle({"a", "b", "d"})
    assert (lead.members, lead.wanted(gone=())) == ({"a", "b", "d"}, None)


def test_the_first_leader_takes_in_the_others_one_list_at_a_time():
    _, lead = leader(members=("a",))
    lead.note("b", 0)
    assert lead.wanted(gone=()) == {"a", "b"}
    lead.note("c", 0)
    assert lead.wanted(gone=()) == {"a", "b", "c"}
