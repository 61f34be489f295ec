"""The timings that the Kubernetes watch shows: when the platform noticed a fault, and when all replicas were back."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from harness.history.events import Body, EndpointsSeen, Event, PodGone, PodSeen
from harness.history.views import FaultWindow, Targets, ready_pods
from harness.verdict.clocked import Clocked, Span, censored, nothing, since, zero
from harness.verdict.model import Reason


def detection(events: Iterable[Event], window: FaultWindow, on: Span, end_s: float) -> Clocked:
    """From the fault to the platform's first reaction: fewer endpoints in service, or a target not ready or gone."""
    noticed = _first_reaction(events, window)
    if noticed is None:
        until_s = window.gone[0] / 1e9 if window.gone else end_s
        return censored(until_s - on[1], "no endpoint left service while the fault was on")
    return since((noticed / 1e9, noticed / 1e9), on)


def _first_reaction(events: Iterable[Event], window: FaultWindow) -> int | None:
    """The first one from the request until the effect was gone: what comes later is not about this fault."""
    assert window.requested_ns is not None  # a confirmed fault was requested
    until_ns = math.inf if window.gone is None else window.gone[1]
    targets = Targets()
    endpoints: dict[str, int] = {}
    for event in events:
        body = event.body
        targets.see(body)
        if isinstance(body, EndpointsSeen):
            fewer = body.ready < endpoints.get(body.service, body.ready)
            endpoints[body.service] = body.ready
            if fewer and window.requested_ns <= event.t_ns <= until_ns:
                return event.t_ns
        elif window.requested_ns <= event.t_ns <= until_ns and _left_service(body, targets, window.fault):
            return event.t_ns
    return None


def _left_service(body: Body, targets: Targets, fault: str) -> bool:
    if isinstance(body, PodSeen):
        return (body.terminating or not body.ready) and targets.has(fault, body.pod)
    return isinstance(body, PodGone) and targets.has(fault, body.pod)


def redundancy(
    events: Iterable[Event], window: FaultWindow, faults: Iterable[FaultWindow], on: Span, end_s: float
) -> Clocked:
    """
    From the fault to the instant from which as many pods were ready as before it.

    "Before" is before the first of the faults that were on at its request: what another one had taken away already was
    not there, but belongs there. Pods lost again before the fault was gone are waited for again.
    """
    requested_ns = window.requested_ns
    assert requested_ns is not None  # a confirmed fault was requested
    steps = ready_pods(events)
    wanted = max((_ready_at(steps, began) for began in _began_by(window, faults)), default=0)
    if not wanted:
        return nothing(Reason.NO_SAMPLES, "no pod was ever seen")
    until_ns = math.inf if window.gone is None else window.gone[1]
    now = [(requested_ns, _ready_at(steps, requested_ns))]
    after = now + [(t_ns, count) for t_ns, count in steps if t_ns > requested_ns]
    short = [t_ns for t_ns, count in after if count < wanted and t_ns <= until_ns]
    if not short:
        return zero(Reason.NO_IMPACT, "no replica was lost")
    back = next((t_ns for t_ns, count in after if count >= wanted and t_ns > short[-1]), None)
    if back is None:
        return censored(end_s - on[1], "not all replicas came back before the record ended")
    return since((back / 1e9, back / 1e9), on)


def _began_by(window: FaultWindow, faults: Iterable[FaultWindow]) -> list[int]:
    """When the faults that were on at this one's request, itself included, were requested."""
    at_ns = window.requested_ns
    assert at_ns is not None  # a confirmed fault was requested
    on = (one for one in faults if one.gone is None or one.gone[1] > at_ns)
    return [one.requested_ns for one in on if one.requested_ns is not None and one.requested_ns <= at_ns]


def _ready_at(steps: Sequence[tuple[int, int]], t_ns: int) -> int:
    place = bisect_right(steps, t_ns, key=lambda step: step[0])
    return steps[place - 1][1] if place else 0
