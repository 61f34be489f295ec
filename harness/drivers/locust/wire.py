"""
The layout of what a worker sends once a second: for each second, stream and series, counts and values as bytes.

Made so that the master, which hears of 1,500,000 arrivals a second from a thousand workers, does nothing per arrival in
Python: all counters of a series are lanes of one long integer, which adds up like one, and values come as buckets'
numbers of 16 bits, which are counted in C. Little-endian. `VERSION` changes with the layout; master and workers of
different versions refuse each other before anything is sent.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence

from harness.history.load import BINS_PER_SECOND

VERSION = 1

COUNTS = 6  # sent, ok, failed, timed out, dropped, lost
HISTOGRAMS = 4  # response, service, lag, failed response
STEP_COUNTS = 3  # ok, failed, timed out

_HEAD = struct.Struct("<IIB")  # second, arrivals settled, whether steps follow
_LENGTH = struct.Struct("<I")
_LANE = 4  # bytes of a counter: none reaches 2**32 within the seconds that are added up


class Lanes:
    """Counters side by side in one integer."""

    __slots__ = ("_sum",)

    def __init__(self) -> None:
        self._sum = 0

    def add(self, data: bytes) -> None:
        """Add what `lanes` made."""
        self._sum += int.from_bytes(data, "little")

    def values(self, n: int) -> tuple[int, ...]:
        """The first `n` counters."""
        return struct.unpack(f"<{n}I", self._sum.to_bytes(n * _LANE, "little"))


def lanes(counters: Iterable[Sequence[int]]) -> bytes:
    """All counters of the groups as lanes; zeros at the end cost nothing."""
    values = [count for group in counters for count in group]
    while values and not values[-1]:
        values.pop()
    return struct.pack(f"<{len(values)}I", *values)


def counters_of(limits: int) -> tuple[int, int, int, int]:
    """Lanes of an arrival's cell: where slower counts, good bins and bad bins begin, and how many there are."""
    slower = COUNTS
    good = slower + limits
    bad = good + BINS_PER_SECOND
    return slower, good, bad, bad + BINS_PER_SECOND


class Writer:
    """Puts one thing after another."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def head(self, second: int, settled: int, *, steps: bool) -> None:
        """What a cell begins with."""
        self._parts.append(_HEAD.pack(second, settled, steps))

    def put(self, data: bytes) -> None:
        """Bytes of any length."""
        self._parts += (_LENGTH.pack(len(data)), data)

    def text(self, text: str) -> None:
        """A name."""
        self.put(text.encode())

    def buckets(self, values: array[int]) -> None:
        """Values, as buckets' numbers."""
        if sys.byteorder == "big":
            values = values[:]
            values.byteswap()
        self.put(values.tobytes())

    def named(self, counts: Iterable[tuple[str, int]]) -> None:
        """Counts by name."""
        self.put("\n".join(f"{count} {name}" for name, count in counts).encode())

    def data(self) -> bytes:
        """All of it."""
        return b"".join(self._parts)


class Reader:
    """Takes one thing after another, as Writer put them."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> bool:
        """Whether there is more."""
        return self._at < len(self._data)

    def head(self) -> tuple[int, int, bool]:
        """Second, arrivals settled, and whether steps follow."""
        second, settled, steps = _HEAD.unpack_from(self._data, self._at)
        self._at += _HEAD.size
        return second, settled, bool(steps)

    def take(self) -> bytes:
        """Bytes of any length."""
        start = self._at + _LENGTH.size
        self._at = start + _LENGTH.unpack_from(self._data, self._at)[0]
        return self._data[start : self._at]

    def text(self) -> str:
        """A name."""
        return self.take().decode()

    def named(self) -> dict[str, int]:
        """Counts by name."""
        pairs = (line.partition(" ") for line in self.text().splitlines())
        return {name: int(count) for count, _, name in pairs}


def buckets_of(data: bytes) -> array[int]:
    """Buckets' numbers from the bytes that Writer.buckets put, or from several such strung together."""
    values = array("H", data)
    if sys.byteorder == "big":
        values.byteswap()
    return values
