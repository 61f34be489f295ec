"""The workers' counts added up: one frame per second, stream and series, however many workers there are. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.drivers.locust.wire import (
    HISTOGRAMS,
    STEP_COUNTS,
    Lanes,
    Reader,
    buckets_of,
    counters_of,
)
from harness.history.histogram import Histogram
from harness.history.load import FailedRequest, LoadFrame, Slower, Steps

FAILURES_PER_CLASS = 5  # kept between two calls of `take`, per class of failure
FAILURES_MAX = 2000  # kept of a run
DETAIL_MAX = 200  # characters
_HELD_MAX = 1 << 18  # bytes of values that are kept before they are counted
_MANY = 1 << 13  # so many values are counted faster in a list of all buckets than in a dict


class Collector:
    """
    Adds up what Tally.take made until `take` hands it over; the sum is the same however arrivals were divided.

    `limits_us` are the tallies'.
    """

    def __init__(self, limits_us: Sequence[int] = ()) -> None:
        self._limits_us = tuple(limits_us)
        self._sums: dict[tuple[int, str, str], _Sum] = {}
        self._tray = [0] * (1 << 16)

    def add(self, data: bytes) -> Counter[tuple[str, int]]:
        """Add it; how many arrivals of each stream and second are settled by it."""
        settled: Counter[tuple[str, int]] = Counter()
        reader = Reader(data)
        while reader.left:
            second, done, steps = reader.head()
            stream, series = reader.text(), reader.text()
            found = self._sums.get((second, stream, series))
            if found is None:
                found = self._sums[second, stream, series] = _Sum(self._tray)
            found.add(reader, steps=steps)
            if done:
                settled[stream, second] += done
        return settled

    def take(self) -> tuple[LoadFrame, ...]:
        """One frame of each second, stream and series added since the last call, in this order."""
        sums, self._sums = self._sums, {}
        return tuple(sums[key].frame(*key, self._limits_us) for key in sorted(sums))


class FailureSample:
    """A bounded sample of failed requests: the first few of every class in every second, so many in all."""

    def __init__(self, most: int = FAILURES_MAX) -> None:
        self._left = most
        self._taken: Counter[str] = Counter()
        self._sample: list[FailedRequest] = []

    def wants(self, error: str) -> bool:
        """Whether a failure of that class would be kept; asked first, since most are not."""
        return self._left > 0 and self._taken[error] < FAILURES_PER_CLASS

    def add(self, failure: FailedRequest) -> None:
        """Keep the failure if it is wanted."""
        if self.wants(failure.error):
            self._left -= 1
            self._taken[failure.error] += 1
            self._sample.append(failure)

    def take(self) -> tuple[FailedRequest, ...]:
        """What was kept since the last call, which should be a second ago."""
        sample, self._sample = self._sample, []
        self._taken.clear()
        return tuple(sample)


class _Values:
    """A histogram in the making: values are kept as they came and counted many at once."""

    __slots__ = ("_counts", "_held", "_tray")

    def __init__(self, tray: list[int]) -> None:
        self._counts: Counter[int] = Counter()
        self._held = bytearray()
        self._tray = tray  # a zero for every bucket; lent by all to all

    def add(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > _HELD_MAX:
            self._count()

    def histogram(self) -> Histogram:
        self._count()
        return Histogram(dict(self._counts))

    def _count(self) -> None:
        values = buckets_of(bytes(self._held))
        self._held.clear()
        if len(values) < _MANY:
            self._counts.update(values)
            return
        tray = self._tray
        for bucket in values:
            tray[bucket] += 1
        for bucket, count in enumerate(tray[: max(values) + 1]):
            if count:
                self._counts[bucket] += count
                tray[bucket] = 0


class _Sum:
    """A frame in the making."""

    __slots__ = ("_errors", "_lanes", "_steps", "_tray", "_values")

    def __init__(self, tray: list[int]) -> None:
        self._tray = tray
        self._lanes = Lanes()
        self._values = tuple(_Values(tray) for _ in range(HISTOGRAMS))
        self._errors: Counter[str] = Counter()
        self._steps: _StepSum | None = None

    def add(self, reader: Reader, *, steps: bool) -> None:
        self._lanes.add(reader.take())
        for values in self._values:
            values.add(reader.take())
        self._errors.update(reader.named())
        if steps:
            self._steps = self._steps or _StepSum(self._tray)
            self._steps.add(reader)

    def frame(self, second: int, stream: str, series: str, limits_us: Sequence[int]) -> LoadFrame:
        slower, good, bad, end = counters_of(len(limits_us))
        lanes = self._lanes.values(end)
        sent, ok, failed, timed_out, dropped, lost = lanes[:slower]
        response, service, lag, failed_response = (values.histogram() for values in self._values)
        return LoadFrame(
            second=second,
            stream=stream,
            series=series,
            sent=sent,
            ok=ok,
            failed=failed,
            timed_out=timed_out,
            dropped=dropped,
            lost=lost,
            response=response,
            service=service,
            lag=lag,
            failed_response=failed_response,
            slower=_slower(limits_us, lanes[slower:good]) if ok else (),
            good_bins=_bins(lanes[good:bad]),
            bad_bins=_bins(lanes[bad:]),
            errors=tuple(sorted(self._errors.items())),
            steps=self._steps.value(limits_us) if self._steps else None,
        )


class _StepSum:
    """Steps in the making."""

    __slots__ = ("_errors", "_lanes", "_response")

    def __init__(self, tray: list[int]) -> None:
        self._lanes = Lanes()
        self._response = _Values(tray)
        self._errors: Counter[str] = Counter()

    def add(self, reader: Reader) -> None:
        self._lanes.add(reader.take())
        self._response.add(reader.take())
        self._errors.update(reader.named())

    def value(self, limits_us: Sequence[int]) -> Steps:
        ok, failed, timed_out, *slower = self._lanes.values(STEP_COUNTS + len(limits_us))
        return Steps(
            ok=ok,
            failed=failed,
            timed_out=timed_out,
            response=self._response.histogram(),
            slower=_slower(limits_us, slower),
            errors=tuple(sorted(self._errors.items())),
        )


def shortened(text: object) -> str:
    """The detail of a failed request, not longer than is kept."""
    line = " ".join(str(text).split())
    return line if len(line) <= DETAIL_MAX else line[: DETAIL_MAX - 1] + "…"


def _bins(lanes: tuple[int, ...]) -> tuple[int, ...]:
    return lanes if any(lanes) else ()


def _slower(limits_us: Sequence[int], counts: Sequence[int]) -> Slower:
    return tuple(zip(limits_us, counts, strict=True))
