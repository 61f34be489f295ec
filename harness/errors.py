"""
The errors a person can meet, and whose fault each one is.

    HarnessError
    ├── PlanError          the files or arguments are wrong, or preflight refuses what they ask for (exit 2)
    ├── CannotRunError     the surroundings did not allow the run (exit 4)
    │   └── DriverError    a driver (load, faults, metrics, cluster) could not do its work
    ├── RecordError        a run directory is missing, unreadable or of another version (exit 4)
    └── StoppedError       a signal came while nothing was under way that must be brought down (exit 130)

Anything else that escapes is a bug in the harness (exit 70).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller. The highest concern wins: 5 > 130 > 70 > 4 > 2 > 1 > 3 > 0."""

    PASS = 0  # verdict pass or warn
    FAIL = 1  # verdict fail (or warn with --strict)
    USAGE = 2  # bad arguments, scenario, service or experiment, or a fault that preflight refuses
    INCONCLUSIVE = 3  # the evidence does not decide
    ENVIRONMENT = 4  # could not run: target, cluster, driver, disk
    NOT_RESTORED = 5  # a fault could not be proven undone
    BUG = 70  # a bug in the harness
    INTERRUPTED = 130  # interrupted; faults undone


class HarnessError(Exception):
    """Base of all expected errors: a message, the exit code it leads to, and a hint what to do."""

    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in one place of one file: `path:line: where: what is wrong; what to do`."""

    path: str
    line: int
    where: str  # e.g. "phases[1].thresholds[0].fail"; empty for the whole file
    what: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}: "
        return place + (f"{self.where}: " if self.where else "") + self.what


class PlanError(HarnessError):
    """The person's files or arguments are wrong. Carries all problems, sorted by path and line."""

    exit_code = ExitCode.USAGE

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in sorted(problems)))
        self.problems = tuple(sorted(problems))


class CannotRunError(HarnessError):
    """The surroundings (target, tools, cluster, disk) did not allow the run to take place."""

    exit_code = ExitCode.ENVIRONMENT


class DriverError(CannotRunError):
    """A driver could not do its work; the message begins with the driver's name."""


class RecordError(HarnessError):
    """A run directory is missing, unreadable, or written by another format version."""

    exit_code = ExitCode.ENVIRONMENT


class StoppedError(HarnessError):
    """Ctrl-C, SIGTERM or the end of the terminal came while no load ran and no fault was on."""

    exit_code = ExitCode.INTERRUPTED
