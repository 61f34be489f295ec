"""
A stand-in for the conductor that is killed: plays a plan's faults and says what happens, line by line.

SIGTERM has it undo its faults and leave, as a conductor does; the watchdog ends a fault half a second after its time,
and tries that for `budget_s` seconds at once.
"""

import json
import select
import signal
import sys
import time
from pathlib import Path

from pydantic import TypeAdapter

from harness.drivers.chaos.driver import ChaosDriver, Means
from harness.plan.model import Plan

WATCHDOG = "import harness.drivers.chaos.watchdog as watchdog; watchdog._BUDGET_S = {}; watchdog.main()"


def main(plan_file: str, directory: str, run: str, budget_s: str) -> None:
    plan = TypeAdapter(Plan).validate_python(json.loads(Path(plan_file).read_text()))
    kubeconfig = plan.service.cluster.kubeconfig if plan.service.cluster else None
    means = Means(overdue_s=0.5, watchdog=(sys.executable, "-c", WATCHDOG.format(budget_s)))
    driver = ChaosDriver(plan, run=run, directory=Path(directory), kubeconfig=kubeconfig, context=None, means=means)

    def leave(*_: object) -> None:
        (Path(directory).parent / "history.jsonl").write_text('{"seq":0,"t_ns":0,"event":"interrupted"}\n')
        driver.close()
        sys.exit()

    signal.signal(signal.SIGTERM, leave)
    driver.preflight()
    say("preflight")
    for fault in plan.faults:
        driver.inject(fault)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        select.select(driver.fds(), [], [], 1)
        for stamped in driver.poll():
            say(stamped.body.kind)


def say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
