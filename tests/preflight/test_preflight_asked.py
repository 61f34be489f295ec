"""A child process that is asked once: its answer, or why there is none."""

from __future__ import annotations

import pytest

from harness.drivers.piped import asked
from harness.errors import DriverError

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

ECHO = "json.tool"  # answers what it is asked


def test_its_answer_is_read() -> None:
    assert asked(ECHO, {"a": [1, None]}, within_s=30.0) == {"a": [1, None]}


def test_one_that_breaks_is_told_with_its_last_words() -> None:
    with pytest.raises(DriverError, match=r"^no_such_module ended with exit code 1: .*No module named no_such_module$"):
        asked("no_such_module", {}, within_s=30.0)


def test_one_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(TimeoutError, match=r"^json\.tool: no answer within 0 s$"):
        asked(ECHO, {}, within_s=0.0)
