"""Shares of bad events from Prometheus' raw samples: of two counters, or of a histogram above a limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from harness.plan.model import PrometheusSli
from harness.verdict.buckets import Histogram, above, histograms_of, quantile_bucket
from harness.verdict.counters import rise_of
from harness.verdict.interval import CONFIDENCE, Estimate, Second, design_effect, ratio_estimate, share_interval
from harness.verdict.model import Reason
from harness.verdict.ruling import Bounds, Measured, NoEvidenceError
from harness.verdict.scraped import ServerWindow

_BATCHES_MAX = 128  # so many slices are enough to tell how events bunch


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """
    Bad events, the least and the most there may be, and all events, per slice of `slice_s`.

    Beyond them up to `unseen` events were scraped by nobody, `unseen_bad` of them bad; a doubtful bad one, which may
    belong to the time before the window, is among the latter, too.
    """

    slice_s: float
    least: tuple[float, ...]
    most: tuple[float, ...]
    totals: tuple[float, ...]
    total: float
    unseen: float
    unseen_bad: float
    unknown: frozenset[int]  # slices of which too little was seen
    note: str
    between: str | None = None  # a histogram without an edge at the limit: where the limit lies

    @property
    def value(self) -> float:
        """The share of what was seen, with what is not known to be bad as good."""
        return min(math.fsum(self.least) / self.total, 1.0)

    def stretches(self, first: int, length: int) -> tuple[float, float, float]:
        """Least, most and total of so many slices from `first` on."""
        inside = slice(first, first + length)
        return math.fsum(self.least[inside]), math.fsum(self.most[inside]), math.fsum(self.totals[inside])

    def worst(self, length: int, whole: int) -> list[int]:
        """First slices of the stretches of so many of the first `whole` slices, that with the largest share first."""
        most, total = ([*accumulate(row, initial=0.0)] for row in (self.most, self.totals))
        shares = [
            ((most[i + length] - most[i]) / (total[i + length] - total[i]), -i)
            for i in range(whole - length + 1)
            if total[i + length] > total[i]
        ]
        return [-minus for _, minus in sorted(shares, reverse=True)]


def batch_s(window: ServerWindow) -> float:
    """How long the slices are whose spread tells how events bunch: whole slices, few enough to be cheap."""
    return window.slice_s * max(1, math.ceil(window.slices / _BATCHES_MAX))


def shares_of(window: ServerWindow, sli: PrometheusSli, limit: Bounds, slice_s: float) -> Shares:
    """The SLI's bad events; of a histogram those above `limit`. Raises NoEvidenceError when nothing was counted."""
    if sli.histogram is None:
        return window.once(("shares", sli, slice_s), lambda: _ratio(window, sli, slice_s))
    return window.once(("shares", slice_s, limit), lambda: _slower(window, limit, slice_s))


def estimate_of(window: ServerWindow, shares: Shares, confidence: float = CONFIDENCE) -> Estimate:
    """
    The share over the window with its interval; what nobody scraped may have been all good or all bad.

    At the upper end a fact is only what happened while a fault was on: else a longer impact would be less noise.
    """
    least = _seconds(window, shares, shares.least, window.disturbed)
    most = _seconds(window, shares, shares.most, window.facts)
    same = least == most and not shares.unseen_bad
    if shares.unseen or shares.unseen_bad:
        least.append(Second(shares.unseen, 0.0, disturbed=True))
        most.append(Second(max(shares.unseen, shares.unseen_bad), shares.unseen_bad, disturbed=True))
    return ratio_estimate(least, None if same else most, confidence)


def measured_share(window: ServerWindow, sli: PrometheusSli, coverage: float) -> Measured:
    """The share of bad events over the window."""
    slice_s = batch_s(window)
    shares = shares_of(window, sli, (0.0, 0.0), slice_s)
    found = window.once(("estimate", sli, slice_s), lambda: estimate_of(window, shares))
    low, high = min(found.lo, shares.value), max(found.hi, shares.value)
    return Measured(value=shares.value, lo=low, hi=high, samples=round(shares.total), coverage=coverage)


