"""
How much more the share of bad arrivals varies in calm seconds than independent arrivals would make it.

A likelihood ratio takes arrivals as independent. Where the usual failures come in bunches, it finds a segment in every
bunch; divided by the design effect (variance seen over variance of independent arrivals) it is right again, as in
quasi-likelihood (Wedderburn, 1974).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.verdict.segment import Second

_BATCHES_S = (1, 2, 4, 8, 16, 32)
_MIN_BATCHES = 8
_SIGMAS = 3.0  # what is within so many standard errors of independent counts as independent
_Z = 2.326  # the upper end of the effect is taken, with 99 % confidence


def design_effect(seconds: Sequence[Second]) -> float:
    """
    The design effect of these seconds' bad arrivals, 1 or more: the largest over batches of 1 to 32 seconds.

    Where it is proven above 1 it is the upper end of its interval (chi-square by Wilson and Hilferty, 1931), because
    few batches may have missed the largest bunches.
    """
    good, bad = [second.good for second in seconds], [second.bad for second in seconds]
    if not any(bad) or not any(good):
        return 1.0
    return max((_effect(good, bad, size) for size in _BATCHES_S if len(seconds) // size >= _MIN_BATCHES), default=1.0)


def _effect(good: Sequence[int], bad: Sequence[int], size: int) -> float:
    """The dispersion of batches of `size` seconds; 1 unless it is proven larger."""
    starts = range(0, len(bad) - size + 1, size)
    counts = [(sum(bad[start : start + size]), sum(good[start : start + size])) for start in starts]
    all_bad, all_good = sum(count[0] for count in counts), sum(count[1] for count in counts)
    if not all_bad or not all_good:
        return 1.0
    share = all_bad / (all_bad + all_good)
    freedom = len(counts) - 1
    squares = math.fsum((n_bad - share * (n_bad + n_good)) ** 2 for n_bad, n_good in counts)
    dispersion = squares / (all_bad * (1 - share)) * len(counts) / freedom
    error = math.sqrt((2 + len(counts) / all_bad) / freedom)  # of a Poisson count's dispersion; rare ones vary more
    return dispersion * _upper(freedom) if dispersion > 1 + _SIGMAS * error else 1.0


def _upper(freedom: int) -> float:
    """Degrees of freedom over the 1 % quantile of chi-square."""
    ninth = 2 / (9 * freedom)
    return 1 / (1 - ninth - _Z * math.sqrt(ninth)) ** 3
