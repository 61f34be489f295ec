import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import PlanError
from harness.plan.model import (
    Better,
    ClientMeasure,
    ClientSli,
    Cluster,
    Experiment,
    Fault,
    Load,
    Observe,
    Phase,
    Plan,
    Prometheus,
    PrometheusSli,
    Rule,
    Service,
    Source,
    Threshold,
    Tier,
    Timing,
    TimingRule,
    Unit,
)
from harness.plan.parse import parse

SCENARIO = """\
service: shop
title: A pod dies at 150 %
phases:
  - {name: warm-up, load: 100%, ramp: 10s, duration: 5s, judge: false}
  - name: stress
    load: 150%
    ramp: 5s
    settle: 2.5s
    duration: 1m
    faults:
      - {experiment: pod-delete, at: 10s, for: 15s, with: {count: 2}}
    thresholds:
      - {sli: error_ratio, target: "< 0.1%", fail: "> 1% for 15s"}
      - {sli: throughput, warn: "< 80% of offered"}
    timings:
      - {of: pod-delete, timing: recovery, fail: "> 30s"}
"""

SERVICE = """\
title: A shop
sandbox: good
load: {baseline: 12000/min, locustfile: ../locustfiles/shop.py, arrivals: poisson, seed: 7, deadline: 3s, workers: 2}
cluster: {namespace: shop, selector: app=shop, max_pods: 2}
prometheus: {scrape_interval: 1s, selector: 'job="shop"', headers: {X-Scope-OrgID: shop}, verify: false}
slis:
  error_ratio: {client: error_ratio}
  cart_p99: {client: latency p99.9, series: GET /cart}
  throughput: {client: throughput}
  server: {unit: ratio, better: lower, prometheus: {bad: 'bad{$selector}', total: 'all{$selector}', absent: zero}}
  cpu: {unit: ratio, better: lower, prometheus: 'max(rate(cpu{$selector}[$window]))'}
"""


POD_DELETE = (Path(__file__).parent / "tree" / "experiments" / "pod-delete.yaml").read_text(encoding="utf-8")


def in_scenario(line: int) -> Source:
    return Source(path="scenarios/case.yaml", line=line)


def in_service(line: int) -> Source:
    return Source(path="scenarios/services/shop.yaml", line=line)


def client(name, measure, unit, better, line, **more):
    return ClientSli(
        **{"name": name, "measure": measure, "quantile": None, "series": None, "unit": unit, "better": better, **more},
        source=in_service(line),
    )


