"""The driver's side of the keeper: taking hold of the cluster, letting go of it, and a new keeper when one dies."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness.drivers.chaos.holding import Holding
from harness.errors import DriverError

TAKE_S = 20.0  # for the cluster to answer, beyond what it takes to see that a dead run's Lease is not renewed
LEAVE_S = 10.0
LATE_S = 2.0  # for a keeper that does not hang to say why it could not renew


class Hold:
    """
    The keeper process, held by a pipe. Lives in one event loop.

    When the run loses its hold on the cluster, or keepers keep dying, `lost` is called with the reason, once.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        lost: Callable[[str], None],
        *,
        holding: Holding,
        environment: Mapping[str, str],
    ) -> None:
        self._command = tuple(command)
        self._log = log
        self._lost = lost
        self._holding = holding
        self._environment = environment
        self._process: Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._closing = False

    async def take(self) -> None:
        """The run holds the cluster when this returns. Raises DriverError, which names the run that does instead."""
        try:
            with self._log.open("ab") as log:
                self._process = process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=log,
                    env=dict(self._environment),
                    start_new_session=True,
                )
        except OSError as problem:
            raise DriverError(f"chaos: the keeper cannot be started: {problem}") from problem
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(self._holding)).encode() + b"\n")
        try:
            said = await asyncio.wait_for(self._said(process), TAKE_S + 2 * self._holding.dead_man_s)
        except TimeoutError as silence:
            raise DriverError("chaos: the cluster could not be taken hold of in time") from silence
        if said.get("event") != "held":
            ended = f"chaos: the keeper ended without a word; see {self._log}"
            raise DriverError(said.get("detail") or ended, hint=said.get("hint"))
        self._holding = replace(self._holding, since_s=said["since_s"])
        self._listening = asyncio.create_task(self._listen(process))

    async def close(self) -> None:
        """Let go of the cluster: what the run made there is deleted. Idempotent."""
        self._closing = True
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with suppress(ConnectionError):
            process.stdin.write(b"release\n")
            await process.stdin.drain()
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), LEAVE_S)
        except TimeoutError:
            process.kill()  # the cluster deletes what is left when it was not renewed for long enough
            await process.wait()
        if self._listening is not None:
            await self._listening

    async def _listen(self, process: Process) -> None:
        """Wait for the hold's loss, or the keeper's death: then another goes on with the same Lease and Jobs."""
        said = await self._news(process)
        if said.get("event") == "lost":
            self._lost(said["detail"])
        elif not said and not self._closing:
            await process.wait()
            try:
                await self.take()
            except DriverError as problem:
                self._lost(f"its keeper died, and another could not take over: {problem}")

    async def _news(self, process: Process) -> dict[str, Any]:
        """What the keeper says but for renewals; `lost` when it hangs, so that none is heard of for too long."""
        while True:
            saying = asyncio.create_task(self._said(process))
            await asyncio.wait({saying}, timeout=self._holding.dead_man_s)
            await asyncio.wait({saying}, timeout=LATE_S)  # it may be we who were stopped, and did not read
            if not saying.done():
                saying.cancel()
                return {"event": "lost", "detail": f"its keeper has not renewed it for {self._holding.dead_man_s:g} s"}
            if saying.result().get("event") != "renewed":
                return saying.result()

    async def _said(self, process: Process) -> dict[str, Any]:
        """What the keeper says next; nothing when it has ended."""
        assert process.stdout is not None
        line = await process.stdout.readline()
        said: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
        return said
