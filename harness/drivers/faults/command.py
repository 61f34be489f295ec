"""A command for each of some nodes: the hook for whatever stops and starts machines, such as a cloud's own program."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from harness.drivers.kubernetes.objects import Obj, name_of
from harness.errors import DriverError

COMMAND_S = 120.0
AT_ONCE = 16


def require(command: Sequence[str]) -> None:
    """Raise DriverError unless the command is a list of texts whose program is there."""
    if isinstance(command, str) or not all(isinstance(part, str) for part in command):
        raise DriverError(f"command {command!r}: write it as a list of texts, the program first; no shell reads it")
    if shutil.which(command[0]) is None:
        raise DriverError(f"command {command[0]!r}: no such program")


def for_each(command: Sequence[str], nodes: Sequence[Obj]) -> None:
    """
    Run the command once for each node, many at once, {node} and {provider_id} filled in.

    Raises DriverError with what it said when one fails, or takes more than COMMAND_S seconds.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda node: _run(filled(command, node)), nodes))


def filled(command: Sequence[str], node: Obj) -> list[str]:
    """The command for this node."""
    provider_id = str(node.get("spec", {}).get("providerID") or "")
    return [part.replace("{node}", name_of(node)).replace("{provider_id}", provider_id) for part in command]


def _run(arguments: list[str]) -> None:
    try:
        done = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DriverError(f"command {' '.join(arguments)}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise DriverError(f"command {' '.join(arguments)}: exit code {done.returncode}: {said[-1] if said else ''}")
