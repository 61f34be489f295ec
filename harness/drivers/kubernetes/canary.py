"""
Canaries: small pods, one per zone, that probe each other all the time, so that a cut between zones is seen at work.

A NetworkPolicy has no status; only traffic tells whether it holds. A second canary, the twin, stands in every zone that
is to be cut off or degraded: that the two still reach each other as ever shows that it is the paths and not the zone.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.drivers.kubernetes.client import ApiClient
from harness.drivers.kubernetes.objects import (
    NODES_PATH,
    ROLE,
    RUN,
    ZONE,
    Obj,
    name_of,
    owned_by,
    pods_path,
    run_hash,
    run_label,
    running,
    zones_of,
)
from harness.errors import DriverError
from harness.history.events import CanaryCounted, CanarySeen

IMAGE = "python:3.11-alpine"
START_S = 90.0  # an image may have to be pulled first
CANARY = "canary"
LANES = ("new", "open")  # connections that a path is probed over; see canary_pod

Wait = Callable[[float], None]
"""Waits that many seconds; raises when nobody needs the canaries any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """One canary pod. A twin is only there to be probed from within its zone."""

    name: str
    zone: str
    twin: bool


def canaries(zones: Iterable[str], cut: Iterable[str], run: str) -> tuple[Canary, ...]:
    """One canary per zone, then a twin per zone of `cut`."""
    name = f"lch-canary-{{}}-{run_hash(run)}"
    first = [Canary(name=name.format(zone), zone=zone, twin=False) for zone in sorted(set(zones))]
    twins = [Canary(name=name.format(f"{zone}-twin"), zone=zone, twin=True) for zone in sorted(set(cut))]
    return (*first, *twins)


def paths(flock: Sequence[Canary]) -> frozenset[tuple[str, str]]:
    """The (from, to) zones that these canaries watch."""
    zones = [canary.zone for canary in flock if not canary.twin]
    across = {(one, other) for one in zones for other in zones if one != other}
    return frozenset(across | {(canary.zone, canary.zone) for canary in flock if canary.twin})


@dataclass(frozen=True, slots=True, kw_only=True)
class Nest:
    """What the canaries of a run have in common."""

    namespace: str
    run: str
    slow_s: float | None  # an answer that took longer is counted as slow; None: none is
    job: Obj  # the run's dead-man Job of the namespace: they go when it goes


def pod(canary: Canary, nest: Nest, seed_ip: str) -> Obj:
    """The canary's pod. None of its labels is one a service would select."""
    slow = "" if nest.slow_s is None else f"{nest.slow_s:g}"
    env = {"ZONE": canary.zone, "SEED": seed_ip, "TWIN": "1" if canary.twin else "", "SLOW_S": slow}
    own_ip = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    source = Path(__file__).with_name("canary_pod.py").read_text(encoding="utf-8")
    container = {
        "name": CANARY,
        "image": IMAGE,
        "command": ["python3", "-c", source],
        "env": [own_ip, *({"name": name, "value": value} for name, value in env.items())],
        "ports": [{"containerPort": 8080}],
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    labels = {"app.kubernetes.io/name": "lch-canary", RUN: run_label(nest.run), ROLE: CANARY, ZONE: canary.zone}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": canary.name,
            "namespace": nest.namespace,
            "labels": labels,
            "ownerReferences": owned_by(nest.job),
        },
        "spec": {
            "nodeSelector": {ZONE: canary.zone},
            "containers": [container],
            "restartPolicy": "Always",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65534,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        },
    }


