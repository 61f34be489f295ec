"""
What a worker tells the master: once a second its counts, in between that it is there.

Counts are numbered and sent again until the master has said that it heard them, so that they count once whatever the
network loses. The master's answers are also what a remote worker's lease and its clock live from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.drivers.locust.offset import Offset
from harness.history.load import FailedRequest, WorkerHealth

BEAT_NS = 500_000_000  # how often a worker speaks
AGAIN_NS = 1_000_000_000  # counts not heard for so long are sent again

Send = Callable[[dict[str, object]], None]


@dataclass(slots=True, kw_only=True)
class Condition:
    """What every report says of its worker."""

    epoch: int = 0  # of the orders it follows
    ready: bool = False
    drained: bool = False


@dataclass(slots=True)
class Reports:
    """The worker's end of the conversation."""

    send: Send
    condition: Condition
    offset: Offset = field(default_factory=Offset)
    heard_ns: int = field(default_factory=time.monotonic_ns)  # when the youngest message that was answered was sent
    _number: int = 0
    _unheard: dict[int, tuple[int, dict[str, object]]] = field(default_factory=dict)  # number -> when sent, what

    @property
    def all_heard(self) -> bool:
        """Whether the master has everything."""
        return not self._unheard

    def beat(self) -> None:
        """Say that the worker is there, and again what was not heard."""
        now_ns = time.monotonic_ns()
        again = [number for number, (sent_ns, _) in self._unheard.items() if sent_ns < now_ns - AGAIN_NS]
        for number in again:
            self._send(number, self._unheard[number][1])
        if not again:
            self._send(None, {})

    def counts(
        self,
        data: bytes,
        health: WorkerHealth | None = None,
        failures: tuple[FailedRequest, ...] = (),
        exceeded: Mapping[tuple[int, int], int] | None = None,
    ) -> None:
        """Report counts (see Tally.take), health, failed requests, and arrivals begun in excess of the plan."""
        self._number += 1
        body: dict[str, object] = {
            "data": data,
            "health": [asdict(health)] if health else [],
            "failures": [asdict(failure) for failure in failures],
            "exceeded": [[stream, second, n] for (stream, second), n in (exceeded or {}).items()],
        }
        self._send(self._number, body)

    def heard(self, answer: Mapping[str, Any]) -> None:
        """
        The master answered a report.

        What it says it knew when the report reached it: an answer that the network held up tells nothing of now.
        """
        self.heard_ns = max(self.heard_ns, answer["t1"])
        self.offset.measured(answer["t1"], answer["t2"], answer["t3"], time.monotonic_ns())
        self._unheard.pop(answer["number"], None)

    def _send(self, number: int | None, body: dict[str, object]) -> None:
        now_ns = time.monotonic_ns()
        if number is not None:
            self._unheard[number] = (now_ns, body)
        self.send({**asdict(self.condition), "t1": now_ns, "number": number, **body})
