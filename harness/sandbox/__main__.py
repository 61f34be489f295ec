"""
`python -m harness.sandbox STATE_DIR VERSION PROMETHEUS [--owned]`: the control plane of one sandbox, until SIGTERM.

With --owned also until two seconds after the end of standard input. Started by `harness.sandbox.up`, which also made
the state directory and pointed stdout and stderr to a log.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import cast

import uvloop

from harness.sandbox.files import StateDir, Version
from harness.sandbox.ports import Ports

OWNER_GONE_S = 2.0
"""How long an owned sandbox goes on after its owner's end."""


async def control(state: StateDir, version: Version, prometheus_path: str, *, owned: bool) -> None:
    """Run a sandbox in `state`, whose lock this process has, with the Prometheus server at `prometheus_path`."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    if owned:
        loop.add_reader(0, lambda: _owner_spoke(loop, stop))
    guard = await _start_guard(state)
    # Prometheus scrapes nothing for five seconds: it goes first, before the rest is even imported.
    from harness.sandbox.prometheus import Prometheus

    ports = Ports()
    prometheus = await Prometheus.start(prometheus_path, state, port=ports.take())
    from harness.sandbox.cluster import Cluster

    await Cluster(state, version, ports, prometheus).run(stop)
    ports.close()
    assert guard.stdin is not None
    guard.stdin.close()
    await guard.wait()


async def _start_guard(state: StateDir) -> asyncio.subprocess.Process:
    guard = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "harness.sandbox.guard", str(state.records)),
        stdin=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    state.guard.write_text(str(guard.pid), encoding="utf-8")
    return guard


def _owner_spoke(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(0, 4096):
        loop.remove_reader(0)
        loop.call_later(OWNER_GONE_S, stop.set)


def main() -> None:
    """Take the lock, then run."""
    state = StateDir(Path(sys.argv[1]))
    if state.acquire() is None:
        sys.exit(f"sandbox: another one runs in {state.root}")
    state.endpoints.unlink(missing_ok=True)
    version = cast("Version", sys.argv[2])
    uvloop.run(control(state, version, sys.argv[3], owned="--owned" in sys.argv[4:]))


if __name__ == "__main__":
    main()
