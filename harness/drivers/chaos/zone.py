"""
Cutting a zone off, as Chaos Toolkit actions: `partition_zone`, its undo `heal_zone`, and `sweep`, the undo of a run.

The cut is one NetworkPolicy: pods of the zone talk to pods of the zone and to nobody else (name lookups excepted). It
is an application-level partition: nodes stay Ready, kubelets still reach their pods, and pods on the host's network are
not held by policies. On clusters whose pods do not carry their zone (before Kubernetes 1.35) running pods are labelled
from their nodes first; a pod started during the cut is then not covered.

Whatever is created is owned by a dead-man Job, so the cluster itself undoes the cut `ttl_s` seconds after it was made.
The connection is the kubeconfig in KUBECONFIG (else ~/.kube/config) and its context KUBERNETES_CONTEXT (else the
current one), both taken from `secrets` before the environment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chaoslib.exceptions import ActivityFailed

from harness.drivers.kubernetes.client import ApiClient, ApiError
from harness.drivers.kubernetes.objects import (
    NODES_PATH,
    ROLE,
    RUN,
    ZONE,
    Obj,
    dead_man_job,
    jobs_path,
    labels_of,
    name_of,
    owned_by,
    pods_path,
    policies_path,
    run_hash,
    run_label,
    running,
    selects,
    terminating,
    zone_of,
    zones_of,
)
from harness.errors import DriverError

__all__ = ["heal_zone", "partition_zone", "sweep"]

CUT = "zone-cut"  # the role of what a cut creates
CUT_ZONE = "lch.dev/zone"  # on what a cut creates: which zone
LABELLED = "lch.dev/zone-label-added-by"  # annotation on a pod: the run that put the zone label there
HEAL_S = 30.0
PAUSE_S = 0.1

Secrets = dict[str, str] | None


def partition_zone(
    zone: str, namespace: str, selector: str, run: str = "manual", ttl_s: int = 120, *, secrets: Secrets = None
) -> dict[str, object]:
    """
    Cut the zone's pods in the namespace off from all others, for at most `ttl_s` seconds.

    Returns what was done: zone, namespace, pods (names), policy, job, ttl_s. ActivityFailed, and nothing is left
    behind, when `selector` matches no running pod in the zone or none outside, when another policy would keep a path
    open, when an earlier cut was never undone, or when the cluster does not answer.
    """
    with _failing_activity(), _connected(secrets) as api:
        return cut(api, zone, namespace, selector, run, int(ttl_s))


def heal_zone(zone: str, namespace: str, run: str = "manual", secrets: Secrets = None) -> dict[str, object]:
    """
    Undo `partition_zone` of the same zone, namespace and run; fine when there is nothing to undo.

    Returns the names of what was removed, once the cluster no longer has it. ActivityFailed when that takes longer than
    HEAL_S seconds; errors of the connection are tried again until then.
    """
    with _failing_activity(), _connected(secrets) as api:
        return {"zone": zone, "namespace": namespace, "removed": mend(api, zone, namespace, run)}


def sweep(kubeconfig: str, context: str | None, namespace: str, run: str) -> tuple[str, ...]:
    """
    Remove everything a run left in the namespace: cuts, canaries, dead-man Jobs, labels put on pods.

    Returns the names of what was removed, sorted; raises DriverError when it is not proven gone within HEAL_S seconds.
    """
    api = ApiClient(kubeconfig, context)
    try:
        return tuple(_heal(api, namespace, f"{RUN}={run_label(run)}", run, None))
    finally:
        api.close()


def cut(api: ApiClient, zone: str, namespace: str, selector: str, run: str, ttl_s: int) -> dict[str, object]:
    """What `partition_zone` does, over a connection; raises DriverError where that one raises ActivityFailed for it."""
    inside = _inside(api, zone, namespace, selector)
    _refuse_open_paths(api.items(policies_path(namespace)), zone, inside)
    name = f"lch-zone-cut-{zone}-{run_hash(run)}"
    labels = {RUN: run_label(run), ROLE: CUT, CUT_ZONE: zone}
    job = api.create(jobs_path(namespace), dead_man_job(name, namespace, labels, ttl_s))
    try:
        _label(api, namespace, [pod for pod in inside if ZONE not in labels_of(pod)], zone, run)
        api.create(policies_path(namespace), policy(name, namespace, labels, zone, job))
    except DriverError:
        mend(api, zone, namespace, run)
        raise
    names = sorted(name_of(pod) for pod in inside)
    return {"zone": zone, "namespace": namespace, "pods": names, "policy": name, "job": name, "ttl_s": ttl_s}


def mend(api: ApiClient, zone: str, namespace: str, run: str) -> list[str]:
    """What `heal_zone` does, over a connection; the names of what was removed. Raises DriverError."""
    return _heal(api, namespace, f"{RUN}={run_label(run)},{ROLE}={CUT},{CUT_ZONE}={zone}", run, zone)


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


def lets_through(policy_spec: Obj) -> bool:
    """Whether a policy allows anything but name lookups; policies add up, so a cut of its pods would not hold."""
    ingress, egress = policy_spec.get("ingress") or [], policy_spec.get("egress") or []
    types = policy_spec.get("policyTypes") or (["Ingress", "Egress"] if egress else ["Ingress"])
    return ("Ingress" in types and bool(ingress)) or ("Egress" in types and not all(map(_only_lookups, egress)))


def _only_lookups(rule: Obj) -> bool:
    ports = rule.get("ports") or []
    return bool(ports) and all(str(one.get("port")) == "53" and "endPort" not in one for one in ports)


def _inside(api: ApiClient, zone: str, namespace: str, selector: str) -> list[Obj]:
    """All running pods of the namespace in the zone; ActivityFailed unless the selector has pods in and outside it."""
    everything = [pod for pod in api.items(pods_path(namespace)) if running(pod)]
    matched = {pod["metadata"]["uid"] for pod in api.items(pods_path(namespace), {"labelSelector": selector})}
    unlabelled = any(ZONE not in labels_of(pod) for pod in everything)
    zones = zones_of(api.items(NODES_PATH)) if unlabelled else {}
    inside = [pod for pod in everything if zone_of(pod, zones) == zone]
    hit = {pod["metadata"]["uid"] for pod in inside} & matched
    what = f"zone '{zone}' in namespace '{namespace}'"
    if not hit:
        raise ActivityFailed(f"{what}: selector '{selector}' matches no running pod there; nothing to cut off")
    if hit == {pod["metadata"]["uid"] for pod in everything} & matched:
        raise ActivityFailed(
            f"{what}: holds all {len(hit)} pods of selector '{selector}'; nothing would be left to serve"
        )
    return inside


def _refuse_open_paths(policies: Sequence[Obj], zone: str, inside: Sequence[Obj]) -> None:
    for found in policies:
        labels = labels_of(found)
        if labels.get(ROLE) == CUT and labels.get(CUT_ZONE) == zone:
            raise ActivityFailed(f"zone '{zone}': is cut off already by run '{labels.get(RUN)}'; undo that run first")
        spec = found["spec"]
        held = [pod for pod in inside if selects(spec.get("podSelector") or {}, labels_of(pod))]
        if held and lets_through(spec):
            what = f"network policy '{name_of(found)}' allows traffic of pod '{name_of(held[0])}'"
            raise ActivityFailed(
                f"zone '{zone}': {what}, so a cut would not hold; remove the policy for the experiment"
            )


def _label(api: ApiClient, namespace: str, pods: Sequence[Obj], zone: str, run: str) -> None:
    """Put the zone on pods that do not carry it, with a note of who did."""
    for pod in pods:
        metadata = {"labels": {ZONE: zone}, "annotations": {LABELLED: run_label(run)}}
        api.patch(pods_path(namespace, name_of(pod)), {"metadata": metadata})


def _heal(api: ApiClient, namespace: str, selector: str, run: str, zone: str | None) -> list[str]:
    """Remove what `selector` selects and the run's labels (in the zone) until nothing is left; the names, sorted."""
    removed: set[str] = set()
    deadline = time.monotonic() + HEAL_S
    while True:
        try:
            left = _remove(api, namespace, selector)
            _unlabel(api, namespace, run, zone)
            if not left:
                return sorted(removed)
            removed |= left
            why = f"kubernetes {api.url}: still there after {HEAL_S:g} s: {', '.join(sorted(left))}"
        except ApiError as error:
            if error.status is not None and error.status < 500 and error.status not in {409, 429}:
                raise
            why = str(error)
        if time.monotonic() > deadline:
            raise DriverError(why)
        time.sleep(PAUSE_S)


