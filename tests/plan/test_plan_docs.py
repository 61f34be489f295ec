"""docs/write-a-scenario.md says what the code does: its tables hold the keys that are read, its examples parse."""

import re
from pathlib import Path

import pytest

from harness.plan import audit, load, scenario, service, slis
from harness.plan.model import Limits, Reach
from harness.plan.parse import parse

TEXT = (Path(__file__).parents[2] / "docs" / "write-a-scenario.md").read_text(encoding="utf-8")

TABLES = {
    "Scenario": scenario.KEYS,
    "Phase": scenario.PHASE_KEYS,
    "Replay": scenario.REPLAY_KEYS,
    "Threshold": scenario.THRESHOLD_KEYS,
    "Fault": scenario.FAULT_KEYS,
    "Timing": scenario.TIMING_KEYS,
    "Audit": audit.AUDIT_KEYS,
    "Audit threshold": audit.AUDIT_THRESHOLD_KEYS,
    "Service": service.KEYS,
    "Load": load.LOAD_KEYS,
    "Stream": load.STREAM_KEYS,
    "Limits": load.LIMIT_KEYS,
    "Remote": load.REMOTE_KEYS,
    "Cluster": service.CLUSTER_KEYS,
    "Reach": service.REACH_KEYS,
    "Prometheus": service.PROMETHEUS_KEYS,
    "SLI from the load record": slis.CLIENT_SLI_KEYS,
    "SLI from Prometheus": slis.PROMETHEUS_SLI_KEYS,
    "Counters": slis.COUNTER_KEYS,
    "Histogram": slis.HISTOGRAM_KEYS,
    "Health": slis.HEALTH_KEYS,
}


@pytest.mark.parametrize("heading", TABLES)
def test_a_table_lists_every_key_and_which_are_required(heading):
    section = TEXT.split(f"\n### {heading}\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, flags=re.MULTILINE)
    required, optional = TABLES[heading]
    assert [key for key, default in rows if default == "required"] == list(required)
    assert {key for key, default in rows if default != "required"} == set(optional)


def test_there_is_a_table_for_everything_that_has_keys():
    assert re.findall(r"^### (.+)$", TEXT, flags=re.MULTILINE) == list(TABLES)


def blocks() -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def test_the_first_example_is_a_plan():
    texts = {block.split("\n")[0].removeprefix("# "): block for block in blocks() if block.startswith("# scenarios/")}
    texts["scenarios/locustfiles/checkout.py"] = ""
    plan = parse("scenarios/checkout.yaml", texts.get)
    assert [(phase.name, phase.start_s, phase.end_s) for phase in plan.phases] == [
        ("warm-up", 30.0, 60.0),
        ("baseline", 60.0, 360.0),
    ]


def test_the_examples_together_are_a_plan(reader_of):
    files = {block.split("\n")[0].removeprefix("# "): block for block in blocks() if block.startswith("# scenarios/")}
    streams, replay, cluster, fault, _, also, prometheus, histogram, health, limits = (
        block for block in blocks() if not block.startswith("# scenarios/")
    )
    addresses, slis = prometheus.split("slis:\n")
    usual_load = "load: {baseline: 400/s, locustfile: ../locustfiles/checkout.py}\n"
    service = files["scenarios/services/checkout.yaml"].replace(usual_load, streams + limits.removeprefix("load:\n"))
    texts = {
        "scenarios/checkout.yaml": files["scenarios/checkout.yaml"] + fault + replay,
        "scenarios/yesterday.txt": "0.5 browse\n12.0345 pay\n",
        "scenarios/services/checkout.yaml": "".join(
            [
                service,
                slis,
                histogram.removeprefix("slis:\n"),
                cluster,
                also.removeprefix("cluster:\n"),
                addresses,
                health,
            ]
        ),
        "scenarios/locustfiles/checkout.py": "",
    }
    plan = parse("scenarios/checkout.yaml", reader_of(texts))
    assert [(fault.name, fault.at_s, fault.until_s) for fault in plan.faults] == [("pod-delete", 120.0, 240.0)]
    assert [(phase.name, phase.end_s) for phase in plan.phases][1:] == [("baseline", 360.0), ("yesterday", 367.0)]
    assert [sli.name for sli in plan.service.slis] == [
        "error_ratio",
        "latency_p95",
        "server_error_ratio",
        "memory",
        "server_p95",
    ]
    assert plan.service.cluster
    assert plan.service.cluster.also == (Reach(namespace="payments", selector="app=ledger"),)
    assert [stream.baseline_per_s for stream in plan.service.load.streams] == [320.0, 80.0]
    assert plan.service.load.limits == Limits(start_lag_s=0.005)
    assert sum(part.weight for part in plan.service.health) == pytest.approx(1)
