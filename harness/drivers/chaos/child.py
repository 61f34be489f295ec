"""
The process that plays one Chaos Toolkit experiment (or, with `--undo FILE`, only undoes one).

chaoslib wants the main thread and keeps module globals, hence one process per experiment. What this adds to it:
a gate before the first activity, which opens when the undo is safe on disk; a hold after the method, until the
rollback is asked for or the parent is dead; one meaning for every signal, that the rollbacks are to be played now;
rollbacks that do not keep each other from being played; and a journal that is on disk after every activity.

chaoslib's own answers to signals would not do: SIGTERM becomes a failed activity and the next fault is injected,
SIGINT and SIGUSR1 during a rollback skip the rest of them, SIGUSR2 skips all, SIGHUP kills.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any

from chaoslib.experiment import ensure_experiment_is_valid, run_experiment
from chaoslib.run import RunEventHandler
from chaoslib.types import Strategy

from harness.drivers.chaos import journal, ledger, lines, rehearsal
from harness.plan.model import IN_CLUSTER

LOG_FORMAT = "%(asctime)s %(name)s %(levelname)s %(message)s"

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_ALWAYS = {"runtime": {"rollbacks": {"strategy": "always"}}}


class Stage(Enum):
    """Where a performance is, as far as a signal is concerned."""

    BEFORE = auto()  # nothing was touched: just leave
    METHOD = auto()  # cut the running activity short, then play the rollbacks
    AFTER = auto()  # holding, or playing the rollbacks already: never interrupt those


class Performance(RunEventHandler):  # type: ignore[misc]  # chaoslib is untyped
    """One experiment, from its loading to the end of its rollbacks."""

    def __init__(self, speaker: lines.Speaker) -> None:
        self._say = speaker.say
        # Filled by the listening thread and by the signal handler; None means "leave". A SimpleQueue, because its put
        # is safe in a signal handler that interrupted a get.
        self._commands: SimpleQueue[lines.Command | None] = SimpleQueue()
        self._stage = Stage.BEFORE
        self._asked_by: str | None = None
        self._method_told = False
        self._rolling_back = False
        self._journal: dict[str, Any] = {}
        self._configuration: dict[str, Any] = {}
        self._journal_file = Path(os.devnull)
        self._entry: Path | None = None

    def play(self) -> None:
        """Wait for an experiment, play it as told, leave when it is rolled back or when nothing was to be done."""
        self._take_signals()
        threading.Thread(target=self._listen, daemon=True).start()
        load = self._commands.get()
        if load is None:
            return
        self._journal_file = Path(load.journal)
        experiment = load.experiment
        try:
            ensure_experiment_is_valid(experiment)
            for activity, doubt in rehearsal.rehearsed(experiment):
                self._say("rehearsed", activity=activity, detail=doubt)
        except Exception as problem:  # importing the experiment's modules may raise anything
            self._say("refused", detail=_one_line(problem))
            return
        self._say("loaded")
        if self._commands.get() is not None:
            self._run(experiment)

    def _run(self, experiment: dict[str, Any]) -> None:
        try:
            _run_experiment(experiment, self)
        except (Exception, SystemExit) as problem:
            # Before the gate: its configuration cannot be resolved, or it was told to leave. After it: a rollback
            # raised what chaoslib does not expect; the rollbacks that are left are played below.
            if self._entry is None:
                self._say("refused", detail=_one_line(problem))
                return
            logging.getLogger("harness").warning("Chaos Toolkit gave up", exc_info=True)
        self._stage = Stage.AFTER
        self._tell_method_ended(experiment)
        self._finish(experiment)

    def _finish(self, experiment: dict[str, Any]) -> None:
        undo = journal.undo_of(experiment, self._configuration)
        played = self._journal["rollbacks"]
        played += play_each({**undo, "rollbacks": undo["rollbacks"][len(played) :]})
        failure = journal.rollback_failure(experiment, played)
        if self._entry is not None:
            ledger.mark(self._entry, ledger.State.NOT_UNDONE if failure else ledger.State.UNDONE, failure or "")
        _write_journal(self._journal_file, self._journal)
        self._say("rollbacks_ended", detail=failure or "")

    def _listen(self) -> None:
        for line in _input_lines():
            command = lines.command(line)
            if command.do == "rollback":
                self._ask("rollback")
            else:
                self._commands.put(command)
        self._ask("the end of the conductor")

    def _ask(self, by: str) -> None:
        self._asked_by = self._asked_by or by
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGUSR1)

    def _take_signals(self) -> None:
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._asked_by = self._asked_by or signal.Signals(number).name
        self._commands.put(None)
        if self._stage is Stage.METHOD:
            self._stage = Stage.AFTER  # a second one would leave chaoslib's own handling of the first
            raise SystemExit(20)

    # What chaoslib calls, in this order. It swallows every Exception of these, but not SystemExit.

    def started(self, _experiment: Any, filling: dict[str, Any]) -> None:
        """Take the journal, which chaoslib fills as it goes, and the signals, which it has just taken for itself."""
        self._journal = filling
        self._take_signals()

    def running(self, _experiment: Any, _journal: Any, configuration: dict[str, Any], *_rest: Any) -> None:
        """Stop at the gate: only a clear "go" leads on, anything else leaves before something was touched."""
        self._configuration = configuration
        try:
            self._say("ready", configuration=configuration)
            go = self._commands.get()
            if go is not None:
                self._entry = Path(go.entry)
        except Exception as problem:
            raise SystemExit(_one_line(problem)) from problem
        self._stage = Stage.METHOD
        if go is None or self._asked_by is not None:
            self._stage, self._entry = Stage.BEFORE, None
            raise SystemExit(f"told to leave before the method, by {self._asked_by}")

    def start_activity(self, activity: dict[str, Any]) -> None:
        """Stream it; or leave, when an activity before it swallowed the interruption."""
        self._leave_if_asked()
        self._say("activity_started", activity=activity["name"])

    def activity_completed(self, activity: dict[str, Any], run: dict[str, Any]) -> None:
        """
        Stream it, and keep the journal so far: nothing of it would survive this process otherwise.

        Then leave, when it was interrupted: chaoslib would make the pause after it all the same.
        """
        self._say("activity_completed", activity=activity["name"], status=str(run.get("status")))
        _note_exception(run)
        with suppress(OSError):  # a full disk
            _write_journal(self._journal_file, self._journal)
        self._leave_if_asked()

    def method_completed(self, experiment: dict[str, Any], _state: Any = None) -> None:
        """Hold until the rollback is asked for. Also called after a failed method, which may be half in force."""
        self._stage = Stage.AFTER
        self._tell_method_ended(experiment)
        while self._asked_by is None:
            self._commands.get()

    def start_rollbacks(self, experiment: dict[str, Any]) -> None:
        """From here nothing interrupts any more."""
        self._stage, self._rolling_back = Stage.AFTER, True
        self._tell_method_ended(experiment)
        self._say("rollbacks_started", detail=self._asked_by or "the method")

    def _leave_if_asked(self) -> None:
        if self._asked_by is not None and not self._rolling_back:
            raise SystemExit(20)

    def _tell_method_ended(self, experiment: dict[str, Any]) -> None:
        if not self._method_told:
            self._method_told = True
            self._say("method_ended", detail=journal.method_failure(experiment, self._journal["run"]) or "")


class Undoing(RunEventHandler):  # type: ignore[misc]  # chaoslib is untyped
    """Watches a run that only rolls back: keeps its journal, lets no signal in."""

    def __init__(self) -> None:
        self.journal: dict[str, Any] = {"rollbacks": []}

    def started(self, _experiment: Any, filling: dict[str, Any]) -> None:
        """Take the journal, and the signals, which chaoslib has just taken for itself."""
        self.journal = filling
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def activity_completed(self, _activity: Any, run: dict[str, Any]) -> None:
        """Say why, when chaoslib does not."""
        _note_exception(run)


def play_each(undo: dict[str, Any]) -> list[dict[str, Any]]:
    """
    Play each rollback of `undo` and return their entries for a journal.

    Each is run as an experiment of its own: chaoslib drops the rest after one that cannot be imported.
    """
    runs: list[dict[str, Any]] = []
    for activity in undo["rollbacks"]:
        watch = Undoing()
        try:
            _run_experiment({**undo, "rollbacks": [activity]}, watch)
        except Exception as problem:
            if not watch.journal["rollbacks"]:
                exception = traceback.format_exception_only(problem)
                watch.journal["rollbacks"] = [{"activity": activity, "status": "failed", "exception": exception}]
        runs += watch.journal["rollbacks"]
    return runs


def undo(path: Path) -> bool:
    """Undo the fault of the ledger entry in `path`, mark the entry, return whether it is undone."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    entry = ledger.read(path)
    _move_to(entry)
    kubeconfig = entry.environment.get("KUBECONFIG")
    runs: list[dict[str, Any]] = []
    if kubeconfig and kubeconfig != IN_CLUSTER and not Path(kubeconfig).exists():
        # chaosk8s would turn to http://localhost without a word.
        failure: str | None = f"the kubeconfig {kubeconfig} is gone"
    else:
        runs = play_each(entry.undo)
        failure = journal.rollback_failure(entry.undo, runs)
    ledger.mark(path, ledger.State.NOT_UNDONE if failure else ledger.State.UNDONE, failure or "")
    _write_journal(path.parent.parent / f"{entry.fault}.undo.json", {"experiment": entry.undo, "rollbacks": runs})
    return failure is None