def _remove(api: ApiClient, namespace: str, selector: str) -> set[str]:
    """Delete everything selected, the policies first; what was there, so an empty set is the proof that it is gone."""
    found: set[str] = set()
    places: tuple[tuple[str, Callable[[str, str], str]], ...] = (
        ("networkpolicy", policies_path),
        ("job", jobs_path),
        ("pod", pods_path),
    )
    for kind, path in places:
        for obj in api.items(path(namespace, ""), {"labelSelector": selector}):
            found.add(f"{kind}/{name_of(obj)}")
            if not terminating(obj):
                api.delete(path(namespace, name_of(obj)), grace_s=0 if kind == "pod" else None)
    return found


def _unlabel(api: ApiClient, namespace: str, run: str, zone: str | None) -> None:
    """Take back the zone labels that the run put on pods, where they are still its own."""
    for pod in api.items(pods_path(namespace)):
        annotations = pod["metadata"].get("annotations") or {}
        mine = annotations.get(LABELLED) == run_label(run)
        if mine and zone in {None, labels_of(pod).get(ZONE)} and not terminating(pod):
            metadata = {"labels": {ZONE: None}, "annotations": {LABELLED: None}}
            try:
                api.patch(pods_path(namespace, name_of(pod)), {"metadata": metadata})
            except ApiError as error:
                if error.status != 404:  # deleted meanwhile, its labels with it
                    raise


@contextmanager
def _connected(secrets: Secrets) -> Iterator[ApiClient]:
    known = {**os.environ, **(secrets or {})}
    kubeconfig = Path(known.get("KUBECONFIG") or "~/.kube/config").expanduser()
    api = ApiClient(str(kubeconfig), known.get("KUBERNETES_CONTEXT") or None)
    try:
        yield api
    finally:
        api.close()


@contextmanager
def _failing_activity() -> Iterator[None]:
    """Chaos Toolkit takes only ActivityFailed as an activity's failure; anything else ends the run of rollbacks."""
    try:
        yield
    except DriverError as error:
        raise ActivityFailed(str(error)) from error
