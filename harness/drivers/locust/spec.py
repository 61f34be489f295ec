"""What the engine needs to know of a plan, as it travels from the driver to the master and on to the workers."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Any

from harness.plan.model import Plan
from harness.schedule.load import Arrivals, Knot, Law, knots_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """The load of one plan. Times are nanoseconds."""

    knots: tuple[Knot, ...]
    law: Law
    seed: int
    deadline_ns: int
    slow_ns: int
    workers: int
    host: str  # base URL of the service
    locustfile: str  # absolute path
    log_dir: str  # absolute path of an existing directory

    @property
    def end_ns(self) -> int:
        """Where the load profile ends, since run start."""
        return round(self.knots[-1].t_s * 1e9)

    @property
    def peak_per_s(self) -> float:
        """The highest rate of the profile."""
        return max(knot.per_s for knot in self.knots)

    def arrivals(self) -> Arrivals:
        """All arrivals of the plan."""
        return Arrivals(self.knots, self.law, self.seed)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


def spec_of(plan: Plan, log_dir: str) -> Spec:
    """The spec of a bound plan; without a number of workers, one per core."""
    load = plan.service.load
    return Spec(
        knots=knots_of(plan),
        law=load.arrivals,
        seed=load.seed,
        deadline_ns=round(load.deadline_s * 1e9),
        slow_ns=round(load.slow_s * 1e9),
        workers=load.workers or os.cpu_count() or 1,
        host=plan.service.url.rstrip("/"),
        locustfile=load.locustfile,
        log_dir=log_dir,
    )


def spec_from_json(text: str) -> Spec:
    """The spec that `to_json` wrote."""
    values: dict[str, Any] = json.loads(text)
    return Spec(**(values | {"knots": tuple(Knot(**knot) for knot in values["knots"])}))
