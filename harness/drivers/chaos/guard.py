"""The driver's side of the watchdog: arming, disarming, having it undo, and a new watchdog when one dies."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import DriverError

ACK_S = 5.0
CLOSE_S = 5.0
LAST_TRY_S = 5.0  # for an undo's last try to end


@dataclass(slots=True)
class _Line:
    """The pipes to one watchdog process. Answers come in any order: an undo takes longer than an arming."""

    process: Process
    log: Path
    waiting: dict[int, asyncio.Future[str]] = field(default_factory=dict)
    asked: int = 0

    async def ask(self, do: str, timeout_s: float, **order: Any) -> None:
        """Return when it is done. Raises DriverError when it is not."""
        self.asked += 1
        number = self.asked
        answer = self.waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await self._write({"id": number, "do": do, **order})
            problem = await asyncio.wait_for(answer, timeout_s)
        except TimeoutError as silence:
            if do != "undo":
                self.process.kill()  # it hangs; another takes its place
            raise DriverError(f"chaos: the watchdog did not answer within {timeout_s:g} s") from silence
        finally:
            self.waiting.pop(number, None)
        if problem:
            raise DriverError(f"chaos: the watchdog could not {do}: {problem}")

    async def _write(self, order: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        if self.process.returncode is not None:
            raise self._ended()
        with suppress(ConnectionError):  # then no answer comes either
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            await self.process.stdin.drain()

    async def listen(self) -> None:
        """Pass the answers on until the process ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            said = json.loads(line)
            answer = self.waiting.get(said["id"])
            if answer is not None and not answer.done():
                answer.set_result(said["problem"])
        await self.process.wait()
        for answer in self.waiting.values():
            if not answer.done():
                answer.set_exception(self._ended())

    def _ended(self) -> DriverError:
        return DriverError(f"chaos: the watchdog ended with code {self.process.returncode}; see {self.log}")


class Guard:
    """
    The watchdog process, held by a pipe. Lives in one event loop.

    `command` starts it with `environment`, its stderr goes to `log`; undoing takes the Python `modules`. When it dies
    while something is armed, another is started and armed with the same; if that fails, `lost` is called with the
    reason.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        lost: Callable[[str], None],
        *,
        environment: Mapping[str, str],
        modules: Sequence[str] = (),
    ) -> None:
        self._command = tuple(command)
        self._log = log
        self._lost = lost
        self._environment = environment
        self._modules = tuple(modules)
        self._line: _Line | None = None
        self._armed: dict[Path, tuple[int, float]] = {}  # entry of the ledger -> the child's process id, deadline
        self._one_at_a_time = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the watchdog, which begins to import what undoing takes. Raises DriverError."""
        await self._alive()

    async def arm(self, entry: Path, child: int, deadline_s: float) -> None:
        """
        The watchdog has acknowledged when this returns; again, to put off the deadline. Raises DriverError otherwise.

        At `deadline_s` (CLOCK_MONOTONIC) it ends the child and undoes the entry, unless that is disarmed before.
        """
        line = await self._alive()
        await line.ask("arm", ACK_S, entry=str(entry), child=child, deadline_s=deadline_s)
        self._armed[entry] = (child, deadline_s)

    async def undo(self, entry: Path, within_s: float) -> None:
        """Have the entry undone, by a process that is ready for it. Raises DriverError when that did not work."""
        line = await self._alive()
        self._armed.pop(entry, None)
        await line.ask("undo", within_s + LAST_TRY_S, entry=str(entry), within_s=within_s)

    async def disarm(self, entry: Path) -> None:
        """Tell the watchdog that nothing is left to do for `entry`. Raises DriverError when it does not listen."""
        self._armed.pop(entry, None)
        await (await self._alive()).ask("disarm", ACK_S, entry=str(entry))

    async def close(self) -> None:
        """End the watchdog. What is still armed, it undoes first, so disarm before."""
        line, self._line = self._line, None
        if line is not None:
            await _end(line.process)
        if self._watching is not None:
            await self._watching

    async def _alive(self) -> _Line:
        """The line to a watchdog that knows all that is armed. Raises DriverError."""
        async with self._one_at_a_time:
            if self._line is not None and self._line.process.returncode is None:
                return self._line
            self._line = None
            line = _Line(await self._started(), self._log)
            listening = asyncio.create_task(line.listen())
            try:
                await line.ask("warm", ACK_S, modules=self._modules)
                for entry, (child, deadline_s) in self._armed.items():
                    await line.ask("arm", ACK_S, entry=str(entry), child=child, deadline_s=deadline_s)
            except DriverError:
                await _end(line.process)
                await listening
                raise
            self._line = line
            self._watching = asyncio.create_task(self._revive(line, listening))
            return line

    async def _revive(self, line: _Line, listening: asyncio.Task[None]) -> None:
        await listening
        if line is not self._line or not self._armed:
            return
        try:
            await self._alive()
        except DriverError as problem:
            self._lost(str(problem))

    async def _started(self) -> Process:
        try:
            with self._log.open("ab") as log:
                return await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=log,
                    env=dict(self._environment),
                    start_new_session=True,
                )
        except OSError as problem:
            raise DriverError(f"chaos: the watchdog cannot be started: {problem}") from problem


async def _end(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), CLOSE_S)
    except TimeoutError:
        process.kill()
        await process.wait()
