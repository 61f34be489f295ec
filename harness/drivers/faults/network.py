"""
Slow and lossy paths between zones, as Chaos Toolkit actions: `delay_zone`, `lose_packets_of_zone`, `restore_network`.

They are NetworkChaos objects of Chaos Mesh (v1alpha1), one for each other zone, because its node selectors are plain
equality. Each has a `duration`, so Chaos Mesh itself ends it, and belongs to the run's dead-man Job. Both directions
are affected, so a round trip is delayed twice. Pods are selected when the fault begins: one that starts later is not
affected. What comes from outside the cluster is not affected either.
"""

from __future__ import annotations

from dataclasses import dataclass

from chaoslib.exceptions import ActivityFailed

from harness.drivers.faults.act import Act, Secrets, acting
from harness.drivers.faults.undoing import let_go, removing, taken_back, undone
from harness.drivers.kubernetes.client import ApiError
from harness.drivers.kubernetes.objects import (
    NODES_PATH,
    ZONE,
    Obj,
    labels_of,
    name_of,
    network_chaos_path,
    owned_by,
    pods_path,
    run_hash,
    running,
    zone_of,
    zones_of,
)
from harness.errors import DriverError

__all__ = ["delay_zone", "lose_packets_of_zone", "restore_network"]

SLOW = "network"  # the role of what delays and losses create
OF_ZONE = "lch.dev/zone"  # on what is created: which zone it is about
INJECT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Zoned:
    """The running pods of a namespace, seen from one zone."""

    inside: tuple[Obj, ...]
    others: tuple[str, ...]  # the other zones that have any, sorted


def delay_zone(
    zone: str,
    namespace: str,
    selector: str,
    delay_ms: float,
    jitter_ms: float = 0,
    *,
    run: str = "manual",
    ttl_s: int = 120,
    secrets: Secrets = None,
) -> dict[str, object]:
    """
    Delay every packet between the zone's pods of the namespace and those of other zones, for at most `ttl_s` seconds.

    By `delay_ms` milliseconds each way, give or take `jitter_ms`. Returns zone, namespace, pods, objects (names) and
    ttl_s, once all is injected. ActivityFailed, and nothing is left behind, when `selector` matches no running pod in
    the zone or none outside, or when the cluster has no Chaos Mesh.
    """
    if not 0 < delay_ms <= 60_000 or not 0 <= jitter_ms <= delay_ms:
        raise ActivityFailed(
            f"delay_zone: delay_ms {delay_ms}, jitter_ms {jitter_ms}: give 0 < delay_ms <= 60000, at "
            "most as much jitter"
        )
    delay = {"latency": f"{delay_ms:g}ms", "jitter": f"{jitter_ms:g}ms", "correlation": "0"}
    with acting(namespace, run, ttl_s, secrets) as act:
        return between_zones(act, zone, selector, SLOW, {"action": "delay", "delay": delay})


def lose_packets_of_zone(
    zone: str,
    namespace: str,
    selector: str,
    loss: float | str,
    *,
    run: str = "manual",
    ttl_s: int = 120,
    secrets: Secrets = None,
) -> dict[str, object]:
    """
    Lose packets between the zone's pods of the namespace and those of other zones, for at most `ttl_s` seconds.

    `loss` is the share of packets in each direction, a number in 0-1 or a text like `25%`. The rest is as in
    `delay_zone`.
    """
    percent = percentage(loss)
    with acting(namespace, run, ttl_s, secrets) as act:
        return between_zones(
            act, zone, selector, SLOW, {"action": "loss", "loss": {"loss": percent, "correlation": "0"}}
        )


def restore_network(zone: str, namespace: str, run: str = "manual", *, secrets: Secrets = None) -> dict[str, object]:
    """
    Undo `delay_zone` and `lose_packets_of_zone` of the same zone, namespace and run; fine when there is nothing (left).

    Returns the names of what was removed, once Chaos Mesh has recovered every pod and let the objects go.
    ActivityFailed when that takes longer than 30 seconds.
    """
    with acting(namespace, run, 0, secrets) as act:
        return recovered(act, zone, SLOW)


