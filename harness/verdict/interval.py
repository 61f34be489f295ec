"""
Intervals of a share of bad events: Clopper-Pearson, with an effective sample size where events are correlated.

Arrivals of one second share their fate (one dead pod is a burst), so the plain binomial interval of a phase is far too
narrow. The design effect says how much: variance of the share as estimated from batches of seconds, over the variance
independent arrivals would have. The interval's upper end is Clopper-Pearson's on counts divided by it (Korn and
Graubard, 1998), which is exact for few or independent events.

The lower end takes arrivals as independent. That more than the limit was bad in this window is a fact about the window:
all its arrivals are recorded, and how they bunch does not take it back. That the limit is kept is a claim about the
service at this load, and has to hold up against how much the service was seen to vary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

CONFIDENCE = 0.90  # two-sided: each tier is decided with at most 5 % error on its side

_BATCHES_S = (1, 2, 5, 10, 15, 20, 30, 37)
_MIN_BATCHES = 8
_INDEPENDENT = 0.1  # lag-1 autocorrelation below which batches count as independent
_CORRELATION_MAX = 0.9


@dataclass(frozen=True, slots=True)
class Second:
    """
    Arrivals of one second: all that are judged, and the bad ones.

    `disturbed` seconds belong to a known fault. What happens in them is what the fault did, once, not the noise of
    a stationary process; they say nothing about how much calm seconds vary.
    """

    total: int
    bad: int
    disturbed: bool = False


def share_interval(
    bad: tuple[float, float], total: float, *, effect: float = 1.0, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """
    Two-sided interval of a share of bad events, of which there are `total` (above 0).

    `bad` is the least and the most of them that may be bad, equal when every outcome is known; `effect` is the design
    effect, 1 or more, and widens the upper side; a `confidence` of 0.9 leaves 5 % on each side.
    """
    alpha = (1 - confidence) / 2
    return _lower(bad[0], total, alpha), 1 - _lower((total - bad[1]) / effect, total / effect, alpha)


def _lower(k: float, n: float, alpha: float) -> float:
    """Clopper and Pearson (1934): Beta^-1(alpha; k, n - k + 1); 0 when k is 0."""
    if k <= 0:
        return 0.0
    if k >= n:
        return math.pow(alpha, 1 / n)
    return beta_quantile(alpha, k, n - k + 1)


def design_effect(seconds: Sequence[Second], confidence: float = CONFIDENCE) -> float:
    """
    How many times the variance of independent events the share of bad events over these seconds has; 1 or more.

    Calm seconds: ratio estimator over batches, the smallest batch whose residuals are uncorrelated (else inflated by
    the correlation), widened by Student's t for few batches. Disturbed seconds: binomial within each second only.
    """
    total = sum(second.total for second in seconds)
    bad = sum(second.bad for second in seconds)
    if not 0 < bad < total:
        return 1.0
    calm = [second for second in seconds if not second.disturbed]
    variance = _calm_variance(calm, confidence) + sum(
        second.bad * (1 - second.bad / second.total) for second in seconds if second.disturbed and second.total
    )
    independent = bad * (1 - bad / total)
    return min(max(1.0, variance / independent), float(total))


def _calm_variance(seconds: Sequence[Second], confidence: float) -> float:
    """Variance of the number of bad events; from batches, see `design_effect`."""
    total = sum(second.total for second in seconds)
    bad = sum(second.bad for second in seconds)
    if len(seconds) < 2 or not 0 < bad < total:
        return 0.0
    share = bad / total
    inflation, residuals = 1.0, [second.bad - share * second.total for second in seconds]
    for size in _BATCHES_S:
        if size > 1 and len(seconds) // size < _MIN_BATCHES:
            break
        residuals = _batched([second.bad - share * second.total for second in seconds], size)
        correlation = min(max(_lag1(residuals), 0.0), _CORRELATION_MAX)
        inflation = (1 + correlation) / (1 - correlation)
        if correlation < _INDEPENDENT:
            inflation = 1.0
            break
    batches = len(residuals)
    spread = batches / (batches - 1) * sum(residual * residual for residual in residuals)
    return spread * inflation * _widening(batches - 1, confidence)


def _batched(values: Sequence[float], size: int) -> list[float]:
    return [sum(values[start : start + size]) for start in range(0, len(values), size)]


def _lag1(values: Sequence[float]) -> float:
    square = sum(value * value for value in values)
    return sum(values[i] * values[i + 1] for i in range(len(values) - 1)) / square if square else 0.0


@lru_cache(maxsize=256)
def _widening(freedom: int, confidence: float) -> float:
    """(t / z)^2: what estimating the variance from few batches costs."""
    p = 1 - (1 - confidence) / 2
    return (student_quantile(p, freedom) / student_quantile(p, 1_000_000)) ** 2


def student_quantile(p: float, freedom: int) -> float:
    """Student's t quantile for 0.5 <= p < 1, by its relation to the beta distribution."""
    x = beta_quantile(2 * (1 - p), freedom / 2, 0.5)
    return math.sqrt(freedom * (1 - x) / x)


@lru_cache(maxsize=4096)
def beta_quantile(p: float, a: float, b: float) -> float:
    """The x with I_x(a, b) = p, to about 1e-12: Newton's steps, or bisection where they would leave the bracket."""
    low, high = 0.0, 1.0
    x = a / (a + b)
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    for _ in range(200):
        error = beta_cdf(x, a, b) - p
        low, high = (low, x) if error > 0 else (x, high)
        log_density = (a - 1) * math.log(x) + (b - 1) * math.log1p(-x) - log_beta
        step = error * math.exp(-log_density) if log_density > -700 else math.inf
        after = x - step
        if not low < after < high:
            after = (low + high) / 2
        if abs(after - x) <= 1e-13 * max(after, 1e-300) or after in (low, high):
            return after
        x = after
    return x


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b); by Lentz's continued fraction (DLMF 8.17.22)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / (a * _continued_fraction(x, a, b))


def _continued_fraction(x: float, a: float, b: float) -> float:
    tiny = 1e-300
    f, c, d = 1.0, 1.0, 0.0
    for i in range(1, 20_000):
        m = i // 2
        if i % 2:
            numerator = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            numerator = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 + numerator * d
        d = 1 / (d if abs(d) > tiny else tiny)
        c = 1 + numerator / c
        c = c if abs(c) > tiny else tiny
        f *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return f
