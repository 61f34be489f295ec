"""`harness sandbox`: the local cluster for a person's own use."""

from __future__ import annotations

from typing import Literal

from harness.errors import CannotRunError
from harness.sandbox import Endpoints, default_state_dir
from harness.sandbox import down as sandbox_down
from harness.sandbox import status as sandbox_status
from harness.sandbox import up as sandbox_up


def up(version: Literal["good", "bad"]) -> str:
    """Start the sandbox, or say that it is up already; returns where everything is."""
    running = sandbox_status(default_state_dir())
    if running and running.version != version:
        hint = "harness sandbox down"
        raise CannotRunError(f"the sandbox is up with version {running.version}, not {version}", hint=hint)
    return _shown(running or sandbox_up(version, default_state_dir(), owned=False))


def status() -> str:
    """Where the sandbox is; raises CannotRunError when it is not up."""
    running = sandbox_status(default_state_dir())
    if running is None:
        raise CannotRunError("the sandbox is not up", hint="harness sandbox up")
    return _shown(running)


def down() -> str:
    """End the sandbox; says so when there was none."""
    return "the sandbox is down" if sandbox_down(default_state_dir()) else "the sandbox was not up"


def _shown(endpoints: Endpoints) -> str:
    return "\n".join(
        (
            f"the sandbox is up (pid {endpoints.pid}), the shop's version is {endpoints.version}",
            f"  shop        {endpoints.url}",
            f"  prometheus  {endpoints.prometheus_url}",
            f"  kubernetes  {endpoints.api_url}",
            f"  export KUBECONFIG={endpoints.kubeconfig}",
        )
    )
