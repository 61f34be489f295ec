"""A scenario as far as it could be read, each value with the place it was written at. Times are as written."""

from __future__ import annotations

from dataclasses import dataclass

from harness.plan.level import Level
from harness.plan.model import Experiment, Rule, Sli, Threshold, Tier, Timing
from harness.plan.nodes import At
from harness.plan.replay import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdDraft:
    """One rule of one tier, and the SLI it is on."""

    at: At
    sli: Sli
    threshold: Threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingDraft:
    """One rule of one tier on a timing; `fault` is as written."""

    at: At
    fault_at: At
    fault: str
    timing: Timing
    tier: Tier
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultDraft:
    """One fault. `name` is unique in the scenario; `base` is the experiment's name."""

    at: At
    name: str
    base: str
    experiment: Experiment | None
    at_s: float | None  # since the phase's start
    for_s: float | None  # None: to the phase's end, or wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayDraft:
    """Recorded arrivals instead of a level; `path` is as the plan has it."""

    at: At
    path: str
    speed: float
    recording: Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseDraft:
    """One phase. None: wrong, and recorded; or, of `level` and `replay`, the other is given."""

    at: At
    name: str | None
    level: Level | None
    replay: ReplayDraft | None
    ramp_s: float | None
    settle_s: float | None
    duration_s: float | None
    judge: bool | None
    has_thresholds: bool
    thresholds: tuple[ThresholdDraft, ...]
    timings: tuple[TimingDraft, ...]
    faults: tuple[FaultDraft, ...]
