"""The value of a client SLI over a window: a number with an interval, and where it was worst."""

from __future__ import annotations

from collections.abc import Sequence

from harness.history.histogram import Histogram
from harness.plan.model import Better, ClientMeasure, ClientSli
from harness.verdict.client import US, ClientWindow, Stretch, Tally, quantile_of
from harness.verdict.interval import Second, design_effect, share_interval
from harness.verdict.model import Reason
from harness.verdict.ruling import Bounds, Measured, NoEvidenceError

_NO_LIMIT = (0.0, 0.0)


def client_measured(window: ClientWindow, sli: ClientSli) -> Measured:
    """The SLI's value over the window with its interval; raises NoEvidenceError when no arrival has an outcome."""
    settled = window.settled
    if not settled:
        of = f" of '{sli.series or sli.stream}'" if sli.series or sli.stream else ""
        raise NoEvidenceError(Reason.NO_SAMPLES, f"no arrival{of} with a known outcome in the window")
    if sli.measure is ClientMeasure.LATENCY:
        value, low, high = _latency(window, quantile_of(sli))
    elif sli.measure in (ClientMeasure.ERROR_RATIO, ClientMeasure.SUCCESS_RATIO):
        found = window.estimate(sli, _NO_LIMIT)
        value, low, high = found.value, found.lo, found.hi
        if sli.measure is ClientMeasure.SUCCESS_RATIO:
            value, low, high = 1 - value, 1 - high, 1 - low
    else:
        low, high = exact(window.tallies, window.length_s, sli.measure)
        value = low
    coverage = len(window.tallies) / window.length_s
    return Measured(value=value, lo=low, hi=high, samples=settled, coverage=coverage)


def exact(tallies: Sequence[Tally], seconds: int, measure: ClientMeasure) -> Bounds:
    """Ok answers per second, or failures: counted, without sampling error; the bounds differ by unknown outcomes."""
    unknown = sum(tally.unknown for tally in tallies)
    if measure is ClientMeasure.FAILURES:
        bad = sum(tally.bad for tally in tallies)
        return float(bad), float(bad + unknown)
    ok = sum(tally.ok for tally in tallies)
    return ok / seconds, (ok + unknown) / seconds


def worst_of(window: ClientWindow, sli: ClientSli) -> tuple[float, float] | None:
    """The SLI's worst value in any second (latency: stretch) and when that began; None where nothing has a value."""
    if sli.measure is ClientMeasure.LATENCY:
        slices = [(_slowest(stretch, quantile_of(sli)), float(stretch.second)) for stretch in window.stretches()]
    else:
        slices = [(_of_second(tally, sli.measure), float(tally.second)) for tally in window.tallies]
    known = [(value, at_s) for value, at_s in slices if value is not None]
    if not known:
        return None
    most = max if sli.better is Better.LOWER else min
    value = most(value for value, _ in known)
    return value, next(at_s for other, at_s in known if other == value)


def _of_second(tally: Tally, measure: ClientMeasure) -> float | None:
    if measure is ClientMeasure.THROUGHPUT:
        return float(tally.ok)
    if measure is ClientMeasure.FAILURES:
        return float(tally.bad)
    if not tally.settled:
        return None
    share = tally.bad / tally.settled
    return 1 - share if measure is ClientMeasure.SUCCESS_RATIO else share


def _slowest(stretch: Stretch, q: float) -> float | None:
    """The quantile of a stretch; None where it lies among arrivals without an ok answer, or there are none."""
    found = _quantile_us(stretch.responses, q * stretch.settled) if stretch.settled else None
    return None if found is None else sum(found) / 2 / US


def _latency(window: ClientWindow, q: float) -> tuple[float | None, float | None, float | None]:
    """
    The q-quantile of response time over all arrivals, bad ones beyond any time, with a confidence interval.

    The interval is the quantiles at the ends of the interval of a share 1 - q of this many arrivals: order statistics
    (David and Nagaraja, Order Statistics, 2003, section 7.1) with the design effect of being slower than the value.
    """
    stretches = window.stretches()
    merged = window.responses()
    total = sum(stretch.total for stretch in stretches)
    value_us = _quantile_us(merged, q * window.settled)
    effect = design_effect([Second(one.total, _slower(one, value_us), _known(window, one)) for one in stretches])
    slower = (1 - q) * total
    low, high = share_interval((slower, slower), total, effect=effect)
    lowest, highest = _quantile_us(merged, (1 - high) * total), _quantile_us(merged, (1 - low) * total)
    return (
        None if value_us is None else sum(value_us) / 2 / US,
        None if lowest is None else lowest[0] / US,
        None if highest is None else highest[1] / US,
    )


def _slower(stretch: Stretch, value_us: tuple[int, int] | None) -> int:
    return stretch.errors + (stretch.responses.count_above(value_us[0])[0] if value_us else 0)


def _known(window: ClientWindow, stretch: Stretch) -> bool:
    """Whether a fault was at work; a long window's stretches are taken by their first second."""
    return stretch.second in window.facts


def _quantile_us(histogram: Histogram, rank: float) -> tuple[int, int] | None:
    """The bucket that holds the arrival of this rank; None when that arrival had no ok answer."""
    total = histogram.total
    return histogram.quantile(rank / total) if total and rank <= total * (1 + 1e-12) else None
