"""
`python -m harness.drivers.audit.child`: writes and reads for one run, until standard input ends.

Told in JSON lines: first its orders, then {"t0_ns": ...} to begin, then {"read_back": true}. Says {"ready": true} or
{"error": ...}, then what happened as events.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.drivers.audit.counting import counted
from harness.drivers.audit.ledger import Ledger
from harness.drivers.audit.reading import read_back
from harness.drivers.audit.target import Target
from harness.drivers.audit.writing import Writing
from harness.errors import DriverError
from harness.history.audit import AuditBody, AuditFailed, AuditStarted
from harness.history.codec import body_line

PROBE_S = 10.0  # for the service to show that it keeps the contract


async def audit(lines: asyncio.StreamReader) -> None:
    """Do what the lines say; returns when they end, or when all is done."""
    orders = json.loads(await lines.readline())
    target = Target(orders["url"])
    ledger = Ledger(Path(orders["ledger"]))
    refusal = await probe(target, f"{orders['run']}.probe", orders["url"])
    _say({"error": refusal} if refusal else {"ready": True})
    begin = await lines.readline()
    if begin and not refusal:
        writing = Writing(
            target,
            ledger,
            prefix=f"{orders['run']}.w",
            rate_per_s=orders["rate_per_s"],
            writers=orders["writers"],
        )
        await _audited(orders, writing, target, ledger, int(json.loads(begin)["t0_ns"]), lines)
    with suppress(OSError):  # said, when it was about acknowledged writes
        ledger.close()
    await target.close()


async def _audited(
    orders: dict[str, Any], writing: Writing, target: Target, ledger: Ledger, t0_ns: int, lines: asyncio.StreamReader
) -> None:
    """Write until told otherwise, then read back; says what came of it unless nobody waits for it any more."""
    stop = asyncio.Event()
    started = AuditStarted(url=orders["url"], rate_per_s=orders["rate_per_s"], writers=orders["writers"])
    _tell(started, t0_ns)
    keeping = asyncio.create_task(ledger.run())
    work = asyncio.create_task(writing.run(t0_ns, stop))
    told = asyncio.create_task(lines.readline())
    await asyncio.wait({keeping, work, told}, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    try:
        asked = await told
        await work
        if keeping.done():
            keeping.result()
        ledger.flush()
        if asked:
            written = writing.written()
            found = await read_back(target, f"{orders['run']}.w", written.acknowledged)
            _tell(counted(written, found.ids, found.missing))
    except (OSError, DriverError) as error:
        _tell(AuditFailed(detail=str(error)))
    finally:
        keeping.cancel()


async def probe(target: Target, name: str, url: str) -> str:
    """What the service at `url` lacks of the contract; empty when it wrote, read and listed one entry."""
    until_s = time.monotonic() + PROBE_S
    while True:
        code, there, listed = await target.put(name), await target.get(name), await target.ids(name)
        if code is not None and 200 <= code < 300 and there and listed is not None and name in listed:
            return ""
        if time.monotonic() > until_s:
            return f"audit {url}: {_lacking(code, there, listed)} within {PROBE_S:g} s"
        await asyncio.sleep(0.2)


def _lacking(code: int | None, there: bool | None, listed: list[str] | None) -> str:  # noqa: FBT001
    if code is None or not 200 <= code < 300:
        return f"POST /entries was {'not answered' if code is None else f'answered {code}, not 2xx'}"
    if not there:
        return f"GET /entries/ID of an acknowledged entry was {'answered 404' if there is False else 'not answered'}"
    what = 'did not answer {"ids": [...]}' if listed is None else "did not list an acknowledged entry"
    return f"GET /entries?prefix=P {what}"


def _tell(body: AuditBody, mono_ns: int | None = None) -> None:
    _line(body_line(body, time.monotonic_ns() if mono_ns is None else mono_ns))


def _say(value: dict[str, object]) -> None:
    _line(json.dumps(value))


def _line(text: str) -> None:
    with suppress(BrokenPipeError):  # nobody listens any more: standard input has ended too
        os.write(1, text.encode() + b"\n")


async def _main() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    await audit(lines)


if __name__ == "__main__":
    asyncio.run(_main())
