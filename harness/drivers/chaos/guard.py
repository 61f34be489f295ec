"""The driver's side of the watchdog: arming, disarming, and a new watchdog when one dies."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from harness.errors import DriverError

ACK_S = 5.0
CLOSE_S = 5.0


class Guard:
    """
    The watchdog process, held by a pipe. Lives in one event loop.

    `command` starts it, its stderr goes to `log`. When it dies while something is armed, another is started and armed
    with the same; if that fails, `lost` is called with the reason.
    """

    def __init__(self, command: Sequence[str], log: Path, lost: Callable[[str], None]) -> None:
        self._command = tuple(command)
        self._log = log
        self._lost = lost
        self._process: Process | None = None
        self._armed: dict[Path, int] = {}  # entry of the ledger -> process id of the child that plays the fault
        self._one_at_a_time = asyncio.Lock()
        self._reviving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the watchdog. Raises DriverError."""
        async with self._one_at_a_time:
            await self._alive()

    async def arm(self, entry: Path, child: int) -> None:
        """The watchdog has acknowledged when this returns. Raises DriverError when it does not."""
        async with self._one_at_a_time:
            await self._say(await self._alive(), "arm", entry, child)
            self._armed[entry] = child

    async def disarm(self, entry: Path) -> None:
        """Tell the watchdog that nothing is left to do for `entry`. Raises DriverError when it does not listen."""
        async with self._one_at_a_time:
            self._armed.pop(entry, None)
            await self._say(await self._alive(), "disarm", entry, 0)

    async def close(self) -> None:
        """End the watchdog. What is still armed, it undoes first, so disarm before."""
        async with self._one_at_a_time:
            process, self._process = self._process, None
        if process is not None:
            await _end(process)

    async def _alive(self) -> Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._process = None
        process = await self._started()
        try:
            for entry, child in self._armed.items():
                await self._say(process, "arm", entry, child)
        except DriverError:
            await _end(process)
            raise
        self._process = process
        self._reviving = asyncio.create_task(self._revive(process))
        return process

    async def _revive(self, process: Process) -> None:
        await process.wait()
        if process is not self._process or not self._armed:
            return
        try:
            async with self._one_at_a_time:
                await self._alive()
        except DriverError as problem:
            self._lost(str(problem))

    async def _started(self) -> Process:
        try:
            with self._log.open("ab") as log:
                return await asyncio.create_subprocess_exec(
                    *self._command, stdin=PIPE, stdout=PIPE, stderr=log, start_new_session=True
                )
        except OSError as problem:
            raise DriverError(f"chaos: the watchdog cannot be started: {problem}") from problem

    async def _say(self, process: Process, do: str, entry: Path, child: int) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(ConnectionError):  # then the answer is missing as well
            process.stdin.write(json.dumps({"do": do, "entry": str(entry), "child": child}).encode() + b"\n")
            await process.stdin.drain()
        try:
            answer = await asyncio.wait_for(process.stdout.readline(), ACK_S)
        except TimeoutError as silence:
            process.kill()  # an answer that comes late must not be taken for that to another order
            raise DriverError(f"chaos: the watchdog did not answer within {ACK_S:g} s") from silence
        if not answer:
            raise DriverError(f"chaos: the watchdog ended with code {await process.wait()}; see {self._log}")
        if problem := json.loads(answer)["problem"]:
            raise DriverError(f"chaos: the watchdog refused to {do}: {problem}")


async def _end(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), CLOSE_S)
    except TimeoutError:
        process.kill()
        await process.wait()
