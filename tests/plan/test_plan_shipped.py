"""The scenarios that ship: each is fine, short enough for a drill, and survives being written as JSON."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from harness.errors import PlanError
from harness.plan.bind import bound
from harness.plan.model import Cluster, Plan, Prometheus, PrometheusSli, Tier
from harness.plan.parse import parse

ROOT = Path(__file__).parents[2]
SCENARIOS = sorted(path.stem for path in (ROOT / "scenarios").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (ROOT / "experiments").glob("*.yaml"))


def read(path: str) -> str | None:
    file = ROOT / path
    return file.read_text(encoding="utf-8") if file.is_file() else None


def shipped(name: str) -> Plan:
    return parse(f"scenarios/{name}.yaml", read, base="/repo")


def test_the_scenarios_of_the_programme_are_there():
    assert {"baseline", "stress-150", "stress-200", "zone-partition", "bad-release"} <= set(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_shipped_scenario_is_a_plan_of_about_two_minutes_at_most(name):
    plan = shipped(name)
    assert plan.scenario == name
    assert plan.end_s <= 130


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_shipped_experiment_is_as_it_should_be(name):
    """Whether a service allows it is another matter."""
    scenario = (
        "service: shop\ntitle: A case\nphases:\n"
        f"  - {{name: a, load: 100%, duration: 20s, faults: [{{experiment: {name}, at: 5s}}],\n"
        '     thresholds: [{sli: error_ratio, fail: "> 1%"}]}\n'
    )
    problems = ()
    try:
        parse("scenarios/case.yaml", lambda path: scenario if path == "scenarios/case.yaml" else read(path))
    except PlanError as refused:
        problems = refused.problems
    assert [one for one in problems if one.path != "scenarios/case.yaml"] == []


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_judged_phase_needs_prometheus_to_pass(name):
    plan = shipped(name)
    server_side = {sli.name for sli in plan.service.slis if isinstance(sli, PrometheusSli)}
    for phase in plan.phases:
        tiers = {threshold.tier for threshold in phase.thresholds if threshold.sli in server_side}
        assert Tier.FAIL in tiers or not phase.judge


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_plan_written_as_json_reads_back_the_same(name):
    plan, adapter = shipped(name), TypeAdapter(Plan)
    text = adapter.dump_json(plan)
    assert adapter.validate_json(text) == plan
    assert adapter.dump_json(adapter.validate_json(text)) == text


def test_the_good_and_the_bad_shop_differ_in_nothing_but_the_version():
    good, bad = (
        (ROOT / f"scenarios/services/{name}.yaml").read_text(encoding="utf-8").splitlines()
        for name in ("shop", "shop-bad")
    )
    changed = [
        (old, new) for old, new in zip(good, bad, strict=True) if old != new and not old.startswith(("#", "title:"))
    ]
    assert changed == [("sandbox: good", "sandbox: bad")]


def test_binding_fills_in_what_only_the_running_sandbox_knows():
    plan = shipped("stress-150")
    there = bound(plan, url="http://127.0.0.1:1", kubeconfig="/tmp/kube.yaml", prometheus_url="http://127.0.0.1:2")
    assert (plan.service.url, there.service.url) == ("sandbox:", "http://127.0.0.1:1")
    assert isinstance(there.service.cluster, Cluster)
    assert there.service.cluster.kubeconfig == "/tmp/kube.yaml"
    assert isinstance(there.service.prometheus, Prometheus)
    assert there.service.prometheus.url == "http://127.0.0.1:2"
    assert (there.phases, there.faults) == (plan.phases, plan.faults)


def test_binding_leaves_a_service_with_addresses_of_its_own_alone(reader_of):
    scenario = (
        "service: plain\ntitle: A case\nphases:\n"
        '  - {name: a, load: 100%, duration: 20s, thresholds: [{sli: error_ratio, fail: "> 1%"}]}\n'
    )
    plan = parse("scenarios/case.yaml", reader_of({"scenarios/case.yaml": scenario}))
    assert bound(plan, url="http://127.0.0.1:1", kubeconfig="/k", prometheus_url=None) is plan
