"""
A mergeable histogram of microseconds: the buckets and the V2 encoding of HdrHistogram with 3 significant digits.

Recording costs one index computation and one dict update; a value's bucket is at most 0.1 % of it wide.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from harness.errors import RecordError

MIN_US = 1
MAX_US = 3_600_000_000  # one hour

# HdrHistogram's layout for 3 digits: values below 2048 have a bucket each; every later doubling has 1024.
_HALF_BITS = 10
_HALF = 1 << _HALF_BITS
_FULL_BITS = _HALF_BITS + 1
_FULL = 1 << _FULL_BITS

_INDEXES = ((MAX_US.bit_length() - _FULL_BITS + 2) << _HALF_BITS) + 1  # more than any index of a value up to MAX_US

# https://github.com/HdrHistogram/HdrHistogram: the V2 encoding and its compressed wrapping, both big-endian.
_ENCODING_COOKIE = 0x1C849303 | 0x10
_COMPRESSED_COOKIE = 0x1C849304 | 0x10
_WRAPPING = struct.Struct(">II")  # cookie, compressed length
_HEADER = struct.Struct(">IIIIQQd")  # cookie, payload length, offset, digits, lowest, highest, ratio

_Columns = tuple["array[int]", "array[int]"]  # bucket indexes, ascending, and their counts, none of them zero


class Histogram:
    """
    Counts of whole microseconds, 1 us .. 1 h; values outside are clamped. Equal when all counts are equal.

    One that was read from a record stays as it was written until somebody looks at it, and is two columns then: an hour
    of them would be half a gigabyte of dicts, and most are only ever added up.
    """

    __slots__ = ("_columns", "_counts", "_packed", "_words")

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self._counts: dict[int, int] | None = counts or {}
        self._columns: _Columns | None = None
        self._packed: bytes | None = None
        self._words = 0  # bytes of words in it

    @property
    def counts(self) -> dict[int, int]:
        """Bucket index -> count, only non-zero."""
        if self._counts is None:
            indexes, numbers = self._read()
            self._counts, self._columns = dict(zip(indexes, numbers, strict=True)), None
        return self._counts

    def __bool__(self) -> bool:
        """Whether anything was recorded; of one still packed, whether its encoding has any word."""
        if self._packed is not None:
            return self._words > 0
        return bool(self._counts if self._counts is not None else self._read()[0])

    def record(self, us: int, n: int = 1) -> None:
        """Count a value of `us` whole microseconds (rounded down by the caller) `n` times."""
        if n:
            counts, index = self.counts, index_of(us)
            counts[index] = counts.get(index, 0) + n

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram.merged((self, other))

    @classmethod
    def merged(cls, histograms: Iterable[Histogram]) -> Histogram:
        """The sum of all: as if every value had been recorded in one."""
        sums, end = [0] * _INDEXES, 0  # faster than a dict, by half
        for histogram in histograms:
            end = max(end, histogram.add_to(sums))
        return cls({index: n for index, n in enumerate(sums[:end]) if n})

    def add_to(self, sums: list[int]) -> int:
        """Add the counts to `sums`, by bucket index, which must be long enough; returns where they end."""
        if self._packed is not None:
            return _add_words(_payload(self._packed), sums)  # most are added up once, and that is all
        for index, n in self.items():
            sums[index] += n
        return self.highest + 1 if self else 0

    def items(self) -> Iterable[tuple[int, int]]:
        """(bucket index, count) pairs, in no particular order, only non-zero."""
        return self._counts.items() if self._counts is not None else zip(*self._read(), strict=True)

    def _read(self) -> _Columns:
        """The columns, of a histogram that is not a dict."""
        if self._columns is None:
            assert self._packed is not None  # it is one of the three
            self._columns, self._packed = _words_to_columns(_payload(self._packed)), None
        return self._columns

    def __eq__(self, other: object) -> bool:
        return self.counts == other.counts if isinstance(other, Histogram) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # counts change

    def __repr__(self) -> str:
        return f"Histogram({dict(sorted(self.items()))})"

    @property
    def total(self) -> int:
        """How many values were recorded."""
        return sum(self._counts.values() if self._counts is not None else self._read()[1])

    @property
    def max(self) -> int | None:
        """Microseconds that no recorded value reaches: the upper edge of the highest bucket used; None when empty."""
        return bounds_of(self.highest)[1] if self else None

    @property
    def highest(self) -> int:
        """The index of the highest bucket used, of a histogram that is not empty."""
        return max(self._counts) if self._counts is not None else self._read()[0][-1]

    def count_above(self, us: float) -> tuple[int, int]:
        """
        Bounds on how many values exceed `us` microseconds: (definitely above, possibly above).

        They differ by what lies in the bucket in which `us` falls.
        """
        if us < MIN_US:
            return self.total, self.total
        # Indexes grow with the values: above the bucket of `us` all is above it, and its own may be, up to its end.
        own = index_of(int(us))
        within = own if bounds_of(own)[1] > us else own + 1
        if self._counts is None:
            indexes, numbers = self._read()
            return sum(numbers[bisect_right(indexes, own) :]), sum(numbers[bisect_left(indexes, within) :])
        above = [(index, n) for index, n in self._counts.items() if index >= own]
        return sum(n for index, n in above if index > own), sum(n for index, n in above if index >= within)

    def quantile(self, q: float) -> tuple[int, int]:
        """
        The half-open bucket [lo, hi), in microseconds, that holds the `q`-quantile, 0 <= q <= 1.

        The quantile is the smallest value that at least a share `q` of all values does not exceed (inverse of the
        empirical distribution). Raises ValueError when nothing was recorded.
        """
        total = self.total
        if not total:
            raise ValueError("an empty histogram has no quantiles")
        seen = 0
        for index, n in sorted(self.items()):
            seen += n
            # The tolerance keeps 0.95 * 100 from asking for the 96th value.
            if seen >= q * total * (1 - 1e-12):
                return bounds_of(index)
        raise ValueError(f"q must be in 0 .. 1, not {q!r}")

    def encode(self) -> str:
        """The histogram in HdrHistogram's V2 compressed encoding, base64; readable by every HdrHistogram library."""
        payload = _counts_to_words(self.counts)
        header = _HEADER.pack(_ENCODING_COOKIE, len(payload), 0, 3, MIN_US, MAX_US, 1.0)
        compressed = zlib.compress(header + payload)
        return base64.b64encode(_WRAPPING.pack(_COMPRESSED_COOKIE, len(compressed)) + compressed).decode("ascii")

    @classmethod
    def decode(cls, text: str) -> Histogram:
        """
        The histogram that `text` encodes. Raises RecordError when it is not V2, or of another layout than ours.

        Only what it begins with is looked at here; that the rest is whole shows when somebody looks at the counts.
        """
        try:
            raw = binascii.a2b_base64(text, strict_mode=True)
            cookie, length = _WRAPPING.unpack_from(raw)
            start = zlib.decompressobj().decompress(raw[_WRAPPING.size :], _HEADER.size)
            inner, words, offset, digits, lowest, highest, _ratio = _HEADER.unpack(start)
        except (binascii.Error, struct.error, zlib.error, ValueError) as error:
            raise RecordError(f"histogram {text[:40]!r}: not an HdrHistogram V2 encoding ({error})") from error
        if (cookie, inner, offset) != (_COMPRESSED_COOKIE, _ENCODING_COOKIE, 0):
            raise RecordError(f"histogram {text[:40]!r}: not an HdrHistogram V2 encoding (it begins otherwise)")
        if (digits, lowest, highest) != (3, MIN_US, MAX_US):
            layout = f"{digits} digits from {lowest} to {highest}"
            raise RecordError(f"histogram {text[:40]!r}: not of 3 digits from {MIN_US} to {MAX_US}; it has {layout}")
        if len(raw) < _WRAPPING.size + length:
            raise RecordError(f"histogram {text[:40]!r}: cut short, {len(raw)} bytes of {_WRAPPING.size + length}")
        found = cls()
        found._counts, found._packed, found._words = None, raw, words
        return found


