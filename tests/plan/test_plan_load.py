"""What a service and a scenario say of the load: streams, levels, recordings, a measured baseline, and the extras."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from harness.errors import PlanError
from harness.plan.baseline import Measured
from harness.plan.decide import arrivals_needed
from harness.plan.model import (
    Better,
    ClientMeasure,
    ClientSli,
    HealthPart,
    Limits,
    Load,
    Plan,
    PrometheusSli,
    Remote,
    Replay,
    Rule,
    Source,
    Stream,
    Threshold,
    Tier,
    Unit,
)
from harness.plan.parse import parse
from harness.plan.replay import Recording, digest, length_s, played_ns, recording_of, replay_of
from harness.verdict.interval import share_interval

S = 1_000_000_000
RECORDED = "0 browse\n0.4 checkout\n1.999 browse\n2.5 browse\n"
SERVICE = """\
title: A shop
url: http://127.0.0.1:8080
load:
  locustfile: ../locustfiles/shop.py
  streams:
    browse: {rate: 160/s, users: [Browser], tags: [read]}
    checkout: {rate: 40/s}
  connection_age: 1m
  metrics: 127.0.0.1:9646
  remote: {listen: "[::1]:5557", workers: 2}
  limits: {start_lag: 2ms, stall: 100ms, cpu: 80%, rate_error: 1%, lost: 0%, dropped: 0.2%, clock: 5ms}
prometheus: {url: "http://127.0.0.1:9090", scrape_interval: 1s, selector: 'job="shop"'}
slis:
  error_ratio: {client: error_ratio}
  failures: {client: failures, stream: checkout}
  server_p95: {prometheus: {histogram: 'seconds{$selector}', quantile: p95}}
health: [{sli: error_ratio, weight: 0.6, target: 0.1%}, {sli: server_p95, weight: 0.4, target: 200ms}]
"""
SCENARIO = """\
service: shop
title: A case
phases:
  - {name: usual, load: 100%, ramp: 5s, duration: 30s, thresholds: [{sli: error_ratio, fail: "> 1%"}]}
  - name: apart
    load: {checkout: 120/s, browse: 50%}
    duration: 30s
    thresholds:
      - {sli: error_ratio, each: stream, min_samples: 100, severity: P2, runbook: "https://wiki.example/errors",
         warn: "> 0.5% in any 10s", fail: "> 110% of baseline floor 0.1% cap 1%"}
  - {name: recorded, replay: {file: recorded.txt, speed: 2}, judge: false}
  - {name: high, load: 300/s, duration: 10s, judge: false}
