"""
Histograms read from Prometheus: how many observations lay above a limit, decided at the buckets' edges.

A quantile is never interpolated to decide anything: `p95 > T` is "the share above T is more than 5 %". With a bucket's
edge at T that share is exact; otherwise it is known only within the bucket T lies in. Native histograms are recorded as
the cumulative buckets they have, so the same holds of them, with edges that are closer together.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.history.series import Labels, Series
from harness.plan.model import Unit
from harness.units import show
from harness.verdict.counters import Rise, rise_of
from harness.verdict.model import Reason
from harness.verdict.ruling import Bounds, NoEvidenceError
from harness.verdict.scraped import ServerWindow


@dataclass(frozen=True, slots=True)
class Histogram:
    """One histogram's rise in a window: cumulative per edge (ascending, the last may be infinite), and in all."""

    edges: tuple[float, ...]
    rises: tuple[Rise, ...]
    count: Rise
    native: bool

    def up_to(self, limit: float) -> tuple[Rise | None, Rise]:
        """The rises of at most and of at least what lies up to `limit`; the same one where an edge is there."""
        at = bisect_left(self.edges, limit)
        if at < len(self.edges) and self.edges[at] == limit:
            return self.rises[at], self.rises[at]
        return self.rises[at - 1] if at else None, self.rises[at] if at < len(self.edges) else self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Above:
    """
    Observations above a limit: the least and the most they may be, per slice; and all observations.

    `between` names the edges around the limit where there is none at it.
    """

    least: tuple[float, ...]
    most: tuple[float, ...]
    totals: tuple[float, ...]
    total: float
    unseen: float
    ended: int
    unknown: frozenset[int]
    between: str | None


def histograms_of(window: ServerWindow, slice_s: float) -> tuple[Histogram, ...]:
    """
    Every histogram of the window, one per target and labels.

    Of a target that exposes both forms the edges of both are used. Raises NoEvidenceError without any buckets, or where
    a histogram's buckets changed inside the window.
    """
    grouped: dict[Labels, dict[float, Series]] = {}
    for one in window.of("bucket"):
        grouped.setdefault(_without_edge(one), {})[_edge(one)] = one
    counts = {_without_edge(one): one for one in window.of("count")}
    if not grouped:
        raise NoEvidenceError(Reason.NO_SAMPLES, "no buckets of the histogram; is that its name, without _bucket?")
    return tuple(
        _histogram(window, by_edge, counts.get(labels), slice_s) for labels, by_edge in sorted(grouped.items())
    )


def _histogram(
    window: ServerWindow, by_edge: Mapping[float, Series], count: Series | None, slice_s: float
) -> Histogram:
    edges = tuple(sorted(by_edge))
    series = [by_edge[edge] for edge in edges]
    _refuse_changed(window, series)
    rises = tuple(rise_of(window, (one,), slice_s) for one in series)
    if count is None and edges[-1] != math.inf:
        raise NoEvidenceError(Reason.NO_SAMPLES, "the histogram has neither a _count nor a bucket +Inf")
    return Histogram(
        edges=edges,
        rises=rises,
        count=rises[-1] if count is None else rise_of(window, (count,), slice_s),
        native=not (series[0].label("__name__") or "_bucket").endswith("_bucket"),
    )


def _refuse_changed(window: ServerWindow, series: Sequence[Series]) -> None:
    """All buckets of one histogram are scraped at once: where some began or ended apart, the layout changed."""
    begins = [one.samples.times[0] for one in series if len(one.samples)]
    ends = [one.samples.times[-1] for one in series if len(one.samples)]
    apart_s = max(max(begins) - min(begins), max(ends) - min(ends)) if begins else 0.0
    if apart_s > window.scrape_s / 2:
        detail = "the buckets of a histogram changed inside the window, so that its shares cannot be added up"
        raise NoEvidenceError(Reason.BUCKETS_CHANGED, detail)


def above(histograms: Sequence[Histogram], limit: Bounds) -> Above:
    """Observations above a limit that is known within bounds, over all the histograms."""
    least, most, between = [], [], None
    for one in histograms:
        under, over = one.up_to(limit[0])[0], one.up_to(limit[1])[1]
        most.append(one.count.slices if under is None else _less(one.count.slices, under.slices))
        least.append(_less(one.count.slices, over.slices))
        if under is not over and limit[0] == limit[1]:
            between = _around(one, limit[0])
    totals = _added([one.count.slices for one in histograms])
    return Above(
        least=_added(least),
        most=_added(most),
        totals=totals,
        total=math.fsum(totals),
        unseen=math.fsum(one.count.unseen + one.count.doubtful for one in histograms),
        ended=sum(one.count.ended for one in histograms),
        unknown=frozenset().union(*(one.count.unknown for one in histograms)),
        between=between,
    )


def quantile_bucket(histograms: Sequence[Histogram], rank: float) -> tuple[float, float, float] | None:
    """
    Lower edge, interpolated value and upper edge of the bucket with the observation of this rank (0 to the count).

    Merged over the edges that all histograms have. None without any observation; value and upper edge are infinite
    above the last finite edge.
    """
    common = sorted(set.intersection(*(set(one.edges) for one in histograms)) | {math.inf})
    counts = [
        math.fsum(one.count.total if edge == math.inf else one.up_to(edge)[1].total for one in histograms)
        for edge in common
    ]
    if counts[-1] <= 0:
        return None
    at = min(bisect_left(counts, rank), len(counts) - 1)
    lower, below = (common[at - 1], counts[at - 1]) if at else (min(0.0, common[0]), 0.0)
    upper, inside = common[at], counts[at] - below
    if upper == math.inf:
        return lower, math.inf, math.inf
    return lower, lower + (upper - lower) * min(max((rank - below) / inside, 0.0), 1.0) if inside > 0 else upper, upper


def _around(one: Histogram, limit: float) -> str:
    at = bisect_right(one.edges, limit)
    lower = show(one.edges[at - 1], Unit.SECONDS) if at else "0s"
    if at >= len(one.edges) or one.edges[at] == math.inf:
        return f"the last bucket with an end is {lower}"
    remedy = "raise the native histogram's resolution" if one.native else f"add a bucket at {show(limit, Unit.SECONDS)}"
    return f"its bucket spans {lower} to {show(one.edges[at], Unit.SECONDS)}; {remedy}"


def _edge(series: Series) -> float:
    text = series.label("le")
    try:
        return float(text) if text is not None else math.nan
    except ValueError:
        raise NoEvidenceError(
            Reason.UNDEFINED_VALUE, f"a bucket has the edge le='{text}', which is no number"
        ) from None


def _without_edge(series: Series) -> Labels:
    """What tells histograms apart: all labels but the edge, and the name without its ending."""
    name = (series.label("__name__") or "").removesuffix("_bucket").removesuffix("_count")
    return tuple((key, name if key == "__name__" else value) for key, value in series.labels if key != "le")


def _less(totals: Sequence[float], parts: Sequence[float]) -> list[float]:
    return [max(total - part, 0.0) for total, part in zip(totals, parts, strict=True)]


def _added(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(map(math.fsum, zip(*rows, strict=True)))
