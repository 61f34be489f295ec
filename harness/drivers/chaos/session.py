"""One planned fault as the driver sees it: its child process, from loading the experiment to the end of its undo."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.drivers.chaos import journal, ledger, lines, undo
from harness.drivers.chaos.guard import Guard
from harness.errors import DriverError
from harness.history.events import (
    ActivityCompleted,
    ActivityStarted,
    Body,
    FaultArmed,
    InjectCompleted,
    InjectFailed,
    PreflightChecked,
    RollbackCompleted,
    RollbackFailed,
    Stamped,
)
from harness.plan.model import Fault

LOAD_S = 45.0  # importing the experiment's modules, and rehearsing it
READY_S = 15.0  # resolving its configuration
ROLLBACKS_S = 35.0  # playing its rollbacks
TRY_S = 20.0  # the same by a fresh child, when there is no watchdog to do it
LEAVE_S = 5.0  # ending after everything was said

REHEARSAL = "rehearsal"

_LINE_BYTES = 2**24


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What all faults of a run share."""

    run: str
    sandbox: bool  # the cluster is the local sandbox
    directory: Path  # the record's chaos/ folder
    environment: Mapping[str, str]  # of every child
    command: Sequence[str]  # starts a child
    cut_s: float  # how long a running activity may take to be cut short before its process is killed
    undo_s: float  # how long an undo that fails is tried again
    overdue_s: float  # the watchdog ends a fault that nobody ended so long after its time
    guard: Guard
    report: Callable[[int, Body], None]  # monotonic nanoseconds, what happened


