"""
What is known of an arrival while it runs, and how it is written down when it is over.

A task that makes one request gives its arrival that request's name. One that makes several is a journey: see
history.load. Which tasks are journeys is learned as they run; from then on an arrival of such a task is one even when
it broke off after its first request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.drivers.locust.collector import FailureSample, shortened
from harness.drivers.locust.tally import DEADLINE, Tally
from harness.history.load import FailedRequest
from harness.schedule.load import SECOND_NS

if TYPE_CHECKING:
    from harness.drivers.locust.kinds import Kind

_STEPS_MAX = 100  # of a journey that are remembered, to name the one that hangs

_Step = tuple[str, int, int, str | None]  # name, start, end, error


class Arrival:
    """One planned start and what is known of it. Times are nanoseconds since run start."""

    __slots__ = (
        "end_ns",
        "error",
        "intended_ns",
        "kind",
        "label",
        "name",
        "sent_ns",
        "settled",
        "slot",
        "steps",
    )

    def __init__(self, intended_ns: int, kind: Kind) -> None:
        self.intended_ns = intended_ns
        self.kind = kind
        self.slot: Any = None
        self.label = ""  # the task that runs it: "Customer.order"
        self.name: str | None = None  # of its first request
        self.sent_ns = 0  # when that was sent
        self.end_ns: int | None = None  # when its last request ended
        self.error: str | None = None  # of its first failed request
        self.steps: list[_Step] | None = None  # its requests, once there are two
        self.settled = False


class Ledger:
    """Writes arrivals and their requests into a tally. `streams` are the names of the streams."""

    def __init__(self, tally: Tally, streams: Sequence[str]) -> None:
        self._tally = tally
        self._streams = streams
        self._sample = FailureSample(most=1 << 62)  # the master keeps so many of a run
        self._single: dict[str, str] = {}  # task -> the request it last made
        self._journeys: dict[str, list[str]] = {}  # task of several requests -> these, as far as they ever went
        self.settled = 0  # arrivals written down

    def request(self, arrival: Arrival, name: str, sent_ns: int, end_ns: int, error: str | None) -> None:
        """A request of the arrival has ended."""
        if arrival.end_ns is not None:
            if arrival.steps is None:
                first = (arrival.name or name, arrival.intended_ns, arrival.end_ns, arrival.error)
                arrival.steps = [first]
            arrival.steps.append((name, sent_ns, end_ns, error))
        arrival.end_ns = end_ns
        if error is not None and arrival.error is None:
            arrival.error = error

    def settle(self, arrival: Arrival, end_ns: int) -> None:
        """The arrival is over, well or not."""
        stream, series = arrival.kind.stream, self._series(arrival)
        self._close(arrival)
        if arrival.error is None:
            self._tally.ok(stream, series, arrival.intended_ns, arrival.sent_ns, end_ns)
        else:
            self._tally.failed(stream, series, arrival.intended_ns, arrival.sent_ns, end_ns, arrival.error)

    def cut(self, arrival: Arrival, end_ns: int, *, running: bool) -> None:
        """The arrival's deadline has passed, while it was `running` or before its last answer came."""
        stream, series = arrival.kind.stream, self._series(arrival)
        hanging = self._hanging(arrival) if running else None
        self._close(arrival)
        if hanging is not None:
            # When it was sent is not known of all clients; that it took until the deadline is.
            start_ns = arrival.intended_ns if arrival.end_ns is None else arrival.end_ns
            self._tally.step(stream, hanging, start_ns, end_ns, DEADLINE)
        self._tally.failed(stream, series, arrival.intended_ns, arrival.sent_ns, end_ns, DEADLINE)
        if self._sample.wants(DEADLINE):
            self.sample(arrival, DEADLINE, 0, "", "no answer by the arrival's deadline", end_ns=end_ns)

    def dropped(self, arrival: Arrival) -> None:
        """No user took the arrival before its deadline."""
        self._close(arrival)
        self._tally.dropped(arrival.kind.stream, arrival.kind.name, arrival.intended_ns)

    def broke(self, arrival: Arrival, why: str) -> None:
        """The arrival's task broke before it asked anything of the service."""
        self._close(arrival)
        self._tally.lost(arrival.kind.stream, arrival.intended_ns, why)

    def lost(self, stream: int, intended_ns: int, why: str) -> None:
        """An arrival was never begun."""
        self.settled += 1
        self._tally.lost(self._streams[stream], intended_ns, why)

    def wants(self, error: str) -> bool:
        """Whether a failed request of that class would be kept as a sample."""
        return self._sample.wants(error)

    def sample(
        self, arrival: Arrival, error: str, status: int, peer: str, detail: str, *, end_ns: int | None = None
    ) -> None:
        """Keep a failed request."""
        ended_ns = end_ns or arrival.end_ns or arrival.sent_ns
        name = arrival.steps[-1][0] if arrival.steps else arrival.name
        self._sample.add(
            FailedRequest(
                t_ns=arrival.intended_ns,
                stream=arrival.kind.stream,
                series=name or self._series(arrival),
                error=error,
                status=status,
                peer=peer,
                response_s=(ended_ns - arrival.intended_ns) / SECOND_NS,
                detail=shortened(detail),
            )
        )

    def sampled(self) -> tuple[FailedRequest, ...]:
        """The samples since the last call."""
        return self._sample.take()

    def _series(self, arrival: Arrival) -> str:
        """The series of the arrival itself."""
        label = arrival.label
        task = label.rpartition(".")[2]
        if arrival.steps is not None:
            names = self._journeys.setdefault(label, [])
            names += [step[0] for step in arrival.steps[len(names) : _STEPS_MAX]]
            return task
        if label in self._journeys:
            return task
        if arrival.name is None:
            return self._single.get(label, task)
        self._single[label] = arrival.name
        return arrival.name

    def _hanging(self, arrival: Arrival) -> str | None:
        """Which request of a journey was under way when it was cut; None when the arrival is no journey."""
        names = self._journeys.get(arrival.label)
        if names is None:
            return None
        if arrival.end_ns is None:
            return arrival.name or names[0]
        done = len(arrival.steps) if arrival.steps else 1
        return names[done] if done < len(names) else None

    def _close(self, arrival: Arrival) -> None:
        """Nothing more is written of the arrival but the requests that it has made as a journey."""
        arrival.settled = True
        self.settled += 1
        steps = arrival.steps
        if steps is None and arrival.label in self._journeys and arrival.end_ns is not None:
            steps = [(arrival.name or "", arrival.intended_ns, arrival.end_ns, arrival.error)]
        for name, start_ns, end_ns, error in steps or ():
            self._tally.step(arrival.kind.stream, name, start_ns, end_ns, error)
