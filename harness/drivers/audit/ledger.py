"""audit.jsonl: what was acknowledged, on disk within a tenth of a second, and not before it was acknowledged."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

from harness.history.audit import Acknowledged, acknowledged_line, acknowledged_of
from harness.history.codec import decoded

NAME = "audit.jsonl"
FLUSH_S = 0.05


class Ledger:
    """Appends to `path`; `run` must run for that."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._waiting: list[bytes] = []
        self._flushing = threading.Lock()  # `run` flushes in a thread, and may have left it at work when cancelled

    def add(self, write: Acknowledged) -> None:
        """Take note of a write that was acknowledged."""
        self._waiting.append(acknowledged_line(write).encode() + b"\n")

    async def run(self) -> None:
        """Bring to disk what was added, until cancelled. Raises OSError when the disk does not take it."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await asyncio.to_thread(self.flush)

    def flush(self) -> None:
        """Bring to disk what was added so far. Raises OSError."""
        with self._flushing:
            count = len(self._waiting)
            data = b"".join(self._waiting[:count])
            del self._waiting[:count]  # what is added meanwhile stays
            while data:
                data = data[self._file.write(data) or 0 :]
            if count:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Bring the rest to disk and close. Raises OSError."""
        try:
            self.flush()
        finally:
            self._file.close()


def read(path: Path) -> tuple[Acknowledged, ...]:
    """The acknowledged writes of a run, also of one that was killed; raises RecordError for a line that is none."""
    with path.open(encoding="utf-8", newline="\n") as file:
        return tuple(decoded(file, str(path), acknowledged_of))
