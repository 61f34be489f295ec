"""What 100 % is, where a service leaves it to be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.plan.draft import PhaseDraft
from harness.plan.level import per_s, with_baseline
from harness.plan.model import Load
from harness.plan.service import ServiceFile

SCENARIO = "baseline"
"""The scenario whose last passing run says what `baseline: measured` is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The rate that a service was measured to serve: ok arrivals per second of run `run`."""

    rate_per_s: float
    run: str


FindMeasured = Callable[[str], Measured | None]
"""The newest measured rate of a service, by its name; None when there is none."""


def settled(service: ServiceFile, phases: tuple[PhaseDraft, ...], find: FindMeasured) -> Load | None:
    """
    The service's load with its baseline known; None, recorded, when it cannot be.

    A scenario that gives rates in every phase needs no measured baseline, since it is what measures one: its first
    judged phase without a fault is 100 %.
    """
    load, at = (service.load.load, service.load.measured_at) if service.load else (None, None)
    if load is None or at is None:
        return load
    calm = [
        phase.level for phase in phases if phase.judge and phase.level and not phase.level.zero and not phase.faults
    ]
    if calm and all(phase.replay or (phase.level and phase.level.absolute) for phase in phases):
        return with_baseline(load, per_s(calm[0], load), None)
    measured = find(service.name)
    if measured:
        return with_baseline(load, measured.rate_per_s, measured.run)
    at.wrong(
        f"no run of the scenario '{SCENARIO}' of '{service.name}' has passed yet; run one whose phases give rates "
        "(load: 300/s), or write a rate here"
    )
    return None
