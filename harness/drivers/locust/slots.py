"""
The pool of slots: which User runs which arrival, and what becomes of arrivals nobody runs in time.

Every Locust User is a slot. A free slot parks; the pacer hands each arrival to the slot parked last, so that few
connections stay hot. Without a free slot the arrival queues, the pool grows, and the arrival's clock runs on.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import gevent
from gevent import getcurrent
from gevent.hub import Waiter
from locust import User
from locust.user.task import LOCUST_STATE_RUNNING, LOCUST_STATE_WAITING

from harness.drivers.locust.journeys import Arrival, Ledger
from harness.drivers.locust.kinds import Kind

__all__ = ["Arrival", "Cut", "Pool", "Slot"]

_ARRIVAL = object()  # key of the arrival in the locals that gevent hands on to greenlets spawned by a task
PAUSE_NS = 100_000_000  # after a user could not start, before another is: neither logins nor the log may run wild
BEHIND_NS = 5_000_000  # an event loop this late is saturated: more users would cost it more, and help nobody


class Cut(BaseException):
    """The deadline of the arrival that this user runs has passed."""


class Slot:
    """One User, as a place where arrivals run one after another."""

    __slots__ = ("arrival", "failed_sets", "greenlet", "kind", "locals", "user", "waiter")

    def __init__(self, user: User, kind: Kind) -> None:
        self.user = user
        self.kind = kind
        self.greenlet = getcurrent()
        self.locals: dict[object, object] = {}  # of greenlets that the user spawns between arrivals
        self.waiter = Waiter()
        self.arrival: Arrival | None = None
        self.failed_sets: set[object] = set()  # task sets whose on_start failed when the user entered them last


class Pool:
    """
    All slots of one worker.

    HTTP clients tell it of their requests (`current`, `sending`, `request`) and find here how old a connection may
    become (`connection_age_s`).
    """

    def __init__(
        self, environment: Any, kinds: Sequence[Sequence[Kind]], ledger: Ledger, *, deadline_ns: int, seed: str
    ) -> None:
        self._environment = environment
        self._deadline_ns = deadline_ns
        self._ledger = ledger
        self._kinds = [list(own) for own in kinds]
        self._weights = [list(accumulate(float(kind.user_class.weight) for kind in own)) for own in kinds]
        self._by_class = {kind.user_class: kind for own in kinds for kind in own}
        self._by_greenlet: dict[Any, Slot] = {}
        self._random = random.Random(seed)
        self._live: deque[Arrival] = deque()  # begun and perhaps not settled, in order of intended time
        self._begun = 0
        self._behind = False  # the event loop is, at present
        self.t0_ns = 0  # run start on CLOCK_MONOTONIC
        self.capacity = 0  # slots there may be
        self.connection_age_s = 0.0
        self.on_parked: Callable[[], None] | None = None

    @property
    def parked(self) -> int:
        """Slots waiting for arrivals."""
        return sum(len(kind.idle) for kind in self._by_class.values())

    @property
    def slots(self) -> int:
        """Slots there are."""
        return len(self._by_greenlet)

    @property
    def in_flight(self) -> int:
        """Arrivals begun and not settled."""
        return self._begun - self._ledger.settled

    def now_ns(self) -> int:
        """Nanoseconds since run start."""
        return time.monotonic_ns() - self.t0_ns

    # --- called in the event loop's own greenlet ---

    def begin(self, intended_ns: int, stream: int) -> None:
        """Hand an arrival to a free slot, or queue it and grow."""
        kinds = self._kinds[stream]
        if len(kinds) == 1:
            kind = kinds[0]
        elif kinds:
            kind = self._random.choices(kinds, cum_weights=self._weights[stream])[0]
        else:
            self.skip(intended_ns, stream, "no user of a class with fixed_count on this worker")
            return
        arrival = Arrival(intended_ns, kind)
        self._begun += 1
        self._live.append(arrival)
        if kind.idle:
            kind.idle.pop().waiter.switch(arrival)
            return
        kind.queue.append(arrival)
        if not self._behind:
            self._help(kind)

    def skip(self, intended_ns: int, stream: int, why: str) -> None:
        """An arrival is not begun, by the generator's own fault."""
        self._begun += 1
        self._ledger.lost(stream, intended_ns, why)

    def sweep(self, late_ns: int = 0) -> None:
        """
        Settle every arrival whose deadline has passed: cut what runs, drop what waits. Grow where one waits still.

        To be called often; `late_ns` later than it should have been.
        """
        horizon_ns = self.now_ns() - self._deadline_ns
        live = self._live
        while live and (live[0].settled or live[0].intended_ns <= horizon_ns):
            arrival = live.popleft()
            if arrival.settled:
                continue
            if arrival.slot is None:
                arrival.kind.queue.remove(arrival)
                self._ledger.dropped(arrival)
            else:
                self._ledger.cut(arrival, self.now_ns(), running=True)
                arrival.slot.greenlet.throw(Cut)
        self._behind = late_ns > BEHIND_NS
        for kind in self._by_class.values():
            while kind.queue and kind.idle:  # passed on by a user that is busy with something else
                kind.idle.pop().waiter.switch(kind.queue.popleft())
            if not self._behind:
                self._help(kind)

    def _help(self, kind: Kind) -> None:
        """Start a user for an arrival that waits, if there may be one more."""
        if kind.may_grow and self._room() and self.now_ns() >= kind.paused_until_ns:
            kind.starting += 1
            kind.making += 1
            gevent.spawn(self._grow, kind)  # a User may do anything when it is made, which the event loop must not

    def _room(self) -> bool:
        return self.slots + sum(kind.starting for kind in self._by_class.values()) < self.capacity

    def _grow(self, kind: Kind) -> None:
        try:
            user = kind.user_class(self._environment)
        except Exception:
            self._failed_to_start(kind)
            raise
        finally:
            kind.making -= 1
        user.start(self._environment.runner.user_greenlets)
        # Should it end before it became a slot, its on_start failed.
        user.greenlet.link(lambda _: self._failed_to_start(kind) if user.greenlet not in self._by_greenlet else None)

    def _failed_to_start(self, kind: Kind) -> None:
        self._started(kind)
        kind.paused_until_ns = self.now_ns() + PAUSE_NS

    def _started(self, kind: Kind) -> None:
        kind.starting = max(kind.starting - 1, 0)

    # --- called by users, in their own greenlets ---

    def slot_of(self, user: User) -> Slot:
        """The slot of the user whose greenlet this is; made when it is asked for first."""
        greenlet = getcurrent()
        slot = self._by_greenlet.get(greenlet)
        if slot is None:
            kind = self._by_class[type(user)]
            slot = self._by_greenlet[greenlet] = Slot(user, kind)
            greenlet.link(lambda _: self._leave(slot))
            kind.users += 1
            self._started(kind)
        return slot

    def current(self) -> Arrival | None:
        """
        The arrival that the running greenlet works on.

        A greenlet that an arrival's task spawned works on that arrival, also when it outlives it; one that its user
        had spawned before, on what the user works on.
        """
        greenlet = getcurrent()
        slot = self._by_greenlet.get(greenlet)
        if slot is not None:
            return slot.arrival
        arrival: Arrival | None = (getattr(greenlet, "spawn_tree_locals", None) or {}).get(_ARRIVAL)
        while arrival is None and greenlet is not None:
            spawned_by = getattr(greenlet, "spawning_greenlet", None)
            greenlet = spawned_by() if spawned_by else None
            slot = self._by_greenlet.get(greenlet)
            arrival = slot.arrival if slot is not None else None
        return arrival

    def take(self, slot: Slot, label: str) -> None:
        """Wait for an arrival to run, unless there is one; `label` is the task that will run it."""
        arrival = slot.arrival or self._next(slot)
        slot.arrival, arrival.slot = arrival, slot
        slot.greenlet.spawn_tree_locals = {_ARRIVAL: arrival}
        arrival.label = label
        arrival.sent_ns = time.monotonic_ns() - self.t0_ns

    def leave_task(self, slot: Slot) -> None:
        """
        A task broke off in order to steer. When it did nothing else, its arrival goes to the task that comes next, of
        whichever user, and the event loop turns: a user that only steers must not stop it.
        """
        arrival = slot.arrival
        if arrival is not None and (arrival.name is not None or arrival.settled):
            self.finish(arrival)
            return
        if arrival is not None:
            self._release(slot)
            arrival.slot = None
            arrival.kind.queue.appendleft(arrival)
        gevent.sleep(0)

    def _next(self, slot: Slot) -> Arrival:
        kind = slot.kind
        if kind.queue:
            return kind.queue.popleft()
        slot.user._state = LOCUST_STATE_WAITING  # noqa: SLF001 - lets Locust stop a parked user at once
        kind.idle.append(slot)
        if self.on_parked:
            self.on_parked()
        slot.waiter.clear()
        try:
            arrival: Arrival = slot.waiter.get()
        except BaseException:  # the user is stopped: nothing must be handed to it any more
            kind.idle.remove(slot)
            raise
        slot.user._state = LOCUST_STATE_RUNNING  # noqa: SLF001
        return arrival

    def sending(self, arrival: Arrival, name: str, sent_ns: int) -> None:
        """A request of the arrival is being sent; the first gives the arrival its name and time of sending."""
        if arrival.name is None:
            arrival.name = name
            arrival.sent_ns = sent_ns

    def request(  # noqa: PLR0913 - what there is to know of a request
        self,
        arrival: Arrival,
        name: str,
        sent_ns: int,
        error: str | None,
        *,
        status: int = 0,
        peer: str = "",
        detail: str = "",
    ) -> None:
        """
        A request of the arrival ended now, as `error` (a class of failure, None: well).

        Args:
            arrival: what `current` gave when the request began.
            name: the series it is counted under.
            sent_ns: since run start.
            error: see drivers.locust.outcomes.
            status: of the answer; 0 without one.
            peer: address of the other end.
            detail: the error in words.

        """
        if arrival.settled:
            return  # its deadline was quicker
        if arrival.name is None:
            self.sending(arrival, name, sent_ns)
        self._ledger.request(arrival, name, sent_ns, time.monotonic_ns() - self.t0_ns, error)
        if error is not None and self._ledger.wants(error):
            self._ledger.sample(arrival, error, status, peer, detail)

    def finish(self, arrival: Arrival) -> None:
        """The task that ran the arrival ended; does nothing more when its deadline was quicker."""
        self._release(arrival.slot)
        if not arrival.settled:
            now_ns = time.monotonic_ns() - self.t0_ns if arrival.end_ns is None else arrival.end_ns
            if now_ns - arrival.intended_ns > self._deadline_ns:
                self._ledger.cut(arrival, now_ns, running=False)
            else:
                self._ledger.settle(arrival, now_ns)

    def lose(self, arrival: Arrival, why: str) -> None:
        """The task that ran the arrival broke by itself; does nothing when the deadline was quicker."""
        if not arrival.settled:
            self._ledger.broke(arrival, why)

    @staticmethod
    def _release(slot: Slot) -> None:
        slot.arrival = None
        slot.greenlet.spawn_tree_locals = slot.locals

    def _leave(self, slot: Slot) -> None:
        """The user's greenlet ended."""
        del self._by_greenlet[slot.greenlet]
        slot.kind.users -= 1
        if slot.arrival is not None:
            if slot.arrival.end_ns is None:
                slot.arrival.error = "user_stopped"
            self.finish(slot.arrival)