EXPECTED = Plan(
    scenario="case",
    title="A pod dies at 150 %",
    service=Service(
        name="shop",
        title="A shop",
        url="sandbox:",
        load=Load(
            baseline_per_s=200.0,
            locustfile="/home/me/scenarios/locustfiles/shop.py",
            arrivals="poisson",
            seed=7,
            deadline_s=3.0,
            slow_s=1.0,
            workers=2,
        ),
        cluster=Cluster(
            kubeconfig=None, context=None, namespace="shop", selector="app=shop", deployment=None, max_pods=2
        ),
        prometheus=Prometheus(
            url="sandbox:",
            headers=(("X-Scope-OrgID", "shop"),),
            ca_file=None,
            verify=False,
            scrape_interval_s=1.0,
            selector='job="shop"',
            timeout_s=5.0,
        ),
        slis=(
            client("error_ratio", ClientMeasure.ERROR_RATIO, Unit.RATIO, Better.LOWER, 7),
            client(
                "cart_p99",
                ClientMeasure.LATENCY,
                Unit.SECONDS,
                Better.LOWER,
                8,
                quantile=0.999,
                series="GET /cart",
            ),
            client("throughput", ClientMeasure.THROUGHPUT, Unit.PER_SECOND, Better.HIGHER, 9),
            PrometheusSli(
                name="server",
                query=None,
                bad="bad{$selector}",
                total="all{$selector}",
                unit=Unit.RATIO,
                better=Better.LOWER,
                absent_means_zero=True,
                source=in_service(10),
            ),
            PrometheusSli(
                name="cpu",
                query="max(rate(cpu{$selector}[$window]))",
                bad=None,
                total=None,
                unit=Unit.RATIO,
                better=Better.LOWER,
                absent_means_zero=False,
                source=in_service(11),
            ),
        ),
        sandbox="good",
        source=in_service(1),
    ),
    phases=(
        Phase(
            name="warm-up",
            load_level=1.0,
            begin_s=0.0,
            ramp_s=10.0,
            settle_s=0.0,
            start_s=10.0,
            end_s=15.0,
            judge=False,
            thresholds=(),
            timings=(),
            source=in_scenario(4),
        ),
        Phase(
            name="stress",
            load_level=1.5,
            begin_s=15.0,
            ramp_s=5.0,
            settle_s=2.5,
            start_s=22.5,
            end_s=82.5,
            judge=True,
            thresholds=(
                Threshold(
                    sli="error_ratio",
                    tier=Tier.TARGET,
                    rule=Rule(text="< 0.1%", op="<", quantity=0.001, relative_to=None, for_s=None),
                    source=in_scenario(13),
                ),
                Threshold(
                    sli="error_ratio",
                    tier=Tier.FAIL,
                    rule=Rule(text="> 1% for 15s", op=">", quantity=0.01, relative_to=None, for_s=15.0),
                    source=in_scenario(13),
                ),
                Threshold(
                    sli="throughput",
                    tier=Tier.WARN,
                    rule=Rule(text="< 80% of offered", op="<", quantity=0.8, relative_to="offered", for_s=None),
                    source=in_scenario(14),
                ),
            ),
            timings=(
                TimingRule(
                    fault="pod-delete",
                    timing=Timing.RECOVERY,
                    tier=Tier.FAIL,
                    rule=Rule(text="> 30s", op=">", quantity=30.0, relative_to=None, for_s=None),
                    source=in_scenario(16),
                ),
            ),
            source=in_scenario(5),
        ),
    ),
    faults=(
        Fault(
            name="pod-delete",
            experiment=Experiment(
                name="pod-delete",
                path="experiments/pod-delete.yaml",
                document=(
                    '{"configuration":{"count":2,"grace_s":0,"namespace":"shop","selector":"app=shop"},'
                    '"description":"Deletes pods of the selector at random; the deployment replaces them.",'
                    '"extensions":[{"name":"load-chaos-harness","observe":"pods-replaced"}],'
                    '"method":[{"name":"delete-pods","provider":{"arguments":{"grace_period":"${grace_s}",'
                    '"label_selector":"${selector}","ns":"${namespace}","qty":"${count}"},'
                    '"func":"terminate_pods","module":"chaosk8s.pod.actions","type":"python"},"type":"action"}],'
                    '"rollbacks":[],"tags":["kubernetes","pod"],"title":"Pods are deleted"}'
                ),
                observe=Observe.PODS_REPLACED,
                selector="app=shop",
                namespace="shop",
                zone=None,
                max_targets=2,
            ),
            at_s=32.5,
            until_s=47.5,
            phase="stress",
            source=in_scenario(11),
        ),
    ),
    end_s=82.5,
    time_scale=1.0,
    source=in_scenario(1),
)


def test_a_scenario_with_its_service_and_experiments_becomes_one_plan(reader_of):
    read = reader_of({"scenarios/case.yaml": SCENARIO, "scenarios/services/shop.yaml": SERVICE})
    assert parse("scenarios/case.yaml", read, base="/home/me") == EXPECTED


def test_a_time_scale_shrinks_lengths_offsets_and_for_windows_but_no_deadline(reader_of):
    read = reader_of({"scenarios/case.yaml": SCENARIO, "scenarios/services/shop.yaml": SERVICE})
    plan = parse("scenarios/case.yaml", read, time_scale=0.1)
    stress, fault = plan.phases[1], plan.faults[0]
    assert (stress.begin_s, stress.ramp_s, stress.settle_s, stress.start_s, stress.end_s) == (
        1.5,
        0.5,
        0.25,
        2.25,
        8.25,
    )
    assert stress.thresholds[1].rule == Rule(text="> 1% for 15s", op=">", quantity=0.01, relative_to=None, for_s=1.5)
    assert (fault.at_s, fault.until_s) == (3.25, 4.75)
    assert (plan.end_s, plan.time_scale) == (8.25, 0.1)
    assert stress.timings == EXPECTED.phases[1].timings
    assert replace(plan.service.load, locustfile="") == replace(EXPECTED.service.load, locustfile="")