@dataclass(slots=True)
class Ear:
    """
    Turns one canary's log lines into CanarySeen and CanaryCounted, its clock into ours.

    On a real cluster the two clocks have nothing in common, so the difference is taken from when lines arrive here: the
    smallest (arrival - printing) of the last minute is the difference plus the shortest delay on the log's way. That
    delay, milliseconds as a rule, cannot be told apart from the difference: both bounds may be late by it, never early.
    A line that was held up longer than others on its way does not move the change it tells of.
    """

    offsets: deque[int] = field(default_factory=lambda: deque(maxlen=240))  # some four lines a second
    boot: int = 0
    seq: int = 0

    def heard(self, line: bytes, mono_ns: int) -> CanarySeen | CanaryCounted | None:
        """What the line that arrived at `mono_ns` tells; None for a heartbeat, a line heard before, or one not ours."""
        try:
            facts = json.loads(line)
            boot, seq, now = facts["boot"], facts["seq"], facts["now"]
        except (ValueError, KeyError, TypeError):
            return None
        if boot != self.boot:  # the container was started anew, perhaps under another clock
            self.boot, self.seq = boot, 0
            self.offsets.clear()
        if seq <= self.seq:  # a log that is followed again begins at its beginning
            return None
        self.seq = seq
        self.offsets.append(mono_ns - now)
        return self._said(facts) if "from" in facts else None

    def _said(self, facts: dict[str, Any]) -> CanarySeen | CanaryCounted:
        here, there, offset = facts["from"], facts["to"], min(self.offsets)
        lo, hi = facts["lo"] + offset, facts["hi"] + offset
        if "ok" in facts:
            return CanarySeen(from_zone=here, to_zone=there, ok=facts["ok"], lo_ns=lo, hi_ns=hi, via=facts["via"])
        counts = {name: facts[name] for name in ("sent", "failed", "slow")}
        return CanaryCounted(from_zone=here, to_zone=there, lo_ns=lo, hi_ns=hi, **counts)


def start(api: ApiClient, cut: Iterable[str], nest: Nest, wait: Wait) -> tuple[Canary, ...]:
    """
    Create the canaries of a run, which watch all paths between zones, and return them once all their pods run.

    They go with the run's dead-man Job whatever happens to us. Raises DriverError.
    """
    zones = set(zones_of(filter(_takes_pods, api.items(NODES_PATH))).values())
    missing = set(cut) - zones
    if missing or len(zones) < 2:
        known = ", ".join(sorted(zones)) or "none"
        what = f"cannot watch a cut of {', '.join(sorted(cut))}: zones of nodes that take pods: {known}"
        raise DriverError(f"kubernetes {api.url}: {what}")
    flock = canaries(zones, cut, nest.run)
    first, *others = flock
    where = pods_path(nest.namespace)
    api.create(where, pod(first, nest, seed_ip=""))
    seed_ip = _ip_once_running(api, nest.namespace, first, wait)
    for canary in others:
        api.create(where, pod(canary, nest, seed_ip))
    for canary in others:
        _ip_once_running(api, nest.namespace, canary, wait)
    return flock


def _takes_pods(node: Obj) -> bool:
    """Whether a canary, which tolerates nothing, may be put there; a zone of control planes only has no service."""
    spec = node.get("spec") or {}
    return not spec.get("unschedulable") and all(
        taint["effect"] == "PreferNoSchedule" for taint in spec.get("taints") or []
    )


def stop(api: ApiClient, namespace: str, run: str) -> None:
    """Delete the run's canaries; fine when there are none."""
    found = api.items(pods_path(namespace), {"labelSelector": f"{RUN}={run_label(run)},{ROLE}={CANARY}"})
    for one in found:
        api.delete(pods_path(namespace, name_of(one)), grace_s=0)


def _ip_once_running(api: ApiClient, namespace: str, canary: Canary, wait: Wait) -> str:
    deadline = time.monotonic() + START_S
    while True:
        found = api.get(pods_path(namespace, canary.name))
        ip = found.get("status", {}).get("podIP")
        if running(found) and ip:
            return str(ip)
        if time.monotonic() > deadline:
            why = _why_not(found)
            raise DriverError(f"kubernetes {api.url}: canary {canary.name} does not run after {START_S:g} s: {why}")
        wait(0.2)


def _why_not(found: Obj) -> str:
    """What the cluster says about a pod that does not run."""
    status = found.get("status", {})
    waiting = [one.get("state", {}).get("waiting", {}) for one in status.get("containerStatuses") or []]
    said = [
        f"{one.get('reason', '')} {one.get('message', '')}" for one in [*waiting, *(status.get("conditions") or [])]
    ]
    return "; ".join(text.strip() for text in said if text.strip()) or f"phase {status.get('phase', 'unknown')}"
