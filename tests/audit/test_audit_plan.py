"""What a scenario says of its audit, and where it writes."""

from pathlib import Path

from harness.plan.bind import bound
from harness.plan.model import Audit, AuditRule, Count, Rule, Source, Tier
from harness.plan.parse import parse
from harness.schedule.timeline import rows

ROOT = Path(__file__).parents[2]
SERVICE = """\
title: A service of somebody's own
url: http://127.0.0.1:8080
audit_url: http://127.0.0.1:8081/
load: {baseline: 200/s, locustfile: shop.py}
slis:
  error_ratio: {client: error_ratio}
"""
SCENARIO = """\
service: own
title: A case
audit: {thresholds: [{count: lost, fail: "> 0"}]}
phases:
  - {name: only, load: 100%, duration: 60s, thresholds: [{sli: error_ratio, fail: "> 1%"}]}
"""
LOST = AuditRule(
    count=Count.LOST,
    tier=Tier.FAIL,
    rule=Rule(text="> 0", op=">", quantity=0.0, relative_to=None, for_s=None),
    source=Source(path="scenarios/case.yaml", line=3),
)


def planned(scenario=SCENARIO, **options):
    files = {"scenarios/case.yaml": scenario, "scenarios/services/own.yaml": SERVICE, "scenarios/services/shop.py": ""}
    return parse("scenarios/case.yaml", files.get, **options)


def test_the_service_says_where_and_the_rest_has_defaults():
    source = Source(path="scenarios/case.yaml", line=3)
    assert planned().audit == Audit(
        url="http://127.0.0.1:8081", rate_per_s=20.0, writers=4, rules=(LOST,), source=source
    )


def test_the_scenario_may_say_otherwise():
    audit = planned(
        SCENARIO.replace("{thresholds", "{url: http://10.0.0.1, rate: 600/min, writers: 2, thresholds")
    ).audit
    assert (audit.url, audit.rate_per_s, audit.writers) == ("http://10.0.0.1", 10.0, 2)


def test_a_rehearsal_does_not_change_the_audit():
    assert planned(time_scale=0.1).audit == planned().audit


def test_without_the_key_there_is_no_audit():
    assert planned(SCENARIO.replace('audit: {thresholds: [{count: lost, fail: "> 0"}]}\n', "")).audit is None


def shipped(name):
    def read(path):
        file = ROOT / path
        return file.read_text(encoding="utf-8") if file.is_file() else None

    return parse(f"scenarios/{name}.yaml", read, base="/repo")


def test_with_the_sandboxes_store_the_address_is_filled_in_when_it_runs():
    plan = shipped("leader-failover")
    there = bound(plan, url="http://a", kubeconfig="/k", prometheus_url="http://p", store_url="http://s")
    assert (plan.audit.url, there.audit.url, there.service.audit_url) == ("sandbox:", "http://s", "http://s")


def test_the_timeline_shows_it():
    assert rows(planned())[:2] == (
        ("0s", "data-loss audit", "", "", "4 writers, 20/s to http://127.0.0.1:8081, read back after the end"),
        ("", "", "", "", "lost: fail > 0"),
    )


def test_the_good_and_the_lossy_store_differ_in_nothing_but_the_version():
    good, lossy = (
        [
            line
            for line in (ROOT / f"scenarios/services/{name}.yaml").read_text(encoding="utf-8").splitlines()
            if not line.startswith(("#", "title:"))
        ]
        for name in ("store", "store-lossy")
    )
    changed = [(old, new) for old, new in zip(good, lossy, strict=True) if old != new]
    assert changed == [("sandbox: store", "sandbox: store-lossy")]
