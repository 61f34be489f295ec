"""NetworkPolicies mean what Kubernetes says."""

import pytest

from harness.sandbox.network.policy import Peer, allowed

OUTSIDE = Peer(ip="203.0.113.1")
A = Peer(ip="10.42.0.2", namespace="shop", labels={"app": "shop", "zone": "a"}, namespace_labels={"name": "shop"})
B = Peer(ip="10.42.1.2", namespace="shop", labels={"app": "shop", "zone": "b"}, namespace_labels={"name": "shop"})
B2 = Peer(ip="10.42.1.3", namespace="shop", labels={"app": "shop", "zone": "b"}, namespace_labels={"name": "shop"})
OTHER = Peer(ip="10.42.0.9", namespace="other", labels={"zone": "b"}, namespace_labels={"name": "other"})


def policy(select: dict, *, types: tuple[str, ...] = ("Ingress",), **rules: list) -> dict:
    spec = {"podSelector": select, "policyTypes": list(types), **rules}
    return {"metadata": {"name": "p", "namespace": "shop"}, "spec": spec}


ZONE_B = {"matchLabels": {"zone": "b"}}
SAME_ZONE_ONLY = policy(
    ZONE_B,
    types=("Ingress", "Egress"),
    ingress=[{"from": [{"podSelector": ZONE_B}]}],
    egress=[{"to": [{"podSelector": ZONE_B}]}],
)


def test_without_policies_everyone_reaches_everyone():
    assert allowed([], OUTSIDE, A, 8080)
    assert allowed([], A, B, 8080)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (B, B2, True),
        (A, B, False),  # ingress of B
        (B, A, False),  # egress of B
        (OUTSIDE, B, False),
        (OTHER, B, False),  # a podSelector alone means pods of the policy's own namespace
        (A, OTHER, True),  # nothing selects either
        (OUTSIDE, A, True),
    ],
)
def test_a_same_zone_policy_cuts_the_zone_off_in_both_directions(source, target, expected):
    assert allowed([SAME_ZONE_ONLY], source, target, 8080) is expected


def test_a_policy_without_rules_denies_its_directions_only():
    deny_ingress = policy({})
    assert not allowed([deny_ingress], OUTSIDE, A, 8080)
    assert allowed([deny_ingress], A, OTHER, 8080)
    deny_egress = policy({}, types=("Egress",))
    assert allowed([deny_egress], OUTSIDE, A, 8080)
    assert not allowed([deny_egress], A, OTHER, 8080)


def test_policies_add_up():
    from_zone_b = policy({}, ingress=[{"from": [{"podSelector": ZONE_B}]}])
    assert allowed([policy({}), from_zone_b], B, A, 8080)
    assert not allowed([policy({}), from_zone_b], OUTSIDE, A, 8080)


def test_an_empty_rule_allows_everything():
    assert allowed([policy({}, ingress=[{}])], OUTSIDE, A, 8080)


def test_namespace_selector_and_pod_selector_of_one_peer_must_both_match():
    other = {"namespaceSelector": {"matchLabels": {"name": "other"}}}
    assert allowed([policy({}, ingress=[{"from": [other]}])], OTHER, A, 8080)
    assert not allowed([policy({}, ingress=[{"from": [other]}])], B, A, 8080)
    zone_a = other | {"podSelector": {"matchLabels": {"zone": "a"}}}
    assert not allowed([policy({}, ingress=[{"from": [zone_a]}])], OTHER, A, 8080)


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ([{"port": 8080}], True),
        ([{"port": 9090}], False),
        ([{"port": 8000, "endPort": 8100}], True),
        ([{"port": "http"}], True),
        ([{"port": "grpc"}], False),
        ([{"protocol": "UDP", "port": 8080}], False),
        ([{"protocol": "TCP"}], True),
    ],
)
def test_ports_are_those_of_the_target_pod(ports, expected):
    target = Peer(ip="10.42.0.2", namespace="shop", port_names={"http": 8080})
    assert allowed([policy({}, ingress=[{"ports": ports}])], OUTSIDE, target, 8080) is expected
