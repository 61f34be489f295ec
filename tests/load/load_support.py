"""A plan to load a stub server with, and the stub server."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.plan.model import Load, Phase, Plan, Service, Source

SOURCE = Source(path="scenario.yaml", line=1)
SHOP = str(Path(__file__).parents[2] / "scenarios/locustfiles/shop.py")


def phase(name: str, begin_s: float, end_s: float, level: float = 1.0, *, ramp_s: float = 0.0) -> Phase:
    return Phase(
        name=name,
        load_level=level,
        begin_s=begin_s,
        ramp_s=ramp_s,
        settle_s=0.0,
        start_s=begin_s + ramp_s,
        end_s=end_s,
        judge=True,
        thresholds=(),
        timings=(),
        source=SOURCE,
    )


def load_plan(
    url: str = "http://127.0.0.1:9",
    *,
    per_s: float = 500.0,
    phases: tuple[Phase, ...] = (phase("steady", 0, 3),),
    deadline_s: float = 5.0,
    arrivals: Literal["uniform", "poisson"] = "uniform",
    locustfile: str = SHOP,
    workers: int = 2,
) -> Plan:
    service = Service(
        name="shop",
        title="shop",
        url=url,
        load=Load(
            baseline_per_s=per_s,
            locustfile=locustfile,
            arrivals=arrivals,
            seed=1,
            deadline_s=deadline_s,
            slow_s=1.0,
            workers=workers,
        ),
        cluster=None,
        prometheus=None,
        slis=(),
        sandbox=None,
        source=SOURCE,
    )
    return Plan(
        scenario="load",
        title="load",
        service=service,
        phases=phases,
        faults=(),
        end_s=phases[-1].end_s,
        time_scale=1.0,
        source=SOURCE,
    )


@dataclass(frozen=True)
class Stub:
    url: str

    def control(self, what: str) -> str:
        with urllib.request.urlopen(f"{self.url}/control/{what}") as answer:
            return answer.read().decode()

    @property
    def count(self) -> int:
        """Requests received so far."""
        return int(self.control("count"))


@contextmanager
def stub_server() -> Iterator[Stub]:
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("stub_server.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        yield Stub(f"http://127.0.0.1:{int(process.stdout.readline())}")
        process.stdin.close()
