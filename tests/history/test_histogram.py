"""The histogram against its own definition and against the independent `hdrhistogram` library."""

from __future__ import annotations

import base64

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import RecordError
from harness.history.histogram import MAX_US, Histogram, bounds_of, index_of

VALUES = st.lists(st.integers(1, MAX_US) | st.integers(1, 5000), max_size=60)


def of(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(st.integers(1, MAX_US))
def test_a_value_lies_in_its_bucket_which_is_at_most_a_thousandth_wide(us):
    lo, hi = bounds_of(index_of(us))
    assert lo <= us < hi
    assert hi - lo == 1 or (hi - lo) / lo <= 0.001


def test_values_outside_the_range_are_clamped():
    assert of([-5, 0, MAX_US + 1]) == of([1, 1, MAX_US])


@settings(max_examples=30)
@given(VALUES, VALUES)
def test_merging_is_recording_in_one(left, right):
    assert of(left) + of(right) == of(left + right) == Histogram.merged([of(right), of(left)])


@settings(max_examples=20)
@given(VALUES)
def test_what_is_encoded_is_decoded(values):
    assert Histogram.decode(of(values).encode()) == of(values)


@settings(max_examples=20)
@given(VALUES.filter(bool))
def test_the_hdrhistogram_library_reads_what_we_write(values):
    theirs = HdrHistogram.decode(of(values).encode())
    expected = HdrHistogram(1, MAX_US, 3)
    for value in values:
        expected.record_value(value)
    assert theirs.get_total_count() == len(values)
    assert list(theirs.counts) == list(expected.counts)


@settings(max_examples=20)
@given(VALUES)
def test_we_read_what_the_hdrhistogram_library_writes(values):
    theirs = HdrHistogram(1, MAX_US, 3)
    for value in values:
        theirs.record_value(value)
    assert Histogram.decode(theirs.encode().decode()) == of(values)


def test_large_counts_survive_both_ways():
    ours = Histogram()
    ours.record(777, 1 << 40)
    assert HdrHistogram.decode(ours.encode()).get_total_count() == 1 << 40
    assert Histogram.decode(ours.encode()) == ours


@pytest.mark.parametrize("text", ["", "AAAA", "not base64", "HISTEgAAAAB42gEAAP//AAAAAQ=="])
def test_anything_else_is_a_record_error(text):
    with pytest.raises(RecordError, match="HdrHistogram V2"):
        Histogram.decode(text)


@pytest.mark.parametrize(("highest", "digits"), [(MAX_US, 2), (24 * MAX_US, 3)])
def test_another_layout_is_a_record_error(highest, digits):
    message = f"not of 3 digits from 1 to 3600000000; it has {digits} digits from 1 to {highest}"
    with pytest.raises(RecordError, match=message):
        Histogram.decode(HdrHistogram(1, highest, digits).encode().decode())


def test_quantiles_are_buckets_of_the_empirical_distribution():
    histogram = of([100, 200, 300, 400])
    assert [histogram.quantile(q) for q in (0, 0.25, 0.26, 0.5, 1)] == [
        (100, 101),
        (100, 101),
        (200, 201),
        (200, 201),
        (400, 401),
    ]


def test_rounding_does_not_ask_for_one_value_more():
    assert of(list(range(1, 101))).quantile(0.95) == (95, 96)


def test_an_empty_histogram_has_no_quantile_and_no_maximum():
    assert Histogram().max is None
    with pytest.raises(ValueError, match="an empty histogram has no quantiles"):
        Histogram().quantile(0.5)


@given(VALUES, st.floats(0.5, MAX_US))
def test_counts_above_a_threshold_are_bounded(values, us):
    definitely, possibly = of(values).count_above(us)
    truth = sum(value > us for value in values)
    assert definitely <= truth <= possibly


def test_only_the_bucket_of_the_threshold_is_in_doubt():
    histogram = of([299_000, 300_000, 301_000])
    assert histogram.count_above(300_010) == (1, 2)
    assert histogram.total == 3
    assert histogram.max == 301_056


def test_what_was_read_is_the_same_before_and_after_it_was_looked_at() -> None:
    """A histogram from a record is unpacked when somebody looks, and may be recorded into."""
    written = Histogram({1: 3, 700: 80, 5000: 9000})
    read = [Histogram.decode(written.encode()) for _ in range(6)]
    assert (bool(read[0]), bool(Histogram.decode(Histogram().encode()))) == (True, False)
    assert (read[1].total, read[1].max, read[1].quantile(0.5)) == (9083, written.max, written.quantile(0.5))
    assert [read[2].count_above(us) for us in (0.5, 1, 700, 1e9)] == [
        written.count_above(us) for us in (0.5, 1, 700, 1e9)
    ]
    assert Histogram.merged(read[3:5]) == Histogram({1: 6, 700: 160, 5000: 18000})
    read[5].record(700, 20)
    assert read[5] == Histogram({1: 3, 700: 100, 5000: 9000})


def test_damage_behind_the_beginning_is_told_when_somebody_looks() -> None:
    """Reading an hour's record does not unpack what nobody asks for."""
    raw = bytearray(base64.b64decode(Histogram({n: n for n in range(1, 300)}).encode()))
    raw[-3] ^= 0xFF
    damaged = Histogram.decode(base64.b64encode(raw).decode())
    with pytest.raises(RecordError, match=r"^a histogram of the record is damaged"):
        _ = damaged.total
