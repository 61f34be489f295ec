"""
The closed union of things that should happen in a run, one frozen class each.

`at_s` is seconds since run start. What really happened, and when, is an event of the history.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.plan.model import Fault, Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """Play the fault's rollbacks."""

    at_s: float
    fault: Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEnd:
    """The phase's judged interval ends."""

    at_s: float
    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadEnd:
    """The plan holds no more arrivals: stop and drain."""

    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Ask Prometheus for the phase's series; late enough that its last scrape has been stored."""

    at_s: float
    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStart:
    """The phase's judged interval begins (load reached, settled)."""

    at_s: float
    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Inject:
    """Play the fault's method."""

    at_s: float
    fault: Fault


Cue = Rollback | PhaseEnd | LoadEnd | Fetch | PhaseStart | Inject
"""Cues of one instant come in this order: what ends comes before what begins."""
