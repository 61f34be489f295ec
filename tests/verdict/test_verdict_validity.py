"""Which troubles of the generator cost a verdict, which do not, and what each of them is called."""

from __future__ import annotations

from dataclasses import replace

import pytest
from verdict_case import parse

from harness.history.histogram import Histogram
from harness.history.load import WorkerHealth
from harness.history.run import Run
from harness.plan.model import Limits
from harness.verdict.judge import judge
from harness.verdict.model import Check, Finding, Outcome, Reason

PLAIN = """
phase stress 0..30 load=100%
rule stress error_ratio fail > 1%
rule stress latency_p95 fail > 500ms
"""


def run_of(*lines: str) -> Run:
    return parse("\n".join((PLAIN, *lines))).run()


def health(run: Run, worker: str = "w1", **seconds: tuple[int, ...]) -> Run:
    """The run with a worker's health: stall_250 = seconds with a stall of 250 ms, cpu_99, clock_20 (ms)."""
    said = []
    for second in range(30):
        values = {"stall": 2, "cpu": 10, "clock": 0}
        for key, those in seconds.items():
            name, _, value = key.partition("_")
            values[name] = int(value) if second in those else values[name]
        said.append(
            WorkerHealth(
                second=second,
                worker=worker,
                cpu_ratio=values["cpu"] / 100,
                stall_s_max=values["stall"] / 1000,
                clock_s=values["clock"] / 1000,
            )
        )
    return replace(run, health=(*run.health, *said))


def limited(run: Run, **limits: float) -> Run:
    load = replace(run.plan.service.load, limits=replace(Limits(), **limits))
    return replace(run, plan=replace(run.plan, service=replace(run.plan.service, load=load)))


def slowed(run: Run, seconds: tuple[int, ...], share: float, by_s: float) -> Run:
    """The run in which this share of the arrivals of these seconds was late, and answered late, by that much."""
    frames = []
    for frame in run.frames:
        if frame.second in seconds and frame.sent:
            n = round(frame.sent * share)
            response, lag = Histogram(), Histogram()
            for histogram, usual_s in ((response, 0.02), (lag, 0.001)):
                histogram.record(round((usual_s + by_s) * 1e6), n)
                histogram.record(round(usual_s * 1e6), frame.sent - n)
            frames.append(replace(frame, response=response, lag=lag))
        else:
            frames.append(frame)
    return replace(run, frames=tuple(frames))


def check(run: Run, name: str) -> Check:
    (found,) = (one for one in judge(run).validity if one.check == name)
    return found


def finding(run: Run, sli: str) -> Finding:
    (found,) = (one for one in judge(run).findings if one.sli == sli)
    return found


def test_a_hiccup_of_a_quarter_of_a_second_is_a_warning_that_costs_nothing() -> None:
    run = health(slowed(run_of(), (12,), 0.25, 0.25), stall_250=(12,))
    assert check(run, "loop_stall").outcome is Outcome.WARN
    assert check(run, "start_lag").outcome is Outcome.PASS
    assert judge(run).verdict is Outcome.PASS


def test_the_same_hiccup_costs_nothing_in_a_phase_of_ten_seconds() -> None:
    text = PLAIN.replace("0..30", "0..10")
    run = health(slowed(parse(text).run(), (5,), 0.25, 0.25), stall_250=(5,))
    assert judge(run).verdict is Outcome.PASS


def test_a_generator_frozen_for_half_a_second_is_inconclusive_not_failed() -> None:
    run = health(slowed(run_of(), (12,), 0.5, 0.5), stall_500=(12,))
    assert judge(run).verdict is Outcome.INCONCLUSIVE
    assert check(run, "loop_stall") == Check(
        check="loop_stall",
        phase="stress",
        outcome=Outcome.INCONCLUSIVE,
        detail="worker w1 stood still for 500ms in second 12, 200ms allowed",
    )


def test_a_breach_that_rests_on_a_hiccup_alone_is_taken_back() -> None:
    text = PLAIN.replace("latency_p95 fail > 500ms", "latency_p95 fail > 200ms in any 1s")
    run = health(slowed(parse(text).run(), (12,), 0.3, 0.3), stall_300=(12,))
    assert finding(replace(run, health=()), "latency_p95").outcome is Outcome.FAIL
    found = finding(run, "latency_p95")
    assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, Reason.GENERATOR_LIMITED)
    assert found.detail.startswith("loop_stall: worker w1 stood still for 300ms in second 12; ")
    assert check(run, "loop_stall").outcome is Outcome.INCONCLUSIVE
    assert finding(run, "error_ratio").outcome is Outcome.PASS


