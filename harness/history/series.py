"""
Raw samples fetched from Prometheus, kept with the run so that judging needs no Prometheus.

An hour of a service with fifty SLIs of twenty series is 3.6 million samples. They are two columns of float64 per series
(16 bytes a sample instead of about 130 as tuples of Python floats), and the series of one target share the column of
times when they come from a record, because Prometheus stamps all that it scrapes at once with one time.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import sub
from typing import Any, Literal

Role = Literal["value", "slice", "stretch", "bad", "total", "bucket", "count", "up"]
Labels = tuple[tuple[str, str], ...]

EVERY_SLI = ""  # stands where a series is evidence for all the SLIs of its phase: scrape health


class Samples:
    """
    (time, value) pairs in time order, kept as two columns that nobody changes.

    Times are seconds since run start. Equal when every bit of both columns is, so that a NaN equals itself.
    """

    __slots__ = ("_longest_gap_s", "times", "values")

    times: array[float]
    values: array[float]
    _longest_gap_s: float | None

    def __init__(self, times: array[float], values: array[float]) -> None:
        if len(times) != len(values):
            raise ValueError(f"{len(times)} times for {len(values)} values")
        self.times = times
        self.values = values
        self._longest_gap_s = None

    @property
    def longest_gap_s(self) -> float:
        """The longest time between two neighbouring samples, 0 without two; worked out once."""
        if self._longest_gap_s is None:
            self._longest_gap_s = max(map(sub, self.times[1:], self.times), default=0.0)
        return self._longest_gap_s

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, float]]) -> Samples:
        """The pairs as columns."""
        times, values = array("d"), array("d")
        for t_s, value in pairs:
            times.append(t_s)
            values.append(value)
        return cls(times, values)

    def __len__(self) -> int:
        return len(self.times)

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return zip(self.times, self.values, strict=True)

    def __getitem__(self, index: int) -> tuple[float, float]:
        return self.times[index], self.values[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Samples):
            return NotImplemented
        same_times = self.times is other.times or self.times.tobytes() == other.times.tobytes()
        return same_times and self.values.tobytes() == other.values.tobytes()

    def __hash__(self) -> int:
        return hash((self.times.tobytes(), self.values.tobytes()))

    def __repr__(self) -> str:
        return f"Samples.of({list(self)!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """
    The samples of one labelled series.

    `role` says what was asked: `value` the template at the window's end, `slice` the template per slice, `stretch` the
    template over every stretch as long as a rule's `in any DURATION`; `bad`/`total` raw counter samples; `bucket` raw
    samples of a histogram's cumulative buckets (label `le`), `count` of its number of observations; `up` raw scrape
    health, of every target of the service: once per phase, for EVERY_SLI.
    Sample times are seconds since run start (from the run's wall-clock anchor), with sub-second precision. NaN and
    infinities are kept as they came.
    """

    sli: str
    phase: str
    role: Role
    query: str  # PromQL exactly as sent
    labels: Labels  # sorted
    samples: Samples

    def __post_init__(self) -> None:
        """Literal pairs will do where a series is written by hand."""
        given: Any = self.samples
        if not isinstance(given, Samples):
            object.__setattr__(self, "samples", Samples.of(given))

    def label(self, name: str) -> str | None:
        """The value of a label."""
        return next((value for key, value in self.labels if key == name), None)


def filled(template: str, selector: str, window_ms: int) -> str:
    """A PromQL template with `$selector` and `$window` put in; by plain replacement, as PromQL itself uses `$`."""
    return template.replace("$selector", selector).replace("$window", f"{window_ms}ms")
