"""Standard output and error that may go away under a run: a closed pipe or a gone terminal must not stop an undo."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, TextIO

_GONE = {errno.EPIPE, errno.EIO}  # the reader of a pipe left, or the terminal: nobody wants the rest


class Outlet(io.FileIO):
    """A descriptor that swallows what can no longer be written; `lost` says why, unless nobody was there to read it."""

    lost: OSError | None = None
    _gone = False

    def write(self, data: Any, /) -> int:
        """Write, or pretend to."""
        if not self._gone:
            try:
                return super().write(data) or 0
            except OSError as error:
                self._gone = True
                self.lost = None if error.errno in _GONE else error
        return memoryview(data).nbytes


def take_over() -> Outlet:
    """Put outlets behind sys.stdout and sys.stderr; the one of stdout."""
    _open_missing()
    out = Outlet(1, "w", closefd=False)
    sys.stdout = _text(out, sys.stdout)
    sys.stderr = _text(Outlet(2, "w", closefd=False), sys.stderr)
    return out


def _text(raw: Outlet, former: TextIO | None) -> io.TextIOWrapper:
    encoding = former.encoding if former else "utf-8"
    # Where the encoding has no tick a question mark is shown; that is no reason to fail.
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="replace", line_buffering=True)


def _open_missing() -> None:
    """Point closed standard descriptors to /dev/null: the next file opened would become one of them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
