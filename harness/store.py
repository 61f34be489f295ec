"""
The index of all runs: one SQLite file beside the run directories, which stay the truth.

The index can be deleted at any time; `rebuild` makes it anew from what the run directories say.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from harness.errors import RecordError

_COLUMNS = "run, scenario, started, status, verdict, headline"


@dataclass(frozen=True, slots=True)
class Entry:
    """One run in the index. `started` is ISO 8601 in UTC; texts are as in verdict.json."""

    run: str  # "<scenario>/<run-id>"
    scenario: str
    started: str
    status: str
    verdict: str
    headline: str


class Store:
    """The index of the runs under one results folder."""

    def __init__(self, results: Path) -> None:
        self.results = results

    def add(self, directory: Path) -> None:
        """Put a judged run into the index, anew if it is there; raises RecordError when it is not judged."""
        entry = _entry_of(directory)
        with self._open() as database:
            database.execute(f"INSERT OR REPLACE INTO runs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", astuple(entry))

    def newest(self, count: int, scenario: str | None = None) -> tuple[Entry, ...]:
        """The newest runs, newest first; of one scenario if named. Rebuilds the index when there is none."""
        if not self.results.is_dir():
            return ()
        if not self._path.exists():
            self.rebuild()
        where, values = ("WHERE scenario = ?", (scenario, count)) if scenario else ("", (count,))
        with self._open() as database:
            rows = database.execute(
                f"SELECT {_COLUMNS} FROM runs {where} ORDER BY started DESC, run DESC LIMIT ?", values
            )
            return tuple(Entry(*row) for row in rows)

    def passing(self, count: int, scenario: str, *, before: str) -> tuple[Entry, ...]:
        """The newest runs of a scenario with verdict `pass` that sort before run `before`, newest first."""
        entries = self.newest(100_000, scenario)
        return tuple(entry for entry in entries if entry.verdict == "pass" and entry.run < before)[:count]

    def rebuild(self) -> int:
        """Index every judged run directory anew; returns how many there are."""
        directories = sorted(
            path.parent for path in self.results.glob("*/*/verdict.json") if not path.parent.is_symlink()
        )
        entries = [_entry_of(directory) for directory in directories]
        with self._open() as database:
            database.execute("DELETE FROM runs")
            database.executemany(
                f"INSERT INTO runs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", [astuple(entry) for entry in entries]
            )
        return len(entries)

    @property
    def _path(self) -> Path:
        return self.results / "index.sqlite"

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.results.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self._path, timeout=10)) as database, database:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS runs (run TEXT PRIMARY KEY, scenario TEXT, started TEXT, status TEXT,"
                    " verdict TEXT, headline TEXT)"
                )
                yield database
        except sqlite3.Error as error:
            hint = "if its disk is in order, delete it: it is made anew from the runs"
            raise RecordError(f"{self._path}: {error}", hint=hint) from error


def _entry_of(directory: Path) -> Entry:
    try:
        verdict = json.loads((directory / "verdict.json").read_text(encoding="utf-8"))
        started = json.loads((directory / "environment.json").read_text(encoding="utf-8"))["started"]
        return Entry(
            run=verdict["run"],
            scenario=verdict["scenario"],
            started=started,
            status=verdict["status"],
            verdict=verdict["verdict"],
            headline=verdict["headline"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise RecordError(f"{directory}: not a judged run: {error!r}") from error
