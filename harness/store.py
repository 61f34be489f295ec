"""
The index of all runs: one SQLite file beside the run directories, which stay the truth.

The index can be deleted at any time; the next look at it makes it anew from what the run directories say.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path

from harness.errors import RecordError

_COLUMNS = "run, scenario, started, status, verdict, headline"
_CREATE = (
    "CREATE TABLE IF NOT EXISTS runs"
    " (run TEXT PRIMARY KEY, scenario TEXT, started TEXT, status TEXT, verdict TEXT, headline TEXT)"
)
_INSERT = f"INSERT OR REPLACE INTO runs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"


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
        """
        Put a judged run into the index, anew if it is there; raises RecordError when it is not judged.

        A copy that does not lie where its name says, such as one brought from another machine, is left out.
        """
        entry = _entry_of(directory)
        if self.results / entry.run == directory:
            with self._open() as database:
                database.execute(_INSERT, astuple(entry))

    def newest(self, count: int, scenario: str | None = None) -> tuple[Entry, ...]:
        """The newest runs that are still there, newest first; of one scenario if named."""
        if not self.results.is_dir():
            return ()
        where, values = ("WHERE scenario = ?", (scenario,)) if scenario else ("", ())
        with self._open() as database:
            rows = database.execute(f"SELECT {_COLUMNS} FROM runs {where} ORDER BY started DESC, run DESC", values)
            found = (Entry(*row) for row in rows)
            return tuple(islice((entry for entry in found if (self.results / entry.run).is_dir()), count))

    def passing(self, count: int, scenario: str, *, before: str) -> tuple[Entry, ...]:
        """The newest runs of a scenario with verdict `pass` that sort before run `before`, newest first."""
        entries = self.newest(100_000, scenario)
        return tuple(entry for entry in entries if entry.verdict == "pass" and entry.run < before)[:count]

    @property
    def _path(self) -> Path:
        return self.results / "index.sqlite"

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The index, made from the run directories if there is none; in memory where the folder takes no new file."""
        kept = self._path.exists() or os.access(self.results, os.W_OK)
        try:
            with closing(sqlite3.connect(self._path if kept else ":memory:", timeout=10)) as database, database:
                if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone():
                    database.execute("BEGIN IMMEDIATE")  # whoever else looks meanwhile waits for the whole of it
                    database.execute(_CREATE)
                    database.executemany(_INSERT, map(astuple, self._judged()))
                yield database
        except sqlite3.Error as error:
            hint = "if its disk is in order, delete it: it is made anew from the runs"
            raise RecordError(f"{self._path}: {error}", hint=hint) from error

    def _judged(self) -> Iterator[Entry]:
        """Every judged run that lies where its name says; one whose verdict cannot be read is as good as not judged."""
        for path in self.results.glob("*/*/verdict.json"):
            with suppress(RecordError):
                entry = _entry_of(path.parent)
                if self.results / entry.run == path.parent:
                    yield entry


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
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{directory}: not a judged run: {error!r}") from error
