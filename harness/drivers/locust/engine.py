"""The master's part of the load engine, inside Locust's MasterRunner."""

from __future__ import annotations

# Locust patches the standard library on import and must come first.
import locust  # isort: split

import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from locust import runners
from locust.env import Environment
from locust.util.load_locustfile import load_locustfile

from harness.drivers.locust import expected, rpc
from harness.drivers.locust.accounts import Accounts
from harness.drivers.locust.channel import address_of, keys_of
from harness.drivers.locust.child import Child
from harness.drivers.locust.collector import Collector, FailureSample
from harness.drivers.locust.guests import refusal, welcome
from harness.drivers.locust.kinds import LocustfileError, kinds_of
from harness.drivers.locust.members import HUNG_TICKS, LIVES_MAX, SILENT_TICKS, TICK_S, Member, Members
from harness.drivers.locust.spec import Spec
from harness.drivers.locust.voice import Voice
from harness.drivers.locust.worker import Address, Seat
from harness.history.load import FailedRequest
from harness.schedule.load import SECOND_NS

NOTICE_NS = 200_000_000  # how far ahead the workers are told of new stripes
STOP_NOTICE_NS = 50_000_000  # how far ahead they are told to stop
GRACE_S = 0.3  # how long the last messages of a dead worker may take
FLUSH_NS = 200_000_000  # a second's frames go on this long after it ended; what comes later follows
ASSEMBLE_S = 28.0  # how long the workers may take to be ready
NOT_REPLACED_NS = 2 * SECOND_NS  # so close to the end a dead worker is not replaced
SETTLED_NS = 5 * SECOND_NS  # beyond the deadline, everything is settled and reported