def index_of(us: int) -> int:
    """The index of the bucket that holds `us` microseconds."""
    if us < _FULL:  # by far the most
        return us if us > 0 else MIN_US
    us = min(us, MAX_US)
    doubling = us.bit_length() - _FULL_BITS
    return (doubling << _HALF_BITS) + (us >> doubling)


def bounds_of(index: int) -> tuple[int, int]:
    """The half-open interval [lo, hi) of microseconds that falls into bucket `index`."""
    doubling = max((index >> _HALF_BITS) - 1, 0)
    lo = (index - (doubling << _HALF_BITS)) << doubling
    return lo, lo + (1 << doubling)


def _counts_to_words(counts: dict[int, int]) -> bytes:
    """Counts by index as ZigZag LEB128 words; a run of two or more zeros is one negative word."""
    words: list[int] = []
    following = 0
    for index in sorted(counts):
        gap = index - following
        if gap:
            words.append(2 * gap - 1 if gap > 1 else 0)
        words.append(2 * counts[index])
        following = index + 1
    out = bytearray()
    for word in words:
        while word > 0x7F:
            out.append(word & 0x7F | 0x80)
            word >>= 7  # noqa: PLW2901 - the word is shifted out
        out.append(word)
    return bytes(out)


def _payload(raw: bytes) -> bytes:
    """The words of an encoding whose beginning was found right; raises RecordError when the rest is damaged."""
    try:
        data = zlib.decompress(raw[_WRAPPING.size : _WRAPPING.size + _WRAPPING.unpack_from(raw)[1]])
    except zlib.error as error:
        raise RecordError(f"a histogram of the record is damaged ({error})") from error
    return data[_HEADER.size : _HEADER.size + _HEADER.unpack_from(data)[1]]


def _words_to_columns(payload: bytes) -> _Columns:
    indexes: list[int] = []
    numbers: list[int] = []
    index = 0
    rest = iter(payload)
    for byte in rest:
        word = byte
        if byte > 0x7F:
            second = next(rest, 0)
            word = byte & 0x7F | second << 7 if second < 0x80 else _long_word(byte, second, rest)
        if word & 1:
            index += (word + 1) >> 1
        else:
            if word:
                indexes.append(index)
                numbers.append(word >> 1)
            index += 1
    return array("i", indexes), array("q", numbers)


def _add_words(payload: bytes, sums: list[int]) -> int:
    """Add the counts to `sums`, by index; returns where they end. The walk above, without columns in between."""
    index = 0
    rest = iter(payload)
    for byte in rest:
        word = byte
        if byte > 0x7F:
            second = next(rest, 0)
            word = byte & 0x7F | second << 7 if second < 0x80 else _long_word(byte, second, rest)
        if word & 1:
            index += (word + 1) >> 1
        else:
            sums[index] += word >> 1
            index += 1
    return index


def _long_word(first: int, second: int, rest: Iterator[int]) -> int:
    """A word of three bytes or more: nine at most, of which the ninth holds 8 bits."""
    word, shift = first & 0x7F | (second & 0x7F) << 7, 14
    for byte in rest:
        if byte < 0x80 or shift == 56:
            return word | byte << shift
        word |= (byte & 0x7F) << shift
        shift += 7
    return word