"""
TEXTS = {
    "scenarios/case.yaml": SCENARIO,
    "scenarios/recorded.txt": RECORDED,
    "scenarios/services/shop.yaml": SERVICE,
}


def in_scenario(line: int) -> Source:
    return Source(path="scenarios/case.yaml", line=line)


def in_service(line: int) -> Source:
    return Source(path="scenarios/services/shop.yaml", line=line)


@pytest.fixture
def plan(reader_of) -> Plan:
    return parse("scenarios/case.yaml", reader_of(TEXTS), base="/home/me")


def test_a_service_says_how_its_load_is_made(plan):
    assert plan.service.load == Load(
        baseline_per_s=200.0,
        streams=(
            Stream(name="browse", baseline_per_s=160.0, users=("Browser",), tags=("read",)),
            Stream(name="checkout", baseline_per_s=40.0, users=(), tags=()),
        ),
        locustfile="/home/me/scenarios/locustfiles/shop.py",
        arrivals="uniform",
        seed=1,
        deadline_s=5.0,
        slow_s=1.0,
        workers=None,
        remote=Remote(listen="[::1]:5557", workers=2),
        connection_age_s=60.0,
        limits=Limits(
            start_lag_s=0.002,
            stall_s=0.1,
            cpu_ratio=0.8,
            rate_error=0.01,
            lost_ratio=0.0,
            dropped_ratio=0.002,
            clock_s=0.005,
        ),
        metrics="127.0.0.1:9646",
    )


def test_a_service_says_what_its_slis_and_its_health_are(plan):
    assert plan.service.slis[1:] == (
        ClientSli(
            name="failures",
            measure=ClientMeasure.FAILURES,
            quantile=None,
            series=None,
            stream="checkout",
            unit=Unit.COUNT,
            better=Better.LOWER,
            source=in_service(15),
        ),
        PrometheusSli(
            name="server_p95",
            query=None,
            bad=None,
            total=None,
            histogram="seconds{$selector}",
            quantile=0.95,
            unit=Unit.SECONDS,
            better=Better.LOWER,
            absent_means_zero=False,
            source=in_service(16),
        ),
    )
    assert plan.service.health == (
        HealthPart(sli="error_ratio", weight=0.6, target=0.001, source=in_service(17)),
        HealthPart(sli="server_p95", weight=0.4, target=0.2, source=in_service(17)),
    )


def test_phases_have_a_level_levels_by_stream_a_rate_or_a_recording(plan):
    assert [(phase.name, phase.load_level, phase.levels) for phase in plan.phases] == [
        ("usual", 1.0, ()),
        ("apart", 1.0, (0.5, 3.0)),
        ("recorded", 0.01, ()),
        ("high", 1.5, ()),
    ]
    assert plan.phases[2].replay == Replay(
        path="/home/me/scenarios/recorded.txt",
        sha256=digest(RECORDED),
        speed=2.0,
        counts=(3, 1),
        stream_counts=((2, 1), (1, 0)),
    )
    assert (plan.phases[2].begin_s, plan.phases[2].start_s, plan.phases[2].end_s) == (65.0, 65.0, 67.0)


def test_a_threshold_has_groups_a_minimum_a_severity_and_a_runbook(plan):
    common = {
        "sli": "error_ratio",
        "source": in_scenario(10),
        "each": "stream",
        "min_samples": 100,
        "severity": "P2",
        "runbook": "https://wiki.example/errors",
    }
    warn = Rule(text="> 0.5% in any 10s", op=">", quantity=0.005, relative_to=None, for_s=None, any_s=10.0)
    fail = Rule(
        text="> 110% of baseline floor 0.1% cap 1%",
        op=">",
        quantity=1.1,
        relative_to="baseline",
        for_s=None,
        floor=0.001,
        cap=0.01,
    )
    assert plan.phases[1].thresholds == (
        Threshold(tier=Tier.WARN, rule=warn, **common),
        Threshold(tier=Tier.FAIL, rule=fail, **common),
    )


def test_a_plan_with_all_of_it_survives_being_written_as_json(plan):
    adapter = TypeAdapter(Plan)
    assert adapter.validate_json(adapter.dump_json(plan)) == plan


def test_a_rehearsal_plays_the_beginning_of_a_recording_at_its_own_rate(reader_of):
    plan = parse("scenarios/case.yaml", reader_of(TEXTS), time_scale=0.25)
    recorded = plan.phases[2]
    assert (recorded.end_s - recorded.start_s, recorded.replay and recorded.replay.counts) == (0.5, (2,))
    assert plan.phases[1].thresholds[0].rule.any_s == 2.5


def test_a_recording_cannot_be_stretched(reader_of):
    with pytest.raises(PlanError) as caught:
        parse("scenarios/case.yaml", reader_of(TEXTS), time_scale=2)
    assert str(caught.value) == (
        "scenarios/case.yaml:11: phases[2].replay: a recording cannot be stretched by time scale 2; "
        "use 'speed', or 1 or less"
    )


PLAIN = """\
title: A shop
url: http://127.0.0.1:8080
load: {locustfile: ../locustfiles/shop.py, baseline: measured}
slis: {error_ratio: {client: error_ratio}}
"""
RULES = '[{sli: error_ratio, fail: "> 1%"}]'


def phases(*lines: str) -> str:
    return "service: shop\ntitle: A case\nphases:\n" + "".join(f"  - {line}\n" for line in lines)


def measured_plan(reader_of, scenario: str, service: str = PLAIN, measured=lambda _name: None) -> Plan:
    texts = {"scenarios/case.yaml": scenario, "scenarios/services/shop.yaml": service}
    return parse("scenarios/case.yaml", reader_of(texts), measured=measured)


def test_a_measured_baseline_is_what_the_caller_knows_of_the_service(reader_of):
    asked = []

    def find(service: str) -> Measured:
        asked.append(service)
        return Measured(rate_per_s=250.0, run="baseline/1")

    plan = measured_plan(
        reader_of, phases(f"{{name: a, load: 150%, duration: 10s, thresholds: {RULES}}}"), measured=find
    )
    assert asked == ["shop"]
    assert (plan.service.load.baseline_per_s, plan.service.load.baseline_from) == (250.0, "baseline/1")
    assert plan.phases[0].load_level == 1.5


def test_a_measured_baseline_is_shared_by_the_streams_in_their_proportions(reader_of):
    service = PLAIN.replace(
        "baseline: measured", "baseline: measured, streams: {a: {rate: 3/s}, b: {rate: 1/s, tags: [b]}}"
    )
    plan = measured_plan(
        reader_of,
        phases(f"{{name: a, load: 100%, duration: 10s, thresholds: {RULES}}}"),
        service,
        lambda _name: Measured(rate_per_s=100.0, run="baseline/1"),
    )
    assert [stream.baseline_per_s for stream in plan.service.load.streams] == [75.0, 25.0]


def test_a_scenario_of_rates_is_what_measures_a_baseline(reader_of):
    plan = measured_plan(
        reader_of,
        phases(
            "{name: warm-up, load: 30/s, duration: 5s, judge: false}",
            f"{{name: steady, load: 60/s, duration: 10s, thresholds: {RULES}}}",
            f"{{name: more, load: 90/s, duration: 10s, thresholds: {RULES}}}",
        ),
        measured=lambda _name: Measured(rate_per_s=1.0, run="baseline/1"),
    )
    assert [phase.load_level for phase in plan.phases] == [0.5, 1.0, 1.5]
    assert (plan.service.load.baseline_per_s, plan.service.load.baseline_from) == (60.0, None)


def test_a_recording_is_read_by_stream_in_nanoseconds():
    recording, wrong = recording_of("0\n0.0000000014\n1e-3\n", ())
    assert wrong == []
    assert recording is not None
    assert list(recording.times_ns[""]) == [0, 1, 1_000_000]


def test_a_recording_lasts_to_the_end_of_its_last_second():
    recording = Recording(sha256="", times_ns={"": [0, 2 * S]})
    assert [length_s(recording, speed) for speed in (1.0, 2.0, 4.0)] == [3.0, 2.0, 1.0]


def test_a_recording_cut_short_counts_what_is_left():
    recording = Recording(sha256="x", times_ns={"": [0, 2 * S, int(2.5 * S)]})
    replay = replay_of(recording, path="/r", speed=1.0, length_s=2.5)
    assert replay == Replay(path="/r", sha256="x", speed=1.0, counts=(1, 0, 1))
    assert list(played_ns(recording.times_ns[""], speed=1.0, start_ns=S, end_ns=int(3.5 * S))) == [S, 3 * S]


@pytest.mark.parametrize("limit", [0.5, 0.05, 0.01, 0.001, 0.0005])
def test_the_arrivals_needed_are_those_with_which_the_verdict_can_say_kept(limit):
    needed = arrivals_needed(limit)
    assert share_interval((0, 0), needed)[1] <= limit < share_interval((0, 0), needed - 1)[1]


PROGRAMME = Path(__file__).parent / "programme"


def test_the_figures_of_release_programmes_can_be_written(reader_of):
    texts = {
        str(file.relative_to(PROGRAMME)): file.read_text(encoding="utf-8")
        for file in PROGRAMME.rglob("*")
        if file.is_file()
    }
    plan = parse("scenarios/release.yaml", reader_of(texts))
    rules = {
        (phase.name, threshold.sli, threshold.tier.value, threshold.rule.text)
        for phase in plan.phases
        for threshold in phase.thresholds
    }
    assert rules >= {
        ("stress", "error_rate", "target", "< 0.1%"),
        ("stress", "error_rate", "warn", "> 0.5%"),
        ("stress", "error_rate", "fail", "> 1%"),
        ("stress", "error_rate", "abort", "> 1% for 5m"),
        ("stress", "latency_p95", "abort", "> 500ms for 5m"),
        ("stress", "throughput", "warn", "< 80% of baseline"),
        ("stress", "throughput", "fail", "< 50% of baseline"),
        ("stress", "success_rate", "fail", "< 95%"),
        ("canary-50", "latency_p95", "abort", "> 300ms for 30s"),
        ("baseline", "grpc_throughput", "warn", "< 800k/s"),
        ("baseline", "memory", "warn", "> 600MB"),
        ("baseline", "pool", "warn", "> 90 for 5m"),
        ("baseline", "cpu", "fail", "> 85% for 5m"),
        ("rolling-restart", "failures", "fail", "> 0"),
    }
    assert [(part.sli, part.weight) for part in plan.service.health] == [
        ("success_rate", 0.4),
        ("latency_p95", 0.3),
        ("error_rate", 0.3),
    ]
    assert [rule.rule.text for phase in plan.phases for rule in phase.timings] == [
        "> 0s",
        "< 1m",
        "> 5m",
        "< 5m",
        "> 10m",
        "> 5m",
    ]
    stress = next(phase for phase in plan.phases if phase.name == "stress")
    assert [
        round(level * stream.baseline_per_s)
        for level, stream in zip(stress.levels, plan.service.load.streams, strict=True)
    ] == [1_200_000, 1_500_000]


def test_a_service_may_say_its_baseline_and_its_streams_when_they_agree(reader_of):
    texts = TEXTS | {"scenarios/services/shop.yaml": SERVICE.replace("  streams:", "  baseline: 200/s\n  streams:")}
    with_both = parse("scenarios/case.yaml", reader_of(texts))
    assert replace(with_both.service.load, locustfile="") == replace(
        parse("scenarios/case.yaml", reader_of(TEXTS)).service.load, locustfile=""
    )


WORDS = [
    "null",
    "{}",
    "[]",
    "no",
    "measured",
    "0%",
    "0/s",
    "1e400",
    "nan",
    "-1",
    "5 browse",
    "{a: b}",
    "'",
    "\t",
    "browse",
]


@given(index=st.integers(0, 150), word=st.sampled_from(WORDS), path=st.sampled_from(sorted(TEXTS)))
def test_files_with_any_word_replaced_are_a_plan_or_a_list_of_problems_of_one_line_each(index, word, path):
    words = list(re.finditer(r"[^\s,{}\[\]:]+", TEXTS[path]))
    start, end = words[index % len(words)].span()
    texts = TEXTS | {"scenarios/locustfiles/shop.py": "", path: TEXTS[path][:start] + word + TEXTS[path][end:]}
    try:
        parse("scenarios/case.yaml", texts.get)
        problems = ()
    except PlanError as error:
        problems = error.problems
    assert [len(str(problem).splitlines()) for problem in problems] == [1] * len(problems)
