"""Where impacts are found: synthetic truth with literal seeds, and what must not be taken for one."""

from __future__ import annotations

import random

import pytest

from harness.history.load import BINS_PER_SECOND, LoadFrame
from harness.history.views import FaultWindow
from harness.verdict.impact import Surroundings, impacts_of, row_of
from harness.verdict.model import Impact

AROUND = Surroundings(calm=frozenset(range(15)), response_p95_s=0.0, lag_p99_s=0.0, hold_s=5.0)


def frames(
    outages: list[tuple[float, float, float]],
    *,
    rate: float = 200,
    length_s: int = 30,
    seed: int = 1,
    noise: float = 5e-4,
) -> list[LoadFrame]:
    """Poisson arrivals of which, in each outage (from, to, share), that share is bad; else the noise's share."""
    rng = random.Random(seed)
    good, bad = [0] * length_s * BINS_PER_SECOND, [0] * length_s * BINS_PER_SECOND
    t_s = rng.expovariate(rate)
    while t_s < length_s:
        share = max((share for lo, hi, share in outages if lo <= t_s < hi), default=noise)
        (bad if rng.random() < share else good)[int(t_s * BINS_PER_SECOND)] += 1
        t_s += rng.expovariate(rate)
    seconds = [slice(s * BINS_PER_SECOND, (s + 1) * BINS_PER_SECOND) for s in range(length_s)]
    return [
        LoadFrame(second=i, series="a", good_bins=tuple(good[part]), bad_bins=tuple(bad[part]))
        for i, part in enumerate(seconds)
    ]


def impacts(outages: list[tuple[float, float, float]], **how: float) -> tuple[Impact, ...]:
    return impacts_of(row_of(frames(outages, **how)), AROUND, ())  # type: ignore[arg-type]


@pytest.mark.parametrize(("share", "within_s"), [(1.0, 0.05), (0.3, 0.2)])
def test_the_length_of_an_outage_at_200_per_second_is_right_at_p95(share: float, within_s: float) -> None:
    rng = random.Random(20)
    errors, covered = [], 0
    for seed in range(20):
        on = 17 + rng.random()
        off = on + rng.uniform(0.5, 4)
        (found,) = impacts([(on, off, share)], seed=seed)
        errors.append(abs(found.end_s - found.start_s - (off - on)))
        covered += found.start_lo_s <= on <= found.start_hi_s and found.end_lo_s <= off <= found.end_hi_s
    assert sorted(errors)[18] <= within_s
    assert covered >= 18


@pytest.mark.parametrize("noise", [0.0, 1e-3, 1e-2])
def test_noise_is_no_impact(noise: float) -> None:
    assert [impacts([], seed=seed, noise=noise) for seed in range(8)] == [()] * 8


def test_twenty_milliseconds_of_nothing_but_failures_are_found() -> None:
    (found,) = impacts([(20.0, 20.02, 1.0)], rate=300, seed=4)
    assert 19.95 < found.start_s < found.end_s < 20.07


def test_two_black_outs_with_service_in_between_are_two() -> None:
    first, second = impacts([(16.0, 17.0, 1.0), (23.5, 24.5, 1.0)])
    assert (round(first.start_s, 1), round(first.end_s, 1)) == (16.0, 17.0)
    assert (round(second.start_s, 1), round(second.end_s, 1)) == (23.5, 24.5)


def test_flaps_closer_than_the_hold_are_one() -> None:
    (found,) = impacts([(16.0, 17.0, 1.0), (19.0, 20.0, 1.0)])
    assert (round(found.start_s, 1), round(found.end_s, 1)) == (16.0, 20.0)
    assert 0.45 < found.severity < 0.55
    assert 1.9 < found.downtime_s < 2.1


def test_an_outage_in_the_baseline_does_not_hide_itself() -> None:
    (found,) = impacts([(3.0, 8.0, 1.0)])
    assert (round(found.start_s, 1), round(found.end_s, 1)) == (3.0, 8.0)


def test_an_impact_that_fills_most_of_the_run_is_still_one() -> None:
    around = Surroundings(calm=frozenset(range(30)), response_p95_s=0.0, lag_p99_s=0.0, hold_s=5.0)
    (found,) = impacts_of(row_of(frames([(4.0, 24.5, 0.4)])), around, ())
    assert (round(found.start_s), round(found.end_s)) == (4, 24)
    assert 0.35 < found.severity < 0.45


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
def test_a_service_that_is_always_as_bad_has_no_impact(noise: float) -> None:
    around = Surroundings(calm=frozenset(range(30)), response_p95_s=0.0, lag_p99_s=0.0, hold_s=5.0)
    for seed in range(5):
        assert impacts_of(row_of(frames([], seed=seed, noise=noise)), around, ()) == ()


def test_what_is_still_bad_at_the_end_is_censored() -> None:
    (found,) = impacts([(20.0, 30.0, 0.6)])
    assert found.censored


def test_what_was_good_for_less_than_the_hold_at_the_end_is_censored() -> None:
    ((late,), (early,)) = impacts([(20.0, 26.0, 1.0)]), impacts([(20.0, 24.5, 1.0)])
    assert (late.censored, early.censored) == (True, False)


def test_the_beginning_may_be_later_by_what_was_in_flight() -> None:
    around = Surroundings(calm=frozenset(range(15)), response_p95_s=0.2, lag_p99_s=0.003, hold_s=5.0)
    (plain,), (wide,) = (impacts_of(row_of(frames([(20.0, 22.0, 1.0)])), one, ()) for one in (AROUND, around))
    assert wide.start_hi_s == pytest.approx(plain.start_hi_s + 0.203)
    assert wide.start_lo_s == pytest.approx(plain.start_lo_s - 0.003)
    assert wide.end_hi_s == pytest.approx(plain.end_hi_s + 0.003)


def test_an_impact_belongs_to_the_newest_fault_in_force() -> None:
    windows = (fault("first", 10.0, 12.0), fault("second", 15.0, 25.0), fault("third", 26.0, None))
    (found,) = impacts_of(row_of(frames([(20.0, 22.0, 1.0)])), AROUND, windows)
    assert found.fault == "second"


def test_an_impact_belongs_to_no_fault_that_was_long_gone_or_came_later() -> None:
    windows = (fault("gone", 10.0, 12.0), fault("later", 25.0, None))
    (found,) = impacts_of(row_of(frames([(20.0, 22.0, 1.0)])), AROUND, windows)
    assert found.fault is None


def test_no_counts_have_no_impacts() -> None:
    assert impacts_of(row_of([]), AROUND, ()) == ()


def fault(name: str, on_s: float, gone_s: float | None) -> FaultWindow:
    on, gone = round(on_s * 1e9), None if gone_s is None else round(gone_s * 1e9)
    return FaultWindow(
        fault=name,
        armed=True,
        requested_ns=on,
        injected_ns=on,
        failed=None,
        rollback_requested_ns=None,
        rollback_ns=None,
        rollback_failed=None,
        confirmed=(on, on),
        gone=None if gone is None else (gone, gone),
        evidence="",
    )
