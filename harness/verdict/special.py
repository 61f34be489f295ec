"""Distribution functions that the verdict needs: beta and Student's t. Pure Python, the same on any machine."""

from __future__ import annotations

import math
from functools import lru_cache

_TINY = 1e-300  # stands where a continued fraction would divide by zero


def student_quantile(p: float, freedom: int) -> float:
    """Student's t quantile for 0.5 <= p < 1, by its relation to the beta distribution."""
    x = beta_quantile(2 * (1 - p), freedom / 2, 0.5)
    return math.sqrt(freedom * (1 - x) / x)


@lru_cache(maxsize=4096)
def beta_quantile(p: float, a: float, b: float) -> float:
    """The x with I_x(a, b) = p, to about 1e-12: Halley's steps, or bisection where they would leave the bracket."""
    low, high = 0.0, 1.0
    x = _near(p, a, b)
    log_norm = log_beta(a, b)
    for _ in range(200):
        error = beta_cdf(x, a, b) - p
        low, high = (low, x) if error > 0 else (x, high)
        log_density = (a - 1) * math.log(x) + (b - 1) * math.log1p(-x) - log_norm
        after = math.inf
        if log_density > -700:
            newton = error * math.exp(-log_density)
            bend = newton * ((a - 1) / x - (b - 1) / (1 - x))
            after = x - newton / (1 - 0.5 * max(-1.0, min(1.0, bend)))
        if not low < after < high:
            after = (low + high) / 2
        if abs(after - x) <= 1e-12 * after or after in (low, high):
            return after
        x = after
    return x


def _near(p: float, a: float, b: float) -> float:
    """A value near the beta quantile (Abramowitz and Stegun, 26.5.22); the mean where that does not apply."""
    if a <= 1 or b <= 1:
        return a / (a + b)
    t = math.sqrt(-2 * math.log(min(p, 1 - p)))
    upper = t - (2.30753 + 0.27061 * t) / (1 + 0.99229 * t + 0.04481 * t * t)
    y = upper if p < 0.5 else -upper
    half = (y * y - 3) / 6
    h = 2 / (1 / (2 * a - 1) + 1 / (2 * b - 1))
    w = y * math.sqrt(max(h + half, 0.0)) / h
    w -= (1 / (2 * b - 1) - 1 / (2 * a - 1)) * (half + 5 / 6 - 2 / (3 * h))
    x = a / (a + b * math.exp(min(2 * w, 700.0)))
    return x if 0 < x < 1 else a / (a + b)


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b); by Lentz's continued fraction (DLMF 8.17.22)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    return math.exp(_log_front(x, a, b)) / (a * _continued_fraction(x, a, b))


def log_beta_tail(x: float, a: float, b: float) -> float:
    """The logarithm of 1 - I_x(a, b), also where that is far below the smallest float; 0 <= x < 1."""
    if x <= 0:
        return 0.0
    if x > (a + 1) / (a + b + 2):
        return _log_front(1 - x, b, a) - math.log(b * _continued_fraction(1 - x, b, a))
    return math.log1p(-beta_cdf(x, a, b))


def log_beta(a: float, b: float) -> float:
    """The logarithm of the beta function."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_front(x: float, a: float, b: float) -> float:
    return a * math.log(x) + b * math.log1p(-x) - log_beta(a, b)


def _continued_fraction(x: float, a: float, b: float) -> float:
    """One over DLMF's continued fraction, by Lentz's method, two of its terms at a time."""
    c, d = 1.0, 1 / ((1 - (a + b) * x / (a + 1)) or _TINY)
    f = 1 / d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / ((1 + even * d) or _TINY)
        c = (1 + even / c) or _TINY
        step = d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / ((1 + odd * d) or _TINY)
        c = (1 + odd / c) or _TINY
        step *= d * c
        f /= step
        if abs(step - 1) < 1e-14:  # less is lost in rounding
            break
    return f
