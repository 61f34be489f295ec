"""Writing while a run lasts, at a rate that waits for nobody, and reading some of it back meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any

from harness.drivers.audit.counting import Written
from harness.drivers.audit.ledger import Ledger
from harness.drivers.audit.target import Target
from harness.history.audit import Acknowledged

ATTEMPTS = 3  # of a write that was not acknowledged, always with the same id
RETRY_S = 0.2
RECENT_S = 3.0  # acknowledged writes are read back at once and about so long after that
READS_MAX = 100  # under way at once
DONE_S = 10.0  # for the writes under way to end; each takes less

S = 1_000_000_000


class Writing:
    """
    The writes of one run. `prefix` begins all their ids; times are nanoseconds since `t0_ns` (CLOCK_MONOTONIC).

    Write k is due at k / rate. `writers` take turns; each counts its own writes, which are named after both.
    """

    def __init__(self, target: Target, ledger: Ledger, *, prefix: str, rate_per_s: float, writers: int) -> None:
        self._target, self._ledger = target, ledger
        self._prefix, self._rate_per_s, self._writers = prefix, rate_per_s, writers
        self._t0_ns = 0
        self._acknowledged: dict[str, Acknowledged] = {}
        self._recent: deque[Acknowledged] = deque()
        self._missed: set[str] = set()
        self._unknown = self._refused = self._reads = 0
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, t0_ns: int, stop: asyncio.Event) -> None:
        """Write from `t0_ns` until `stop`, then wait for what is under way."""
        self._t0_ns = t0_ns
        k = 0
        while not await self._stopped(stop, t0_ns + round(k / self._rate_per_s * S)):
            self._start(self._write(f"{self._prefix}{k % self._writers}-{k // self._writers}"))
            self._read_one(newest=k % 2 == 0)
            k += 1
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=DONE_S)

    def written(self) -> Written:
        """What has become of the writes so far."""
        return Written(
            acknowledged=dict(self._acknowledged),
            unknown=self._unknown,
            refused=self._refused,
            missed=frozenset(self._missed),
        )

    async def _stopped(self, stop: asyncio.Event, until_ns: int) -> bool:
        """Wait until then, or until told to stop; whether told."""
        left_s = (until_ns - time.monotonic_ns()) / S
        if left_s <= 0:
            await asyncio.sleep(0)
            return stop.is_set()
        try:
            async with asyncio.timeout(left_s):
                return await stop.wait()
        except TimeoutError:
            return False

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _write(self, name: str) -> None:
        sent_ns, silent = self._now_ns(), False
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(RETRY_S)
            code = await self._target.put(name)
            if code is not None and 200 <= code < 300:
                write = Acknowledged(name, sent_ns, self._now_ns())
                self._acknowledged[name] = write
                self._recent.append(write)
                self._ledger.add(write)
                return
            silent = silent or code is None
        if silent:
            self._unknown += 1
        else:
            self._refused += 1

    def _read_one(self, *, newest: bool) -> None:
        """Begin to read back the write acknowledged last, or the oldest of the recent ones."""
        while self._recent and self._now_ns() - self._recent[0].acknowledged_ns > RECENT_S * S:
            self._recent.popleft()
        if self._recent and self._reads < READS_MAX:
            self._reads += 1
            self._start(self._read(self._recent[-1 if newest else 0].id))

    async def _read(self, name: str) -> None:
        if await self._target.get(name) is False:
            self._missed.add(name)
        self._reads -= 1

    def _now_ns(self) -> int:
        return time.monotonic_ns() - self._t0_ns
