"""
How Prometheus' answers become samples: pure.

A native histogram's samples become what a classic one's are, cumulative counts per edge: at every edge that none of its
samples has inside a bucket. So a share is as exact as the buckets are, whatever the limit, also one of another day.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.drivers.prometheus.http import RefusedError
from harness.drivers.prometheus.questions import Question
from harness.history.series import Labels, Role, Samples, Series

Found = tuple[Labels, Samples]


class Gathered:
    """The series of one SLI in one window, from answers that may each hold a piece of their samples."""

    def __init__(self, sli: str, phase: str, t0_wall_ns: int) -> None:
        self._sli, self._phase, self._t0_wall_ns = sli, phase, t0_wall_ns
        self._plain: dict[tuple[Role, str, Labels], Samples] = {}
        self._native: dict[tuple[str, Labels], list[Any]] = {}

    def add(self, question: Question, result: Any) -> None:
        """Add an answer; those of one series must come in order of time. A sample that comes twice counts once."""
        if question.native:
            for one in result:
                known = self._native.setdefault((question.query, _labels(one)), [])
                last = known[-1][0] if known else -math.inf
                known += [sample for sample in one.get("histograms") or () if sample[0] > last]
            return
        for labels, samples in plain_samples_of(result, self._t0_wall_ns):
            key = (question.role, question.query, labels)
            before = self._plain.get(key)
            self._plain[key] = samples if before is None else _joined(before, samples)

    def series(self) -> list[Series]:
        """All that was found, in the order in which it was."""
        found = [self._series(*key, samples) for key, samples in self._plain.items()]
        for (query, labels), raw in self._native.items():
            found += [
                self._series(role, query, own, samples)
                for role, own, samples in native_samples_of(labels, raw, self._t0_wall_ns)
            ]
        return found

    def _series(self, role: Role, query: str, labels: Labels, samples: Samples) -> Series:
        return Series(sli=self._sli, phase=self._phase, role=role, query=query, labels=labels, samples=samples)


def _joined(before: Samples, after: Samples) -> Samples:
    fresh = bisect_right(after.times, before.times[-1])
    return Samples(before.times + after.times[fresh:], before.values + after.values[fresh:])


def plain_samples_of(result: Any, t0_wall_ns: int) -> Iterator[Found]:
    """
    (sorted labels, samples in seconds since run start) of each series in an API result: vector, matrix or scalar.

    Raises RefusedError for what has no plain numbers (strings, native histograms).
    """
    if result and not isinstance(result[0], Mapping):
        result = [{"metric": {}, "value": result}]  # a scalar is one bare sample
    for one in result:
        if "histogram" in one or "histograms" in one:
            raise RefusedError(
                "the answer is a native histogram; wrap the query in histogram_quantile or histogram_fraction"
            )
        pairs = one["values"] if "values" in one else [one["value"]]
        try:
            values = array("d", (float(value) for _, value in pairs))
        except ValueError:
            raise RefusedError("the answer is a string, not a number") from None
        yield _labels(one), Samples(_times((at for at, _ in pairs), t0_wall_ns), values)


def native_samples_of(
    labels: Labels, raw: Sequence[tuple[float, Mapping[str, Any]]], t0_wall_ns: int
) -> Iterator[tuple[Role, Labels, Samples]]:
    """Cumulative buckets (role `bucket`, label `le`) and the count (role `count`) of one native histogram's samples."""
    if not raw:
        return
    times = _times((at for at, _ in raw), t0_wall_ns)
    buckets = [[_bucket(one) for one in sample.get("buckets") or ()] for _, sample in raw]
    counts = Samples(times, array("d", (float(sample["count"]) for _, sample in raw)))
    for edge in _common_edges(buckets):
        values = array("d", (_up_to(edge, sample) for sample in buckets))
        yield "bucket", tuple(sorted((*labels, ("le", f"{edge!r}")))), Samples(times, values)
    yield "bucket", tuple(sorted((*labels, ("le", "+Inf")))), counts
    yield "count", labels, counts


def _bucket(raw: Sequence[Any]) -> tuple[float, float, float]:
    """Lower edge, upper edge and count of a bucket as the API writes it; which ends are open makes no difference."""
    return float(raw[1]), float(raw[2]), float(raw[3])


def _common_edges(samples: Sequence[Sequence[tuple[float, float, float]]]) -> list[float]:
    """Edges above zero that lie inside no bucket of any sample: there every sample's cumulative count is known."""
    spans = sorted({(lower, upper) for sample in samples for lower, upper, _ in sample})
    edges = sorted({edge for span in spans for edge in span if math.isfinite(edge) and edge > 0})
    inside: set[float] = set()
    for lower, upper in spans:
        at = bisect_left(edges, upper) - 1
        while at >= 0 and edges[at] > lower:
            inside.add(edges[at])
            at -= 1
    return [edge for edge in edges if edge not in inside]


def _up_to(edge: float, sample: Sequence[tuple[float, float, float]]) -> float:
    return math.fsum(count for _, upper, count in sample if upper <= edge)


def _labels(one: Mapping[str, Any]) -> Labels:
    return tuple(sorted(one["metric"].items()))


def _times(unix_s: Iterator[float], t0_wall_ns: int) -> array[float]:
    return array("d", ((round(at * 1000) * 1_000_000 - t0_wall_ns) / 1e9 for at in unix_s))
