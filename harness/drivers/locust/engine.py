"""The master's part of the load engine, inside Locust's MasterRunner."""

from __future__ import annotations

# Locust patches the standard library on import and must come first.
import locust  # isort: split

import json
import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import gevent
from gevent.event import Event
from gevent.os import make_nonblocking, nb_read, nb_write
from gevent.queue import SimpleQueue
from locust import runners
from locust.env import Environment
from locust.util.load_locustfile import load_locustfile

from harness.drivers.locust.accounts import Accounts
from harness.drivers.locust.child import Child
from harness.drivers.locust.spec import Spec
from harness.history.load import LoadFrame, frame_to_dict
from harness.schedule.load import SECOND_NS

NOTICE_NS = 250_000_000  # how far ahead the workers are told of new stripes
STOP_NOTICE_NS = 50_000_000  # how far ahead they are told to stop
GRACE_S = 0.3  # how long the last messages of a dead worker may take
SILENT_TICKS = 10  # seconds without any report after which a worker is as good as dead
EXPECTED_LATENCY_S = 0.05  # decides how many users are spawned before the start
_STDIN = 0


class Engine:
    """Hands out the plan, collects frames, keeps the books, and reports all of it on the descriptor `out`."""

    def __init__(self, spec: Spec, children: Sequence[Child], out: int) -> None:
        self._spec = spec
        self._children = {child.index: child for child in children}
        self._accounts = Accounts(spec.arrivals(), spec.workers, spec.end_ns)
        self._out_fd = out
        self._out: SimpleQueue[bytes] = SimpleQueue()
        self._silent = dict.fromkeys(self._children, 0)
        self._t0_ns: int | None = None
        self._stopping = False
        self._burying: set[int] = set()  # dead workers whose last messages are waited for
        self._over = Event()
        self._runner = self._master_runner()

    def run(self) -> None:
        """Serve until the load is drained."""
        for greenlet in (gevent.spawn(self._write), gevent.spawn(self._read)):
            greenlet.link_exception(lambda greenlet: self._fail(repr(greenlet.exception)))
        for child in self._children.values():
            gevent.spawn(self._mourn, child)
            self._tell_port(child)
        self._over.wait()
        self._quit()

    def _master_runner(self) -> Any:
        # Locust would otherwise collapse and respawn all users a minute after a worker died.
        runners.HEARTBEAT_LIVENESS = 1 << 40
        user_classes = _user_classes(self._spec.locustfile)
        environment = Environment(user_classes=user_classes, events=locust.events, host=self._spec.host, stop_timeout=0)
        runner = environment.create_master_runner("127.0.0.1", 0)
        environment.events.init.fire(environment=environment, runner=runner, web_ui=None)  # type: ignore[no-untyped-call]
        for name in ("hello", "ready", "unready", "begun", "frames", "exceeded", "drained"):
            runner.register_message(name, self._listener(getattr(self, f"_on_{name}")))
        return runner

    def _listener(self, handle: Callable[[Child, Any], None]) -> Callable[..., None]:
        def listen(msg: Any, **_: object) -> None:
            child = self._children[msg.data["index"]]
            if child.index in self._accounts.alive or child.index in self._burying:
                self._silent[child.index] = 0
                child.client_id = msg.node_id
                handle(child, msg.data)

        return listen

    def _tell_port(self, child: Child) -> None:
        with suppress(BrokenPipeError):  # it is dead, which `_mourn` notices
            os.write(child.process.stdin.fileno(), b"%d\n" % self._runner.server.port)  # type: ignore[union-attr]

    # --- from the driver ---

    def _read(self) -> None:
        make_nonblocking(_STDIN)
        buffer = b""
        while chunk := nb_read(_STDIN, 65536):
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                command = json.loads(line)
                self._start(command["t0_ns"]) if command["do"] == "start" else self._stop()
        if self._over.is_set():
            return  # it is ending anyway, and users may still log out
        for child in self._children.values():
            child.kill()
        os._exit(0)

    def _start(self, t0_ns: int) -> None:
        self._t0_ns = t0_ns
        self._broadcast("begin", {"t0_ns": t0_ns})
        gevent.spawn(self._tick)

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        until_ns = self._accounts.stop(0 if self._t0_ns is None else self._now_ns() + STOP_NOTICE_NS)
        self._broadcast("halt", {"until_ns": until_ns})
        self._finish_if_drained()

    # --- from the workers ---

    def _on_hello(self, _child: Child, _data: Any) -> None:
        if all(child.client_id for child in self._children.values()):
            gevent.spawn(self._spawn_users)

    def _spawn_users(self) -> None:
        # Locust lists a worker a moment after its first message.
        while len(self._runner.clients.ready) < len(self._children):
            gevent.sleep(0.005)
        each = min(max(math.ceil(self._spec.peak_per_s / self._spec.workers * EXPECTED_LATENCY_S), 4), 200)
        count = each * len(self._children)
        self._runner.start(count, spawn_rate=count)
        for child in self._children.values():
            users = sum(self._runner.clients[child.client_id].user_classes_count.values())
            self._runner.send_message("expect", {"users": users}, client_id=child.client_id)

    def _on_ready(self, child: Child, _data: Any) -> None:
        child.ready = True
        if all(other.ready for other in self._children.values()):
            pids = [other.process.pid for other in self._children.values()]
            self._say("ready", workers=len(self._children), pids=pids)

    def _on_unready(self, child: Child, data: Any) -> None:
        if not child.ready:
            self._fail(f"a user could not start: {data['detail']}")

    def _on_begun(self, child: Child, _data: Any) -> None:
        child.begun = True
        if all(self._children[index].begun for index in self._accounts.alive):
            self._say("started", workers=len(self._accounts.alive))

    def _on_frames(self, child: Child, data: Any) -> None:
        self._accounts.settle(child.index, dict(data["settled"]))
        self._batch(data["frames"], data["health"])

    def _on_exceeded(self, child: Child, data: Any) -> None:
        self._account(self._accounts.exceed(child.index, dict(data["counts"])))

    def _on_drained(self, child: Child, _data: Any) -> None:
        child.drained = True
        self._finish_if_drained()

    # --- deaths ---

    def _mourn(self, child: Child) -> None:
        """Wait for the worker's end. Before the start it is fatal; later the survivors take over."""
        gevent.get_hub().wait(gevent.get_hub().loop.io(child.pipe, 1))
        died_ns = time.monotonic_ns()
        detail = f"{child.name} (pid {child.process.pid}) {_ending(child)}"
        if self._t0_ns is None:
            self._fail(f"{detail} before the start; its log says why")
            return
        if self._over.is_set():
            return
        self._say("worker_lost", mono_ns=died_ns, worker=child.name, detail=detail)
        legs = self._accounts.restripe(child.index, self._now_ns() + NOTICE_NS)
        for index, leg in legs.items():
            data = {"from_ns": leg.from_ns, "index": leg.index, "of": leg.of}
            self._runner.send_message("restripe", data, client_id=self._children[index].client_id)
        if not legs and not self._stopping:
            self._say("failed", detail="all load workers died")
        self._burying.add(child.index)
        gevent.sleep(GRACE_S)
        self._burying.remove(child.index)
        self._account(self._accounts.lost_with(child.index))
        self._finish_if_drained()

    # --- time ---

    def _tick(self) -> None:
        while not self._over.is_set():
            gevent.sleep((SECOND_NS - self._now_ns() % SECOND_NS) / SECOND_NS)
            self._account(self._accounts.close(self._now_ns()))
            for index in self._accounts.alive:
                # Ticks, not time: when this whole machine was suspended, nobody is to blame.
                self._silent[index] += 1
                if self._silent[index] > SILENT_TICKS and self._now_ns() > 0:
                    self._children[index].kill()

    def _now_ns(self) -> int:
        return time.monotonic_ns() - (self._t0_ns or 0)

    def _finish_if_drained(self) -> None:
        done = all(self._children[index].drained for index in self._accounts.alive)
        if self._stopping and done and not self._burying and not self._over.is_set():
            gevent.spawn(self._finish)

    def _finish(self) -> None:
        until_ns = self._accounts.until_ns
        if self._t0_ns is not None:
            gevent.sleep(max(until_ns - self._now_ns(), 0) / SECOND_NS)
            self._account(self._accounts.close(until_ns))
        if not self._over.is_set():
            self._over.set()
            self._say("stopped", scheduled_until_ns=until_ns)

    def _quit(self) -> None:
        """Let Locust end its users, then see that the workers end."""
        self._runner.quit()
        deadline_s = time.monotonic() + 1.0
        while time.monotonic() < deadline_s and any(child.process.poll() is None for child in self._children.values()):
            gevent.sleep(0.01)
        while not self._out.empty():
            gevent.sleep(0.01)

    # --- to the driver ---

    def _broadcast(self, kind: str, data: dict[str, object]) -> None:
        for index in self._accounts.alive:
            self._runner.send_message(kind, data, client_id=self._children[index].client_id)

    def _account(self, frames: Sequence[LoadFrame]) -> None:
        if frames:
            self._batch([json.dumps(frame_to_dict(frame)) for frame in frames], [])

    def _batch(self, frames: Sequence[str], health: Sequence[dict[str, object]]) -> None:
        # Frames come encoded and are passed on as they are.
        self._out.put(f'{{"type":"batch","frames":[{",".join(frames)}],"health":{json.dumps(health)}}}\n'.encode())

    def _say(self, kind: str, **values: object) -> None:
        self._out.put((json.dumps({"type": kind, "mono_ns": time.monotonic_ns(), **values}) + "\n").encode())

    def _fail(self, detail: str) -> None:
        self._say("failed", detail=detail)
        self._over.set()

    def _write(self) -> None:
        make_nonblocking(self._out_fd)
        while True:
            data = self._out.peek()
            while data:
                data = data[nb_write(self._out_fd, data) :]
            self._out.get()


class LocustfileError(Exception):
    """The person's locustfile cannot be used."""


def _user_classes(locustfile: str) -> list[type[locust.User]]:
    try:
        user_classes, _ = load_locustfile(locustfile)
    except Exception as error:  # importing it runs the person's code
        raise LocustfileError(f"{locustfile}: {type(error).__name__}: {error}") from error
    if not user_classes:
        raise LocustfileError(f"{locustfile}: no User class in it; declare one that is not abstract")
    return list(user_classes.values())


def _ending(child: Child) -> str:
    code = child.process.wait()
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
