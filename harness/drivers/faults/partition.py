"""
Cutting a zone off, as Chaos Toolkit actions: `partition_zone`, undone by `heal_zone`; and the same by Chaos Mesh.

The cut is one NetworkPolicy: pods of the zone talk to pods of the zone and to nobody else (name lookups excepted). It
is an application-level partition: nodes stay Ready, kubelets still reach their pods, and pods on the host's network are
not held by policies. Pods that do not carry their zone (before Kubernetes 1.35) are given it, and lose it again; while
the cut is on, so are pods that start in the zone: they are looked for every LOOK_S seconds from their binding to a node
on, by this process as long as it lives, so a pod that starts faster than that is cut off that much late.

Chaos Mesh drops packets by address. It also ends connections that a network lets go on after a policy came, and it has
a status; but it selects pods once, so that one which starts during the cut is not cut off.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from chaoslib.exceptions import ActivityFailed

from harness.drivers.faults.act import Act, Secrets, acting
from harness.drivers.faults.marks import Change
from harness.drivers.faults.network import OF_ZONE, between_zones, recovered, seen_from
from harness.drivers.faults.undoing import let_go, removing, restoring, taken_back, undone
from harness.drivers.kubernetes.client import ApiError
from harness.drivers.kubernetes.objects import (
    NODES_PATH,
    ROLE,
    RUN,
    ZONE,
    Obj,
    labels_of,
    lets_through,
    name_of,
    node_of,
    owned_by,
    pods_path,
    policies_path,
    run_hash,
    selects,
    terminating,
    zones_of,
)
from harness.errors import DriverError

__all__ = ["heal_zone", "heal_zone_by_mesh", "partition_zone", "partition_zone_by_mesh"]

CUT = "zone-cut"  # the role of what a cut creates
MESH_CUT = "zone-mesh-cut"
LOOK_S = 0.25


def partition_zone(
    zone: str, namespace: str, selector: str, run: str = "manual", ttl_s: int = 120, *, secrets: Secrets = None
) -> dict[str, object]:
    """
    Cut the zone's pods in the namespace off from all others, for at most `ttl_s` seconds.

    Returns what was done: zone, namespace, pods (names), labelled (names of pods that were given their zone), policy,
    ttl_s. ActivityFailed, and nothing is left behind, when `selector` matches no running pod in the zone or none
    outside, when another policy would keep a path open, when an earlier cut was never undone, or when the cluster does
    not answer.
    """
    with acting(namespace, run, ttl_s, secrets) as act:
        done = cut(act, zone, selector)
        if done["labelled"] and not act.dry:
            until = time.monotonic() + act.ttl_s
            watcher = threading.Thread(target=_watch, args=(zone, namespace, run, until, secrets), daemon=True)
            watcher.start()
        return done


def heal_zone(zone: str, namespace: str, run: str = "manual", secrets: Secrets = None) -> dict[str, object]:
    """
    Undo `partition_zone` of the same zone, namespace and run; fine when there is nothing to undo.

    Returns the names of what was removed, and of pods that lost our label, once the cluster no longer has it.
    ActivityFailed when that takes longer than 30 seconds; errors of the connection are tried again until then.
    """
    with acting(namespace, run, 0, secrets) as act:
        return mend(act, zone)


def partition_zone_by_mesh(
    zone: str, namespace: str, selector: str, run: str = "manual", ttl_s: int = 120, *, secrets: Secrets = None
) -> dict[str, object]:
    """
    Cut the zone's running pods in the namespace off from those of other zones, for at most `ttl_s` seconds.

    Returns zone, namespace, pods, objects (names of NetworkChaos, one for each other zone) and ttl_s, once all is
    injected. ActivityFailed, and nothing is left behind, as for `partition_zone`, or without Chaos Mesh.
    """
    with acting(namespace, run, ttl_s, secrets) as act:
        return between_zones(act, zone, selector, MESH_CUT, {"action": "partition"})


def heal_zone_by_mesh(zone: str, namespace: str, run: str = "manual", secrets: Secrets = None) -> dict[str, object]:
    """Undo `partition_zone_by_mesh`, as `heal_zone` undoes `partition_zone`."""
    with acting(namespace, run, 0, secrets) as act:
        return recovered(act, zone, MESH_CUT)


def cut(act: Act, zone: str, selector: str) -> dict[str, object]:
    """What `partition_zone` does, but for pods that start later. Raises DriverError or ActivityFailed."""
    inside = seen_from(act, zone, selector).inside
    _refuse_open_paths(act.api.items(policies_path(act.namespace)), zone, inside)
    unlabelled = [name_of(pod) for pod in inside if ZONE not in labels_of(pod)]
    with taken_back(lambda: mend(act, zone)):
        for name in unlabelled:
            act.change(pods_path(act.namespace, name), [_label(zone)])
        name = _name(zone, act.run)
        labels = act.labels(CUT) | {OF_ZONE: zone}
        act.api.create(policies_path(act.namespace), policy(name, act.namespace, labels, zone, act.dead_man()))
    names = sorted(name_of(pod) for pod in inside)
    done: dict[str, object] = {"zone": zone, "namespace": act.namespace, "pods": names, "labelled": sorted(unlabelled)}
    return done | {"policy": name, "ttl_s": act.ttl_s}


def mend(act: Act, zone: str) -> dict[str, object]:
    """What `heal_zone` does, over a connection. Raises DriverError."""
    labels = act.labels(CUT) | {OF_ZONE: zone}

    def step() -> set[str]:
        left = removing(act, "networkpolicy", policies_path, labels)
        return left | restoring(
            act, "pod", pods_path(act.namespace), lambda name: pods_path(act.namespace, name), _role(zone)
        )

    removed = undone(act, step)
    let_go(act)
    return {"zone": zone, "namespace": act.namespace, "removed": removed}


def policy(name: str, namespace: str, labels: dict[str, str], zone: str, job: Obj) -> Obj:
    """The NetworkPolicy that lets pods of the zone reach and be reached by pods of the zone only; and name servers."""
    same_zone = {"matchLabels": {ZONE: zone}}
    peers = [{"namespaceSelector": {}, "podSelector": same_zone}]
    lookups = [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
    metadata = {"name": name, "namespace": namespace, "labels": labels, "ownerReferences": owned_by(job)}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {
            "podSelector": same_zone,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": peers}],
            "egress": [{"to": peers}, {"ports": lookups}],
        },
    }


def label_newcomers(act: Act, zone: str) -> bool:
    """
    Give pods that came to the zone without carrying it their label, as long as the cut is on; whether it still is.

    The cut may end between the look and the label; then the label is taken back here.
    """
    if not _is_on(act, zone):
        return False
    zones = zones_of(act.api.items(NODES_PATH))
    for pod in act.api.items(pods_path(act.namespace), {"labelSelector": f"!{ZONE}"}):
        if zones.get(node_of(pod)) == zone and not terminating(pod):
            path = pods_path(act.namespace, name_of(pod))
            act.change(path, [_label(zone)])
            if not _is_on(act, zone):
                act.restore(path, _role(zone))
    return True


def _watch(zone: str, namespace: str, run: str, until: float, secrets: Secrets) -> None:
    with acting(namespace, run, max(1, int(until - time.monotonic())), secrets) as act:
        on = True
        while on and time.monotonic() < until:
            time.sleep(LOOK_S)
            with suppress(DriverError):  # a pod that went, an API server that is away: look again
                on = label_newcomers(act, zone)


def _is_on(act: Act, zone: str) -> bool:
    try:
        return not terminating(act.api.get(policies_path(act.namespace, _name(zone, act.run))))
    except ApiError as error:
        if error.status == 404:
            return False
        raise


def _name(zone: str, run: str) -> str:
    return f"lch-zone-cut-{zone}-{run_hash(run)}"


def _label(zone: str) -> Change:
    return Change(path=("metadata", "labels", ZONE), ours=zone, role=_role(zone))


def _role(zone: str) -> str:
    return f"{CUT}-{zone}"


def _refuse_open_paths(policies: Sequence[Obj], zone: str, inside: Sequence[Obj]) -> None:
    for found in policies:
        labels = labels_of(found)
        if labels.get(ROLE) == CUT and labels.get(OF_ZONE) == zone:
            raise ActivityFailed(f"zone '{zone}': is cut off already by run '{labels.get(RUN)}'; undo that run first")
        spec = found["spec"]
        held = [pod for pod in inside if selects(spec.get("podSelector") or {}, labels_of(pod))]
        if held and lets_through(spec):
            what = f"network policy '{name_of(found)}' allows traffic of pod '{name_of(held[0])}'"
            raise ActivityFailed(
                f"zone '{zone}': {what}, so a cut would not hold; remove the policy for the experiment"
            )
