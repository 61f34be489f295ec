"""What the supervisor decides without starting anything."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import sandbox
from harness.errors import CannotRunError
from harness.sandbox.files import StateDir, end_recorded


def test_without_prometheus_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotRunError, match=r"^sandbox: no 'prometheus' on PATH") as caught:
        sandbox.up("good", tmp_path / "state", owned=True)
    assert re.search("apt-get install prometheus.*brew install prometheus", caught.value.hint)
    assert not (tmp_path / "state").exists()


def test_the_state_directory_comes_from_the_environment_or_lies_in_the_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.delenv("LCH_SANDBOX_DIR", raising=False)
    assert sandbox.default_state_dir() == Path("/home/anna/.local/state/load-chaos-harness/sandbox")
    monkeypatch.setenv("LCH_SANDBOX_DIR", "/tmp/here")
    assert sandbox.default_state_dir() == Path("/tmp/here")


def test_where_no_sandbox_has_been_there_is_none(tmp_path):
    assert sandbox.status(tmp_path / "nowhere") is None
    assert sandbox.down(tmp_path / "nowhere") is False


def test_endpoints_count_only_while_the_process_that_wrote_them_holds_the_lock(tmp_path):
    state = StateDir(tmp_path)
    endpoints = sandbox.Endpoints(
        pid=1, url="u", kubeconfig="k", api_url="a", prometheus_url="p", version="good", state_dir=str(tmp_path)
    )
    state.write_endpoints(endpoints)
    assert state.read_endpoints() is None
    assert sandbox.down(tmp_path) is False
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real
def test_only_recorded_processes_that_are_older_than_their_record_are_killed(tmp_path):
    waiting = [sys.executable, "-c", "input()"]
    ours, other = (subprocess.Popen(waiting, stdin=subprocess.PIPE, start_new_session=True) for _ in range(2))
    try:
        (tmp_path / "ours").write_text(f"{ours.pid}\n")
        record = tmp_path / "other"
        record.write_text(f"{other.pid}\n")
        hour_ago = time.time() - 3600
        os.utime(record, (hour_ago, hour_ago))
        end_recorded(tmp_path)
        assert (ours.wait(20), other.poll()) == (-9, None)
        assert list(tmp_path.iterdir()) == []
    finally:
        for process in (ours, other):
            process.kill()
            process.stdin.close()
            process.wait()
