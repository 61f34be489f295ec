"""
Entry module of the load engine: Locust's MasterRunner, the workers' processes, and the books.

Reads JSON lines from stdin, first the spec and the token, then commands (`start`, `stop`); writes JSON lines to stdout.
When stdin closes, the driver is gone: the workers are killed and the process ends at once.
"""

from __future__ import annotations

# Locust patches the standard library on import and must come before what uses it; the workers' processes, which
# take as long to import it, are started before that.
import json
import os
import resource
from typing import Any

from harness.drivers.locust.child import Child
from harness.drivers.locust.members import Members
from harness.drivers.locust.spec import spec_from_json
from harness.drivers.locust.worker import Seat, read_line

_STDOUT, _STDERR = 1, 2


def main() -> None:
    """Run the engine until it is stopped, or until the driver dies."""
    line = read_line()
    if not line:
        return
    given = json.loads(line)
    # What a locustfile prints goes to the log, not between our reports.
    out = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    spec = spec_from_json(given["spec"])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))  # every worker takes a descriptor
    members = Members()
    children: list[Child] = []

    def kill_all() -> None:
        for child in children:
            child.kill()

    def gone() -> None:
        kill_all()
        os._exit(0)

    try:
        for place in range(spec.workers):
            member = members.local(place)
            children.append(Child(Seat(index=member.index, place=place, name=member.name, remote=False, spec=spec)))
        from harness.drivers.locust.engine import Engine
        from harness.drivers.locust.voice import Voice

        Engine(spec, children, members, Voice(out, gone), given["token"]).run()
    except BaseException as error:
        failed: dict[str, Any] = {"type": "failed", "mono_ns": 0, "detail": f"{type(error).__name__}: {error}"}
        os.write(out, (json.dumps(failed) + "\n").encode())
        raise
    finally:
        kill_all()


if __name__ == "__main__":
    main()
