"""The load driver in the conductor's process: starts the engine, tells it what to do, and reads what it reports."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.drivers.base import LoadBatch
from harness.drivers.locust.channel import TOKEN_MIN, TOKEN_VARIABLE
from harness.drivers.locust.spec import spec_of
from harness.drivers.piped import Piped
from harness.errors import DriverError
from harness.history.events import Body, LoadFailed, LoadStarted, LoadStopped, Stamped, WorkerJoined, WorkerLost
from harness.history.load import FailedRequest, LoadFrame, WorkerHealth, failure_from_dict, frame_from_dict
from harness.plan.model import Plan

PREPARE_S = 30.0
CLOSE_S = 2.0


class LocustDriver:
    """
    The real LoadDriver: one Locust master and its workers as child processes, in a session of their own.

    `log_dir` receives load-master.log and load-worker-<i>.log; it is created when missing. `worker_pids` are the
    workers on this machine.
    """

    def __init__(self, plan: Plan, *, log_dir: Path) -> None:
        self._plan = plan
        self._log_dir = log_dir.resolve()
        self._child: Piped | None = None
        self._events: list[Stamped] = []
        self._frames: list[LoadFrame] = []
        self._health: list[WorkerHealth] = []
        self._failures: list[FailedRequest] = []
        self._ready = 0
        self._stopped = False
        self._failure: str | None = None
        self.worker_pids: tuple[int, ...] = ()

    def prepare(self) -> int:
        """
        Start the engine; the number of workers once all users are up. At most 30 s; raises DriverError.

        With remote workers the token they must know is taken from LCH_WORKER_TOKEN.
        """
        given = {"spec": spec_of(self._plan, str(self._log_dir)).to_json(), "token": self._token()}
        self._child = Piped("harness.drivers.locust.master", self._log_dir / "load-master.log", close_s=CLOSE_S)
        self._child.tell(given)
        for lines in self._child.until(PREPARE_S):
            self._understand(lines)
            if self._ready or self._failure is not None:
                break
        if not self._ready:
            silent = "ended before it was ready" if self._child.gone else f"was not ready within {PREPARE_S:.0f} s"
            self.close()
            raise self._broken(self._failure or f"the engine {silent}")
        return self._ready

    def start(self, t0_mono_ns: int) -> None:
        """Begin: t = 0 of the load profile is `t0_mono_ns`. LoadStarted will be polled."""
        if self._child:
            self._child.tell({"do": "start", "t0_ns": t0_mono_ns})

    def stop(self) -> None:
        """Plan no more arrivals, drain to the deadline. LoadStopped will be polled after the last frame."""
        if self._child:
            self._child.tell({"do": "stop"})

    def fds(self) -> Sequence[int]:
        """The engine's stdout, while it is open."""
        return self._child.fds() if self._child else ()

    def poll(self) -> Sequence[Stamped]:
        """What the engine reported since the last call; LoadFailed once when it breaks, then DriverError."""
        self._read()
        gone = self._child is not None and self._child.gone and not self._stopped
        if gone and self._failure is None:
            self._fail("the load engine ended by itself", time.monotonic_ns())
        events, self._events = tuple(self._events), []
        if gone and not events and self._failure is not None:
            raise self._broken(self._failure)
        return events

    def take(self) -> LoadBatch:
        """Frames, health and sampled failures received since the last call."""
        self._read()
        batch = LoadBatch(frames=tuple(self._frames), health=tuple(self._health), failures=tuple(self._failures))
        self._frames, self._health, self._failures = [], [], []
        return batch

    def close(self) -> None:
        """End the master and all workers. Idempotent."""
        if self._child:
            self._child.close()

    def _token(self) -> str:
        """What opens the engine's door to workers: a secret of this run, or the one that remote workers know."""
        if self._plan.service.load.remote is None:
            return secrets.token_urlsafe(32)
        token = os.environ.get(TOKEN_VARIABLE, "")
        if len(token) < TOKEN_MIN:
            raise DriverError(
                f"load: remote workers need a token of at least {TOKEN_MIN} characters in {TOKEN_VARIABLE}",
                hint=f"export {TOKEN_VARIABLE}=$(openssl rand -hex 16), here and where the workers start",
            )
        return token

    def _read(self) -> None:
        if self._child:
            self._understand(self._child.lines())

    def _understand(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._take_in(json.loads(line))

    def _take_in(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "batch":
                self._frames += [frame_from_dict(frame) for frame in message["frames"]]
                self._health += [WorkerHealth(**health) for health in message["health"]]
                self._failures += [failure_from_dict(failure) for failure in message["failures"]]
            case "ready":
                self._ready, self.worker_pids = message["workers"], tuple(message["pids"])
            case "started":
                self._note(message, LoadStarted(workers=message["workers"]))
            case "stopped":
                self._stopped = True
                self._note(message, LoadStopped(scheduled_until_ns=message["scheduled_until_ns"]))
            case "worker_lost":
                self._note(message, WorkerLost(worker=message["worker"], detail=message["detail"]))
            case "worker_joined":
                self.worker_pids = tuple(message["pids"])
                self._note(message, WorkerJoined(worker=message["worker"]))
            case "failed":
                self._fail(message["detail"], message["mono_ns"] or time.monotonic_ns())

    def _broken(self, detail: str) -> DriverError:
        return DriverError(f"load: {detail}", hint=f"the engine's own words are in {self._log_dir}")

    def _fail(self, detail: str, mono_ns: int) -> None:
        self._failure = detail
        self._events.append(Stamped(mono_ns=mono_ns, body=LoadFailed(detail=detail)))

    def _note(self, message: dict[str, Any], body: Body) -> None:
        self._events.append(Stamped(mono_ns=message["mono_ns"], body=body))
