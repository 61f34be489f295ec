"""Laws of judging: deterministic, never raises, no evidence no pass, worse never better; and the live guard."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verdict_case import S, parse

from harness.history.events import Event, InjectRequested
from harness.history.load import LoadFrame
from harness.history.run import Run
from harness.plan.model import Plan, Timing
from harness.verdict.document import document, text
from harness.verdict.judge import judge
from harness.verdict.model import Outcome, Reason, Verdict

KILLED = (Path(__file__).parent / "cases" / "pod-killed.case").read_text(encoding="utf-8")
RUN = parse(KILLED).run()
RANK = [Outcome.PASS, Outcome.WARN, Outcome.INCONCLUSIVE, Outcome.FAIL]

SMALL = """
service rate=50
phase baseline 0..8 load=100%
rule baseline error_ratio warn > 4%
rule baseline error_ratio fail > 8%
rule baseline error_ratio fail > 20% for 3s
rule baseline throughput fail < 50% of offered
"""

shares = st.lists(st.sampled_from([0.0, 0.04, 0.1, 0.5, 1.0]), min_size=8, max_size=8)
quick = settings(max_examples=12)


def small(failed: list[float]) -> Run:
    case = parse(SMALL)
    case.load["failed"] = list(failed)
    return case.run()


def test_equal_runs_give_equal_bytes() -> None:
    assert text(judge(RUN)) == text(judge(parse(KILLED).run()))


@quick
@given(st.data())
def test_judging_never_raises_on_any_prefix_and_never_passes_one(data: st.DataObject) -> None:
    events = data.draw(st.integers(0, len(RUN.events) - 1), label="events")
    frames = data.draw(st.integers(0, len(RUN.frames)), label="frames")
    verdict = judge(replace(RUN, events=RUN.events[:events], frames=RUN.frames[:frames]))
    assert verdict.verdict in (Outcome.INCONCLUSIVE, Outcome.FAIL)
    assert verdict.phases
    json.loads(text(verdict))


def test_every_timing_of_an_injected_fault_is_told_and_of_another_only_what_is_asked() -> None:
    case = parse(KILLED)
    case.timings = []
    unasked = judge(case.run()).timings
    assert [one.timing for one in unasked] == list(Timing)
    assert {(one.outcome, one.rule, one.tier) for one in unasked} == {(None, None, None)}
    never = tuple(event for event in RUN.events if not isinstance(event.body, InjectRequested))
    told = [(one.timing, one.reason) for one in judge(replace(RUN, events=never)).timings]
    asked = (Timing.DETECTION, Timing.FAILOVER, Timing.RECOVERY, Timing.REDUNDANCY, Timing.DOWNTIME)
    assert told == [(timing, Reason.NOT_RUN) for timing in asked]


def test_a_run_without_anything_is_inconclusive() -> None:
    verdict = judge(replace(RUN, events=(), frames=()))
    assert verdict.verdict is Outcome.INCONCLUSIVE
    assert {finding.reason for finding in verdict.findings} == {Reason.NOT_RUN}


def test_an_error_in_judging_one_threshold_leaves_that_one_open() -> None:
    service = replace(RUN.plan.service, slis=RUN.plan.service.slis[1:])
    verdict = judge(replace(RUN, plan=replace(RUN.plan, service=service)))
    assert verdict.verdict is Outcome.INCONCLUSIVE
    assert [(one.reason, one.detail) for one in verdict.findings] == [
        (Reason.CHECK_RAISED, "LookupError: service 'shop' has no SLI 'error_ratio'"),
    ] * 2


def test_an_error_elsewhere_is_inconclusive_with_its_text() -> None:
    verdict = judge(replace(RUN, frames=("not a frame",)))  # type: ignore[arg-type]
    assert verdict.verdict is Outcome.INCONCLUSIVE
    assert verdict.headline == "judging raised AttributeError: 'str' object has no attribute 'second'"


@pytest.mark.parametrize("by_s", [7, 1000])
def test_shifting_all_times_does_not_change_the_verdict(by_s: int) -> None:
    shifted = judge(_shifted(RUN, by_s))
    assert _timeless(judge(RUN)) == _timeless(shifted)
    assert shifted.impacts[0].start_s == pytest.approx(judge(RUN).impacts[0].start_s + by_s)


@quick
@given(shares)
def test_the_order_of_frames_does_not_matter(failed: list[float]) -> None:
    run = small(failed)
    assert judge(run) == judge(replace(run, frames=tuple(reversed(run.frames))))


@quick
@given(shares, st.sampled_from([0.04, 0.1, 0.5]))
def test_making_every_second_worse_never_improves_the_verdict(failed: list[float], more: float) -> None:
    before, after = judge(small(failed)), judge(small([min(share + more, 1.0) for share in failed]))
    assert RANK.index(after.verdict) >= RANK.index(before.verdict)
    for was, now in zip(before.findings, after.findings, strict=True):
        if was.rule.endswith(("3s", "offered")):
            assert RANK.index(now.outcome) >= RANK.index(was.outcome)


@quick
@given(shares, st.integers(0, 7))
def test_making_one_second_worse_never_undoes_a_proven_breach(failed: list[float], second: int) -> None:
    worse = [1.0 if i == second else share for i, share in enumerate(failed)]
    for was, now in zip(judge(small(failed)).findings, judge(small(worse)).findings, strict=True):
        if was.reason is Reason.EXCEEDED:
            assert now.reason is Reason.EXCEEDED


def test_two_minutes_at_300_per_second_are_judged_in_well_under_a_second() -> None:
    case = parse("service rate=300\nphase stress 0..120 load=100%\nrule stress error_ratio fail > 99%\n")
    case.outages.append((20.0, 110.0, 0.5, None))
    run = case.run()
    began = time.process_time()
    judge(run)
    assert time.process_time() - began < 0.5


def test_the_document_has_the_keys_of_the_published_format_in_order() -> None:
    made = document(judge(RUN))
    assert list(made) == [
        "format",
        "run",
        "scenario",
        "status",
        "verdict",
        "restored",
        "headline",
        "summary",
        "phases",
        "findings",
        "timings",
        "impacts",
        "milestones",
        "audit",
        "validity",
    ]
    assert made["validity"][0] == {  # type: ignore[index]
        "check": "run_completed",
        "phase": None,
        "outcome": "pass",
        "detail": "the run was executed to its end",
    }
    assert made["findings"][0] == {  # type: ignore[index]
        "phase": "baseline",
        "sli": "error_ratio",
        "tier": "fail",
        "rule": "> 1%",
        "outcome": "pass",
        "reason": "within",
        "detail": "0% (0% to 0.0499%)",
        "value": 0.0,
        "lo": 0.0,
        "hi": 0.000499164088,
        "unit": "ratio",
        "samples": 6000,
        "coverage": 1.0,
        "source": "case:1",
        "group": None,
        "worst": 0.0,
        "worst_s": 0.0,
        "margin": 1.0,
        "severity": None,
        "runbook": None,
    }


def test_the_document_has_no_numbers_that_json_does_not_know() -> None:
    verdict = judge(RUN)
    impact = replace(verdict.impacts[0], severity=float("nan"), downtime_s=float("inf"), start_s=-0.0)
    (made,) = document(replace(verdict, impacts=(impact,)))["impacts"]  # type: ignore[misc]
    assert (made["severity"], made["downtime_s"], str(made["start_s"])) == (None, None, "0.0")


def _shifted(run: Run, by_s: int) -> Run:
    plan = run.plan
    phases = tuple(
        replace(
            phase,
            begin_s=phase.begin_s + by_s if i else 0.0,
            settle_s=phase.settle_s + (0 if i else by_s),
            start_s=phase.start_s + by_s,
            end_s=phase.end_s + by_s,
        )
        for i, phase in enumerate(plan.phases)
    )
    faults = tuple(replace(one, at_s=one.at_s + by_s, until_s=one.until_s + by_s) for one in plan.faults)
    shifted: Plan = replace(plan, phases=phases, faults=faults, end_s=plan.end_s + by_s)
    events: tuple[Event, ...] = tuple(replace(event, t_ns=event.t_ns + by_s * S) for event in run.events)
    frames: tuple[LoadFrame, ...] = tuple(replace(frame, second=frame.second + by_s) for frame in run.frames)
    return replace(run, plan=shifted, events=events, frames=frames)


def _timeless(verdict: Verdict) -> object:
    timings = [(one.timing, one.outcome, one.reason, round(one.value_s or -1, 9)) for one in verdict.timings]
    checks = [(one.check, one.phase, one.outcome) for one in verdict.validity]
    findings = [replace(one, worst_s=None) for one in verdict.findings]
    return verdict.verdict, verdict.headline, findings, timings, checks
