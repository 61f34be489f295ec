"""The live view's snapshot, line and rendering."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import example
from rich.console import Console

from harness.history.views import fault_windows
from harness.plan.model import ClientMeasure, Unit
from harness.report import live
from harness.verdict.model import Outcome


def at(t_s: float, *, closing: str | None = None) -> live.Snapshot:
    run, _ = example.failed()
    events = [event for event in run.events if event.t_ns <= t_s * 1e9]
    frames = [frame for frame in run.frames if frame.second <= t_s]
    windows = fault_windows(run.plan, events)
    log = ("1:05.33 pod gone",)
    return live.snapshot(run.plan, t_s, frames=frames, faults=windows, log=log, closing=closing)


def test_a_heartbeat_line_says_phase_load_slis_and_faults() -> None:
    assert live.line(at(60.5)) == (
        "1:00 phase=stress 0:05/0:45 offered=300/s sent=100% error_ratio=0% latency_p95=69.3ms throughput=300/s"
    )
    assert live.line(at(72.4)) == (
        "1:12 phase=stress 0:17/0:45 offered=300/s sent=100% error_ratio=32.6%(fail) "
        "latency_p95=no-ok-answer(fail) throughput=202/s pod-delete=in-force"
    )
    assert live.line(at(126.0, closing="the load to drain")).endswith("pod-delete=gone waiting=the-load-to-drain")


def test_nothing_is_said_to_be_kept_while_nothing_is_judged() -> None:
    assert {sli.state for sli in at(52.0).slis} == {None}
    assert {sli.name: sli.state for sli in at(72.4).slis} == {
        "error_ratio": Outcome.FAIL,
        "latency_p95": Outcome.FAIL,
        "throughput": Outcome.PASS,
    }


def test_a_view_before_the_first_frame_knows_nothing() -> None:
    now = at(0.2)
    assert (now.sent_ratio, now.ok_per_s, [sli.value for sli in now.slis]) == (None, None, [None, None, None])
    assert live.line(now).startswith("0:00 phase=warm-up ramp 0/10s offered=4/s error_ratio=unknown")


def test_a_fault_is_followed_through_its_life() -> None:
    seen = [at(t_s).faults[0].state for t_s in (10, 65.01, 65.5, 79, 101)]
    assert seen == ["planned", "injecting", "in force", "gone", "gone"]


def test_the_view_fits_a_small_terminal() -> None:
    out = StringIO()
    Console(width=80, file=out, force_terminal=False).print(live.view(at(72.4)))
    lines = out.getvalue().splitlines()
    assert len(lines) <= 22
    assert lines[0].startswith("stress-150  150 % of baseline while a pod dies  1:12 of 2:05")
    assert lines[-1].strip() == "Ctrl-C is safe: faults are rolled back first."


def test_failed_requests_are_counted_not_shared() -> None:
    run, _ = example.failed()
    slis = run.plan.service.slis
    counted = replace(slis[0], name="failures", measure=ClientMeasure.FAILURES, unit=Unit.COUNT)
    plan = replace(run.plan, service=replace(run.plan.service, slis=(*slis, counted)))
    now = live.snapshot(plan, 72.4, frames=run.frames, faults=(), log=(), closing=None)

    failed = sum(
        frame.failed + frame.timed_out + frame.dropped for frame in run.frames if frame.second in range(66, 71)
    )
    assert {sli.name: sli.value for sli in now.slis}["failures"] == failed > 1


def test_a_sparkline_leaves_unknown_seconds_empty() -> None:
    assert live.sparkline([0.0, 1.0, None, 4.0, 8.0, float("inf")]) == "▁▂ ▅██"
