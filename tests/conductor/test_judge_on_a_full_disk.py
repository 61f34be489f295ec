"""A verdict that cannot be written is still shown, and its exit code says what weighs most."""

import errno
from pathlib import Path

import pytest
from conductor_stage import Stage, small_plan, without_faults

from harness import record
from harness.cli.judging import judge_directory
from harness.errors import ExitCode


@pytest.mark.parametrize(("fail", "code"), [("", ExitCode.ENVIRONMENT), ("rollback", ExitCode.NOT_RESTORED)])
def test_reports_that_cannot_be_written(
    tmp_path: Path, fail: str, code: ExitCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, fail=fail) if fail else Stage(tmp_path, plan=without_faults(small_plan()))
    stage.play()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record, "write_reports", full)
    judged = judge_directory(stage.record.directory)

    assert judged.unwritten == f"{stage.record.directory}: [Errno 28] No space left on device"
    assert judged.exit_code(strict=False) is code
    assert "small" in judged.text
