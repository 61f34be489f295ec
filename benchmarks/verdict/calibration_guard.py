"""
The live guard against known truth: how often it stops a run that keeps its limit, how fast it stops one that does not.

The entry point is the public `Guard`, as the conductor uses it: a second is added when it is over, then it
looks. `tripped` is the same, from scratch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import median

from calibration_traffic import ERRORS, LIMITS, PLAIN, Traffic, plan_of, second_frames, seconds_of

from harness.plan.model import Rule, Tier
from harness.verdict.guard import Guard

HALF_HOUR_S = 1_800
RATE = 200
ONSETS_S = (10, 60, 300, 900)  # how long the service was well before it broke
HEALTHY = 0.0005  # share of bad arrivals before

_PATIENCE_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Half-hour phases at the limit that the guard should leave alone."""

    traffic: Traffic
    runs: int

    @property
    def name(self) -> str:
        """For people, and for seeds."""
        return f"guard {self.traffic.law} deff={self.traffic.effect:g} x{self.traffic.share / LIMITS['error_ratio']:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A service that breaks: from `onset_s` on a share of arrivals fails."""

    share: float
    onset_s: int
    runs: int

    @property
    def name(self) -> str:
        """For people, and for seeds."""
        return f"guard {self.share:.0%} errors after {self.onset_s} s"


def watches(runs: int) -> list[Watch]:
    """Half hours at exactly the limit."""
    laws = (("independent", 1.0), ("bursts", 10.0), ("bursts", 50.0), ("drift", 10.0))
    return [
        Watch(
            traffic=Traffic(
                law=law, share=LIMITS["error_ratio"], effect=effect, rate=RATE, length_s=HALF_HOUR_S, tau_s=10.0
            ),
            runs=runs,
        )
        for law, effect in laws
    ]


def breaks(runs: int) -> list[Break]:
    """Total outages and brown-outs of a tenth, early and late in a phase."""
    return [Break(share=share, onset_s=onset, runs=runs) for share in (1.0, 0.1) for onset in ONSETS_S]


def aborts(watch: Watch, seed: int, rule: Rule = PLAIN) -> list[int | None]:
    """For each run when the guard stopped it, seconds into the phase; None where it did not."""
    found = []
    for number in range(watch.runs):
        random = Random(f"{seed} {watch.name} {number}")
        bad = seconds_of(watch.traffic, random)
        found.append(first_trip(watch.traffic, bad, rule))
    return found


def delays(broken: Break, seed: int, rule: Rule = PLAIN) -> list[int]:
    """For each run how long after the break the guard stopped it, seconds; _PATIENCE_S where it had not by then."""
    found = []
    for number in range(broken.runs):
        random = Random(f"{seed} {broken.name} {number}")
        well = Traffic(law="independent", share=HEALTHY, effect=1.0, rate=RATE, length_s=broken.onset_s)
        ill = replace(well, share=broken.share, length_s=_PATIENCE_S)
        bad = seconds_of(well, random) + seconds_of(ill, random)
        traffic = replace(well, length_s=len(bad))
        at_s = first_trip(traffic, bad, rule)
        found.append(_PATIENCE_S if at_s is None else at_s - broken.onset_s)
    return found


def first_trip(traffic: Traffic, bad: Sequence[int], rule: Rule) -> int | None:
    """When the guard trips, seconds into the phase; it looks at every second's end, all outcomes known."""
    plan = plan_of(ERRORS.name, traffic, tier=Tier.ABORT, rule=rule)
    guard = Guard(plan)
    guard.enter(plan.phases[0])
    for second, count in enumerate(bad):
        guard.add(second_frames(ERRORS.name, second, count, RATE))
        if guard.look(second + 1.0) is not None:
            return second + 1
    return None


def median_delay(found: Sequence[int]) -> float:
    """The median of delays."""
    return median(found)
