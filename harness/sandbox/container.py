"""One container as a process of this machine: its start, its output, its end, and the probes that ask how it is."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, cast

LOG_LINES = 2000
LOG_LINE_BYTES = 16_384

# The record is written by the process that becomes the container: there is none without a record, even if we are
# killed right now.
_RECORDED = 'echo $$ > "$0" && exec "$@"'


class Log:
    """The latest lines a container wrote; older ones are forgotten."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=LOG_LINES)
        self._partial = b""
        self._written = 0  # lines since the start, also those forgotten
        self._ended = False
        self._changed = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Add output as it comes."""
        *whole, rest = (self._partial + data).split(b"\n")
        if len(rest) > LOG_LINE_BYTES:
            whole, rest = [*whole, rest], b""
        self._partial = rest
        self._lines.extend(line + b"\n" for line in whole)
        self._written += len(whole)
        self._changed.set()

    def end(self) -> None:
        """No more output will come."""
        if self._partial:
            self.write(b"\n")
        self._ended = True
        self._changed.set()

    async def read(self, tail: int | None = None, *, follow: bool = False) -> AsyncIterator[bytes]:
        """The lines kept (the last `tail`), each with its newline; with `follow` new ones too, until the end."""
        count = len(self._lines) if tail is None else min(tail, len(self._lines))
        while True:
            read = self._written
            for line in list(self._lines)[len(self._lines) - count :]:
                yield line
            while follow and not self._ended and self._written == read:
                self._changed.clear()
                await self._changed.wait()
            count = min(self._written - read, len(self._lines))
            if not follow or count == 0:
                return


class Sink(Protocol):
    """Where a process's output goes."""

    def write(self, data: bytes, /) -> object:
        """Take output as it comes."""


class Process(asyncio.SubprocessProtocol):
    """A running container: the leader of its own session, recorded in a file until it has ended."""

    def __init__(self, record: Path, log: Sink) -> None:
        self.pid = 0
        self._record = record
        self._log = log
        self._transport: asyncio.SubprocessTransport | None = None
        self._exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @classmethod
    async def start(
        cls, command: Sequence[str], env: Mapping[str, str], *, record: Path, log: Sink, directory: Path
    ) -> Process:
        """The process, started; its output goes to `log`, its pid into the file `record`."""
        process = cls(record, log)
        await asyncio.get_running_loop().subprocess_exec(
            lambda: process,
            *("/bin/sh", "-c", _RECORDED, str(record), *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=env,
            cwd=str(directory),
            start_new_session=True,
        )
        return process

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio: the process runs."""
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self.pid = self._transport.get_pid()

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:  # noqa: ARG002
        """Asyncio: output."""
        self._log.write(cast("bytes", data))

    def process_exited(self) -> None:
        """Asyncio: the process has ended. As a container runtime does, end what it left behind too."""
        self.kill()
        self._record.unlink(missing_ok=True)
        assert self._transport is not None
        if not self._exited.done():
            self._exited.set_result(self._transport.get_returncode() or 0)
        self._transport.close()

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._exited.done()

    async def wait(self) -> int:
        """The exit code once the process has ended; minus the signal's number when one ended it."""
        return await asyncio.shield(self._exited)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM to the process itself, not to its children)."""
        if not self.ended:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and all its children now."""
        with suppress(ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
            os.killpg(self.pid, signal.SIGKILL)


async def http_probe(port: int, path: str, timeout_s: float) -> str | None:
    """None when GET `path` on the real `port` is answered with 200-399 within `timeout_s`; otherwise what failed."""
    writer = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n".encode())
            status = await reader.readline()
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except OSError as error:
        return f"{error.strerror or error}"
    finally:
        if writer is not None:
            writer.transport.abort()
    code = status[9:12].decode("latin-1")
    return None if code[:1] in ("2", "3") else f"HTTP probe failed with statuscode: {code or 'none'}"
