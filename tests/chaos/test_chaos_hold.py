"""The driver's side of the keeper, with keepers that only speak."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from harness.drivers.chaos.hold import Hold
from harness.drivers.chaos.holding import Holding

pytestmark = pytest.mark.real

HELD = 'print(\'{"event": "held", "since_s": 0}\', flush=True)'


def why_lost(folder: Path, program: str, *, dead_man_s: float) -> str:
    """Why the hold is lost that a keeper has which runs the program, once it has said that it holds."""

    async def hold() -> str:
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        command = (sys.executable, "-c", f"import sys\n{HELD}\n{program}\nsys.stdin.readlines()")
        holding = Holding(
            kubeconfig="", context=None, run="a/1", namespace="shop", namespaces=["shop"], dead_man_s=dead_man_s
        )
        held = Hold(command, folder / "log", lost.set_result, holding=holding, environment=os.environ)
        try:
            await held.take()
            return await lost
        finally:
            await held.close()

    return asyncio.run(hold())


def test_a_keeper_that_hangs_holds_nothing(tmp_path: Path) -> None:
    """The cluster lets go of what nobody renews, whoever still believes to hold it."""
    assert why_lost(tmp_path, "", dead_man_s=0.1) == "its keeper has not renewed it for 0.1 s"


def test_a_keeper_that_renews_holds_until_it_says_otherwise(tmp_path: Path) -> None:
    """Each renewal counts anew."""
    renew = 'print(\'{"event": "renewed"}\', flush=True)'
    lose = 'print(\'{"event": "lost", "detail": "deleted"}\', flush=True)'

    assert why_lost(tmp_path, f"{renew}\n{renew}\n{lose}", dead_man_s=30) == "deleted"
