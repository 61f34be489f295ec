"""The balancer spreads requests, ejects endpoints that fail, and tries them again."""

from hypothesis import given
from hypothesis import strategies as st

from harness.sandbox.network.balance import Attempt, Balancer, Outcome

ANSWERED, FAILED, TIMED_OUT, CANCELLED = Outcome.ANSWERED, Outcome.FAILED, Outcome.TIMED_OUT, Outcome.CANCELLED


def balancer(*keys: str) -> Balancer:
    made = Balancer()
    made.set_endpoints(keys)
    return made


def request(of: Balancer, now_s: float, outcome: Outcome) -> str | None:
    """One request that ends at once."""
    attempt = of.choose(now_s)
    if attempt is None:
        return None
    of.done(attempt, outcome, now_s)
    return attempt.key


def timed_out(of: Balancer, key: str, now_s: float) -> None:
    while (attempt := of.choose(now_s)).key != key:
        of.done(attempt, ANSWERED, now_s)
    of.done(attempt, TIMED_OUT, now_s)


def test_there_is_no_choice_without_endpoints():
    assert balancer().choose(0.0) is None


def test_idle_endpoints_take_turns():
    three = balancer("a", "b", "c")
    assert [request(three, 0.0, ANSWERED) for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_the_endpoint_with_the_fewest_outstanding_requests_comes_first():
    two = balancer("a", "b")
    first, second, third = two.choose(0.0), two.choose(0.0), two.choose(0.0)
    assert [first, second, third] == [Attempt("a", False), Attempt("b", False), Attempt("a", False)]  # noqa: FBT003
    two.done(second, ANSWERED, 0.1)
    assert [two.choose(0.1).key, two.choose(0.1).key] == ["b", "b"]


def test_one_timeout_ejects():
    two = balancer("a", "b")
    timed_out(two, "a", 1.0)
    assert two.ejected == ("a",)
    assert {request(two, 5.9, ANSWERED) for _ in range(10)} == {"b"}


def test_failures_eject_only_when_in_a_row():
    two = balancer("a", "b")
    for outcome in (FAILED, FAILED, ANSWERED, FAILED, FAILED, CANCELLED):
        while (attempt := two.choose(0.0)).key != "a":
            two.done(attempt, ANSWERED, 0.0)
        two.done(attempt, outcome, 0.0)
    assert two.ejected == ()
    while (attempt := two.choose(0.0)).key != "a":
        two.done(attempt, ANSWERED, 0.0)
    two.done(attempt, FAILED, 0.0)
    assert two.ejected == ("a",)


def test_after_its_time_an_ejected_endpoint_gets_one_request_and_returns_when_that_is_answered():
    two = balancer("a", "b")
    timed_out(two, "a", 1.0)
    probe = two.choose(6.0)
    assert probe == Attempt("a", True)  # noqa: FBT003
    assert [two.choose(6.0).key for _ in range(3)] == ["b", "b", "b"]
    two.done(probe, ANSWERED, 6.1)
    assert two.ejected == ()
    assert two.choose(6.1).key == "a"


def test_a_failed_probe_ejects_again_for_as_long():
    two = balancer("a", "b")
    timed_out(two, "a", 1.0)
    two.done(two.choose(6.0), FAILED, 6.5)
    assert {request(two, 11.4, ANSWERED) for _ in range(5)} == {"b"}
    assert two.choose(11.5) == Attempt("a", True)  # noqa: FBT003


def test_a_probe_whose_client_left_is_tried_again():
    two = balancer("a", "b")
    timed_out(two, "a", 1.0)
    two.done(two.choose(6.0), CANCELLED, 6.1)
    assert two.choose(6.2) == Attempt("a", True)  # noqa: FBT003


def test_requests_sent_before_the_ejection_do_not_prolong_it():
    two = balancer("a", "b")
    first, _, late = two.choose(0.0), two.choose(0.0), two.choose(0.0)
    two.done(first, TIMED_OUT, 1.0)
    two.done(late, TIMED_OUT, 3.0)
    assert two.choose(6.0) == Attempt("a", True)  # noqa: FBT003


def test_the_last_endpoint_is_never_ejected():
    two = balancer("a", "b")
    timed_out(two, "a", 1.0)
    assert [request(two, 1.0, TIMED_OUT) for _ in range(3)] == ["b", "b", "b"]
    assert two.ejected == ("a",)


def test_when_the_last_good_endpoint_goes_away_the_ejected_ones_serve():
    three = balancer("a", "b", "c")
    timed_out(three, "a", 1.0)
    timed_out(three, "b", 1.0)
    three.set_endpoints(("a", "b"))
    assert {request(three, 2.0, FAILED) for _ in range(4)} == {"a", "b"}


def test_a_removed_endpoint_gets_nothing_and_its_late_outcome_is_ignored():
    two = balancer("a", "b")
    attempt = two.choose(0.0)
    two.set_endpoints(("b",))
    two.done(attempt, TIMED_OUT, 1.0)
    assert two.choose(1.0).key == "b"
    assert two.ejected == ()


@given(st.lists(st.sampled_from(Outcome), max_size=60))
def test_there_is_always_an_endpoint_that_is_not_ejected(outcomes):
    three = balancer("a", "b", "c")
    for second, outcome in enumerate(outcomes):
        request(three, second * 0.4, outcome)
        assert len(three.ejected) < 3