def _move_to(entry: ledger.Entry) -> None:
    """Make this process see what the one saw that played the fault, and nothing of its own that would mean another."""
    for key in (*ledger.ENVIRONMENT, rehearsal.DRY):
        os.environ.pop(key, None)
    os.environ.update(entry.environment)
    if Path(entry.folder).is_dir():
        os.chdir(entry.folder)
    sys.path += [entry.folder, *filter(None, entry.environment.get("PYTHONPATH", "").split(os.pathsep))]


def _run_experiment(experiment: dict[str, Any], handler: RunEventHandler) -> None:
    # Through the API, the strategy counts in the settings only, not in the experiment.
    run_experiment(experiment, settings=_ALWAYS, strategy=Strategy.SKIP, event_handlers=[handler])


def _note_exception(run: dict[str, Any]) -> None:
    """Chaoslib calls this the activity's `finally`, and journals one kind of exception only."""
    exception = sys.exception()
    if "status" not in run and exception is not None:
        run["exception"] = traceback.format_exception_only(exception)


def _write_journal(path: Path, content: dict[str, Any]) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}")  # an undo may be played twice at the same time
    fresh.write_text(json.dumps(content, indent=1, default=str), encoding="utf-8")
    fresh.replace(path)


def _one_line(problem: BaseException) -> str:
    text = " ".join(str(problem).split())
    return text if isinstance(problem, (SystemExit, rehearsal.RehearsalError)) else f"{type(problem).__name__}: {text}"


def _input_lines() -> Iterator[bytes]:
    # Not through sys.stdin: a daemon thread that waits in it holds its lock when the interpreter shuts down.
    rest = b""
    while chunk := os.read(0, 65536):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole


def _own_stdout() -> lines.Speaker:
    """The process's output for our lines only: what activities print goes to the log."""
    own = os.dup(1)
    os.dup2(2, 1)
    return lines.Speaker(os.fdopen(own, "wb"))


def main(arguments: list[str]) -> int:
    """Play what standard input says, or `--undo FILE`. Exit code 0 unless the undo failed."""
    speaker = _own_stdout()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=LOG_FORMAT)
    if arguments[:1] == ["--undo"]:
        return 0 if undo(Path(arguments[1])) else 1
    Performance(speaker).play()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