def between_zones(act: Act, zone: str, selector: str, role: str, effect: Obj) -> dict[str, object]:
    """
    Put `effect` (the action's part of a NetworkChaos spec) between the zone and every other zone, and wait for it.

    Raises DriverError or ActivityFailed when that does not succeed, after taking back what was created.
    """
    zoned = seen_from(act, zone, selector)
    if not zoned.others:
        raise DriverError(f"zone '{zone}': no zone is known of any other pod in namespace '{act.namespace}'")
    job = act.dead_man()
    with taken_back(lambda: recovered(act, zone, role)):
        made = [_created(act, zone, other, role, effect, job) for other in zoned.others]
        act.wait(lambda: _all_injected(act, made), f"NetworkChaos {', '.join(made)} all injected", timeout_s=INJECT_S)
    pods = sorted(name_of(pod) for pod in zoned.inside)
    return {"zone": zone, "namespace": act.namespace, "pods": pods, "objects": made, "ttl_s": act.ttl_s}


def recovered(act: Act, zone: str, role: str) -> dict[str, object]:
    """Remove the run's NetworkChaos objects of that role and zone, and prove it. Raises DriverError."""
    labels = act.labels(role) | {OF_ZONE: zone}
    removed = undone(act, lambda: removing(act, "networkchaos", network_chaos_path, labels))
    let_go(act)
    return {"zone": zone, "namespace": act.namespace, "removed": removed}


def seen_from(act: Act, zone: str, selector: str) -> Zoned:
    """The namespace's running pods; ActivityFailed unless the selector has pods in the zone and outside it."""
    if not selector:
        raise ActivityFailed(f"zone '{zone}': the selector is empty; name the service's pods")
    pods = [pod for pod in act.api.items(pods_path(act.namespace)) if running(pod)]
    matched = {pod["metadata"]["uid"] for pod in act.api.items(pods_path(act.namespace), {"labelSelector": selector})}
    unlabelled = any(ZONE not in labels_of(pod) for pod in pods)
    zones = zones_of(act.api.items(NODES_PATH)) if unlabelled else {}
    inside = [pod for pod in pods if zone_of(pod, zones) == zone]
    hit = {pod["metadata"]["uid"] for pod in inside} & matched
    what = f"zone '{zone}' in namespace '{act.namespace}'"
    if not hit:
        raise ActivityFailed(f"{what}: selector '{selector}' matches no running pod there; nothing to cut off")
    if hit == {pod["metadata"]["uid"] for pod in pods} & matched:
        raise ActivityFailed(
            f"{what}: holds all {len(hit)} pods of selector '{selector}'; nothing would be left to serve"
        )
    others = {zone_of(pod, zones) for pod in pods} - {zone, ""}
    return Zoned(inside=tuple(inside), others=tuple(sorted(others)))


def network_chaos(metadata: Obj, zone: str, other: str, effect: Obj, ttl_s: int) -> Obj:
    """The NetworkChaos of both directions between the pods of two zones of the namespace, for `ttl_s` seconds."""

    def pods_of(name: str) -> Obj:
        return {"namespaces": [metadata["namespace"]], "nodeSelectors": {ZONE: name}}

    return {
        "apiVersion": "chaos-mesh.org/v1alpha1",
        "kind": "NetworkChaos",
        "metadata": metadata,
        "spec": {
            **effect,
            "mode": "all",
            "selector": pods_of(zone),
            "direction": "both",
            "target": {"mode": "all", "selector": pods_of(other)},
            "duration": f"{ttl_s}s",
        },
    }


def percentage(loss: float | str) -> str:
    """A share as Chaos Mesh wants it: a text, in per cent. ActivityFailed for what is none."""
    try:
        percent = float(loss.removesuffix("%")) if isinstance(loss, str) and loss.endswith("%") else 100 * float(loss)
    except ValueError:
        percent = -1.0
    if not 0 < percent <= 100:
        raise ActivityFailed(f"lose_packets_of_zone: loss {loss!r}: give a share like 0.25, or a text like '25%'")
    return f"{percent:g}"


def _created(act: Act, zone: str, other: str, role: str, effect: Obj, job: Obj) -> str:
    name = f"lch-{effect['action']}-{zone}-{other}-{run_hash(act.run)}"
    metadata = {
        "name": name,
        "namespace": act.namespace,
        "labels": act.labels(role) | {OF_ZONE: zone},
        "ownerReferences": owned_by(job),
    }
    try:
        act.api.create(network_chaos_path(act.namespace), network_chaos(metadata, zone, other, effect, act.ttl_s))
    except ApiError as error:
        if error.status == 404:
            raise DriverError(f"kubernetes {act.api.url}: knows no NetworkChaos; install Chaos Mesh") from error
        raise
    return name


def _all_injected(act: Act, names: list[str]) -> bool:
    found = (act.api.get(network_chaos_path(act.namespace, name)) for name in names)
    return all(
        any(
            one["type"] == "AllInjected" and one["status"] == "True"
            for one in (chaos.get("status") or {}).get("conditions") or []
        )
        for chaos in found
    )
