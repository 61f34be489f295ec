"""A stage to play experiments on that touch nothing but files: `thing` exists while the fault is on."""

import json
import select
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from plan_values import fault, plan_of

from harness.drivers.chaos.driver import ChaosDriver, Means
from harness.history.events import Body, Stamped
from harness.plan.model import Fault, Plan

HERE = Path(__file__).parent
RUN = "files/20261121-010203-ab12"


class Stage:
    """Builds faults and a driver for them, keeps what the driver reports."""

    def __init__(self, folder: Path, mark: str) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.directory = self.results / RUN / "chaos"
        self.thing = folder / "thing"
        self.mark = mark
        self.stamped: list[Stamped] = []
        self._seen = 0  # of those, by `until`
        self.driver: ChaosDriver

    @property
    def on(self) -> bool:
        return self.thing.exists()

    @property
    def bodies(self) -> list[Body]:
        return [stamped.body for stamped in self.stamped]

    def act(self, func: str, **arguments: Any) -> dict[str, Any]:
        provider = {"type": "python", "module": "acts", "func": func, "arguments": arguments}
        return {"type": "action", "name": func, "provider": provider}

    @property
    def put(self) -> dict[str, Any]:
        return self.act("put", thing=str(self.thing))

    @property
    def take(self) -> dict[str, Any]:
        return self.act("take", thing=str(self.thing))

    def fault(
        self, method: list[Any], rollbacks: list[Any], name: str = "files", until_s: float = 10, **more: Any
    ) -> Fault:
        document = {"title": name, "description": "touches files", "method": method, "rollbacks": rollbacks, **more}
        return fault(name, 0, until_s, document=json.dumps(document))

    def plan(self, *faults: Fault) -> Plan:
        return plan_of(faults=faults)

    def play(self, *faults: Fault, **means: Any) -> ChaosDriver:
        """The driver for `faults`, not yet told anything."""
        self.driver = ChaosDriver(
            self.plan(*faults),
            run=RUN,
            directory=self.directory,
            kubeconfig=None,
            context=None,
            means=Means(**{"undo_s": 0.5, **means}),
        )
        return self.driver

    def until(self, *kinds: type, within_s: float = 30) -> Body:
        """Poll until another one of `kinds` is reported; it."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            while self._seen < len(self.stamped):
                self._seen += 1
                if isinstance(self.stamped[self._seen - 1].body, kinds):
                    return self.stamped[self._seen - 1].body
            select.select(self.driver.fds(), [], [], 0.1)
            self.stamped += self.driver.poll()
        raise AssertionError(f"none of {kinds} within {within_s} s, but {self.bodies}")

    def entry(self, name: str = "files") -> Any:
        return json.loads((self.directory / "ledger" / f"{name}.json").read_text())

    def journal(self, name: str = "files") -> Any:
        return json.loads((self.directory / f"{name}.json").read_text())

    def processes(self, module: str = "") -> list[psutil.Process]:
        """What this test started and is alive, by the module it runs."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("LCH_TEST") == self.mark and process.pid != psutil.Process().pid
                if ours and process.status() != psutil.STATUS_ZOMBIE and module in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    mark = uuid.uuid4().hex
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setenv("LCH_TEST", mark)
    stage = Stage(tmp_path, mark)
    yield stage
    if hasattr(stage, "driver"):
        stage.driver.close()
    end = time.monotonic() + 30
    while left := stage.processes():  # what a killed process leaves notices the end of its input a little later
        assert time.monotonic() < end, left
        time.sleep(0.02)
