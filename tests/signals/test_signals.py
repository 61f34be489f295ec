"""Signals are noted while something must be brought down in order, and raise where nothing is under way."""

import signal
from collections.abc import Iterator

import pytest

from harness.drivers.signals import Signals, raising
from harness.errors import ExitCode, StoppedError
from harness.history.events import Interrupted

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def with_a_terminal() -> Iterator[None]:
    """The tests may run under nohup themselves."""
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, former)


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_is_noted_while_a_run_goes_on(number: signal.Signals) -> None:
    with Signals() as signals:
        signal.raise_signal(number)
        signal.raise_signal(number)

        assert [stamped.body for stamped in signals.poll()] == 2 * [Interrupted(signal=number.name)]
        assert list(signals.poll()) == []


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_raises_where_nothing_is_under_way(number: signal.Signals) -> None:
    with Signals() as signals, pytest.raises(StoppedError, match=f"^stopped by {number.name}$") as stopped:  # noqa: SIM117
        with signals.raising():
            signal.raise_signal(number)
    assert stopped.value.exit_code is ExitCode.INTERRUPTED


def test_a_signal_that_was_noted_raises_as_soon_as_it_may() -> None:
    with Signals() as signals:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(StoppedError, match=r"^stopped by SIGTERM$"), signals.raising():
            pytest.fail("it was noted before and must not be waited with")


def test_nohup_keeps_its_meaning() -> None:
    """Who ignores SIGHUP wants the run to outlive the terminal."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with raising():
            signal.raise_signal(signal.SIGHUP)
        with Signals() as signals:
            signal.raise_signal(signal.SIGHUP)
            assert list(signals.poll()) == []
    finally:
        signal.signal(signal.SIGHUP, former)
