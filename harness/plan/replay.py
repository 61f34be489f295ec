"""
Recorded arrivals: the text of a replay file as times, and a phase's share of them.

A line is an offset in seconds since the recording's start, not before the line above it; where the service has request
streams, the stream's name follows after a space. Reading the file is the caller's.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.plan.model import Replay
from harness.plan.nodes import nearest, quoted

SECOND_NS = 1_000_000_000
MAX_OFFSET_S = 604_800.0  # a week
MAX_PROBLEMS = 3  # a recording wrong in one way is wrong in every line


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """
    What a replay file holds. `times_ns` are nanoseconds since the recording's start, in order, by stream name; the
    only stream of a service without streams is "".
    """

    sha256: str
    times_ns: Mapping[str, Sequence[int]]

    @property
    def last_ns(self) -> int:
        """The last arrival of all."""
        return max(times[-1] for times in self.times_ns.values() if times)


def digest(text: str) -> str:
    """What pins a recording's content: SHA-256 of its text in UTF-8, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def recording_of(text: str, streams: Sequence[str] = ()) -> tuple[Recording | None, list[tuple[int, str]]]:
    """
    The recording that the text holds and no problem; or None and what is wrong, each with its line from 1.

    `streams` are the service's; without them no line names one.
    """
    times: dict[str, array[int]] = {name: array("q") for name in streams or ("",)}
    wrong: list[tuple[int, str]] = []
    latest_ns = 0
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    for number, line in enumerate(lines, start=1):
        offset, _, name = line.partition(" ")
        ns, what = _offset_ns(offset, latest_ns)
        own = times.get(name)
        if what is None and own is not None:
            own.append(ns)
            latest_ns = ns
            continue
        wrong.append((number, what or _unknown(name, streams)))
        if len(wrong) == MAX_PROBLEMS:
            break
    if not lines:
        wrong.append((1, "the recording is empty; write one offset in seconds a line"))
    return (None, wrong) if wrong else (Recording(sha256=digest(text), times_ns=times), [])


def length_s(recording: Recording, speed: float) -> float:
    """How long the whole recording plays: whole seconds, the last arrival inside."""
    return float(math.floor(_played_ns(recording.last_ns, speed) / SECOND_NS) + 1)


def replay_of(recording: Recording, *, path: str, speed: float, length_s: float) -> Replay:
    """The first `length_s` seconds of the recording as a phase's load; `path` is absolute."""
    names = list(recording.times_ns)
    by_stream = {name: _per_second(recording.times_ns[name], speed, length_s) for name in names}
    counts = tuple(map(sum, zip(*by_stream.values(), strict=True)))
    return Replay(
        path=path,
        sha256=recording.sha256,
        speed=speed,
        counts=counts,
        stream_counts=() if names == [""] else tuple(by_stream[name] for name in names),
    )


def played_ns(times_ns: Sequence[int], *, speed: float, start_ns: int, end_ns: int) -> array[int]:
    """When recorded arrivals are intended, nanoseconds since run start: those played in [start_ns, end_ns)."""
    played = array("q", (start_ns + _played_ns(time_ns, speed) for time_ns in times_ns))
    while played and played[-1] >= end_ns:
        played.pop()
    return played


def _offset_ns(text: str, latest_ns: int) -> tuple[int, str | None]:
    """An offset in nanoseconds, or what is wrong with it."""
    try:
        offset_s = float(text)
    except ValueError:
        return 0, f"{quoted(text)} is not an offset in seconds; write e.g. 12.0345"
    if not 0 <= offset_s <= MAX_OFFSET_S:  # also when it is NaN
        return 0, f"{quoted(text)} is not between 0 and {MAX_OFFSET_S:.0f} seconds"
    ns = round(offset_s * SECOND_NS)
    if ns < latest_ns:
        return 0, f"{quoted(text)} is earlier than the line above; sort the recording by time"
    return ns, None


def _unknown(name: str, streams: Sequence[str]) -> str:
    if not name:
        return f"names no stream; write the offset and one of {', '.join(streams)}"
    if not streams:
        return f"names a stream {quoted(name)}, but the service has no 'load.streams'; write the offset alone"
    return f"the service has no stream {quoted(name)}; {nearest(name, streams, allowed='it has')}"


def _played_ns(time_ns: int, speed: float) -> int:
    return time_ns if speed == 1 else int(time_ns / speed)


def _per_second(times_ns: Sequence[int], speed: float, length_s: float) -> tuple[int, ...]:
    end_ns = length_s * SECOND_NS
    played = (_played_ns(time_ns, speed) for time_ns in times_ns)
    found = Counter(time_ns // SECOND_NS for time_ns in played if time_ns < end_ns)
    return tuple(found[second] for second in range(math.ceil(length_s - 1e-9)))
