"""Workers on other machines, played by this one: they join over the network with a token, and nobody else does."""

from __future__ import annotations

import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import zmq
from load_contract import assert_conserved, play
from load_support import load_plan, stub_server
from plan_values import phase

from harness.drivers.clock import MonotonicClock
from harness.drivers.locust.channel import TOKEN_VARIABLE, address_of, keys_of
from harness.drivers.locust.driver import LocustDriver
from harness.drivers.locust.guests import refusal, versions
from harness.drivers.locust.remote import token_from, work
from harness.errors import DriverError
from harness.history.events import Body, WorkerJoined, WorkerLost
from harness.plan.model import Plan, Remote

S = 1_000_000_000
TOKEN = "correct horse battery staple"
CLOCK = MonotonicClock()

real = pytest.mark.real


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def remote_plan(url: str, port: int, seconds: float) -> Plan:
    plan = load_plan(url, per_s=100, phases=(phase("a", 0, seconds),), workers=1)
    remote = Remote(listen=f"127.0.0.1:{port}", workers=1)
    return replace(plan, service=replace(plan.service, load=replace(plan.service.load, remote=remote)))


@contextmanager
def worker(port: int, directory: Path, token: str = TOKEN, wait: str = "30s"):
    file = directory / f"token-{token[:3]}"
    file.write_text(token + "\n")
    command = "from harness.cli.main import main; main()"
    arguments = ["worker", "--join", f"127.0.0.1:{port}", "--token-file", str(file), "--wait", wait]
    with subprocess.Popen([sys.executable, "-c", command, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_keys_are_the_tokens_and_nobody_elses():
    keys = keys_of(TOKEN)
    assert keys == keys_of(TOKEN)
    assert keys.master_public == zmq.curve_public(keys.master_secret)
    assert len({keys.master_public, keys.worker_public, keys_of(TOKEN + " ").master_public}) == 3


@pytest.mark.parametrize("text", ["5557", "host:", ":5557", "host:port", "host:70000"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        address_of(text)


def test_an_address_may_be_a_name_or_of_version_six():
    assert (address_of("master.example:5557"), address_of("[::1]:0")) == (("master.example", 5557), ("::1", 0))


def test_another_version_is_refused_by_name():
    theirs = {**versions(), "locust": "2.0.0"}
    assert refusal({"versions": versions()}) is None
    assert refusal({"versions": theirs}) == f"it has locust 2.0.0, the master {versions()['locust']}; install the same"


def test_a_token_is_needed_and_must_be_long_enough(monkeypatch, tmp_path):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with pytest.raises(DriverError, match=r"^load: no token; set LCH_WORKER_TOKEN or give --token-file$"):
        token_from(None)
    with pytest.raises(DriverError, match=r"^load: --token-file .*/none: cannot be read: "):
        token_from(tmp_path / "none")
    with pytest.raises(DriverError, match=r"^load: the token has 5 characters; it needs at least 16$"):
        work("127.0.0.1:1", "short", wait_s=1, say=print)
    with pytest.raises(
        DriverError, match=r"^load: remote workers need a token of at least 16 characters in LCH_WORKER"
    ):
        LocustDriver(remote_plan("http://127.0.0.1:9", 1, 1), log_dir=tmp_path).prepare()


@real
def test_a_master_that_is_not_there_is_waited_for_and_then_named():
    port = free_port()
    message = rf"^load: the master at 127\.0\.0\.1:{port} is not there \(waited 1 s\)$"
    with pytest.raises(DriverError, match=message):
        work(f"127.0.0.1:{port}", TOKEN, wait_s=1, say=print)


@contextmanager
def answering(words: bytes) -> Iterator[int]:
    """A server that says these words to everybody and hangs up; its port."""

    class Words(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(words)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Words) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@real
def test_what_hangs_up_is_said_at_once_and_tried_again():
    """A master with another token does; so does a tunnel to a master that is not there yet."""
    said: list[str] = []
    with answering(b"") as port, pytest.raises(DriverError, match=r"hangs up: .* \(waited 2 s\)$"):
        work(f"127.0.0.1:{port}", TOKEN, wait_s=2, say=said.append)
    (line,) = said
    assert re.fullmatch(rf"127\.0\.0\.1:{port} hangs up: the master does not know this token .*; trying for 2 s", line)


@real
def test_what_is_no_master_is_given_up_even_if_it_says_so_before_it_was_asked(monkeypatch):
    monkeypatch.setattr("harness.drivers.locust.remote.socket.gethostname", lambda: time.sleep(0.5) or "here")
    with (
        answering(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9) as port,
        pytest.raises(DriverError, match=r"(does not speak to this worker|hangs up).*\(waited 2 s\)$"),
    ):
        work(f"127.0.0.1:{port}", TOKEN, wait_s=2, say=print)


@real
@pytest.mark.timeout(150)
def test_a_remote_worker_joins_falls_silent_and_joins_again(monkeypatch, tmp_path):
    """It gets its locustfile over the channel; its clock is measured; with a wrong token nobody gets in."""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    port = free_port()
    stopped: list[tuple[psutil.Process, int]] = []
    woken: list[int] = []
    back: list[int] = []
    with stub_server() as stub, worker(port, tmp_path) as guest:

        def stand_still(now_ns: int) -> None:
            if now_ns >= 3 * S and not stopped:  # its first second has long been told
                for played_by in psutil.Process(guest.pid).children():
                    played_by.send_signal(signal.SIGSTOP)
                    stopped.append((played_by, now_ns))
            elif stopped and now_ns >= stopped[0][1] + 3 * S and not woken:
                stopped[0][0].send_signal(signal.SIGCONT)
                woken.append(now_ns)

        def two_seconds_after_it_came_back(events: list[Body], now_ns: int) -> bool:
            if woken and not back and any(isinstance(event, WorkerJoined) for event in events):
                back.append(now_ns)
            return bool(back) and now_ns >= back[0] + 2 * S

        driver = LocustDriver(remote_plan(stub.url, port, 40), log_dir=tmp_path)
        try:
            assert driver.prepare() == 2
            with worker(port, tmp_path, "wrong" * 5, wait="1s") as stranger:
                played = play(driver, CLOCK, 40, stand_still, enough=two_seconds_after_it_came_back)
                assert stranger.wait(60) == 4
                assert "the master does not know this token (give both the same)" in stranger.stderr.read()
        finally:
            driver.close()
        assert guest.wait(60) == 0
    assert_conserved(played)
    host = socket.gethostname()
    changes = [event for event in played.events if isinstance(event, WorkerLost | WorkerJoined)]
    assert changes[:2] == [
        WorkerLost(worker=f"{host}-1", detail=f"{host}-1 fell silent"),
        WorkerJoined(worker=f"{host}-2"),
    ]
    last = back[0] // S + 1
    assert min(played.by_second[second]["planned"] for second in range(last)) == 100
    assert [played.by_second[second]["lost"] for second in (0, last)] == [0, 0]
    uncertain_s = [health.clock_s for health in played.health if health.worker.startswith(host)]
    assert all(0 < clock_s < 0.5 for clock_s in uncertain_s)
    assert {health.clock_s for health in played.health if health.worker == "worker-0"} == {0.0}
    assert os.environ[TOKEN_VARIABLE] not in " ".join(guest.args)