def measured_quantile(window: ServerWindow, q: float, coverage: float) -> Measured:
    """
    The q-quantile of a histogram: interpolated for people, within bounds that are sure.

    The bounds are the edges around the quantiles at the ends of the interval of a share 1 - q of this many events.
    """
    slice_s = batch_s(window)
    histograms = _histograms(window, slice_s)
    total = math.fsum(one.count.total for one in histograms)
    unseen = math.fsum(one.count.unseen + one.count.doubtful for one in histograms)
    middle = quantile_bucket(histograms, q * total) if total > 0 else None
    if middle is None:
        raise _nothing_served(window, unseen)
    edge = middle[2] if math.isfinite(middle[2]) else middle[0]
    slower = _slower(window, (edge, edge), slice_s)
    spread = design_effect(_seconds(window, slower, slower.least, window.disturbed))
    slow = (1 - q) * total
    low, high = share_interval((slow, slow + unseen), total + unseen, effect=spread)
    lowest, highest = quantile_bucket(histograms, (1 - high) * total), quantile_bucket(histograms, (1 - low) * total)
    return Measured(
        value=middle[1] if math.isfinite(middle[1]) else None,
        lo=None if lowest is None else lowest[0],
        hi=None if highest is None or not math.isfinite(highest[2]) else highest[2],
        samples=round(total),
        coverage=coverage,
    )


def bucket_matters(window: ServerWindow, shares: Shares) -> tuple[Bounds, Bounds]:
    """The intervals that the share would have if all in the limit's bucket were below the limit, and if all above."""
    ends = (estimate_of(window, replace(shares, least=bad, most=bad)) for bad in (shares.least, shares.most))
    low, high = ((one.lo, one.hi) for one in ends)
    return low, high


def _ratio(window: ServerWindow, sli: PrometheusSli, slice_s: float) -> Shares:
    """Of two counters: what `bad` rose by, and what `total` did."""
    bad_series, total_series = window.of("bad"), window.of("total")
    if not total_series:
        raise NoEvidenceError(Reason.NO_SAMPLES, "targets were scraped, but have no series of the total counter")
    if not bad_series and not sli.absent_means_zero:
        detail = "no series of the bad counter; write `absent: zero` if it appears only with the first bad event"
        raise NoEvidenceError(Reason.NO_SAMPLES, detail)
    bad, total = rise_of(window, bad_series, slice_s), rise_of(window, total_series, slice_s)
    unseen = total.unseen + total.doubtful
    if total.total <= 0:
        raise _nothing_served(window, unseen)
    unseen_bad = unseen if window.clients is None else min(unseen, float(window.clients.failed))
    slices = tuple(map(min, bad.slices, total.slices))
    return Shares(
        slice_s=slice_s,
        least=slices,
        most=slices,
        totals=total.slices,
        total=total.total,
        unseen=unseen,
        unseen_bad=min(unseen_bad + bad.doubtful, unseen + total.total),
        unknown=bad.unknown | total.unknown,
        note=_unseen_note(unseen, total.ended),
    )


def _slower(window: ServerWindow, limit: Bounds, slice_s: float) -> Shares:
    """Of a histogram: what lies above the limit."""
    found = above(_histograms(window, slice_s), limit)
    if found.total <= 0:
        raise _nothing_served(window, found.unseen)
    return Shares(
        slice_s=slice_s,
        least=found.least,
        most=found.most,
        totals=found.totals,
        total=found.total,
        unseen=found.unseen,
        unseen_bad=found.unseen,
        unknown=found.unknown,
        note=_unseen_note(found.unseen, found.ended),
        between=found.between,
    )


def _histograms(window: ServerWindow, slice_s: float) -> tuple[Histogram, ...]:
    return window.once(("histograms", slice_s), lambda: histograms_of(window, slice_s))


def _nothing_served(window: ServerWindow, unseen: float) -> NoEvidenceError:
    detail = "the servers counted nothing in the window"
    if unseen > 0:
        detail += f" that was scraped before they ended; up to {unseen:.0f} may be unseen"
    if window.clients is not None and window.clients.sent:
        sent = f"the generator sent {window.clients.sent} requests to the service"
        detail += f", although {sent}: they never arrived, or others serve them"
    return NoEvidenceError(Reason.NOTHING_SERVED, detail)


def _unseen_note(unseen: float, ended: int) -> str:
    if unseen < 0.5:
        return ""
    series = "a series that" if ended == 1 else f"{ended} series that"
    return f"up to {unseen:.0f} events unseen after the last scrape of {series} ended"


def _seconds(window: ServerWindow, shares: Shares, bad: Sequence[float], disturbed: frozenset[int]) -> list[Second]:
    """The slices as the statistics want them."""
    return list(map(Second, shares.totals, map(min, bad, shares.totals), _flags(window, shares, disturbed)))


def _flags(window: ServerWindow, shares: Shares, seconds: frozenset[int]) -> list[bool]:
    if not seconds:
        return [False] * len(shares.totals)
    edges = [window.start_s + index * shares.slice_s for index in range(len(shares.totals) + 1)]
    return [
        any(second in seconds for second in range(math.floor(lo_s), math.ceil(min(hi_s, window.end_s))))
        for lo_s, hi_s in pairwise(edges)
    ]
