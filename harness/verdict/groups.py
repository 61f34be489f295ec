"""`each`: the groups that a threshold judges apart, and what is to be said of those that come or go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harness.plan.model import ClientSli, PrometheusSli, Sli, Unit
from harness.schedule.load import stream_names
from harness.units import show
from harness.verdict.case import Case, Member
from harness.verdict.client import Tally
from harness.verdict.model import Reason
from harness.verdict.ruling import NoEvidenceError
from harness.verdict.server import server_groups
from harness.verdict.window import Window

_ABSENT_S = 5.0  # a group not seen for longer than this at an end of the phase came late or went early ...
_ABSENT_GAPS = 10  # ... unless it is so rare that so many of its usual gaps are longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One of the things a threshold is judged on: `sli` is about it alone; `member` are its series in Prometheus."""

    name: str | None  # None: all together
    sli: Sli
    member: Member | None = None
    note: str = ""  # that it came late, or went early


def groups_of(case: Case, window: Window, sli: Sli, each: str | None) -> tuple[Group, ...]:
    """
    What a threshold is judged on in a phase, in order of the names.

    A group of an earlier phase that is not in this one, although the plan offers it load, is there without samples:
    that nothing is known of it must not pass for well. Raises NoEvidenceError when there is nothing to tell apart.
    """
    if each is None:
        return (Group(name=None, sli=sli),)
    if isinstance(sli, PrometheusSli):
        found = server_groups(case.server(window, sli), sli, each)
        return tuple(Group(name=name, sli=sli, member=(each, name)) for name in found)
    names = _streams(case, window) if each == "stream" else _requests(case, window, sli)
    if not names:
        raise NoEvidenceError(Reason.UNKNOWN_GROUPS, f"the load record of the phase has no {each} to tell apart")
    return tuple(_client_group(case, window, sli, each, name) for name in names)


def _client_group(case: Case, window: Window, sli: ClientSli, each: str, name: str) -> Group:
    own = replace(sli, stream=name) if each == "stream" else replace(sli, series=name)
    return Group(name=name, sli=own, note=_presence(case.record(window, own.series, own.stream).tallies, window))


def _streams(case: Case, window: Window) -> list[str]:
    """The streams that the plan offers in the phase."""
    names = stream_names(case.run.plan)
    return [name for name in names if case.offered(name).within(window.start_s, window.end_s) > 0]


def _requests(case: Case, window: Window, sli: ClientSli) -> list[str]:
    """The request names (of the SLI's stream) seen up to the phase's end, of streams that the phase has."""
    streams = {*_streams(case, window), ""} if sli.stream is None else {sli.stream}
    seen = {
        frame.series
        for frame in case.run.frames
        if frame.series and frame.second < window.end_s and frame.stream in streams
    }
    return sorted(seen)


def _presence(tallies: Sequence[Tally], window: Window) -> str:
    seen = [tally.second for tally in tallies if tally.settled or tally.unknown]
    if not seen:
        return ""
    gap_s = (seen[-1] - seen[0]) / (len(seen) - 1) if len(seen) > 1 else window.end_s - window.start_s
    absent_s = max(_ABSENT_S, _ABSENT_GAPS * gap_s)
    late_s, early_s = seen[0] - window.start_s, window.end_s - seen[-1] - 1
    said = []
    if late_s > absent_s:
        said.append(f"first seen {show(late_s, Unit.SECONDS)} into the phase")
    if early_s > absent_s:
        said.append(f"not seen in its last {show(early_s, Unit.SECONDS)}")
    return _joined(said)


def _joined(said: Iterable[str]) -> str:
    return ", ".join(said)
