"""A conductor to be killed: plays one fault of a plan from arming to healing, and records it. Started by kills.py."""

from __future__ import annotations

import json
import select
import sys
import time
from pathlib import Path

from pydantic import TypeAdapter

from harness.drivers.chaos.driver import ChaosDriver
from harness.history.events import InjectCompleted, InjectFailed, RollbackCompleted, RollbackFailed, RunEnded, Status
from harness.plan.model import Plan
from harness.record import Record

HOLD_S = 0.25


def main(plan_file: str, results: str) -> None:
    """Get ready, say so and wait for a line; then inject, hold, roll back, leave."""
    plan = TypeAdapter(Plan).validate_python(json.loads(Path(plan_file).read_text(encoding="utf-8")))
    record = Record.create(Path(results), plan, given={}, environment={})
    cluster = plan.service.cluster
    assert cluster is not None
    driver = ChaosDriver(
        plan,
        run=record.name,
        directory=record.directory / "chaos",
        kubeconfig=cluster.kubeconfig,
        context=cluster.context,
    )
    begun_ns = time.monotonic_ns()
    for stamped in driver.preflight():
        record.event(stamped.mono_ns - begun_ns, stamped.body)
    print(record.name, flush=True)
    sys.stdin.readline()
    (fault,) = plan.faults
    driver.inject(fault)
    roll_back_s, asked = None, False
    while True:
        select.select(driver.fds(), [], [], 0.05)
        for stamped in driver.poll():
            record.event(max(0, stamped.mono_ns - begun_ns), stamped.body)
            if isinstance(stamped.body, InjectCompleted | InjectFailed) and roll_back_s is None:
                roll_back_s = time.monotonic() + HOLD_S
            if asked and isinstance(stamped.body, RollbackCompleted | RollbackFailed):
                record.event(time.monotonic_ns() - begun_ns, RunEnded(status=Status.COMPLETED, detail="played"))
                driver.close()
                return
        if roll_back_s is not None and time.monotonic() > roll_back_s and not asked:
            asked = True
            driver.rollback(fault)


if __name__ == "__main__":
    main(*sys.argv[1:])
