"""
Which connections NetworkPolicies allow.

Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/. A pod that no policy selects for a
direction is open in it; otherwise what any one of its policies allows is allowed. A connection needs the source's
egress and the target's ingress; answers on it need nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.sandbox.resources import Obj
from harness.sandbox.selectors import selects

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One end of a connection, as policies see it."""

    ip: str  # virtual
    namespace: str | None = None  # None: not a pod
    labels: Labels = field(default_factory=dict)
    namespace_labels: Labels = field(default_factory=dict)
    port_names: Mapping[str, int] = field(default_factory=dict)  # named container ports


def allowed(policies: Sequence[Obj], source: Peer, target: Peer, port: int) -> bool:
    """Whether `source` may connect to the TCP port `port` (a container port) of `target`."""
    return _open(policies, "Egress", source, target, (target, port)) and _open(
        policies, "Ingress", target, source, (target, port)
    )


def _open(policies: Sequence[Obj], direction: str, subject: Peer, other: Peer, port: tuple[Peer, int]) -> bool:
    binding = [policy for policy in policies if _binds(policy, direction, subject)]
    if not binding:
        return True
    rules, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return any(
        _port_matches(rule.get("ports"), *port)
        and (not rule.get(peers) or any(_is_peer(peer, policy, other) for peer in rule[peers]))
        for policy in binding
        for rule in policy["spec"].get(rules) or ()
    )


def _binds(policy: Obj, direction: str, pod: Peer) -> bool:
    spec = policy["spec"]
    return (
        pod.namespace == policy["metadata"]["namespace"]
        and direction in spec["policyTypes"]
        and selects(spec["podSelector"], pod.labels)
    )


def _is_peer(peer: Obj, policy: Obj, other: Peer) -> bool:
    if other.namespace is None:
        return False
    spaces = peer.get("namespaceSelector")
    if spaces is None:
        in_scope = other.namespace == policy["metadata"]["namespace"]
    else:
        in_scope = selects(spaces, other.namespace_labels)
    return in_scope and selects(peer.get("podSelector") or {}, other.labels)


def _port_matches(ports: Sequence[Obj] | None, target: Peer, port: int) -> bool:
    if not ports:
        return True
    for item in ports:
        if item.get("protocol", "TCP") != "TCP":
            continue
        first: int | str = item.get("port", port)
        number = target.port_names.get(first, -1) if isinstance(first, str) else first
        if number <= port <= int(item.get("endPort", number)):
            return True
    return False
