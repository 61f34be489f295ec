"""Events and series survive being written and read; a torn last line costs only itself."""

import math
from io import StringIO
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import RecordError
from harness.history import codec
from harness.history.events import Body, Event, PodGone, QueryProbed, RunEnded, Status
from harness.history.load import WorkerHealth
from harness.history.series import Series

finite = st.none() | st.floats(allow_nan=False, allow_infinity=False)
bodies = st.one_of(
    [st.builds(QueryProbed, value=finite), *(st.builds(body) for body in get_args(Body) if body is not QueryProbed)]
)
events = st.builds(Event, seq=st.integers(0, 10**9), t_ns=st.integers(-(10**12), 10**15), body=bodies)


@given(events)
def test_every_event_survives_the_round_trip(event: Event) -> None:
    """Decoding what was encoded gives the same event, on one line."""
    line = codec.event_line(event)

    assert "\n" not in line
    assert codec.event_of(line) == event


def test_an_event_reads_as_one_flat_object() -> None:
    """The line format is a contract: this is what other programs read."""
    event = Event(seq=3, t_ns=65_010_203_040, body=PodGone(pod="shop-1", uid="u-1"))

    assert codec.event_line(event) == '{"seq":3,"t_ns":65010203040,"event":"pod_gone","pod":"shop-1","uid":"u-1"}'


@given(st.lists(events, max_size=5), st.data())
def test_any_prefix_of_a_history_reads_as_a_prefix_of_its_events(written: list[Event], data: st.DataObject) -> None:
    """However many bytes reached the disk, whole lines are read and a torn one is left out."""
    text = "".join(codec.event_line(event) + "\n" for event in written)
    cut = data.draw(st.integers(0, len(text)))
    read = list(codec.decoded(StringIO(text[:cut]), "history.jsonl", codec.event_of))

    assert read == written[: len(read)]
    assert len(read) == text[:cut].count("\n")


def test_a_damaged_line_in_the_middle_is_named() -> None:
    """Damage that is not a torn end is an error with file and line."""
    good = codec.event_line(Event(seq=0, t_ns=0, body=RunEnded(status=Status.COMPLETED, detail="")))

    with pytest.raises(RecordError, match=r"^h\.jsonl:2: cannot be read: not an event"):
        list(codec.decoded([good + "\n", '{"seq":1}\n', good + "\n"], "h.jsonl", codec.event_of))


def test_a_series_keeps_nan_and_infinities() -> None:
    """Samples that are no numbers are kept as they came."""
    samples = ((1.5, 2.0), (2.5, math.inf), (3.5, -math.inf))
    series = Series(sli="cpu", phase="stress", role="value", query="q", labels=(("pod", "a"),), samples=samples)
    line = codec.series_line(Series(sli="x", phase="p", role="up", query="q", labels=(), samples=((0.0, math.nan),)))

    assert codec.series_of(codec.series_line(series)) == series
    assert math.isnan(codec.series_of(line).samples[0][1])


def test_health_survives_the_round_trip() -> None:
    """A worker's health is one line."""
    health = WorkerHealth(second=3, worker="w1", cpu_ratio=0.5, stall_s_max=0.002)

    assert codec.health_of(codec.health_line(health)) == health
