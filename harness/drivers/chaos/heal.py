"""What earlier runs left in force, undone: the last of the layers that keep a fault from staying."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import yaml

from harness.drivers.chaos import ledger, undo

_ANSWER_S = 3.0
_DIRECTLY = build_opener(ProxyHandler({}))  # no proxy leads to a sandbox, which is on this machine
_TRY_S = 35.0
_BUDGET_S = 60.0  # for all of them together; what comes after it is reported, not tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Healed:
    """One fault that a dead run left armed, and what came of undoing it."""

    fault: str
    run: str
    outcome: ledger.State  # undone or not_undone
    detail: str  # why it is not undone and what to do, or why nothing was left to undo; empty when it was undone
    entry: Path  # its file in the ledger


def heal(results_dir: Path) -> tuple[Healed, ...]:
    """
    Undo every fault that a run under `results_dir` (`<scenario>/<run>/chaos/ledger/`) left armed and that is over.

    A run that is alive owns its ledger and is left alone. Takes about a minute at most; a fault that could not be
    undone stays in the ledger, is returned as `not_undone`, and is tried again the next time.
    """
    until = time.monotonic() + _BUDGET_S
    return tuple(healed for folder in ledgers(results_dir) for healed in heal_ledger(folder, until))


def heal_ledger(folder: Path, until: float | None = None) -> tuple[Healed, ...]:
    """The same for one run's ledger; `until` (CLOCK_MONOTONIC) no undo is begun any more."""
    latest = time.monotonic() + _BUDGET_S if until is None else until
    if not over(folder):
        return ()
    return tuple(_healed(path, latest) for path in sorted(folder.glob("*.json")) if left(path))


def ledgers(results_dir: Path) -> tuple[Path, ...]:
    """The ledgers of all runs, sorted; results/<scenario>/latest is seen under its own name."""
    found = sorted(results_dir.glob(f"*/*/chaos/{ledger.FOLDER}"))
    return tuple(folder for folder in found if not folder.parents[1].is_symlink())


def run_of(folder: Path) -> str:
    """The name of the run whose ledger is in the folder."""
    return "/".join(folder.parts[-4:-2])


def over(folder: Path) -> bool:
    """Whether nobody owns the ledger in the folder: its run has ended, however."""
    return not ledger.is_owned(folder)


def left(path: Path) -> bool:
    """Whether the entry says, or may say, that its fault is on."""
    try:
        return ledger.read(path).state is not ledger.State.UNDONE
    except ValueError:
        return True  # what cannot be read is reported, not hidden
    except FileNotFoundError:
        return False


def _healed(path: Path, until: float) -> Healed:
    run = run_of(path.parent)
    try:
        entry = ledger.read(path)
        if entry.sandbox and not answers(entry.environment["KUBECONFIG"], entry.environment.get("LCH_CLUSTER_UID")):
            gone = "the sandbox that it was played on is gone, and it with it"
            ledger.mark(path, ledger.State.UNDONE, gone)
            return Healed(fault=entry.fault, run=entry.run, outcome=ledger.State.UNDONE, detail=gone, entry=path)
    except (OSError, ValueError) as problem:  # on a full disk, it would go on saying that it is armed
        return _not_undone(path, path.stem, run, str(problem))
    left_s = until - time.monotonic()
    if left_s < 1:
        return _not_undone(path, entry.fault, entry.run, f"no time was left after {_BUDGET_S:g} s")
    why = undo.play(path, budget_s=0, timeout_s=min(_TRY_S, left_s))
    if why is not None:
        return _not_undone(path, entry.fault, entry.run, why)
    return Healed(fault=entry.fault, run=entry.run, outcome=ledger.State.UNDONE, detail="", entry=path)


def answers(kubeconfig: str, uid: str | None = None) -> bool:
    """
    Whether a sandbox may still be there: not when its kubeconfig is gone, or nothing listens where that says.

    A sandbox keeps its cluster in memory, so one of another `uid` is not the one that is meant. One that hangs is.
    """
    try:
        config = yaml.safe_load(Path(kubeconfig).read_text(encoding="utf-8"))
        server = config["clusters"][0]["cluster"]["server"]
        with _DIRECTLY.open(f"{server}/api/v1/namespaces/kube-system", timeout=_ANSWER_S) as answer:
            return uid in (None, json.load(answer)["metadata"]["uid"])
    except FileNotFoundError:
        return False
    except URLError as error:
        return not isinstance(error.reason, ConnectionRefusedError)
    except (OSError, ValueError, KeyError, HTTPException):
        return True


def _not_undone(path: Path, fault: str, run: str, why: str) -> Healed:
    detail = f"{why}; when the fault is known to be gone, delete {path}"
    return Healed(fault=fault, run=run, outcome=ledger.State.NOT_UNDONE, detail=detail, entry=path)