def test_a_long_stall_is_told_of_the_second_it_began_in_and_reaches_beyond_the_next() -> None:
    text = PLAIN.replace("latency_p95 fail > 500ms", "latency_p95 fail > 200ms in any 1s")
    run = health(slowed(parse(text).run(), (14,), 0.3, 0.3), stall_1900=(12,))
    for idle in range(2, 9):
        run = health(run, f"w{idle}")
    assert check(run, "loop_stall").detail.startswith("worker w1 stood still for 1.9s in second 12")
    assert finding(run, "latency_p95").reason is Reason.GENERATOR_LIMITED


def test_a_breach_that_stands_without_the_hiccup_stays_one() -> None:
    run = health(slowed(run_of("load", "    failed 0.5x29"), (12,), 0.3, 0.3), stall_300=(12,))
    assert (finding(run, "error_ratio").outcome, judge(run).verdict) == (Outcome.FAIL, Outcome.FAIL)
    assert check(run, "loop_stall").outcome is Outcome.WARN


def test_one_of_two_workers_that_stands_still_is_half_of_the_generator() -> None:
    run = health(health(run_of(), stall_500=(12,)), "w2")
    assert check(run, "loop_stall").outcome is Outcome.WARN


def test_a_worker_without_cpu_to_spare_for_ten_seconds_is_named() -> None:
    run = health(run_of(), cpu_95=tuple(range(10, 20)))
    assert check(run, "cpu").detail == (
        "worker w1 used 95% of a core for 10 s from second 10, 90% allowed: give it more cores or more workers"
    )
    assert finding(run, "error_ratio").reason is Reason.GENERATOR_LIMITED
    assert check(health(run_of(), cpu_95=tuple(range(10, 19))), "cpu").outcome is Outcome.PASS
    assert check(limited(run, cpu_ratio=0.96), "cpu").outcome is Outcome.PASS


def test_a_clock_known_worse_than_allowed_is_named() -> None:
    run = health(run_of(), clock_20=(3,))
    found = check(run, "clocks_aligned")
    assert (found.outcome, found.detail) == (
        Outcome.INCONCLUSIVE,
        "the clock of worker w1 is known to 20ms, 10ms allowed",
    )
    assert check(limited(run, clock_s=0.05), "clocks_aligned").outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("lost", "lost: 120 arrivals (2%), 0.1% allowed; "),
        ("dropped", "dropped, for want of a free user: 120 arrivals (2%), 0.1% allowed; "),
    ],
)
def test_load_that_was_not_delivered_says_what_became_of_it(row: str, words: str) -> None:
    found = check(run_of("load", f"    {row} 0.02x29"), "load_delivered")
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.detail.startswith(words)


def test_arrivals_that_were_never_planned_are_missed() -> None:
    run = run_of()
    short = replace(run, frames=tuple(frame for frame in run.frames if frame.second != 7))
    found = check(short, "load_delivered").detail
    assert found.startswith("not planned: 5800 arrivals where the plan offers 6000; ")


def test_lateness_names_the_worker_that_may_have_caused_it() -> None:
    run = health(run_of("load", "    lag 0.2x29"), stall_150=(4,))
    found = check(run, "start_lag").detail
    assert found.startswith("p98.7 200ms behind the intended start, 25ms allowed; worker w1 stood still for 150ms")


def test_a_limit_of_the_plan_replaces_the_one_derived_from_its_rules() -> None:
    run = run_of("load", "    lag 0.2x29")
    assert check(limited(run, start_lag_s=0.3), "start_lag").outcome is Outcome.PASS


def test_most_queries_failing_is_about_prometheus_and_one_is_about_the_query() -> None:
    rules = ["rule stress server_errors fail > 1%", "rule stress cpu warn > 90%"]
    one, both = (
        run_of(*rules, *(f"at 31 query_failed {sli} stress timeout" for sli in slis))
        for slis in (["cpu"], ["cpu", "server_errors"])
    )
    assert check(one, "prometheus_alive").outcome is Outcome.PASS
    assert (check(both, "prometheus_alive").outcome, check(both, "prometheus_alive").detail) == (
        Outcome.WARN,
        "0 of 2 SLIs got an answer; cpu: timeout",
    )
