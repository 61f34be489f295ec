"""What an action looks at before it does anything: the namespace's pods, those that are meant, and its radius."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from harness.drivers.faults import radius
from harness.drivers.faults.act import Act
from harness.drivers.faults.radius import Radius
from harness.drivers.kubernetes.objects import NODES_PATH, Obj, pods_path, replica_sets_path, uid_of, zone_of, zones_of
from harness.errors import DriverError


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """The namespace as it is now, and how far the action may reach in it."""

    everyone: tuple[Obj, ...]  # its pods
    matched: tuple[Obj, ...]  # those of them that the selector matches
    radius: Radius
    frozen: bool  # the radius was set before the run; else it is what the selector matched

    def again(self, act: Act, selector: str) -> Aim:
        """The namespace as it is later; the radius is the same."""
        everyone, matched = _pods(act, selector)
        return replace(self, everyone=everyone, matched=matched)


def aimed(act: Act, selector: str, max_share: object = None) -> Aim:
    """
    What the selector matches in the action's namespace, and the radius: frozen before the run, else what is matched.

    An action that has no frozen targets may set any `max_share`, one that has only a lower one. Raises DriverError: a
    selector is mandatory.
    """
    if not selector.strip():
        raise DriverError("the selector is empty, which would match every pod; write one")
    everyone, matched = _pods(act, selector)
    known = radius.frozen(os.environ)
    own = replace(radius.around(matched), max_share=1.0 if max_share else radius.MAX_SHARE)
    followed = (known or own).following(act.api.items(replica_sets_path(act.namespace)))
    return Aim(everyone=everyone, matched=matched, radius=followed.narrowed(max_share), frozen=known is not None)


def in_zone(act: Act, pods: tuple[Obj, ...], zone: str, *, some: bool) -> tuple[Obj, ...]:
    """Those of the pods that are in the zone; all without a zone. DriverError when there must be `some` and is none."""
    if not zone:
        return pods
    zones = zones_of(act.api.items(NODES_PATH))
    inside = tuple(pod for pod in pods if zone_of(pod, zones) == zone)
    if some and not inside:
        known = ", ".join(sorted({zone_of(pod, zones) for pod in pods} - {""})) or "none known"
        raise DriverError(f"no matching pod is in zone '{zone}'; their zones: {known}")
    return inside


def _pods(act: Act, selector: str) -> tuple[tuple[Obj, ...], tuple[Obj, ...]]:
    everyone = tuple(act.api.items(pods_path(act.namespace)))
    uids = {uid_of(pod) for pod in act.api.items(pods_path(act.namespace), {"labelSelector": selector})}
    return everyone, tuple(pod for pod in everyone if uid_of(pod) in uids)
