"""audit.jsonl: only what was acknowledged, and readable however its writer ended."""

import threading

import pytest

from harness.drivers.audit.ledger import Ledger, read
from harness.errors import RecordError
from harness.history.audit import Acknowledged

FIRST, SECOND = Acknowledged("w0-0", 5, 10), Acknowledged("w1-0", 6, 12)


def test_what_was_added_is_on_disk_after_a_flush_and_can_be_read(tmp_path):
    ledger = Ledger(tmp_path / "audit.jsonl")
    ledger.add(FIRST)
    assert read(tmp_path / "audit.jsonl") == ()
    ledger.flush()
    assert read(tmp_path / "audit.jsonl") == (FIRST,)
    ledger.add(SECOND)
    ledger.close()
    assert read(tmp_path / "audit.jsonl") == (FIRST, SECOND)


class Slow:
    """A file that writes when it is told to."""

    def __init__(self, file):
        self._file = file
        self.began, self.go = threading.Event(), threading.Event()
        self.fileno, self.close = file.fileno, file.close

    def write(self, data):
        self.began.set()
        self.go.wait(10)
        return self._file.write(data)


def test_the_end_waits_for_a_flush_that_is_under_way(tmp_path):
    ledger = Ledger(tmp_path / "audit.jsonl")
    slow = ledger._file = Slow(ledger._file)
    ledger.add(FIRST)
    flushing, closing = threading.Thread(target=ledger.flush), threading.Thread(target=ledger.close)
    flushing.start()
    assert slow.began.wait(10)
    closing.start()
    closing.join(0.05)
    slow.go.set()
    flushing.join(10)
    closing.join(10)
    assert read(tmp_path / "audit.jsonl") == (FIRST,)


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "audit.jsonl"
    ledger = Ledger(path)
    ledger.add(FIRST)
    ledger.add(SECOND)
    ledger.close()
    path.write_bytes(path.read_bytes()[:-4])
    assert read(path) == (FIRST,)


def test_a_line_that_is_no_acknowledged_write_is_named(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_text('{"id": "a"}\n', encoding="utf-8")
    with pytest.raises(RecordError, match=r"audit.jsonl:1: cannot be read: not an acknowledged write"):
        read(path)
