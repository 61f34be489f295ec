"""
The pool of slots: which User runs which arrival, and what becomes of arrivals nobody runs in time.

Every Locust User is a slot. A free slot parks; the pacer hands each arrival to the slot parked last, so that few
connections stay hot. Without a free slot the arrival queues, the pool grows, and the arrival's clock runs on.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import gevent
from gevent.hub import Waiter
from locust import User
from locust.user.task import LOCUST_STATE_RUNNING, LOCUST_STATE_WAITING

from harness.drivers.locust.tally import Tally


class Cut(BaseException):
    """The deadline of the arrival that this user runs has passed."""


class Arrival:
    """One planned start and what is known of it. Times are nanoseconds since run start."""

    __slots__ = ("end_ns", "error", "intended_ns", "label", "name", "sent_ns", "settled", "slot")

    def __init__(self, intended_ns: int) -> None:
        self.intended_ns = intended_ns
        self.slot: Slot | None = None
        self.label = ""  # the task that runs it
        self.name: str | None = None  # of its first request
        self.sent_ns = 0
        self.end_ns: int | None = None  # of its last request
        self.error: str | None = None  # of its first failed request
        self.settled = False


@dataclass(slots=True, eq=False)
class Kind:
    """The slots of one User class."""

    user_class: type[User]
    idle: list[Slot] = field(default_factory=list)  # parked; the last is used first
    queue: deque[Arrival] = field(default_factory=deque)
    starting: int = 0  # users being spawned because the queue needed them


class Slot:
    """One User, as a place where arrivals run one after another."""

    __slots__ = ("arrival", "greenlet", "kind", "user", "waiter")

    def __init__(self, user: User, kind: Kind) -> None:
        self.user = user
        self.kind = kind
        self.greenlet = gevent.getcurrent()
        self.waiter = Waiter()
        self.arrival: Arrival | None = None


class Pool:
    """All slots of one worker."""

    def __init__(self, environment: Any, deadline_ns: int, tally: Tally, seed: str) -> None:
        self._environment = environment
        self._deadline_ns = deadline_ns
        self._tally = tally
        self._kinds = [Kind(user_class) for user_class in environment.user_classes]
        self._weights = list(accumulate(float(kind.user_class.weight) for kind in self._kinds))
        self._by_class = {kind.user_class: kind for kind in self._kinds}
        self._by_greenlet: dict[Any, Slot] = {}
        self._random = random.Random(seed)
        self._live: deque[Arrival] = deque()  # begun and perhaps not settled, in order of intended time
        self._names: dict[str, str] = {}  # task -> the first request it last made
        self.t0_ns = 0
        self.capacity = 0  # slots there may be
        self.on_parked: Callable[[], None] | None = None

    @property
    def parked(self) -> int:
        """Slots waiting for arrivals."""
        return sum(len(kind.idle) for kind in self._kinds)

    @property
    def slots(self) -> int:
        """Slots there are."""
        return len(self._by_greenlet)

    @property
    def unsettled(self) -> bool:
        """Whether any arrival that was begun is not settled."""
        while self._live and self._live[0].settled:
            self._live.popleft()
        return bool(self._live)

    def now_ns(self) -> int:
        """Nanoseconds since run start."""
        return time.monotonic_ns() - self.t0_ns

    # --- called in the event loop's own greenlet ---

    def begin(self, intended_ns: int) -> None:
        """Hand an arrival to a free slot, or queue it and grow."""
        arrival = Arrival(intended_ns)
        self._live.append(arrival)
        kind = self._kinds[0]
        if len(self._kinds) > 1:
            kind = self._random.choices(self._kinds, cum_weights=self._weights)[0]
        if kind.idle:
            kind.idle.pop().waiter.switch(arrival)
            return
        kind.queue.append(arrival)
        if kind.starting < len(kind.queue) and self.slots + kind.starting < self.capacity:
            kind.starting += 1
            gevent.spawn(self._grow, kind)  # a User may do anything when it is made, which the event loop must not

    def sweep(self) -> None:
        """Settle every arrival whose deadline has passed: cut what runs, drop what waits."""
        horizon_ns = self.now_ns() - self._deadline_ns
        while self._live and (self._live[0].settled or self._live[0].intended_ns <= horizon_ns):
            arrival = self._live.popleft()
            if arrival.settled:
                continue
            if arrival.slot is None:
                arrival.settled = True
                kind = next(kind for kind in self._kinds if arrival in kind.queue)
                kind.queue.remove(arrival)
                self._tally.dropped(kind.user_class.__name__, arrival.intended_ns)
            else:
                self._settle(arrival, cut=True)
                arrival.slot.greenlet.throw(Cut)

    def _grow(self, kind: Kind) -> None:
        try:
            user = kind.user_class(self._environment)
        except Exception:
            self._started(kind)
            raise
        user.start(self._environment.runner.user_greenlets)
        # Should it end before it became a slot, its on_start failed.
        user.greenlet.link(lambda _: self._started(kind) if user.greenlet not in self._by_greenlet else None)

    def _started(self, kind: Kind) -> None:
        kind.starting = max(kind.starting - 1, 0)

    # --- called by users, in their own greenlets ---

    def slot_of(self, user: User) -> Slot:
        """The slot of the user whose greenlet this is; made when it is asked for first."""
        greenlet = gevent.getcurrent()
        slot = self._by_greenlet.get(greenlet)
        if slot is None:
            kind = self._by_class[type(user)]
            slot = self._by_greenlet[greenlet] = Slot(user, kind)
            greenlet.link(lambda _: self._leave(slot))
            self._started(kind)
        return slot

    def current(self) -> Arrival | None:
        """The arrival that the running greenlet, or the one it was spawned by, works on."""
        greenlet = gevent.getcurrent()
        while greenlet is not None and (slot := self._by_greenlet.get(greenlet)) is None:
            spawned_by = getattr(greenlet, "spawning_greenlet", None)
            greenlet = spawned_by() if spawned_by else None
        return slot.arrival if greenlet is not None and slot is not None else None

    def take(self, slot: Slot, label: str) -> Arrival:
        """Wait for an arrival to run; `label` is the task that will run it."""
        arrival = slot.arrival or self._next(slot)
        slot.arrival, arrival.slot = arrival, slot
        arrival.label = label
        arrival.sent_ns = self.now_ns()
        return arrival

    def _next(self, slot: Slot) -> Arrival:
        kind = slot.kind
        if kind.queue:
            return kind.queue.popleft()
        slot.user._state = LOCUST_STATE_WAITING  # noqa: SLF001 - lets Locust stop a parked user at once
        kind.idle.append(slot)
        if self.on_parked:
            self.on_parked()
        slot.waiter.clear()
        arrival: Arrival = slot.waiter.get()
        slot.user._state = LOCUST_STATE_RUNNING  # noqa: SLF001
        return arrival

    def finish(self, arrival: Arrival) -> None:
        """The task that ran the arrival ended; does nothing when its deadline was quicker."""
        if arrival.slot is not None:
            arrival.slot.arrival = None
        if not arrival.settled:
            self._settle(arrival, cut=False)

    def lose(self, arrival: Arrival, why: str) -> None:
        """The task that ran the arrival broke by itself; does nothing when the deadline was quicker."""
        if not arrival.settled:
            arrival.settled = True
            self._tally.lost(arrival.intended_ns, why)

    def request(self, arrival: Arrival, name: str, sent_ns: int, error: str | None) -> None:
        """A request of the arrival ended now; the first gives the arrival its name and time of sending."""
        if arrival.name is None:
            self.sending(arrival, name, sent_ns)
        arrival.end_ns = self.now_ns()
        arrival.error = arrival.error or error

    def sending(self, arrival: Arrival, name: str, sent_ns: int) -> None:
        """The arrival's first request is being sent."""
        if arrival.name is None:
            arrival.name = self._names[arrival.label] = name
            arrival.sent_ns = sent_ns

    def _settle(self, arrival: Arrival, *, cut: bool) -> None:
        arrival.settled = True
        series = arrival.name or self._names.get(arrival.label, arrival.label)
        end_ns = self.now_ns() if arrival.end_ns is None else arrival.end_ns
        if cut or end_ns - arrival.intended_ns > self._deadline_ns:
            self._tally.timed_out(series, arrival.intended_ns, arrival.sent_ns)
        elif arrival.error:
            self._tally.failed(series, arrival.intended_ns, arrival.sent_ns, arrival.error)
        else:
            self._tally.ok(series, arrival.intended_ns, arrival.sent_ns, end_ns)

    def _leave(self, slot: Slot) -> None:
        """The user's greenlet ended."""
        del self._by_greenlet[slot.greenlet]
        if slot in slot.kind.idle:
            slot.kind.idle.remove(slot)
        if slot.arrival is not None:
            if slot.arrival.end_ns is None:
                slot.arrival.error = "user_stopped"
            self.finish(slot.arrival)
