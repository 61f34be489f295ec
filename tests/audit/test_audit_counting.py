"""What was written against what was found: lost, duplicated and stale are counted apart."""

from harness.drivers.audit.counting import Written, counted
from harness.history.audit import Acknowledged, AuditCompleted


def written(*names, unknown=0, refused=0, missed=()):
    acknowledged = {name: Acknowledged(name, 10 * at, 10 * at + 5) for at, name in enumerate(names, start=1)}
    return Written(acknowledged=acknowledged, unknown=unknown, refused=refused, missed=frozenset(missed))


def test_all_that_was_acknowledged_is_there():
    assert counted(written("a", "b", unknown=2, refused=1), ["a", "b"], []) == AuditCompleted(
        acknowledged=2, unknown=2, refused=1, lost=0, duplicated=0, stale=0, examples=()
    )


def test_acknowledged_and_missing_is_lost():
    found = counted(written("a", "b", "c"), ["b"], ["a", "c"])
    assert (found.lost, found.examples) == (2, (("lost", "a", 15), ("lost", "c", 35)))


def test_what_was_never_acknowledged_is_never_lost_and_may_be_there():
    found = counted(written("a", unknown=1), ["a", "x"], ["y"])
    assert (found.lost, found.duplicated, found.stale) == (0, 0, 0)


def test_what_is_there_twice_is_a_duplicate_whether_it_was_acknowledged_or_not():
    found = counted(written("a", unknown=1), ["a", "x", "a", "x", "x"], [])
    assert (found.duplicated, found.examples) == (2, (("duplicated", "x", 0), ("duplicated", "a", 15)))


def test_a_read_that_missed_a_write_is_stale_only_when_the_write_is_there_in_the_end():
    found = counted(written("a", "b", missed=["a", "b"]), ["a"], ["b"])
    assert (found.lost, found.stale) == (1, 1)
    assert found.examples == (("lost", "b", 25), ("stale", "a", 15))


def test_ten_examples_of_a_kind_are_enough_the_earliest_ones():
    names = [f"w{number:02}" for number in range(40)]
    found = counted(written(*names), [], names)
    assert found.lost == 40
    assert [name for _, name, _ in found.examples] == names[:10]
