"""Standard output and error that go away under a run."""

import errno
import os
from pathlib import Path

import pytest

from harness.cli.streams import Outlet


def test_a_reader_that_left_is_no_error() -> None:
    """`harness run … | head -1`: what is not read any more is dropped, and nothing raises."""
    reading, writing = os.pipe()
    os.close(reading)
    outlet = Outlet(writing, "w")

    assert [outlet.write(b"one\n"), outlet.write(b"two\n")] == [4, 4]
    assert outlet.lost is None
    outlet.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_remembered() -> None:
    """`harness report … > report.html` on a full disk must not look like a success."""
    with Path("/dev/full").open("wb") as full:
        outlet = Outlet(full.fileno(), "w", closefd=False)
        assert outlet.write(b"one\n") == 4
        assert outlet.lost is not None
        assert outlet.lost.errno == errno.ENOSPC
