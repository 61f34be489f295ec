"""Whole runs as a person makes them: the installed command, real files, a real sandbox; in a folder of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil

ROOT = Path(__file__).parent.parent.parent
T = TypeVar("T")
HARNESS = str(Path(sys.executable).parent / "harness")


@dataclass
class Workplace:
    """A copy of the shipped files in a folder of its own, and the `harness` command run there."""

    folder: Path
    sandbox_dir: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("scenarios", "experiments"):
            shutil.copytree(ROOT / name, self.folder / name)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    @property
    def environment(self) -> Mapping[str, str]:
        temporary = self.folder.parent / "tmp"  # where a run's own sandbox lives
        temporary.mkdir(exist_ok=True)
        return os.environ | {"LCH_SANDBOX_DIR": str(self.sandbox_dir), "TMPDIR": str(temporary), "COLUMNS": "140"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [HARNESS, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_as_in_a_terminal,  # noqa: PLW1509 - the tests have no threads
        )
        self.processes.append(process)
        return process

    def run(self, *arguments: str, timeout_s: float = 240) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a command."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=timeout_s)
        return process.returncode, out, err

    def latest(self, scenario: str) -> Path:
        return self.folder / "results" / scenario / "latest"

    def verdict(self, scenario: str) -> dict[str, object]:
        return json.loads((self.latest(scenario) / "verdict.json").read_text())  # type: ignore[no-any-return]

    def events(self, scenario: str) -> list[dict[str, object]]:
        newest = max((self.folder / "results" / scenario).glob("2*"), default=None)
        if newest is None or not (newest / "history.jsonl").exists():
            return []
        whole = (newest / "history.jsonl").read_text().split("\n")[:-1]
        return [json.loads(line) for line in whole]

    def wait_for_event(self, scenario: str, kind: str, timeout_s: float = 90) -> dict[str, object]:
        """The first event of a kind, as soon as a running scenario has written it."""
        return wait_until(lambda: next((e for e in self.events(scenario) if e["event"] == kind), None), kind, timeout_s)

    def belonging(self, name: str = "") -> list[psutil.Process]:
        """Processes, of this name if given, whose command, folder or environment mentions this workplace's folder."""
        mark = str(self.folder.parent)
        found = [
            process for process in psutil.process_iter() if process.pid != os.getpid() and _mentions(process, mark)
        ]
        return [process for process in found if not name or _is_called(process, name)]

    def leftovers(self) -> list[str]:
        """The command lines of all that still runs here."""
        found = []
        for process in self.belonging():
            with suppress(psutil.Error):  # it has ended meanwhile
                found.append(" ".join(process.cmdline()))
        return sorted(found)


def _as_in_a_terminal() -> None:
    """The tests may run under nohup, or in a background that ignores Ctrl-C; what they test must not."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def _is_called(process: psutil.Process, name: str) -> bool:
    try:
        return name in process.name()
    except psutil.Error:
        return False


def _mentions(process: psutil.Process, mark: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return any(mark in text for text in (*process.cmdline(), process.cwd(), *process.environ().values()))
    except psutil.Error:
        return False


def wait_until(look: Callable[[], T | None], what: str, timeout_s: float) -> T:
    """What `look` returns as soon as it returns something."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {timeout_s} s in vain for {what}")


def interrupt(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
