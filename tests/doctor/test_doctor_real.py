"""`harness doctor` with the real engine and its real stub."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from harness.cli import doctor
from harness.cli.main import app
from harness.errors import DriverError

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

REQUEST = b"GET / HTTP/1.1\r\nHost: stub\r\n\r\n"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three seconds instead of ten."""
    monkeypatch.setattr(doctor, "WARM_UP_S", 1.0)
    monkeypatch.setattr(doctor, "STEADY_S", 2.0)


def running() -> list[str]:
    """What is left of the engine and the stub; other tests may have children of their own."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has ended
            command = " ".join(child.cmdline())
            if "harness.drivers.locust" in command or "harness.drivers.stub" in command:
                found.append(command)
    return found


@pytest.mark.usefixtures("short")
def test_it_drives_the_rate_and_looks_at_everything() -> None:
    """Whether the answer is yes depends on what else the machine does; what is looked at does not."""
    found = doctor.diagnose(100.0, 1)

    figures = found.figures
    assert (figures.planned, figures.sent) == (200, 200)
    assert set(figures.cpu) == {"worker-0", "stub"}
    assert figures.response_s_p95 >= 0.010
    assert {"load_delivered", "conservation", "start_lag", "cpu", "bias", "files", "ports"} <= {
        check.check for check in found.checks
    }
    assert running() == []


def test_what_cannot_be_tried_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PROBER", Path("/nowhere.py"))
    with pytest.raises(DriverError):
        doctor.diagnose(100.0, 1)
    assert running() == []


@pytest.mark.parametrize("load", ["fast", "5000", "0/s", "2M/s"])
def test_a_rate_that_is_none_is_a_usage_error(load: str) -> None:
    assert CliRunner().invoke(app, ["doctor", "--load", load]).exit_code == 2


@contextmanager
def stub(delay_ms: str) -> Iterator[socket.socket]:
    """A connection to the stub."""
    command = [sys.executable, "-m", "harness.drivers.stub", delay_ms]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with socket.create_connection(("127.0.0.1", int(process.stdout.readline())), timeout=30) as connection:
            yield connection
        process.stdin.close()
        assert process.wait(30) == 0


def test_the_stub_never_answers_early_and_answers_every_request() -> None:
    with stub("20") as connection:
        began_s = time.monotonic()
        connection.sendall(REQUEST + REQUEST + REQUEST[:9])
        answers = b""
        while answers.count(b"200 OK") < 2:
            answers += connection.recv(4096)
            assert time.monotonic() - began_s >= 0.020
        connection.sendall(REQUEST[9:])
        assert b"200 OK" in connection.recv(4096)


def test_without_a_delay_the_stub_answers_at_once() -> None:
    with stub("0") as connection:
        connection.sendall(REQUEST)
        assert connection.recv(4096).endswith(b"\r\n\r\nok")
