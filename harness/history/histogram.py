"""
A mergeable histogram of microseconds: the buckets and the V2 encoding of HdrHistogram with 3 significant digits.

Recording costs one index computation and one dict update; a value's bucket is at most 0.1 % of it wide.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterable

from harness.errors import RecordError

MIN_US = 1
MAX_US = 3_600_000_000  # one hour

# HdrHistogram's layout for 3 digits: values below 2048 have a bucket each; every later doubling has 1024.
_HALF_BITS = 10
_HALF = 1 << _HALF_BITS
_FULL_BITS = _HALF_BITS + 1

# https://github.com/HdrHistogram/HdrHistogram: the V2 encoding and its compressed wrapping, both big-endian.
_ENCODING_COOKIE = 0x1C849303 | 0x10
_COMPRESSED_COOKIE = 0x1C849304 | 0x10
_WRAPPING = struct.Struct(">II")  # cookie, compressed length
_HEADER = struct.Struct(">IIIIQQd")  # cookie, payload length, offset, digits, lowest, highest, ratio


class Histogram:
    """Counts of whole microseconds, 1 us .. 1 h; values outside are clamped. Equal when all counts are equal."""

    __slots__ = ("counts",)

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self.counts: dict[int, int] = counts or {}  # bucket index -> count, only non-zero

    def record(self, us: int, n: int = 1) -> None:
        """Count a value of `us` whole microseconds (rounded down by the caller) `n` times."""
        if n:
            index = index_of(us)
            self.counts[index] = self.counts.get(index, 0) + n

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram.merged((self, other))

    @classmethod
    def merged(cls, histograms: Iterable[Histogram]) -> Histogram:
        """The sum of all: as if every value had been recorded in one."""
        counts: dict[int, int] = {}
        for histogram in histograms:
            for index, n in histogram.counts.items():
                counts[index] = counts.get(index, 0) + n
        return cls(counts)

    def __eq__(self, other: object) -> bool:
        return self.counts == other.counts if isinstance(other, Histogram) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # counts change

    def __repr__(self) -> str:
        return f"Histogram({dict(sorted(self.counts.items()))})"

    @property
    def total(self) -> int:
        """How many values were recorded."""
        return sum(self.counts.values())

    @property
    def max(self) -> int | None:
        """Microseconds that no recorded value reaches: the upper edge of the highest bucket used; None when empty."""
        return bounds_of(max(self.counts))[1] if self.counts else None

    def count_above(self, us: float) -> tuple[int, int]:
        """
        Bounds on how many values exceed `us` microseconds: (definitely above, possibly above).

        They differ by what lies in the bucket in which `us` falls.
        """
        definitely = possibly = 0
        for index, n in self.counts.items():
            lo, hi = bounds_of(index)
            definitely += n if lo > us else 0
            possibly += n if hi > us else 0
        return definitely, possibly

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
        for index in sorted(self.counts):
            seen += self.counts[index]
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
        """The histogram that `text` encodes. Raises RecordError when it is not V2, or of another layout than ours."""
        try:
            raw = base64.b64decode(text, validate=True)
            cookie, length = _WRAPPING.unpack_from(raw)
            data = zlib.decompress(raw[_WRAPPING.size : _WRAPPING.size + length])
            inner, payload_length, offset, digits, lowest, _highest, _ratio = _HEADER.unpack_from(data)
        except (binascii.Error, struct.error, zlib.error, ValueError) as error:
            raise RecordError(f"histogram {text[:40]!r}: not an HdrHistogram V2 encoding ({error})") from error
        if (cookie, inner, offset, digits, lowest) != (_COMPRESSED_COOKIE, _ENCODING_COOKIE, 0, 3, MIN_US):
            raise RecordError(f"histogram {text[:40]!r}: not V2 with 3 digits from 1; it has {digits} from {lowest}")
        return cls(_words_to_counts(data[_HEADER.size : _HEADER.size + payload_length]))


def index_of(us: int) -> int:
    """The index of the bucket that holds `us` microseconds."""
    us = MIN_US if us < MIN_US else min(us, MAX_US)
    doubling = us.bit_length() - _FULL_BITS
    return us if doubling <= 0 else (doubling << _HALF_BITS) + (us >> doubling)


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


def _words_to_counts(payload: bytes) -> dict[int, int]:
    counts: dict[int, int] = {}
    index = word = shift = 0
    for byte in payload:
        # A word has at most 9 bytes; the ninth holds 8 bits.
        last = byte < 0x80 or shift == 56
        word |= (byte if shift == 56 else byte & 0x7F) << shift
        if not last:
            shift += 7
            continue
        if word & 1:
            index += (word + 1) >> 1
        else:
            if word:
                counts[index] = word >> 1
            index += 1
        word = shift = 0
    return counts
