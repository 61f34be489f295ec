"""
Which endpoint gets the next request, and which endpoints are left alone for a while.

Least outstanding requests, then the one whose turn it is. Outlier ejection after Envoy's consecutive local-origin
failures (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier), half-open on return.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

FAILURES = 3
"""An endpoint is ejected by one time-out, or by this many failures in a row ..."""
EJECT_S = 5.0
"""... for so long."""


class Outcome(Enum):
    """How a request to an endpoint ended, as far as the way there is concerned."""

    ANSWERED = auto()  # with whatever status
    FAILED = auto()  # connection refused or broken
    TIMED_OUT = auto()
    CANCELLED = auto()  # the client left first: says nothing about the endpoint


@dataclass(slots=True)
class _Endpoint:
    key: str
    turn: int = 0  # serial of its latest request
    outstanding: int = 0
    failures: int = 0  # in a row
    ejected_until_s: float | None = None
    probing: bool = False  # ejected, and the request that tries it again is under way


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request on its way to one endpoint."""

    key: str
    is_probe: bool


class Balancer:
    """The endpoints of one service. Times in seconds on any one monotonic clock."""

    def __init__(self) -> None:
        self._endpoints: dict[str, _Endpoint] = {}
        self._serial = 0

    def set_endpoints(self, keys: Collection[str]) -> None:
        """From now on these are the endpoints; those known already keep their state."""
        self._endpoints = {key: self._endpoints.get(key) or _Endpoint(key) for key in keys}

    @property
    def ejected(self) -> tuple[str, ...]:
        """Endpoints ejected and not proven good again."""
        return tuple(e.key for e in self._endpoints.values() if e.ejected_until_s is not None)

    def choose(self, now_s: float) -> Attempt | None:
        """
        Where the next request goes; None without endpoints. Tell `done` how it ended.

        An endpoint whose ejection is over gets one request, and others only when that one was answered. When all are
        ejected (the last good one went away), they are all used: a doubtful endpoint is better than none.
        """
        best: _Endpoint | None = None
        for endpoint in self._endpoints.values():
            if endpoint.ejected_until_s is not None:
                if endpoint.probing or now_s < endpoint.ejected_until_s:
                    continue
                best = endpoint
                break
            if best is None or (endpoint.outstanding, endpoint.turn) < (best.outstanding, best.turn):
                best = endpoint
        if best is None:
            if not self._endpoints:
                return None
            best = min(self._endpoints.values(), key=lambda endpoint: (endpoint.outstanding, endpoint.turn))
        self._serial += 1
        best.turn = self._serial
        best.outstanding += 1
        best.probing = best.ejected_until_s is not None
        return Attempt(best.key, best.probing)

    def done(self, attempt: Attempt, outcome: Outcome, now_s: float) -> None:
        """Take note of how an attempt ended."""
        endpoint = self._endpoints.get(attempt.key)
        if endpoint is None:
            return
        endpoint.outstanding = max(0, endpoint.outstanding - 1)
        if attempt.is_probe:
            endpoint.probing = False
        match outcome:
            case Outcome.ANSWERED:
                endpoint.failures = 0
                if attempt.is_probe:
                    endpoint.ejected_until_s = None
            case Outcome.FAILED | Outcome.TIMED_OUT:
                endpoint.failures += 1
                enough = outcome is Outcome.TIMED_OUT or endpoint.failures >= FAILURES
                if attempt.is_probe or (enough and self._may_eject(endpoint)):
                    endpoint.ejected_until_s = now_s + EJECT_S
            case Outcome.CANCELLED:
                pass

    def _may_eject(self, endpoint: _Endpoint) -> bool:
        # A request sent before the ejection does not prolong it; and the last endpoint standing always stays.
        return endpoint.ejected_until_s is None and any(
            other.ejected_until_s is None for other in self._endpoints.values() if other is not endpoint
        )
