"""The fault driver: Chaos Toolkit experiments, played by one child process each and guarded by a watchdog."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from harness.drivers.chaos import journal, ledger
from harness.drivers.chaos.guard import Guard
from harness.drivers.chaos.hold import Hold
from harness.drivers.chaos.holding import Holding
from harness.drivers.chaos.session import Session, Stage
from harness.drivers.preflight.look import Found, resolve_in_child
from harness.drivers.preflight.targets import problem
from harness.errors import DriverError, PlanError, Problem
from harness.history.events import Body, HoldLost, Stamped, TargetsFrozen
from harness.plan.model import IN_CLUSTER, Fault, Plan

T = TypeVar("T")


def resolved(plan: Plan, kubeconfig: str | None, context: str | None) -> Found:
    """What each fault of `plan` may touch; nothing without a cluster. Raises PlanError and DriverError."""
    cluster = plan.service.cluster
    if cluster is None or kubeconfig is None:
        return Found()
    return resolve_in_child(plan.faults, cluster, kubeconfig=kubeconfig, context=context)


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What the driver works with."""

    child: Sequence[str] = (sys.executable, "-m", "harness.drivers.chaos.child")
    watchdog: Sequence[str] = (sys.executable, "-m", "harness.drivers.chaos.watchdog")
    keeper: Sequence[str] = (sys.executable, "-m", "harness.drivers.chaos.keeper")
    targets: Callable[[Plan, str | None, str | None], Found] = resolved
    cut_s: float = 5.0  # how long a running activity may take to be cut short before its process is killed
    undo_s: float = 15.0  # how long an undo that fails is tried again
    overdue_s: float = 10.0  # the watchdog ends a fault that nobody ended so long after its time


