"""`harness sandbox`: the local cluster for a person's own use."""

from __future__ import annotations

from harness.drivers.faults.reaper_manifest import install as install_reaper
from harness.errors import CannotRunError
from harness.sandbox import Endpoints, Version, default_state_dir
from harness.sandbox import down as sandbox_down
from harness.sandbox import status as sandbox_status
from harness.sandbox import up as sandbox_up


def up(version: Version) -> str:
    """Start the sandbox, or say that it is up already; returns where everything is."""
    running = sandbox_status(default_state_dir())
    if running and running.version != version:
        hint = "harness sandbox down"
        raise CannotRunError(f"the sandbox is up with version {running.version}, not {version}", hint=hint)
    endpoints = running or sandbox_up(version, default_state_dir(), owned=False)
    install_reaper(endpoints.api_url)
    return _shown(endpoints)


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
    store = (f"  store       {endpoints.store_url}",) if endpoints.store_url else ()
    return "\n".join(
        (
            f"the sandbox is up (pid {endpoints.pid}), its version is {endpoints.version}",
            f"  shop        {endpoints.url}",
            *store,
            f"  prometheus  {endpoints.prometheus_url}",
            f"  kubernetes  {endpoints.api_url}",
            f"  export KUBECONFIG={endpoints.kubeconfig}",
        )
    )
