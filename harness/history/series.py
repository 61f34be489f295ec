"""Raw samples fetched from Prometheus, kept with the run so that judging needs no Prometheus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """
    The samples of one labelled series, in time order.

    `role` says what was asked: `value` the template at the window's end, `slice` the template per slice,
    `bad`/`total` raw counter samples, `up` raw scrape health (coverage). Sample times are seconds since run start
    (from the run's wall-clock anchor), with sub-second precision. NaN and infinities are kept as they came.
    """

    sli: str
    phase: str
    role: Literal["value", "slice", "bad", "total", "up"]
    query: str  # PromQL exactly as sent
    labels: tuple[tuple[str, str], ...]  # sorted
    samples: tuple[tuple[float, float], ...]  # (t_s, value)
