"""How far faults may reach: the cluster's keys, what narrows what, and what an experiment is filled in with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.plan.model import Cluster, Experiment, Observe, Reach
from harness.plan.parse import parse
from harness.plan.reach import is_selector, narrows, share_of

SCENARIO = """service: shop
title: A case
phases:
  - name: only
    load: 100%
    duration: 30s
    faults: [FAULT]
    thresholds: [{sli: error_ratio, fail: "> 1%"}]
"""
SERVICE = """title: A shop
url: http://shop:8080
load: {baseline: 200/s, locustfile: ../locustfiles/shop.py}
cluster: CLUSTER
slis: {error_ratio: {client: error_ratio}}
"""
EXPERIMENT = """title: T
description: D
configuration: CONFIGURATION
method: [{type: action, name: act, provider: {type: python, module: x, func: y}}]
extensions: [{name: load-chaos-harness, EXTENSION}]
"""
WIDE = (
    "{namespace: shop, selector: app=shop, deployment: shop, max_pods: 2, max_share: 50%, max_nodes: 1, "
    "also: [{namespace: db, selector: app=db}], uid: u-1, dead_man: 10s, kubeconfig: in-cluster}"
)


def cluster(reader_of: Any, written: str) -> Cluster:
    texts = {
        "scenarios/case.yaml": SCENARIO.replace("    faults: [FAULT]\n", ""),
        "scenarios/services/shop.yaml": SERVICE.replace("CLUSTER", written),
    }
    found = parse("scenarios/case.yaml", reader_of(texts), base="/home/me").service.cluster
    assert found
    return found


def experiment(reader_of: Any, configuration: str, extension: str, *, given_: str = "") -> Experiment:
    """Of a fault that gives `given_` with an experiment of that configuration."""
    fault = "{experiment: e, at: 1s" + (f", with: {given_}" if given_ else "") + "}"
    texts = {
        "scenarios/case.yaml": SCENARIO.replace("FAULT", fault),
        "scenarios/services/shop.yaml": SERVICE.replace("CLUSTER", WIDE),
        "experiments/e.yaml": EXPERIMENT.replace("CONFIGURATION", configuration).replace("EXTENSION", extension),
    }
    return parse("scenarios/case.yaml", reader_of(texts)).faults[0].experiment


def test_a_cluster_says_how_far_faults_may_reach(reader_of: Any) -> None:
    """In-cluster is no path, and needs no context."""
    wide = Cluster(
        kubeconfig="in-cluster",
        context=None,
        namespace="shop",
        selector="app=shop",
        deployment="shop",
        max_pods=2,
        max_share=0.5,
        max_nodes=1,
        also=(Reach(namespace="db", selector="app=db"),),
        uid="u-1",
        dead_man_s=10.0,
    )
    assert cluster(reader_of, WIDE) == wide
    narrow = "{namespace: shop, selector: app=shop, kubeconfig: ./in-cluster, context: c}"
    assert cluster(reader_of, narrow) == Cluster(
        kubeconfig="/home/me/scenarios/services/in-cluster",
        context="c",
        namespace="shop",
        selector="app=shop",
        deployment=None,
        max_pods=1,
    )


@pytest.mark.parametrize(
    ("given_", "deployment"),
    [
        ("", "shop"),
        ("{deployment: shop-canary}", "shop-canary"),
        ("{namespace: db, selector: app=db}", "theirs"),
        ("{namespace: db, selector: app=db, deployment: db}", "db"),
    ],
)
def test_the_service_fills_in_its_deployment_for_its_own_pods(reader_of: Any, given_: str, deployment: str) -> None:
    """Like namespace and selector; for others' pods it would be the wrong one."""
    configuration = "{namespace: n, selector: app=n, deployment: theirs}"

    found = experiment(reader_of, configuration, "observe: rolled-out", given_=given_)

    assert (found.observe, found.deployment) == (Observe.ROLLED_OUT, deployment)


@pytest.mark.parametrize(
    ("configuration", "extension", "slow_s"),
    [
        ("delay_ms: 300", "observe: paths-degraded", 0.15),
        ("delay_ms: 80", "observe: paths-degraded", 0.04),
        ("loss: 30", "observe: paths-degraded", 0.15),
        ("delay_ms: 300", "observe: paths-degraded, slow_ms: 40", 0.04),
        ("delay_ms: 300", "observe: zone-cut", None),
    ],
)
def test_how_late_is_slow_follows_the_delay(
    reader_of: Any, configuration: str, extension: str, slow_s: float | None
) -> None:
    """Half of it, unless the experiment knows better."""
    found = experiment(reader_of, f"{{namespace: n, selector: app=n, zone: a, {configuration}}}", extension)

    assert (found.zone, found.slow_s) == ("a", slow_s)


def test_what_an_experiment_misses_is_kept_on_one_line(reader_of: Any) -> None:
    found = experiment(reader_of, "{namespace: n, selector: x}", 'observe: pods-replaced, misses: "what\n  it misses"')

    assert (found.misses, found.zone) == ("what it misses", None)


def test_an_experiment_without_a_zone_to_speak_of_is_about_none(reader_of: Any) -> None:
    assert experiment(reader_of, '{namespace: n, selector: x, zone: ""}', "observe: pods-replaced").zone is None


def test_a_fault_on_nodes_counts_nodes(reader_of: Any) -> None:
    found = experiment(reader_of, "{namespace: n, selector: x, count: 1}", "observe: nodes-out")

    assert (found.max_targets, found.observe) == (1, Observe.NODES_OUT)
    assert replace(found, namespace="shop", selector="app=shop") == found


@pytest.mark.parametrize(
    ("selector", "wider", "whether"),
    [
        ("app=shop", "app=shop", True),
        ("tier = web , app == shop", "app=shop", True),
        ("app=shop,tier in (a, b)", "app=shop,tier in (a, b)", True),
        ("app=shops", "app=shop", False),
        ("", "app=shop", False),
        ("app in (shop,x),y in (z,web)", "app in (shop,web)", False),
        ("!app=shop", "app=shop", False),
    ],
)
def test_a_selector_narrows_another_when_it_has_all_its_terms(selector: str, wider: str, whether: bool) -> None:  # noqa: FBT001
    assert narrows(selector, wider) is whether


@given(st.lists(st.sampled_from(["app=shop", "tier=web", "zone in (a,b)", "!old", "x notin (y, z)"]), min_size=1))
def test_more_terms_never_widen(terms: list[str]) -> None:
    assert narrows(",".join(terms), terms[0])
    assert narrows(",".join([*terms, "more=1"]), ",".join(terms))


@pytest.mark.parametrize(
    ("written", "share"),
    [(0.5, 0.5), ("50%", 0.5), ("0.5", None), (1, 1.0), (True, None), (0, None), ("120%", None), (None, None)],
)
def test_a_share_is_a_ratio_or_a_percentage(written: object, share: float | None) -> None:
    assert share_of(written) == share


@pytest.mark.parametrize(
    "text",
    [
        "app=shop",
        " app == shop , tier!=web",
        "app in (shop, store),!canary",
        "example.com/tier notin (a),old",
        "app=",
        "generation>2",
    ],
)
def test_what_an_api_server_reads_is_a_selector(text: str) -> None:
    assert is_selector(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "app shop",
        "app=shop,",
        "app=shop,,tier",
        "app=>shop",
        "app='shop'",
        "app in shop",
        "app in (shop",
        "-app",
    ],
)
def test_what_it_does_not_read_is_none(text: str) -> None:
    assert not is_selector(text)
