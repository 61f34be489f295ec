"""
What the cluster did about a fault, step by step: endpoints, nodes, rollouts, leaders. Shown, never judged.

Read from the Kubernetes watch, so a step is known to the delay of that watch; and nothing tells which fault it answers
when several are on: all that happens from a fault's request to the next one's is told of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from harness.history.events import (
    Body,
    DeploymentSeen,
    EndpointsSeen,
    Event,
    LeaseSeen,
    NodeSeen,
    PodGone,
    PodSeen,
)
from harness.history.views import FaultWindow
from harness.verdict.model import Milestone, Step


def milestones_of(events: Sequence[Event], faults: Sequence[FaultWindow]) -> tuple[Milestone, ...]:
    """The steps after each fault that was seen in force, in time order; timed from when it was in force at latest."""
    requests = sorted(one.requested_ns for one in faults if one.requested_ns is not None)
    found: list[Milestone] = []
    for window in faults:
        asked_ns = window.requested_ns
        if asked_ns is None or window.confirmed is None:
            continue
        until_ns = min((one for one in requests if one > asked_ns), default=math.inf)
        on_ns = window.confirmed[1]
        found += [
            Milestone(fault=window.fault, step=step, at_s=t_ns / 1e9, after_s=(t_ns - on_ns) / 1e9, detail=detail)
            for t_ns, step, detail in _steps(events, asked_ns, until_ns)
        ]
    return tuple(found)


@dataclass(slots=True)
class _Before:
    """The cluster when the fault was requested, and what is out of order since."""

    pods: set[str] = field(default_factory=set)  # UIDs
    endpoints: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, bool] = field(default_factory=dict)  # ready
    rollouts: dict[str, int] = field(default_factory=dict)  # generation
    holders: dict[str, str] = field(default_factory=dict)
    fewer: set[str] = field(default_factory=set)  # services with fewer endpoints than before
    down: set[str] = field(default_factory=set)  # nodes that are not ready any more

    def take(self, body: Body) -> None:
        match body:
            case PodSeen():
                self.pods.add(body.uid)
            case PodGone():
                self.pods.discard(body.uid)
            case EndpointsSeen():
                self.endpoints[body.service] = body.ready
            case NodeSeen():
                self.nodes[body.node] = body.ready
            case DeploymentSeen():
                self.rollouts[body.deployment] = body.generation
            case LeaseSeen():
                self.holders[body.lease] = body.holder


def _steps(events: Iterable[Event], from_ns: int, until_ns: float) -> list[tuple[int, Step, str]]:
    """The first of each step of each object, but the last return to what was before; in time order."""
    before = _Before()
    first: dict[tuple[Step, str], tuple[int, Step, str]] = {}
    for event in events:
        if event.t_ns <= from_ns:
            before.take(event.body)
        elif event.t_ns <= until_ns:
            for step, of, detail in _taken(before, event.body):
                if step in _LAST or (step, of) not in first:
                    first[step, of] = (event.t_ns, step, detail)
    return sorted(first.values())


_LAST = {Step.ENDPOINTS_BACK, Step.NODE_READY, Step.ROLLOUT_COMPLETE}


def _taken(before: _Before, body: Body) -> Iterator[tuple[Step, str, str]]:
    """Steps that one event shows: the step, the object it is of, and a word on it."""
    match body:
        case PodSeen() if body.ready and not body.terminating and body.uid not in before.pods:
            yield Step.POD_READY, "", f"pod {body.pod}"
        case EndpointsSeen() if body.ready < before.endpoints.get(body.service, 0):
            before.fewer.add(body.service)
            of = before.endpoints[body.service]
            yield Step.ENDPOINT_LEFT, body.service, f"service {body.service}: {body.ready} of {of}"
        case EndpointsSeen() if body.service in before.fewer:
            before.fewer.discard(body.service)
            yield Step.ENDPOINTS_BACK, body.service, f"service {body.service}: {body.ready}"
        case NodeSeen() if not body.ready and before.nodes.get(body.node):
            before.down.add(body.node)
            yield Step.NODE_NOT_READY, body.node, f"node {body.node}"
        case NodeSeen() if body.ready and body.node in before.down:
            before.down.discard(body.node)
            yield Step.NODE_READY, body.node, f"node {body.node}"
        case DeploymentSeen() if body.observed >= body.generation > before.rollouts.get(body.deployment, 0):
            yield from _rollout(body)
        case LeaseSeen() if body.holder != before.holders.get(body.lease, body.holder):
            if body.holder:
                yield Step.LEADER_ELECTED, body.lease, f"lease {body.lease}: {body.holder}"


def _rollout(seen: DeploymentSeen) -> Iterator[tuple[Step, str, str]]:
    name = f"deployment {seen.deployment}"
    yield Step.ROLLOUT_OBSERVED, seen.deployment, name
    if seen.stuck:
        yield Step.ROLLOUT_STUCK, seen.deployment, f"{name}: {seen.updated} of {seen.wanted}"
    if seen.wanted == seen.replicas == seen.updated and seen.available >= seen.wanted:
        yield Step.ROLLOUT_COMPLETE, seen.deployment, name
