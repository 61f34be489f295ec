"""`sweep` for processes that must not import the Kubernetes client: played in a child process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection

from harness.errors import DriverError

CHILD_S = 150.0


class LeftError(DriverError):
    """Something of ours is in the cluster, and could not be proven gone."""


def sweep_in_child(
    kubeconfig: str,
    context: str | None,
    namespaces: Collection[str],
    *,
    run: str | None = None,
    over: Collection[str] = (),
) -> tuple[str, ...]:
    """
    Undo everything of ours in the namespaces and on the nodes, see drivers.faults.sweep; what that was.

    Raises LeftError when it is not proven gone, DriverError when the cluster cannot be looked at.
    """
    request = {"kubeconfig": kubeconfig, "context": context, "namespaces": sorted(namespaces)}
    argv = [sys.executable, "-m", "harness.drivers.faults.sweep"]
    try:
        child = subprocess.run(
            argv,
            input=json.dumps({**request, "run": run, "over": sorted(over)}),
            capture_output=True,
            text=True,
            timeout=CHILD_S,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise LeftError(f"kubernetes: what runs left was not undone within {CHILD_S:g} s") from error
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise DriverError(f"kubernetes: the sweep ended with exit code {child.returncode}: {last}")
    answer = json.loads(child.stdout)
    if "error" in answer:
        raise (LeftError if answer["left"] else DriverError)(answer["error"], hint=answer["hint"])
    return tuple(answer["undone"])