def test_a_time_scale_of_nothing_is_refused(reader_of):
    with pytest.raises(PlanError, match=r"^scenarios/case.yaml:1: time scale: '0' must be more than 0$"):
        parse("scenarios/case.yaml", reader_of({"scenarios/case.yaml": SCENARIO}), time_scale=0)


def phases(text: str) -> str:
    return f"service: shop\ntitle: A case\nphases:\n{text}"


THRESHOLDS = 'thresholds: [{sli: error_ratio, fail: "> 1%"}]'


def test_what_an_alias_brings_keeps_the_line_where_it_was_written(reader_of):
    scenario = phases(
        "  - &usual\n"
        "    name: one\n"
        "    load: 100%\n"
        "    duration: 20s\n"
        "    thresholds: &health\n"
        '      - {sli: error_ratio, fail: "> 1%"}\n'
        "  - {name: two, load: 150%, duration: 20s, thresholds: *health}\n"
        "  - {<<: *usual, name: three}\n"
    )
    plan = parse("scenarios/case.yaml", reader_of({"scenarios/case.yaml": scenario}))
    assert [(phase.name, phase.load_level, phase.source.line) for phase in plan.phases] == [
        ("one", 1.0, 4),
        ("two", 1.5, 10),
        ("three", 1.0, 11),
    ]
    assert [phase.thresholds[0].source for phase in plan.phases] == [in_scenario(9)] * 3


def test_words_that_yaml_1_1_reads_as_something_else_are_text(reader_of):
    scenario = phases(f"  - {{name: on, load: 100%, duration: 20s, judge: true, {THRESHOLDS}}}\n")
    plan = parse("scenarios/case.yaml", reader_of({"scenarios/case.yaml": scenario.replace("A case", "no")}))
    assert (plan.title, plan.phases[0].name) == ("no", "on")


def test_a_fault_repeated_is_numbered_and_a_timing_finds_the_one_of_its_phase(reader_of):
    phase = (
        (
            "  - name: {name}\n    load: 100%\n    duration: 20s\n"
            f"    {THRESHOLDS}\n"
            "    faults: [{{experiment: pod-delete, at: 5s}}]\n"
            '    timings: [{{of: pod-delete, timing: recovery, fail: "> 10s"}}]\n'
        )
        .replace("[{sli: error_ratio", "[{{sli: error_ratio")
        .replace('"> 1%"}]', '"> 1%"}}]')
    )
    scenario = phases(phase.format(name="one") + phase.format(name="two"))
    plan = parse("scenarios/case.yaml", reader_of({"scenarios/case.yaml": scenario}))
    assert [(fault.name, fault.phase, fault.at_s, fault.until_s) for fault in plan.faults] == [
        ("pod-delete", "one", 5.0, 20.0),
        ("pod-delete-2", "two", 25.0, 40.0),
    ]
    assert [phase.timings[0].fault for phase in plan.phases] == ["pod-delete", "pod-delete-2"]


@pytest.mark.parametrize("timing", Timing)
def test_every_timing_can_be_asked_for(reader_of, timing):
    asked = SCENARIO.replace("timing: recovery", f"timing: {timing}")
    plan = parse("scenarios/case.yaml", reader_of({"scenarios/case.yaml": asked}))
    assert [rule.timing for rule in plan.phases[1].timings] == [timing]


def test_a_zone_cut_knows_its_zone_and_has_no_cap_of_its_own(reader_of):
    scenario = phases(
        f"  - {{name: cut, load: 100%, duration: 20s, {THRESHOLDS}, faults: [{{experiment: zone-partition, at: 0s, "
        "with: {zone: zone-b, selector: 'app=shop,tier=web'}}]}\n"
    )
    plan = parse("scenarios/case.yaml", reader_of({"scenarios/case.yaml": scenario}))
    experiment = plan.faults[0].experiment
    assert (experiment.observe, experiment.zone, experiment.selector, experiment.max_targets) == (
        Observe.ZONE_CUT,
        "zone-b",
        "app=shop,tier=web",
        None,
    )


