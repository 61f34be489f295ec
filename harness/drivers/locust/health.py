"""How a load process itself is doing."""

from __future__ import annotations

import gc
import time

TICK_S = 0.01  # how often the event loop's stalls are measured


class Health:
    """CPU and event loop stalls since the last `take`."""

    def __init__(self) -> None:
        self._stall_s = 0.0
        self._ticked_s = self._taken_s = self._cpu_s = 0.0

    def start(self) -> None:
        """Measure from now on."""
        self._ticked_s = self._taken_s = time.monotonic()
        self._cpu_s = time.process_time()
        self._stall_s = 0.0

    def tick(self) -> float:
        """The event loop turns; to be called every TICK_S. Returns how many seconds late that was."""
        now_s = time.monotonic()
        late_s = now_s - self._ticked_s - TICK_S
        self._stall_s = max(self._stall_s, late_s)
        self._ticked_s = now_s
        return late_s

    def take(self) -> tuple[float, float]:
        """Share of one core used, and the longest stall in seconds."""
        now_s, cpu_s = time.monotonic(), time.process_time()
        ratio = (cpu_s - self._cpu_s) / max(now_s - self._taken_s, 1e-6)
        stall_s = max(self._stall_s, now_s - self._ticked_s - TICK_S)
        self._taken_s, self._cpu_s, self._stall_s = now_s, cpu_s, 0.0
        return round(ratio, 4), round(max(stall_s, 0.0), 6)


def freeze_garbage() -> None:
    """From here on no collection happens by itself, and none ever walks what the start-up left."""
    gc.collect()
    gc.freeze()
    gc.disable()


def sweep_garbage(second: int) -> None:
    """Collect what the last second left, and every ten seconds what survived that; below a millisecond as a rule."""
    gc.collect(1 if second % 10 == 9 else 0)
