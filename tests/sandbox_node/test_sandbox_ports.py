"""Ports for processes that do not listen yet: no two sandboxes hand out the same one."""

import pytest

from harness.sandbox.ports import Ports

pytestmark = pytest.mark.real


def test_a_port_that_was_handed_out_is_not_handed_out_by_anybody_else():
    one, other = Ports(), Ports()  # of the same process: they begin at the same port
    try:
        taken = [ports.take() for _ in range(20) for ports in (one, other)]
        assert len(set(taken)) == 40
    finally:
        one.close()
        other.close()
