"""
Entry module of the load engine: Locust's MasterRunner, the workers' processes, and the books.

Reads JSON lines from stdin, first the spec, then commands (`start`, `stop`); writes JSON lines to stdout. When stdin
closes, the driver is gone: the workers are killed and the process ends at once.
"""

from __future__ import annotations

# Locust patches the standard library on import and must come before what uses it; the workers' processes, which
# take as long to import it, are started before that.
import json
import os
from typing import Any

from harness.drivers.locust.child import Child
from harness.drivers.locust.spec import spec_from_json

_STDIN, _STDOUT, _STDERR = 0, 1, 2


def _read_line() -> str:
    """The first line of stdin, read byte by byte: what follows belongs to the event loop."""
    line = bytearray()
    while (byte := os.read(_STDIN, 1)) and byte != b"\n":
        line += byte
    return line.decode()


def main() -> None:
    """Run the engine until it is stopped, or until the driver dies."""
    line = _read_line()
    if not line:
        return
    # What a locustfile prints goes to the log, not between our reports.
    out = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    spec = spec_from_json(line)
    children = [Child(index, spec) for index in range(spec.workers)]
    try:
        from harness.drivers.locust.engine import Engine

        Engine(spec, children, out).run()
    except BaseException as error:
        failed: dict[str, Any] = {"type": "failed", "mono_ns": 0, "detail": f"{type(error).__name__}: {error}"}
        os.write(out, (json.dumps(failed) + "\n").encode())
        raise
    finally:
        for child in children:
            child.kill()


if __name__ == "__main__":
    main()
