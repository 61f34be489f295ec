"""`harness worker`: a load worker for a run on another machine."""

from __future__ import annotations

from pathlib import Path

import typer

from harness.drivers.locust.remote import token_from, work
from harness.units import UnitError, seconds


def take_part(where: str, token_file: Path | None, wait: str) -> None:
    """Take part in the run whose master is at `where` until it is over, waiting for it if it is not there yet."""
    try:
        wait_s = seconds(wait)
    except UnitError as error:
        raise typer.BadParameter(str(error), param_hint="--wait") from error
    work(where, token_from(token_file), wait_s=wait_s, say=typer.echo)
