"""Rules on values with bounds, sustained rules on slices, and the merge."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verdict_case import rule_of

from harness.plan.model import Tier, Unit
from harness.verdict.merge import weight, worst
from harness.verdict.model import Outcome
from harness.verdict.ruling import holds, sustained

LETTERS = {"B": True, "G": False, "?": None}

outcomes = st.lists(st.sampled_from(Outcome), min_size=1, max_size=5)
few = settings(max_examples=30)


@pytest.mark.parametrize(
    ("op", "value", "limit", "expected"),
    [
        (">", (0.02, 0.03), (0.01, 0.01), True),
        (">", (0.00, 0.01), (0.01, 0.01), False),
        (">", (0.005, 0.02), (0.01, 0.01), None),
        (">", (0.01, 0.01), (0.01, 0.01), False),
        (">=", (0.01, 0.01), (0.01, 0.01), True),
        ("<", (0.01, 0.01), (0.01, 0.01), False),
        ("<=", (0.01, 0.01), (0.01, 0.01), True),
        ("<", (80.0, 90.0), (100.0, 110.0), True),
        ("<", (80.0, 105.0), (100.0, 110.0), None),
        ("<", (110.0, 120.0), (100.0, 110.0), False),
    ],
)
def test_a_rule_holds_for_all_none_or_some_of_what_the_bounds_allow(
    op: str, value: tuple[float, float], limit: tuple[float, float], *, expected: bool | None
) -> None:
    assert holds(value, rule_of(f"{op} 1%", Unit.RATIO), limit) is expected


@pytest.mark.parametrize(
    ("slices", "needed", "expected"),
    [
        ("BB?B", 4, None),
        ("BBBB?", 4, True),
        ("B?G", 4, False),
        ("BBGBB", 3, False),
        ("GGBBB", 3, True),
        ("???", 3, None),
        ("", 1, False),
        ("?", 2, False),
    ],
)
def test_sustained_is_decided_only_if_unknown_slices_cannot_change_it(
    slices: str, needed: int, *, expected: bool | None
) -> None:
    assert sustained([LETTERS[letter] for letter in slices], needed) is expected


@few
@given(st.lists(st.sampled_from([True, False, None]), max_size=12), st.integers(1, 5))
def test_what_is_sustained_stays_so_whatever_the_unknown_slices_were(slices: list[bool | None], needed: int) -> None:
    decided = sustained(slices, needed)
    if decided is not None:
        for fill in (True, False):
            assert sustained([fill if one is None else one for one in slices], needed) is decided


@few
@given(outcomes)
def test_merging_is_idempotent(given_: list[Outcome]) -> None:
    assert worst([*given_, worst(given_)]) is worst(given_)


@few
@given(outcomes, outcomes)
def test_merging_is_commutative(left: list[Outcome], right: list[Outcome]) -> None:
    assert worst(left + right) is worst(right + left)


@few
@given(outcomes, outcomes, outcomes)
def test_merging_is_associative(a: list[Outcome], b: list[Outcome], c: list[Outcome]) -> None:
    assert worst([worst(a + b), *c]) is worst([*a, worst(b + c)])


def test_merging_nothing_is_inconclusive() -> None:
    assert worst([]) is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("tier", "outcome", "expected"),
    [
        (Tier.TARGET, Outcome.WARN, None),
        (Tier.WARN, Outcome.INCONCLUSIVE, Outcome.WARN),
        (Tier.WARN, Outcome.PASS, Outcome.PASS),
        (Tier.FAIL, Outcome.INCONCLUSIVE, Outcome.INCONCLUSIVE),
        (Tier.ABORT, Outcome.FAIL, Outcome.FAIL),
        (None, None, None),
    ],
)
def test_a_finding_weighs_as_its_tier_says(
    tier: Tier | None, outcome: Outcome | None, expected: Outcome | None
) -> None:
    assert weight(tier, outcome) is expected
