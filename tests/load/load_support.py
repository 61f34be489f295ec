"""A plan to load a stub server with, and the stub server."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plan_values import LOAD, SERVICE, phase, plan_of

from harness.plan.model import Phase, Plan

SHOP = str(Path(__file__).parents[2] / "scenarios/locustfiles/shop.py")


def load_plan(
    url: str = "http://127.0.0.1:9",
    *,
    per_s: float = 500.0,
    phases: tuple[Phase, ...] = (phase("steady", 0, 3),),
    locustfile: str = SHOP,
    workers: int = 2,
    **more: Any,
) -> Plan:
    """That many arrivals a second at `url`; `more` are fields of its load."""
    load = replace(LOAD, baseline_per_s=per_s, locustfile=locustfile, workers=workers, **more)
    return plan_of(*phases, service=replace(SERVICE, url=url, load=load))


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
