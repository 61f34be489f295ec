"""Where impacts are found: synthetic truth with literal seeds, and what must not be taken for one."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from harness.history.histogram import Histogram
from harness.history.load import BINS_PER_SECOND, LoadFrame
from harness.history.views import FaultWindow
from harness.verdict.impact import Surroundings, impacts_of
from harness.verdict.model import Impact, Shape
from harness.verdict.outcomes import outcomes_of

AROUND = Surroundings(calm=frozenset(range(15)), limit_s=1.0, hold_s=5.0)
ALL_CALM = Surroundings(calm=frozenset(range(300)), limit_s=1.0, hold_s=5.0)


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
        LoadFrame(second=i, series="a", failed=sum(bad[part]), good_bins=tuple(good[part]), bad_bins=tuple(bad[part]))
        for i, part in enumerate(seconds)
    ]


def impacts(outages: list[tuple[float, float, float]], **how: float) -> tuple[Impact, ...]:
    return found_in(frames(outages, **how))  # type: ignore[arg-type]


def found_in(
    record: list[LoadFrame], around: Surroundings = AROUND, faults: tuple[FaultWindow, ...] = ()
) -> tuple[Impact, ...]:
    return impacts_of(outcomes_of(record)[0], around, faults)


@pytest.mark.parametrize(("share", "within_s"), [(1.0, 0.05), (0.3, 0.125)])
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
    (found,) = found_in(frames([(4.0, 24.5, 0.4)]), ALL_CALM)
    assert (found.start_s, found.end_s) == (pytest.approx(4.0, abs=0.1), pytest.approx(24.5, abs=0.1))
    assert 0.35 < found.severity < 0.45


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
def test_a_service_that_is_always_as_bad_has_no_impact(noise: float) -> None:
    for seed in range(5):
        assert found_in(frames([], seed=seed, noise=noise), ALL_CALM) == ()


def test_what_is_still_bad_at_the_end_is_censored() -> None:
    (found,) = impacts([(20.0, 30.0, 0.6)])
    assert found.censored


def test_what_was_good_for_less_than_the_hold_at_the_end_is_censored() -> None:
    ((late,), (early,)) = impacts([(20.0, 26.0, 1.0)]), impacts([(20.0, 24.5, 1.0)])
    assert (late.censored, early.censored) == (True, False)


def late(record: list[LoadFrame], lag_s: float, response_s: float) -> list[LoadFrame]:
    lag, response = Histogram(), Histogram()
    lag.record(round(lag_s * 1e6), 100)
    response.record(round(response_s * 1e6), 100)
    return [replace(frame, lag=lag, response=response) for frame in record]


def test_edges_may_be_later_by_lag_and_by_what_was_in_flight_but_not_earlier() -> None:
    record = frames([(20.0, 22.0, 1.0)])
    (plain,), (wide,) = found_in(record), found_in(late(record, 0.003, 0.2))
    assert wide.start_lo_s == plain.start_lo_s
    assert wide.start_hi_s == pytest.approx(plain.start_hi_s + 0.203, abs=1e-3)
    assert wide.end_lo_s == plain.end_lo_s
    assert wide.end_hi_s == pytest.approx(plain.end_hi_s + 0.203, abs=1e-3)


def frozen(on_s: float, off_s: float, limit_s: float, deadline_s: float) -> list[LoadFrame]:
    """A server that stands still in between and then answers everything at once; 200 uniform arrivals a second."""
    record = []
    for second in range(30):
        good, bad, failed, response = [0] * 100, [0] * 100, 0, Histogram()
        for i in range(200):
            t_s = second + (i + 0.5) / 200
            took_s = off_s - t_s + 0.01 if on_s <= t_s < off_s else 0.01
            (good if took_s <= limit_s else bad)[i // 2] += 1
            failed += took_s > deadline_s
            response.record(round(took_s * 1e6), 1 if took_s <= deadline_s else 0)
        record.append(
            LoadFrame(
                second=second, series="a", failed=failed, response=response, good_bins=tuple(good), bad_bins=tuple(bad)
            )
        )
    return record


def test_a_frozen_server_is_away_until_it_answers_though_the_last_to_wait_get_a_good_answer() -> None:
    around = Surroundings(calm=frozenset(range(15)), limit_s=0.5, hold_s=5.0)
    (found,) = found_in(frozen(18.0, 20.7, 0.5, 1.0), around)
    assert (found.start_s, found.end_s) == (pytest.approx(18.0, abs=0.02), pytest.approx(20.7, abs=0.02))
    assert found.end_lo_s < 20.21
    assert found.end_hi_s > 20.7


@pytest.mark.parametrize(
    ("outage", "shape"), [((18.0, 20.0, 1.0), Shape.BLACKOUT), ((18.0, 22.0, 0.4), Shape.BROWNOUT)]
)
def test_an_impact_has_the_shape_of_its_bad_share(outage: tuple[float, float, float], shape: Shape) -> None:
    (found,) = impacts([outage])
    assert found.shape is shape


def test_answers_that_came_too_late_are_a_slow_out() -> None:
    (found,) = found_in([replace(frame, failed=0) for frame in frames([(18.0, 20.0, 1.0)])])
    assert found.shape is Shape.SLOWOUT


def test_flaps_within_an_impact_are_counted_and_the_longest_time_without_an_answer_is_known() -> None:
    (found,) = impacts([(16.0, 17.0, 1.0), (18.5, 20.5, 1.0), (22.0, 22.4, 1.0)])
    assert (found.episodes, found.shape) == (3, Shape.BLACKOUT)
    assert found.gap_s == pytest.approx(2.0, abs=0.05)


def test_what_hits_one_stream_is_all_of_it_and_a_part_of_the_whole() -> None:
    zones = {"a": 1.0, "b": 0.0, "c": 0.0}
    record = [
        replace(frame, stream=zone)
        for seed, (zone, share) in enumerate(zones.items())
        for frame in frames([(18.0, 21.0, share)] if share else [], rate=70, seed=seed)
    ]
    found = [impact for each in outcomes_of(record) for impact in impacts_of(each, AROUND, ())]
    assert [(one.stream, one.shape) for one in found] == [(None, Shape.BROWNOUT), ("a", Shape.BLACKOUT)]
    whole, zone = found
    assert 0.25 < whole.severity < 0.42
    assert zone.severity > 0.95
    assert zone.end_hi_s - zone.end_lo_s < whole.end_hi_s - whole.end_lo_s


def bunched(share: float, effect: float, seed: int, length_s: int = 300) -> list[LoadFrame]:
    """Quiet seconds of 200 arrivals whose share of bad ones is another every 15 s (beta-binomial)."""
    rng = random.Random(seed)
    shares = (effect - 1) / (200 * 15 - 1)
    record, now = [], share
    for second in range(length_s):
        if second % 15 == 0:
            now = rng.betavariate(share * (1 / shares - 1), (1 - share) * (1 / shares - 1))
        bad = [sum(rng.random() < now for _ in range(2)) for _ in range(100)]
        good = tuple(2 - n for n in bad)
        record.append(LoadFrame(second=second, series="a", failed=sum(bad), good_bins=good, bad_bins=tuple(bad)))
    return record


@pytest.mark.parametrize("share", [0.003, 0.01])
def test_noise_that_comes_in_bunches_is_no_impact(share: float) -> None:
    assert [found_in(bunched(share, 10.0, seed), ALL_CALM) for seed in range(4)] == [()] * 4


def test_a_black_out_stands_out_of_bunched_noise() -> None:
    quiet = bunched(0.01, 10.0, 3)
    dark = [replace(frame, good_bins=(), bad_bins=(2,) * 100) if frame.second == 200 else frame for frame in quiet]
    (found,) = found_in(dark, ALL_CALM)
    assert (found.start_s, found.end_s) == (pytest.approx(200, abs=0.1), pytest.approx(201, abs=0.1))


def test_the_order_of_the_record_does_not_matter() -> None:
    record = [replace(frame, series=name) for name in "ab" for frame in frames([(18.0, 21.0, 0.4)], seed=ord(name))]
    shuffled = random.Random(1).sample(record, len(record))
    assert found_in(shuffled) == found_in(record)


def test_an_impact_belongs_to_the_newest_fault_in_force() -> None:
    windows = (fault("first", 10.0, 12.0), fault("second", 15.0, 25.0), fault("third", 26.0, None))
    (found,) = found_in(frames([(20.0, 22.0, 1.0)]), AROUND, windows)
    assert found.fault == "second"


def test_an_impact_belongs_to_no_fault_that_was_long_gone_or_came_later() -> None:
    windows = (fault("gone", 10.0, 12.0), fault("later", 25.0, None))
    (found,) = found_in(frames([(20.0, 22.0, 1.0)]), AROUND, windows)
    assert found.fault is None


def test_no_counts_have_no_impacts() -> None:
    assert found_in([]) == ()


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


def test_without_calm_seconds_the_best_of_the_record_is_usual() -> None:
    nowhere = Surroundings(calm=frozenset(), limit_s=1.0, hold_s=5.0)
    assert found_in(frames([], noise=0.01), nowhere) == ()
    (found,) = found_in(frames([(20.0, 22.0, 1.0)], noise=0.01), nowhere)
    assert (round(found.start_s, 1), round(found.end_s, 1)) == (20.0, 22.0)
