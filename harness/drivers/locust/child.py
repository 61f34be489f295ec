"""A worker as the master sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from harness.drivers.locust.spec import Spec


class Child:
    """A worker's process. `pipe` reads end-of-file when the process has ended, however it did."""

    def __init__(self, index: int, spec: Spec) -> None:
        self.index = index
        self.name = f"worker-{index}"
        self.pipe, held = os.pipe()
        with Path(spec.log_dir, f"load-{self.name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "harness.drivers.locust.worker", str(index), spec.to_json()],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(held,),
            )
        os.close(held)
        self.client_id = ""  # Locust's name for it
        self.users = 0
        self.ready = self.begun = self.drained = False

    def kill(self) -> None:
        """End the process now."""
        if self.process.returncode is None:
            self.process.kill()
