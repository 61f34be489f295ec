"""What the entry point makes of errors: one message, the right exit code."""

import errno

import pytest

from harness.cli import main
from harness.errors import ExitCode


def test_a_full_disk_is_the_surroundings_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "results/a/plan.json")

    monkeypatch.setattr(main, "app", full)

    assert main._command() == ExitCode.ENVIRONMENT
    assert "No space left on device: 'results/a/plan.json'" in capsys.readouterr().err


def test_any_other_error_is_a_bug(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def wrong() -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(main, "app", wrong)

    assert main._command() == ExitCode.BUG
    assert "bug in the harness" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["run", "x" * 5000], ["runs", "-n", "9" * 30], ["report", "somewhere", "--format", "pdf"], ["run", "no such"]],
)
def test_odd_arguments_are_usage_errors(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr("sys.argv", ["harness", *arguments])

    assert main._command() == ExitCode.USAGE