class ChaosDriver:
    """
    Plays the plan's faults. A FaultDriver (harness.drivers.base).

    `run` is the run's name, which experiments find in the environment variable LCH_RUN; `directory` is the record's
    `chaos/` folder, which gets journals, logs and the ledger. Without a kubeconfig no experiment reaches a cluster, not
    even the one that the person's own environment names.

    The work is done by an event loop in a thread of its own, so that nothing the conductor does or waits for can hold
    up an undo.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        run: str,
        directory: Path,
        kubeconfig: str | None,
        context: str | None,
        means: Means = Means(),
    ) -> None:
        self._plan, self._run, self._directory, self._means = plan, run, directory, means
        self._connection = (kubeconfig, context)
        self._environment = _environment(run, kubeconfig, context)
        self._sessions: dict[str, Session] = {}
        self._plays: set[asyncio.Task[None]] = set()
        self._happened: deque[Stamped] = deque()
        self._broke: BaseException | None = None
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hold: Hold | None = None
        self._unheld = ""  # why the cluster is not held any more
        self._owned = ExitStack()
        self._closed = False

    def preflight(self) -> Sequence[Stamped]:
        """
        Take hold of the cluster, freeze the targets, and have a child for every fault rehearse it. Blocks for seconds.

        Raises PlanError and DriverError.
        """
        if not self._plan.faults:
            return ()
        self._wait_for(self._take_hold)
        found = self._means.targets(self._plan, *self._connection)
        self._freeze(found)
        stamped = [Stamped(mono_ns=time.monotonic_ns(), body=body) for body in found.bodies]
        problems = self._wait_for(lambda: self._load(self._plan.faults))
        if problems:
            raise PlanError(problems)
        checked = [self._session(fault).checked() for fault in self._plan.faults]
        return [*stamped, *chain.from_iterable(checked)]

    def inject(self, fault: Fault) -> None:
        """Arm, then play the method."""
        self._soon(lambda: self._play(fault))

    def rollback(self, fault: Fault) -> None:
        """Play the rollbacks now, cutting a running method short."""
        self._soon(lambda: self._session(fault).ask_rollback())

    def fds(self) -> Sequence[int]:
        """Readable when there is something to poll."""
        return () if self._closed else (self._wake_read,)

    def poll(self) -> Sequence[Stamped]:
        """What happened since the last call. Raises what broke the driver, should something have."""
        if not self._closed:
            with suppress(BlockingIOError):
                while os.read(self._wake_read, 4096):
                    pass
        happened = []
        while self._happened:
            happened.append(self._happened.popleft())
        if self._broke is not None and not happened:
            raise self._broke
        return happened

    def close(self) -> None:
        """
        Undo what is on, and end every process and thread.

        Returns at once when nothing is on; takes at most as long as a cut, the rollbacks and a fresh undo together.
        """
        if self._closed:
            return
        if self._loop is not None:
            self._wait_for(self._shut_down)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        self._closed = True
        self._owned.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _freeze(self, found: Found) -> None:
        """Have every child find in its environment which cluster and which objects it may touch. Raises OSError."""
        cluster = self._plan.service.cluster
        if found.uid:
            self._environment["LCH_CLUSTER_UID"] = found.uid
        for body in found.bodies:
            if isinstance(body, TargetsFrozen) and cluster is not None:
                file = ledger.targets_path(self._directory, body.fault)
                file.write_text(json.dumps(journal.targets(body, found.nodes, cluster)), encoding="utf-8")

    # -- between the threads --------------------------------------------------------------------------------------

    def _wait_for(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        loop = self._running()
        return asyncio.run_coroutine_threadsafe(work(), loop).result()

    def _soon(self, action: Callable[[], None]) -> None:
        self._running().call_soon_threadsafe(action)

    def _running(self) -> asyncio.AbstractEventLoop:
        """The event loop, started and owning the ledger from the first call on. Raises DriverError."""
        if self._loop is None:
            folder = self._directory / ledger.FOLDER
            if not self._owned.enter_context(ledger.owned(folder)):
                raise DriverError(f"chaos: {folder} belongs to another live run")
            ledger.sign(folder)
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="chaos", daemon=True)
            self._thread.start()
            self._stage = self._wait_for(self._set)
        return self._loop

    def _report(self, mono_ns: int, body: Body) -> None:
        self._happened.append(Stamped(mono_ns=mono_ns, body=body))
        with suppress(BlockingIOError):  # a full pipe is readable, which is all that is wanted
            os.write(self._wake_write, b"!")

    # -- in the event loop ----------------------------------------------------------------------------------------

    async def _set(self) -> Stage:
        return Stage(
            run=self._run,
            sandbox=self._plan.service.sandbox is not None,
            directory=self._directory,
            environment=self._environment,
            command=self._means.child,
            cut_s=self._means.cut_s,
            undo_s=self._means.undo_s,
            overdue_s=self._means.overdue_s,
            guard=Guard(
                self._means.watchdog,
                self._directory / "watchdog.log",
                self._end_early,
                environment=self._environment,
                modules=sorted({module for fault in self._plan.faults for module in _modules(fault)}),
            ),
            report=self._report,
        )

    async def _take_hold(self) -> None:
        """Have the run hold its cluster, where there is one. Raises DriverError."""
        (kubeconfig, context), cluster = self._connection, self._plan.service.cluster
        if kubeconfig is None or cluster is None or self._hold is not None:
            return
        spaces = {cluster.namespace, *(reach.namespace for reach in cluster.also)}
        spaces |= {fault.experiment.namespace for fault in self._plan.faults}
        self._hold = Hold(
            self._means.keeper,
            self._directory / "keeper.log",
            self._let_go,
            holding=Holding(
                kubeconfig=kubeconfig,
                context=context,
                run=self._run,
                namespace=cluster.namespace,
                namespaces=sorted(spaces),
                dead_man_s=cluster.dead_man_s,
                uid=cluster.uid,
            ),
            environment=self._environment,
        )
        await self._hold.take()
        self._environment["LCH_LEASED"] = "1"

    def _session(self, fault: Fault) -> Session:
        if fault.name not in self._sessions:
            self._sessions[fault.name] = Session(fault, self._stage)
        return self._sessions[fault.name]

    async def _load(self, faults: Sequence[Fault]) -> tuple[Problem, ...]:
        await self._stage.guard.start()
        refusals = await asyncio.gather(*(self._session(fault).load() for fault in faults))
        return tuple(
            problem(fault, f"{fault.experiment.path}: {refusal}")
            for fault, refusal in zip(faults, refusals, strict=True)
            if refusal is not None
        )

    def _play(self, fault: Fault) -> None:
        session = self._session(fault)
        if self._unheld:
            session.refuse(self._unheld)
            return
        session.begin()
        play = asyncio.get_running_loop().create_task(session.play())
        self._plays.add(play)
        play.add_done_callback(self._played)

    def _played(self, play: asyncio.Task[None]) -> None:
        self._plays.discard(play)
        if not play.cancelled() and play.exception() is not None:
            self._broke = play.exception()
            os.write(self._wake_write, b"!")

    def _let_go(self, reason: str) -> None:
        self._report(time.monotonic_ns(), HoldLost(detail=reason))
        self._unheld = f"the run lost its hold on the cluster: {reason}"
        self._end_early(self._unheld)

    def _end_early(self, reason: str) -> None:
        for session in self._sessions.values():
            session.end_early(reason)

    async def _shut_down(self) -> None:
        for session in self._sessions.values():
            session.ask_rollback()
        if self._plays:
            await asyncio.wait(self._plays)
        await asyncio.gather(*(session.end() for session in self._sessions.values()))
        await self._stage.guard.close()
        if self._hold is not None:
            await self._hold.close()


def _environment(run: str, kubeconfig: str | None, context: str | None) -> dict[str, str]:
    environment = {**os.environ, "LCH_RUN": run, "KUBECONFIG": kubeconfig or os.devnull}
    environment.pop("KUBERNETES_CONTEXT", None)
    if context is not None:
        environment["KUBERNETES_CONTEXT"] = context
    if kubeconfig == IN_CLUSTER:
        environment["CHAOSTOOLKIT_IN_POD"] = "true"  # so that the actions of others find the same cluster
    return environment


def _modules(fault: Fault) -> set[str]:
    return journal.modules_of(json.loads(fault.experiment.document))
