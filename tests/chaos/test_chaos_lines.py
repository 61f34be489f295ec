"""The lines between driver and child."""

import io

import pytest

from harness.drivers.chaos import lines
from harness.drivers.chaos.lines import Command, Said, Speaker


def test_what_is_said_is_heard() -> None:
    said = Said(event="ready", mono_ns=7, configuration={"zone": "zone-b", "count": 1})

    assert lines.said(lines.encode(said)) == said


def test_what_is_commanded_is_understood() -> None:
    command = Command(do="load", experiment={"title": "two\nlines"}, journal="/r/chaos/pod-delete.json")

    assert lines.encode(command).count(b"\n") == 1
    assert lines.command(lines.encode(command)) == command


@pytest.mark.parametrize("line", [b"", b"Traceback", b"[]", b'{"event": "applause", "mono_ns": 1}'])
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        lines.said(line)


def test_a_speaker_stamps_what_it_says() -> None:
    output = io.BytesIO()

    Speaker(output).say("loaded")

    said = lines.said(output.getvalue())
    assert said == Said(event="loaded", mono_ns=said.mono_ns)
    assert said.mono_ns > 0


def test_a_speaker_to_whom_nobody_listens_goes_on() -> None:
    class Deaf(io.BytesIO):
        def write(self, _: object) -> int:
            raise BrokenPipeError

    Speaker(Deaf()).say("loaded")