class Engine:
    """Hands out the plan, collects counts, keeps the books, and reports all of it through a Voice."""

    def __init__(self, spec: Spec, children: list[Child], members: Members, voice: Voice, token: str) -> None:
        self._spec = spec
        self._started_children = children  # all that were ever started, for whoever must end them
        self._children = {child.seat.index: child for child in children}
        self._members = members
        self._voice = voice
        arrivals = spec.arrivals()
        self._names = [stream.name for stream in spec.streams]
        self._accounts = Accounts(dict(zip(self._names, arrivals, strict=True)), spec.end_ns)
        self._collector = Collector(spec.limits_us)
        self._failures = FailureSample()
        self._health: list[dict[str, object]] = []
        self._t0_ns: int | None = None
        self._epoch = 0
        self._assembled = self._started = self._stopping = False
        self._idle: set[int] = set()  # workers that were told to begin and have not said that they did
        self._burying = 0  # dead workers whose last messages are waited for
        self._over = Event()
        self._runner = self._master_runner(token)
        host = address_of(spec.listen)[0]
        here = {"0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}.get(host, host)
        self._address = Address(host=here, port=self._runner.server.port, token=token)

    def run(self) -> None:
        """Serve until the load is drained."""
        for work in (self._voice.write_for_ever, lambda: self._voice.obey(self._start, self._stop), self._assemble):
            self._spawn(work)
        for child in self._children.values():
            self._adopt(child)
        self._spawn(self._listen_for_silence)
        self._over.wait()
        self._quit()

    def _master_runner(self, token: str) -> Any:
        rpc.install(keys_of(token))
        runners.HEARTBEAT_LIVENESS = 1 << 40  # Locust's heartbeats are not used
        user_classes = _user_classes(self._spec.locustfile)
        kinds_of(self._spec, user_classes, 0)  # so that a stream without users is a clear error
        environment = Environment(
            user_classes=user_classes,
            events=locust.events,
            host=self._spec.host,
            stop_timeout=0,
            parsed_options=expected.options(),
        )
        runner = environment.create_master_runner(*address_of(self._spec.listen))
        vars(runner)["check_stopped"] = lambda: None  # it looks at all workers at every message
        environment.events.init.fire(environment=environment, runner=runner, web_ui=None)  # type: ignore[no-untyped-call]
        environment.events.test_start.fire(environment=environment)  # type: ignore[no-untyped-call]
        runner.update_state(runners.STATE_RUNNING)
        runner.register_message("join", self._on_join)
        runner.register_message("unready", self._on_unready)
        runner.register_message("report", self._on_report)
        return runner

    def _adopt(self, child: Child) -> None:
        self._spawn(self._mourn, child)
        child.tell(self._address)

    def _spawn(self, work: Callable[..., object], *arguments: object) -> None:
        """Do it beside the rest; when it breaks, nobody else would do it, so that the load has failed."""
        gevent.spawn(work, *arguments).link_exception(lambda greenlet: self._fail(repr(greenlet.exception)))

    # --- from the driver ---

    def _start(self, t0_ns: int) -> None:
        self._t0_ns = t0_ns
        ready = [member.index for member in self._members if member.ready]
        self._idle = set(ready)
        self._accounts.join(ready, 0)
        self._order()
        self._spawn(self._flush_for_ever)

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._accounts.stop(0 if self._t0_ns is None else self._now_ns() + STOP_NOTICE_NS)
        self._order()
        self._finish_if_drained()

    # --- orders ---

    def _order(self) -> None:
        """Tell every worker that takes part what to do from now on."""
        self._epoch += 1
        for index in self._accounts.alive:
            self._send_orders(index)

    def _send_orders(self, index: int) -> None:
        itinerary = self._accounts.itinerary(index)
        orders = {
            "epoch": self._epoch,
            "t0_ns": self._t0_ns,
            "legs": [[leg.from_ns, leg.index, leg.of] for leg in itinerary.legs],
            "until_ns": itinerary.until_ns,
            "halt": self._stopping,
        }
        member = self._members.get(index)
        if member is not None:
            self._runner.send_message("orders", orders, client_id=member.client_id)

    # --- from the workers ---

    def _on_join(self, msg: Any, **_: object) -> None:
        """A worker on another machine asks to take part."""
        why = refusal(msg.data) or ("the run is over" if self._stopping or self._over.is_set() else None)
        if why:
            self._runner.send_message("refused", {"why": why}, client_id=msg.node_id)
            return
        member = self._members.remote(str(msg.data["host"]))
        seat = Seat(index=member.index, place=member.index, name=member.name, remote=True, spec=self._spec)
        self._runner.send_message("welcome", welcome(seat), client_id=msg.node_id)

    def _on_unready(self, msg: Any, **_: object) -> None:
        member = self._members.get(msg.data["index"])
        if member is not None and not member.ready and self._t0_ns is None:
            self._fail(f"a user could not start: {msg.data['detail']}")

    def _on_report(self, msg: Any, **_: object) -> None:
        heard_ns = time.monotonic_ns()
        report = msg.data
        member = self._members.get(report["index"])
        if member is None:
            self._runner.send_message("expelled", None, client_id=msg.node_id)
            return
        member.silent, member.client_id = 0, msg.node_id
        member.epoch, member.drained = report["epoch"], report["drained"]
        if report["number"] is not None and member.is_new(report["number"]):
            self._take(member, report)
        if report["number"] is not None or member.place is None:
            answer = {"number": report["number"], "t1": report["t1"], "t2": heard_ns, "t3": time.monotonic_ns()}
            self._runner.server.answer("heard", answer, msg.node_id)
        if report["ready"] and not member.ready:
            self._on_ready(member)
        elif self._accounts.takes_part(member.index):
            self._on_progress(member)

    def _take(self, member: Member, report: Any) -> None:
        self._accounts.settle(member.index, self._collector.add(report["data"]))
        self._health += report["health"]
        for failure in report["failures"]:
            self._failures.add(FailedRequest(**failure))
        if report["exceeded"]:
            counts = {(self._names[stream], second): n for stream, second, n in report["exceeded"]}
            self._voice.batch(self._accounts.exceed(member.index, counts))

    def _on_ready(self, member: Member) -> None:
        member.ready = True
        if self._t0_ns is None:
            local = sum(1 for other in self._members if other.ready and other.place is not None)
            remote = sum(1 for other in self._members if other.ready and other.place is None)
            if local >= self._spec.workers and remote >= self._spec.remote_workers and not self._assembled:
                self._assembled = True
                self._voice.say("ready", workers=local + remote, pids=self._pids())
        elif not self._stopping:
            self._accounts.join([member.index], self._now_ns() + NOTICE_NS)
            self._order()
            self._voice.say("worker_joined", worker=member.name, pids=self._pids())

    def _on_progress(self, member: Member) -> None:
        if member.epoch < self._epoch:
            self._send_orders(member.index)  # what was said was lost, or is on its way
        else:
            self._idle.discard(member.index)
            self._start_if_all_began()
        self._finish_if_drained()

    def _start_if_all_began(self) -> None:
        if not self._started and not self._idle:
            self._started = True
            self._voice.say("started", workers=len(self._accounts.alive))

    # --- deaths ---

    def _mourn(self, child: Child) -> None:
        """Wait for the end of a worker on this machine."""
        gevent.get_hub().wait(gevent.get_hub().loop.io(child.pipe, 1))
        died_ns = time.monotonic_ns()
        member = self._members.get(child.seat.index)
        ending = child.ending()
        if member is None or self._over.is_set():
            return
        silence = " after it had stood still" if member.silent > SILENT_TICKS else ""
        detail = f"{child.seat.name} (pid {child.process.pid}) {ending}{silence}"
        if self._t0_ns is None:
            self._fail(f"{detail} before the start; its log says why")
            return
        self._replace(child)
        self._give_up(member, detail, died_ns)

    def _replace(self, child: Child) -> None:
        """Start another process in the place of a dead one, unless that was tried too often or the end is near."""
        member = self._members.get(child.seat.index)
        left_ns = self._accounts.until_ns - self._now_ns()
        if member is None or member.place is None or member.life >= LIVES_MAX or self._stopping:
            return
        if left_ns < NOT_REPLACED_NS:
            return
        heir = self._members.local(member.place, member.life + 1)
        seat = Seat(index=heir.index, place=member.place, name=heir.name, remote=False, spec=self._spec)
        successor = self._children[heir.index] = Child(seat)
        self._started_children.append(successor)
        self._adopt(successor)

    def _give_up(self, member: Member, detail: str, noticed_ns: int) -> None:
        """A worker no longer takes part; the others share its arrivals, and what it owed is lost."""
        if not self._accounts.takes_part(member.index):
            self._members.drop(member)
            self._fail_if_forsaken()
            return
        self._voice.say("worker_lost", mono_ns=noticed_ns, worker=member.name, detail=detail)
        self._accounts.leave(member.index, self._now_ns() + NOTICE_NS)
        self._idle.discard(member.index)
        self._order()
        self._burying += 1
        self._spawn(self._bury, member)
        self._fail_if_forsaken()

    def _bury(self, member: Member) -> None:
        if member.place is not None:
            gevent.sleep(GRACE_S)
        self._members.drop(member)
        self._voice.batch(self._accounts.lost_with(member.index))
        self._burying -= 1
        self._finish_if_drained()

    def _fail_if_forsaken(self) -> None:
        """Without a worker, and none on its way, the load has failed."""
        awaited = any(member.place is not None and not member.ready for member in self._members)
        if not self._accounts.alive and not awaited and not self._stopping:
            self._voice.say("failed", detail="all load workers died")

    def _listen_for_silence(self) -> None:
        while not self._over.is_set():
            gevent.sleep(TICK_S)
            for member in self._members:
                if not member.ready or (member.place is not None and self._t0_ns is None):
                    continue
                # Ticks, not time: when this whole machine was suspended, nobody is to blame.
                member.silent += 1
                if member.silent > SILENT_TICKS:
                    self._on_silence(member)

    def _on_silence(self, member: Member) -> None:
        hung = member.silent > HUNG_TICKS
        if member.place is not None:
            child = self._children[member.index]
            if hung or child.is_stopped():
                child.kill()  # so that it can't come back; `_mourn` sees to the rest
        elif self._t0_ns is not None:
            self._give_up(member, f"{member.name} fell silent", time.monotonic_ns())
        elif hung:
            self._fail(f"worker {member.name} fell silent before the start")

    # --- time ---

    def _assemble(self) -> None:
        """Nobody waits for workers for ever."""
        gevent.sleep(ASSEMBLE_S)
        if not self._assembled and not self._over.is_set():
            remote = sum(1 for member in self._members if member.ready and member.place is None)
            wanted = self._spec.remote_workers
            self._fail(
                f"{remote} of {wanted} remote workers joined at {self._spec.listen} within {ASSEMBLE_S:.0f} s"
                if remote < wanted
                else f"not all workers were ready within {ASSEMBLE_S:.0f} s"
            )

    def _flush_for_ever(self) -> None:
        while not self._over.is_set():
            gevent.sleep((SECOND_NS - (self._now_ns() - FLUSH_NS) % SECOND_NS) / SECOND_NS)
            self._flush(self._now_ns())

    def _flush(self, now_ns: int) -> None:
        frames = (*self._accounts.close(now_ns), *self._collector.take())
        health, self._health = self._health, []
        self._voice.batch(frames, health, self._failures.take())
        self._accounts.forget(now_ns - self._spec.deadline_ns - SETTLED_NS)

    def _now_ns(self) -> int:
        return time.monotonic_ns() - (self._t0_ns or 0)

    # --- the end ---

    def _finish_if_drained(self) -> None:
        if self._stopping and not self._burying and all(self._has_drained(index) for index in self._accounts.alive):
            self._burying += 1  # once
            self._spawn(self._finish)

    def _finish(self) -> None:
        until_ns = self._accounts.until_ns
        if self._t0_ns is not None:
            gevent.sleep(max(until_ns - self._now_ns(), 0) / SECOND_NS)
            self._flush(max(until_ns, self._now_ns()))
        if not self._over.is_set():
            self._over.set()
            self._voice.say("stopped", scheduled_until_ns=until_ns)

    def _fail(self, detail: str) -> None:
        self._voice.say("failed", detail=detail)
        self._over.set()

    def _quit(self) -> None:
        """Let Locust end its users, then see that the workers end."""
        self._voice.over = True
        self._runner.quit()
        deadline_s = time.monotonic() + 1.0
        while time.monotonic() < deadline_s and any(child.process.poll() is None for child in self._children.values()):
            gevent.sleep(0.01)
        self._voice.finish()

    def _has_drained(self, index: int) -> bool:
        member = self._members.get(index)
        return member is None or member.drained

    def _pids(self) -> list[int]:
        return [self._children[member.index].process.pid for member in self._members if member.place is not None]


def _user_classes(locustfile: str) -> list[type[locust.User]]:
    try:
        user_classes, _ = load_locustfile(locustfile)
    except Exception as error:  # importing it runs the person's code
        raise LocustfileError(f"{locustfile}: {type(error).__name__}: {error}") from error
    if not user_classes:
        raise LocustfileError(f"{locustfile}: no User class in it; declare one that is not abstract")
    return list(user_classes.values())
