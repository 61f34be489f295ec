"""The audit's child process against small services that keep their word, or do not."""

import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from harness.drivers.audit.driver import AuditDriver
from harness.drivers.audit.ledger import NAME, read
from harness.history.audit import AuditCompleted, AuditFailed, AuditStarted
from harness.plan.model import Audit, Source

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

HERE = Source(path="scenarios/case.yaml", line=1)


class Service(ThreadingHTTPServer):
    """
    Keeps entries in a list; of those in `dropped` it keeps none, of those in `doubled` two.

    The same id again is the same write: on a busy machine a write is sent again before its answer is there.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.entries, self.known = [], set()
        self.dropped, self.doubled = set(), set()
        self.drop_every = self.double_every = 0
        self.lock = threading.Lock()

    @property
    def taken(self):
        return len(self.known)

    def take(self, name):
        with self.lock:
            if name in self.known:
                return
            self.known.add(name)
            wanted = name.endswith(".probe")
            if not wanted and self.drop_every and self.taken % self.drop_every == 0:
                self.dropped.add(name)
                return
            self.entries.append(name)
            if not wanted and self.double_every and self.taken % self.double_every == 0:
                self.doubled.add(name)
                self.entries.append(name)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.take(json.loads(self.rfile.read(int(self.headers["content-length"])))["id"])
        self.answer(201, {})

    def do_GET(self):
        path = urlsplit(self.path)
        if path.path == "/entries":
            prefix = parse_qs(path.query)["prefix"][0]
            self.answer(200, {"ids": [name for name in list(self.server.entries) if name.startswith(prefix)]})
        else:
            self.answer(200 if unquote(path.path.removeprefix("/entries/")) in self.server.entries else 404, {})

    def answer(self, code, value):
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def service():
    server = Service()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def driver(service, tmp_path):
    url = f"http://127.0.0.1:{service.server_address[1]}"
    audit = Audit(url=url, rate_per_s=100.0, writers=4, rules=(), source=HERE)
    driver = AuditDriver(audit, run="case/20261121-101500-ab12", directory=tmp_path)
    driver.preflight()
    yield driver
    driver.close()


def polled(driver, kind):
    """Everything reported up to the first of this kind."""
    bodies = []
    until_s = time.monotonic() + 40
    while time.monotonic() < until_s:
        bodies += [stamped.body for stamped in driver.poll()]
        if any(isinstance(body, kind) for body in bodies):
            return bodies
        time.sleep(0.02)
    raise AssertionError(f"no {kind.__name__}: {bodies}")


def until(condition):
    until_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_a_service_that_keeps_everything_has_lost_nothing(driver, service, tmp_path):
    driver.start(time.monotonic_ns())
    until(lambda: service.taken > 60)
    driver.read_back()
    *_, result = bodies = polled(driver, AuditCompleted)
    assert isinstance(bodies[0], AuditStarted)
    acknowledged = {write.id for write in read(tmp_path / NAME)}
    assert len(acknowledged) >= 60
    assert acknowledged == {name for name in service.entries if ".w" in name}
    assert result == AuditCompleted(
        acknowledged=len(acknowledged), unknown=0, refused=0, lost=0, duplicated=0, stale=0, examples=()
    )


def test_every_loss_and_every_duplicate_is_found(driver, service, tmp_path):
    service.drop_every, service.double_every = 7, 11
    driver.start(time.monotonic_ns())
    until(lambda: len(service.dropped) > 5 and len(service.doubled) > 3)
    driver.read_back()
    *_, result = polled(driver, AuditCompleted)
    assert (result.lost, result.duplicated, result.stale) == (len(service.dropped), len(service.doubled), 0)
    noted = {write.id: write.acknowledged_ns for write in read(tmp_path / NAME)}
    lost = [(name, at_ns) for count, name, at_ns in result.examples if count == "lost"]
    first = sorted((noted[name], name) for name in service.dropped)[:10]
    assert lost == [(name, at_ns) for at_ns, name in first]


def test_what_was_acknowledged_stays_readable_when_the_writer_is_killed(driver, service, tmp_path):
    driver.start(time.monotonic_ns())
    until(lambda: (tmp_path / NAME).exists() and len(read(tmp_path / NAME)) > 20)
    os.kill(driver._child.process.pid, signal.SIGKILL)
    *_, failed = polled(driver, AuditFailed)
    assert "ended by itself" in failed.detail
    noted = {write.id for write in read(tmp_path / NAME)}
    assert len(noted) > 20
    assert noted <= set(service.entries)


def test_the_writer_ends_with_whoever_started_it(driver, service):
    driver.start(time.monotonic_ns())
    until(lambda: service.taken > 5)
    child = driver._child.process
    child.stdin.close()  # what the end of our process would do
    child.wait(20)
    assert child.returncode == 0
