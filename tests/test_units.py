import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.units import UnitError, quantity, show

UNITS = ("s", "ratio", "/s", "B", "count")


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("300ms", "s", 0.3),
        ("15s", "s", 15.0),
        ("1m30s", "s", 90.0),
        ("2h", "s", 7200.0),
        ("1d12h", "s", 129_600.0),
        ("1.5s", "s", 1.5),
        ("250us", "s", 0.00025),
        ("0s", "s", 0.0),
        ("1.5%", "ratio", 0.015),
        ("0.1%", "ratio", 0.001),
        ("99.9%", "ratio", 0.999),
        ("150 %", "ratio", 1.5),
        ("400/s", "/s", 400.0),
        ("24000/min", "/s", 400.0),
        ("776k/s", "/s", 776_000.0),
        ("1.2M/s", "/s", 1_200_000.0),
        ("36k/h", "/s", 10.0),
        ("512MB", "B", 512e6),
        ("512 MB", "B", 512e6),
        ("512MiB", "B", 512 * 2**20),
        ("1kB", "B", 1000.0),
        ("1KiB", "B", 1024.0),
        ("7B", "B", 7.0),
        ("90", "count", 90.0),
        ("1.5", "count", 1.5),
        ("776k", "count", 776_000.0),
    ],
)
def test_text_with_its_unit_is_read_as_a_number(text, unit, value):
    assert quantity(text, unit) == value


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        ("15", "s", "'15' has no unit; write a duration, e.g. 300ms, 15s, 1m30s or 2h"),
        ("1e3", "s", "'1e3' has no unit; write a duration, e.g. 300ms, 15s, 1m30s or 2h"),
        ("1:30", "s", "'1:30' is not a duration; write e.g. 300ms, 15s, 1m30s or 2h"),
        ("-5s", "s", "'-5s' is not a duration; write e.g. 300ms, 15s, 1m30s or 2h"),
        ("5 m", "s", "'5 m' is not a duration; write e.g. 300ms, 15s, 1m30s or 2h"),
        ("", "s", "'' is not a duration; write e.g. 300ms, 15s, 1m30s or 2h"),
        ("30s1m", "s", "'30s1m' names its parts out of order or twice; write the larger unit first, e.g. 1h30m"),
        ("1m1m", "s", "'1m1m' names its parts out of order or twice; write the larger unit first, e.g. 1h30m"),
        ("0.015", "ratio", "'0.015' has no unit; write a percentage, e.g. 1.5%"),
        ("500ms", "ratio", "'500ms' is not a percentage; write e.g. 1.5%"),
        ("400", "/s", "'400' has no unit; write a rate, e.g. 400/s, 24000/min or 776k/s"),
        ("400rps", "/s", "'400rps' is not a rate; write e.g. 400/s, 24000/min or 776k/s"),
        ("512", "B", "'512' has no unit; write a size, e.g. 512MB or 512MiB"),
        ("512mb", "B", "'512mb' is not a size; write e.g. 512MB or 512MiB"),
        ("90%", "count", "'90%' is not a count; write e.g. 90 or 776k"),
        ("٣s", "s", "'٣s' is not a duration; write e.g. 300ms, 15s, 1m30s or 2h"),
        ("9" * 400, "count", "'99999999999999999999...' is too large"),
    ],
)
def test_text_that_is_no_such_quantity_is_refused_with_what_to_write(text, unit, message):
    with pytest.raises(UnitError) as caught:
        quantity(text, unit)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "s", "0s"),
        (0.3, "s", "300ms"),
        (0.01234, "s", "12.3ms"),
        (0.00025, "s", "250us"),
        (0.9999, "s", "1s"),
        (12.345, "s", "12.3s"),
        (59.99, "s", "1m"),
        (90.0, "s", "1m30s"),
        (62.5, "s", "1m2.5s"),
        (3600.0, "s", "1h"),
        (7325.4, "s", "2h2m5s"),
        (0.015, "ratio", "1.5%"),
        (0.0, "ratio", "0%"),
        (1.0, "ratio", "100%"),
        (1.5, "ratio", "150%"),
        (0.9995, "ratio", "99.95%"),
        (400.0, "/s", "400/s"),
        (1234.5, "/s", "1234/s"),
        (13_500.0, "/s", "13.5k/s"),
        (776_000.0, "/s", "776k/s"),
        (1_200_000.0, "/s", "1.2M/s"),
        (512e6, "B", "512MB"),
        (90.0, "count", "90"),
        (-0.05, "ratio", "-5%"),
        (math.inf, "s", "inf"),
    ],
)
def test_numbers_are_shown_short_and_with_their_unit(value, unit, text):
    assert show(value, unit) == text


@given(value=st.floats(min_value=0, max_value=1e12, allow_subnormal=False), unit=st.sampled_from(UNITS))
def test_what_is_shown_reads_back_to_nearly_the_same_number(value, unit):
    assert quantity(show(value, unit), unit) == pytest.approx(value, rel=0.0051)


@given(text=st.text(max_size=20), unit=st.sampled_from(UNITS))
def test_any_text_is_a_finite_number_that_is_not_negative_or_refused(text, unit):
    try:
        value = quantity(text, unit)
    except UnitError:
        return
    assert value >= 0
    assert math.isfinite(value)
