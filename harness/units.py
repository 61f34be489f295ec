"""
Quantities as people write them: "300ms" "1m30s" "1.5%" "400/s" "512MB" "776k"; the one place where they become numbers.

Inside: seconds, ratios 0-1, arrivals per second, bytes, plain counts. A unit is one of the strings "s", "ratio",
"/s", "B" and "count". Numbers are never negative: no quantity of the harness is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_DURATION_PART = re.compile(_NUMBER + r"(d|h|ms|m|us|s)")
_DURATION = re.compile(r"(?:" + _NUMBER + r"(?:d|h|ms|m|us|s))+")
_RATIO = re.compile(_NUMBER + r" ?%")
_RATE = re.compile(_NUMBER + r" ?([kM]?)/(s|min|h)")
_SIZE = re.compile(_NUMBER + r" ?([kMGT]?B|[KMGT]iB)")
_COUNT = re.compile(_NUMBER + r" ?([kM]?)")
_BARE = re.compile(r"[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?")

_TIME = {
    "d": Decimal(86_400),
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
    "us": Decimal("0.000001"),
}
_PREFIX = {"": 1, "k": 1_000, "M": 1_000_000}
_PER = {"s": 1, "min": 60, "h": 3600}
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BYTES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}

_KINDS = {
    "s": ("duration", "300ms, 15s, 1m30s or 2h"),
    "ratio": ("percentage", "1.5%"),
    "/s": ("rate", "400/s, 24000/min or 776k/s"),
    "B": ("size", "512MB or 512MiB"),
    "count": ("count", "90 or 776k"),
}


class UnitError(ValueError):
    """The text is not a quantity of the wanted unit; the message quotes it and says what to write."""


def quantity(text: str, unit: str) -> float:
    """The number that `text` stands for, in `unit` ("s", "ratio", "/s", "B" or "count"). Raises UnitError."""
    return _READERS[unit](text)


def seconds(text: str) -> float:
    """A duration in seconds: parts of d, h, m, s, ms, us, the larger first, each at most once. Raises UnitError."""
    if not _DURATION.fullmatch(text):
        raise _error(text, "s")
    parts = _DURATION_PART.findall(text)
    order = [list(_TIME).index(unit) for _, unit in parts]
    if order != sorted(set(order)):
        raise UnitError(f"'{text}' names its parts out of order or twice; write the larger unit first, e.g. 1h30m")
    return _number(text, sum(Decimal(number) * _TIME[unit] for number, unit in parts))


def ratio(text: str) -> float:
    """A percentage as a ratio: "1.5%" is 0.015, "150%" is 1.5. Raises UnitError."""
    match = _RATIO.fullmatch(text)
    if not match:
        raise _error(text, "ratio")
    return _number(text, Decimal(match[1]) / 100)


def rate(text: str) -> float:
    """A rate per second: "400/s", "24000/min", "776k/s", "1.2M/s". Raises UnitError."""
    match = _RATE.fullmatch(text)
    if not match:
        raise _error(text, "/s")
    return _number(text, Decimal(match[1]) * _PREFIX[match[2]] / _PER[match[3]])


def size(text: str) -> float:
    """Bytes: "512MB" is 512 million, "512MiB" is 512 x 2^20. Raises UnitError."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise _error(text, "B")
    return _number(text, Decimal(match[1]) * _BYTES[match[2]])


def count(text: str) -> float:
    """A plain number: "90", "2.5", "776k". Raises UnitError."""
    match = _COUNT.fullmatch(text)
    if not match:
        raise _error(text, "count")
    return _number(text, Decimal(match[1]) * _PREFIX[match[2]])


def show(value: float, unit: str) -> str:
    """
    The number for people, as text that `quantity` reads back to within 0.5 % of it.

    Three significant digits; of a ratio just below 1, three of what is missing from it (99.95%). A negative
    value (a difference) gets a minus sign, which `quantity` does not read.
    """
    if not math.isfinite(value):
        return str(value)
    return f"-{_SHOWS[unit](-value)}" if value < 0 else _SHOWS[unit](value)


def _error(text: str, unit: str) -> UnitError:
    kind, examples = _KINDS[unit]
    text = text if len(text) <= 40 else text[:40] + "..."
    if unit != "count" and _BARE.fullmatch(text):
        return UnitError(f"'{text}' has no unit; write a {kind}, e.g. {examples}")
    return UnitError(f"'{text}' is not a {kind}; write e.g. {examples}")


def _number(text: str, exact: Decimal | int) -> float:
    """The float nearest to what was written: 99.9% is 0.999, not 99.9 / 100."""
    value = float(exact)
    if not math.isfinite(value):
        raise UnitError(f"'{text[:20]}...' is too large")
    return value


def _show_seconds(value: float) -> str:
    if value < 59.95:
        if value == 0:
            return "0s"
        unit, factor = ("us", 1e6) if value < 0.9995e-3 else ("ms", 1e3) if value < 0.9995 else ("s", 1.0)
        return _digits(value * factor) + unit
    tenths = round(value * 10) if value < 3600 else round(value) * 10
    whole, tenth = divmod(tenths, 10)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    seconds_text = f"{rest}.{tenth}s" if tenth else f"{rest}s" if rest else ""
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "") + seconds_text


def _show_ratio(value: float) -> str:
    if 0.9 < value < 1:
        percent = f"{value * 100:.{_decimals((1 - value) * 100)}f}"
        return percent.rstrip("0").rstrip(".") + "%"
    return _digits(value * 100) + "%"


def _show_rate(value: float) -> str:
    return _prefixed(value, _PREFIX) + "/s"


def _show_size(value: float) -> str:
    return _prefixed(value, {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12})


def _show_count(value: float) -> str:
    return _prefixed(value, _PREFIX)


def _prefixed(value: float, prefixes: dict[str, int]) -> str:
    """The number in full below ten thousand, else with the largest prefix that leaves at least 1."""
    fitting = [prefix for prefix, factor in prefixes.items() if factor == 1 or value >= max(0.9995 * factor, 9995)]
    return _digits(value / prefixes[fitting[-1]]) + fitting[-1]


def _digits(value: float) -> str:
    """Three significant digits, whole numbers in full, no exponent."""
    text = f"{value:.{_decimals(value)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _decimals(value: float) -> int:
    """How many decimals three significant digits of the value need."""
    return max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0


_READERS: dict[str, Callable[[str], float]] = {"s": seconds, "ratio": ratio, "/s": rate, "B": size, "count": count}
_SHOWS: dict[str, Callable[[float], str]] = {
    "s": _show_seconds,
    "ratio": _show_ratio,
    "/s": _show_rate,
    "B": _show_size,
    "count": _show_count,
}
