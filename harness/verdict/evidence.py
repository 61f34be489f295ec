"""
Sequential evidence that a share is above its limit: e-values, which may be looked at every second without penalty.

An interval that is right one time in ten at each look is wrong for sure when it is looked at often enough. The evidence
here is a likelihood ratio, mixed over all shares above the limit with a beta prior. For arrivals that keep the limit
its expected value never exceeds 1, so that it ever reaches 1/alpha has at most the probability alpha (Ville's
inequality; Howard, Ramdas, McAuliffe and Sekhon, 2021). Bursts are counted by their design effect.
"""

from __future__ import annotations

import math
from functools import lru_cache

from harness.verdict.interval import widening
from harness.verdict.special import log_beta, log_beta_tail

_PRIOR = (0.5, 2.0)  # of the share, above the limit: any size, small ones rather
_MIN_BATCHES = 6


def proven(bad: float, total: float, allowed: float, alpha: float) -> bool:
    """Whether the evidence that a share is above `allowed`, 0 < allowed < 1, suffices for an error of `alpha`."""
    wanted, share = -math.log(alpha), bad / total
    most = bad * math.log(share / allowed) if share > 0 else 0.0
    most += (total - bad) * math.log((1 - share) / (1 - allowed)) if share < 1 else 0.0
    # The likelihood ratio of the share itself is the most that any mixture can have.
    return most >= wanted and log_evidence(bad, total, allowed) >= wanted


def log_evidence(bad: float, total: float, allowed: float) -> float:
    """The logarithm of the e-value against "the share of bad events is at most `allowed`", 0 < allowed < 1."""
    a, b = _PRIOR[0] + bad, _PRIOR[1] + total - bad
    mixed = log_beta(a, b) + log_beta_tail(allowed, a, b) - _log_prior(allowed)
    return mixed - bad * math.log(allowed) - (total - bad) * math.log1p(-allowed)


@lru_cache(maxsize=256)
def _log_prior(allowed: float) -> float:
    return log_beta(*_PRIOR) + log_beta_tail(allowed, *_PRIOR)


class Spread:
    """
    The design effect of seconds that come one by one: the largest over batches of 1, 2, 4 ... seconds.

    Costs two additions per second on average, and one look at every batch length when asked.
    """

    def __init__(self) -> None:
        self._lengths: list[_Batches] = []
        self._bad = self._total = 0.0

    def add(self, bad: float, total: float) -> None:
        """Count one more second."""
        self._bad += bad
        self._total += total
        for batches in self._lengths:
            whole = batches.add(bad, total)
            if whole is None:
                return
            bad, total = whole
        self._lengths.append(_Batches())
        self._lengths[-1].add(bad, total)

    def effect(self) -> float:
        """The design effect so far; 1 or more."""
        if not 0 < self._bad < self._total:
            return 1.0
        share = self._bad / self._total
        return max((one.effect(share) for one in self._lengths if one.count >= _MIN_BATCHES), default=1.0)


class _Batches:
    """Sums over the batches of one length."""

    def __init__(self) -> None:
        self.count = 0
        self._bad2 = self._cross = self._total2 = self._bad = self._total = 0.0
        self._half: tuple[float, float] | None = None

    def add(self, bad: float, total: float) -> tuple[float, float] | None:
        """Count a batch; the sum with the one before where that makes one of double length."""
        self.count += 1
        self._bad2 += bad * bad
        self._cross += bad * total
        self._total2 += total * total
        self._bad += bad
        self._total += total
        if self._half is None:
            self._half = (bad, total)
            return None
        whole = (self._half[0] + bad, self._half[1] + total)
        self._half = None
        return whole

    def effect(self, share: float) -> float:
        squares = self._bad2 - 2 * share * self._cross + share * share * self._total2
        independent = share * (1 - share) * self._total
        seen = self.count / (self.count - 1) * squares / independent
        return 1 + max(seen - 1, 0.0) * widening(self.count - 1)
