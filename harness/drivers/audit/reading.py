"""Reading everything back when a run is over: until it is certain what is missing, or for so long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass

from harness.drivers.audit.target import Target
from harness.errors import DriverError

READ_BACK_S = 60.0
SETTLE_S = 3.0  # what is missing is looked for again for so long: a service may be late without losing anything
PAUSE_S = 0.5
AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Found:
    """What is there, as often as it is there, and which of the acknowledged is not."""

    ids: tuple[str, ...]
    missing: frozenset[str]


async def read_back(target: Target, prefix: str, acknowledged: Collection[str], *, settle_s: float = SETTLE_S) -> Found:
    """
    Everything that begins with `prefix`, and what of the acknowledged writes is missing.

    Missing is what neither the list nor a read of its own has shown, again and again for `settle_s`. Raises DriverError
    when the service does not answer all that within READ_BACK_S.
    """
    began_s = time.monotonic()
    missing_since_s: float | None = None
    why = "it did not list them"
    while time.monotonic() - began_s < READ_BACK_S:
        ids = await target.ids(prefix)
        if ids is not None:
            there = await _looked_up(target, sorted(set(acknowledged) - set(ids)))
            missing = frozenset(name for name, found in there.items() if found is False)
            silent = sum(found is None for found in there.values())
            why = f"{silent} reads had no answer"
            missing_since_s = (missing_since_s or time.monotonic()) if missing else None
            settled = missing_since_s is None or time.monotonic() - missing_since_s >= settle_s
            if settled and not silent:
                return Found(tuple(ids), missing)
        await asyncio.sleep(PAUSE_S)
    raise DriverError(f"what was written could not be read back within {READ_BACK_S:g} s: {why}")


async def _looked_up(target: Target, names: list[str]) -> dict[str, bool | None]:
    """Each id, and whether it is there by a read of its own."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> bool | None:
        async with room:
            return await target.get(name)

    return dict(zip(names, await asyncio.gather(*(one(name) for name in names)), strict=True))
