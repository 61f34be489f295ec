"""One direction of a connection: packets come out in the order they went in, as late as the way makes them."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from random import Random

from harness.sandbox.network.chaos import CLEAR, Way

SEGMENT_BYTES = 1448
"""What one packet of a TCP connection carries over Ethernet."""

FIRST_RTO_S = 0.2
"""When Linux first sends a lost packet again where round trips are short; then after twice as long, and so on."""

HANDSHAKE_RTO_S = 1.0
"""The same for a packet of the handshake, when no round trip has been measured yet (RFC 6298, section 2.1)."""

TRIES = 8
"""A packet lost this often in a row is given up: its connection hangs until somebody ends it."""

Act = Callable[[], None]


class Lane:
    """
    Packets of one direction. What each does when it arrives is a call.

    While the way is cut nothing arrives, and nobody is told. When it changes, all that is under way starts anew.
    """

    def __init__(self, way: Way, dice: Random) -> None:
        self.way = way
        self._dice = dice
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[float, int, Act, float]] = deque()  # due, size, act, first RTO
        self._timer: asyncio.TimerHandle | None = None

    def put(self, size: int, act: Act, *, rto_s: float = FIRST_RTO_S) -> None:
        """Send `size` bytes; `act` is called when they arrive, at once on a clear way."""
        if self.way is CLEAR and not self._queue:
            act()
            return
        before = self._queue[-1][0] if self._queue else 0.0
        self._queue.append((max(before, self._due(size, rto_s)), size, act, rto_s))
        self._wait()

    def set_way(self, way: Way) -> None:
        """From now on packets take this way, those included that have not arrived."""
        if way == self.way:
            return
        self.way = CLEAR if way == CLEAR else way
        pending = list(self._queue)
        self.clear()
        for _, size, act, rto_s in pending:
            self.put(size, act, rto_s=rto_s)

    def clear(self) -> None:
        """Forget what is under way."""
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        if self._timer is None and self._queue and self._queue[0][0] < math.inf:
            self._timer = self._loop.call_at(self._queue[0][0], self._arrive)

    def _arrive(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._queue and self._queue[0][0] <= now:
            self._queue.popleft()[2]()
        self._wait()

    def _due(self, size: int, rto_s: float) -> float:
        if self.way.cut:
            return math.inf
        delay_s = self.way.delay_s + self._dice.uniform(-1, 1) * self.way.jitter_s
        resent_s = 0.0
        if self.way.loss:
            resent_s = max(self._resent_s(rto_s) for _ in range(max(1, math.ceil(size / SEGMENT_BYTES))))
        return self._loop.time() + max(0.0, delay_s) + resent_s

    def _resent_s(self, rto_s: float) -> float:
        """How much later one packet arrives because it was lost, perhaps more than once."""
        late_s = 0.0
        for attempt in range(TRIES):
            if self._dice.random() >= self.way.loss:
                return late_s
            late_s += rto_s * 2**attempt
        return math.inf