class Session:
    """
    Plays one fault on a Stage. Lives in one event loop.

    `load` starts the child; after `begin`, `play` injects, holds and rolls back, and reports all of it; `ask_rollback`
    may come at any moment.
    """

    def __init__(self, fault: Fault, stage: Stage) -> None:
        self._name = fault.name
        self._hold_s = fault.until_s - fault.at_s
        self._experiment = journal.held(json.loads(fault.experiment.document), self._hold_s)
        self._stage = stage
        self._entry = ledger.path_of(stage.directory, fault.name)
        self._log = stage.directory / f"{fault.name}.log"
        self._child: Process | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._cause = ""  # of the child's death, where it is known
        self._checked: list[Stamped] = []
        self._putting_off: asyncio.Task[None] | None = None
        self._asked = False
        self._ended = False
        self._playing = False
        self._method_told = False
        self._rolled_back: str | None = None  # what the child said of its rollbacks; None: nothing
        self._over: Body | None = None  # the rollback's outcome

    async def load(self) -> str | None:
        """
        Start the child and have it load and rehearse the experiment. What is wrong with that; None when it is loaded.

        Raises DriverError when the child does not work.
        """
        await self._start()
        path = self._stage.directory / f"{self._name}.json"
        self._tell(lines.Command(do="load", experiment=self._experiment, journal=str(path.absolute())))
        while (said := await self._answer(LOAD_S)).event == "rehearsed":
            body = PreflightChecked(check=REHEARSAL, ok=not said.detail, detail=self._rehearsal(said))
            self._checked.append(Stamped(mono_ns=said.mono_ns, body=body))
        return said.detail if said.event == "refused" else None

    def checked(self) -> Sequence[Stamped]:
        """What loading found out."""
        return self._checked

    def begin(self) -> None:
        """From now on, rolling back means more than doing nothing: `play` follows."""
        self._playing = True

    async def play(self) -> None:
        """From arming to the end of the rollbacks."""
        refusal = await self._arm()
        if refusal is None:
            self._report(FaultArmed(fault=self._name))
            self._tell(lines.Command(do="go", entry=str(self._entry.absolute())))
            await self._follow()
            await self._make_sure()
        else:
            self._report(InjectFailed(fault=self._name, detail=f"nothing was injected: {refusal}"))
            await self._stand_down()
            if self._asked:
                self._report(self._over)

    def refuse(self, reason: str) -> None:
        """Do not play it."""
        self._over = RollbackCompleted(fault=self._name)
        self._report(InjectFailed(fault=self._name, detail=f"nothing was injected: {reason}"))

    def ask_rollback(self) -> None:
        """Roll back now, whatever is going on; when that is done already, report again how it went."""
        if self._over is not None:
            self._report(self._over)
        elif not self._playing:
            self._over = RollbackCompleted(fault=self._name)  # nothing was touched
            self._report(self._over)
        elif not self._asked:
            self._asked = True
            self._tell(lines.Command(do="rollback"))
            self._kill_in(self._stage.cut_s, "did not let go of its running activity")
            self._put_off()

    def end_early(self, reason: str) -> None:
        """Roll back although nobody asked: the fault cannot stay on."""
        if self._playing and self._over is None and not self._asked:
            self._report(InjectFailed(fault=self._name, detail=f"ended before its time: {reason}"))
            self.ask_rollback()

    async def end(self) -> None:
        """End the child, one that plays by force, and all that its activities left running. Idempotent."""
        child = self._child
        if child is None or self._ended:
            return
        self._ended = True
        assert child.stdin is not None
        child.stdin.close()
        try:
            await asyncio.wait_for(child.wait(), LEAVE_S)
        except TimeoutError:
            self._kill("did not leave")
            await child.wait()
        undo.end_group(child.pid)
        if self._deadline is not None:
            self._deadline.cancel()

    # -- before the method --------------------------------------------------------------------------------------

    async def _start(self) -> None:
        try:
            with self._log.open("ab") as log:
                self._child = await asyncio.create_subprocess_exec(
                    *self._stage.command,
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=log,
                    env=self._environment(),
                    start_new_session=True,
                    limit=_LINE_BYTES,
                )
        except OSError as problem:
            raise DriverError(f"chaos: the process for '{self._name}' cannot be started: {problem}") from problem

    async def _arm(self) -> str | None:
        """Have the undo on disk and the watchdog's word for it. None: the method may begin; else why it may not."""
        try:
            if self._child is None and (refusal := await self.load()):
                return refusal
            self._tell(lines.Command(do="begin"))
            ready = await self._answer(READY_S)
            if ready.event != "ready":
                return ready.detail
            assert self._child is not None
            deadline_s = time.monotonic() + self._hold_s + self._stage.overdue_s
            await asyncio.to_thread(ledger.write, self._entry, self._undo(ready.configuration, deadline_s))
            await self._stage.guard.arm(self._entry, self._child.pid, deadline_s)
        except (OSError, DriverError) as problem:
            return str(problem)
        return "its rollback was asked for before its method began" if self._asked else None

    def _undo(self, configuration: dict[str, object], deadline_s: float) -> ledger.Entry:
        environment = self._environment()
        return ledger.Entry(
            fault=self._name,
            run=self._stage.run,
            conductor=os.getpid(),
            environment={key: environment[key] for key in ledger.ENVIRONMENT if key in environment},
            folder=str(Path.cwd()),
            undo=journal.undo_of(self._experiment, configuration),
            sandbox=self._stage.sandbox,
            deadline_s=deadline_s,
        )

    def _environment(self) -> dict[str, str]:
        """What the child finds in its environment: for the actions, also which objects they may touch."""
        targets = ledger.targets_path(self._stage.directory, self._name)
        own = {"LCH_TARGETS": str(targets.absolute())} if targets.exists() else {}
        return {**self._stage.environment, **own}

    def _rehearsal(self, said: lines.Said) -> str:
        found = f"cannot be rehearsed: {said.detail}" if said.detail else "the cluster accepts it"
        return f"fault '{self._name}': activity '{said.activity}': {found}"

    async def _stand_down(self) -> None:
        """Leave no trace of a fault that was not injected."""
        await self.end()
        if self._entry.exists():
            with suppress(OSError):  # a full disk: it goes on saying that the fault may be on, until it is healed
                ledger.mark(self._entry, ledger.State.UNDONE, "nothing was injected")
            await self._disarm()
        self._over = RollbackCompleted(fault=self._name)

    async def _answer(self, timeout_s: float) -> lines.Said:
        said = await self._next(timeout_s)
        if said is None:
            raise DriverError(f"chaos: the process for '{self._name}' ended or did not answer; see {self._log}")
        return said

    # -- the method and the rollbacks ---------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Report what the child says, until it ends."""
        while (said := await self._next(None)) is not None:
            self._hear(said)
        await self.end()

    def _hear(self, said: lines.Said) -> None:
        fault, at = self._name, said.mono_ns
        match said.event:
            case "refused":
                self._cause = said.detail
            case "activity_started":
                self._stage.report(at, ActivityStarted(fault=fault, activity=said.activity))
            case "activity_completed":
                body = ActivityCompleted(fault=fault, activity=said.activity, status=said.status)
                self._stage.report(at, body)
            case "method_ended":
                self._method_told = True
                failed = InjectFailed(fault=fault, detail=said.detail)
                self._stage.report(at, failed if said.detail else InjectCompleted(fault=fault))
            case "rollbacks_started":
                if not self._asked:
                    detail = f"ended before its time by {said.detail}"
                    self._stage.report(at, InjectFailed(fault=fault, detail=detail))
                self._kill_in(ROLLBACKS_S, "did not end its rollbacks")
                self._put_off()
            case "rollbacks_ended":
                self._rolled_back = said.detail
                self._kill_in(LEAVE_S, "did not leave")
                if not said.detail:
                    self._over = RollbackCompleted(fault=fault)
                    self._stage.report(at, self._over)

    async def _make_sure(self) -> None:
        """The child has ended: when it did not undo the fault, a fresh one does."""
        if self._rolled_back is None and (not self._asked or not self._method_told):
            self._report(InjectFailed(fault=self._name, detail=self._death()))
        if self._over is None:
            self._over = await self._undone()
            self._report(self._over)
        await self._disarm()

    async def _undone(self) -> Body:
        """The outcome of an undo by the watchdog, which is ready for it; by ourselves when there is no watchdog."""
        try:
            with suppress(DriverError):
                await self._stage.guard.undo(self._entry, self._stage.undo_s)
            entry = await asyncio.to_thread(ledger.read, self._entry)
            why = None if entry.state is ledger.State.UNDONE else entry.detail
            if entry.state is ledger.State.ARMED:
                why = await asyncio.to_thread(undo.play, self._entry, budget_s=0, timeout_s=TRY_S)
        except (OSError, ValueError) as problem:
            why = str(problem)
        return RollbackFailed(fault=self._name, detail=why) if why else RollbackCompleted(fault=self._name)

    def _death(self) -> str:
        assert self._child is not None
        code = self._child.returncode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return f"{self._cause or f'its process {how}'}; see {self._log}"

    def _put_off(self) -> None:
        """Have the watchdog wait for the rollbacks, as long as they may take."""
        if self._putting_off is None and self._child is not None and self._entry.exists():
            deadline_s = time.monotonic() + self._stage.cut_s + ROLLBACKS_S + LEAVE_S + self._stage.overdue_s
            self._putting_off = asyncio.create_task(self._armed_until(self._child.pid, deadline_s))

    async def _disarm(self) -> None:
        if self._putting_off is not None:
            await self._putting_off
        with suppress(DriverError):  # the ledger says the same
            await self._stage.guard.disarm(self._entry)

    async def _armed_until(self, child: int, deadline_s: float) -> None:
        with suppress(DriverError):  # then the watchdog undoes the fault earlier than it should
            await self._stage.guard.arm(self._entry, child, deadline_s)

    # -- small things -------------------------------------------------------------------------------------------

    def _report(self, body: Body | None) -> None:
        assert body is not None
        self._stage.report(time.monotonic_ns(), body)

    def _tell(self, command: lines.Command) -> None:
        child = self._child
        if child is not None and child.stdin is not None and not child.stdin.is_closing():
            child.stdin.write(lines.encode(command))  # to a dead child: its output has ended as well, which is noticed

    async def _next(self, timeout_s: float | None) -> lines.Said | None:
        """What the child says next; None when it has ended or is silent for too long."""
        assert self._child is not None
        assert self._child.stdout is not None
        try:
            line = await asyncio.wait_for(self._child.stdout.readline(), timeout_s)
        except TimeoutError:
            return None
        return lines.said(line) if line.endswith(b"\n") else None

    def _kill_in(self, delay_s: float, reason: str) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        detail = f"{reason} within {delay_s:g} s and was killed"
        self._deadline = asyncio.get_running_loop().call_later(delay_s, self._kill, detail)

    def _kill(self, reason: str) -> None:
        child = self._child
        if child is not None and child.returncode is None:
            self._cause = f"its process {reason}"
            undo.end_group(child.pid)