def test_a_service_of_ones_own_names_its_addresses_and_its_cluster(reader_of):
    service = (
        SERVICE.replace("sandbox: good\n", "url: https://shop.example/\n")
        .replace("max_pods: 2", "kubeconfig: ../kube.yaml, context: staging")
        .replace("verify: false", "url: http://prometheus:9090/, ca_file: ../ca.pem")
    )
    scenario = phases(f"  - {{name: only, load: 100%, duration: 20s, {THRESHOLDS}}}\n")
    texts = {"scenarios/case.yaml": scenario, "scenarios/services/shop.yaml": service, "scenarios/ca.pem": "-----"}
    plan = parse("scenarios/case.yaml", reader_of(texts), base="/home/me")
    assert plan.service.url == "https://shop.example"
    assert plan.service.sandbox is None
    assert plan.service.cluster == Cluster(
        kubeconfig="/home/me/scenarios/kube.yaml",
        context="staging",
        namespace="shop",
        selector="app=shop",
        deployment=None,
        max_pods=1,
    )
    assert plan.service.prometheus == Prometheus(
        url="http://prometheus:9090",
        headers=(("X-Scope-OrgID", "shop"),),
        ca_file="/home/me/scenarios/ca.pem",
        verify=True,
        scrape_interval_s=1.0,
        selector='job="shop"',
        timeout_s=5.0,
    )


def refusal(read) -> str:
    with pytest.raises(PlanError) as caught:
        parse("scenarios/case.yaml", read)
    return str(caught.value)


def test_a_missing_scenario_is_a_problem():
    assert refusal(lambda path: None) == "scenarios/case.yaml:1: there is no such scenario"


def test_bytes_that_are_not_utf_8_are_a_problem_with_their_line():
    def read(path: str) -> str:
        return b"service: shop\ntitle: caf\xe9\n".decode("utf-8")

    assert refusal(read) == "scenarios/case.yaml:2: byte 0xe9 is not UTF-8; save the file as UTF-8"


def test_a_file_that_may_not_be_read_is_a_problem_beside_the_others(reader_of):
    inner = reader_of({"scenarios/case.yaml": phases(f"  - {{name: only, duration: 20, {THRESHOLDS}}}\n")})

    def read(path: str) -> str | None:
        if path == "scenarios/services/shop.yaml":
            raise PermissionError(13, "Permission denied")
        return inner(path)

    assert refusal(read).splitlines() == [
        "scenarios/case.yaml:4: phases[0]: 'load' is missing",
        "scenarios/case.yaml:4: phases[0].duration: '20' has no unit; write a duration, e.g. 300ms, 15s, 1m30s or 2h",
        "scenarios/services/shop.yaml:1: cannot be read: Permission denied",
    ]


def test_a_file_too_large_to_be_a_scenario_is_not_parsed():
    said = refusal(lambda path: "#" * 300_000)
    assert said == "scenarios/case.yaml:1: 300000 characters are too many; at most 262144 are read"


@pytest.mark.parametrize("bomb", ["- " * 5000, "[" * 5000, "{a: " * 5000, "a:\n" * 1, "&a [*a, *a]", "? " * 3000])
def test_nesting_without_end_is_refused_and_not_followed(bomb):
    assert refusal(lambda path: bomb).startswith("scenarios/case.yaml:1: ")


WORDS = [
    "null",
    "{}",
    "[]",
    "no",
    "1:30",
    "&a",
    "*a",
    "<<: *a",
    "!!set x",
    "0%",
    "1e400",
    "{a: b}",
    "'",
    "\t",
    "\n",
    ">",
]


@given(index=st.integers(0, 60), word=st.sampled_from(WORDS), file=st.sampled_from(["case", "services/shop"]))
def test_a_file_with_any_word_replaced_is_a_plan_or_a_list_of_problems_of_one_line_each(index, word, file):
    texts = {"scenarios/case.yaml": SCENARIO, "scenarios/services/shop.yaml": SERVICE}
    texts |= {"scenarios/locustfiles/shop.py": "", "experiments/pod-delete.yaml": POD_DELETE}
    path = f"scenarios/{file}.yaml"
    words = list(re.finditer(r"[^\s,{}\[\]:]+", texts[path]))
    start, end = words[index % len(words)].span()
    texts[path] = texts[path][:start] + word + texts[path][end:]
    try:
        parse("scenarios/case.yaml", texts.get)
        problems = ()
    except PlanError as error:
        problems = error.problems
    assert [len(str(problem).splitlines()) for problem in problems] == [1] * len(problems)
