"""The HTML report."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import example

from harness.history.events import Status
from harness.history.run import Run
from harness.report import html
from harness.report.timeline import timeline
from harness.verdict.model import Outcome, Verdict

VOID = {"meta", "br", "hr", "img", "input", "link"}


def page(run: Run, verdict: Verdict) -> str:
    return html.page(run, verdict, environment=example.ENVIRONMENT, scenario_text=example.SCENARIO_TEXT)


class Nesting(HTMLParser):
    """Follows which elements are open; fails on one closed out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """Closed at once."""


def nested_well(text: str) -> bool:
    parser = Nesting()
    parser.feed(text)
    parser.close()
    return not parser.open


def test_the_page_is_one_file_that_asks_the_network_for_nothing() -> None:
    text = page(*example.failed())
    assert not re.search(r"""(src|href)\s*=|@import|url\((?!#)|https?://(?!127\.0\.0\.1)""", text)
    assert len(text.encode()) < 100_000
    assert nested_well(text)


def test_the_same_run_gives_the_same_bytes() -> None:
    assert page(*example.passed()) == page(*example.passed())


def test_sections_stand_in_the_order_in_which_one_asks() -> None:
    found = re.findall(r'<section id="(\w+)">', page(*example.failed()))
    assert found == ["rules", "timeline", "timings", "impacts", "load", "faults", "validity", "reproduce"]


def test_breached_rules_come_first_with_the_line_that_states_them() -> None:
    text = page(*example.failed())
    rules = text[text.index('id="rules"') : text.index('id="timeline"')]
    assert re.findall(r'<tr class="(\w+)">', rules) == ["fail", "fail", "inconclusive"] + ["pass"] * 9
    assert rules.index("scenarios/stress-150.yaml:11") < rules.index("scenarios/stress-150.yaml:12")


def test_what_people_wrote_is_text_and_never_markup() -> None:
    run, verdict = example.failed()
    hostile = '<script>alert("x")</script>'
    verdict = replace(verdict, headline=hostile, findings=tuple(replace(f, detail=hostile) for f in verdict.findings))
    text = html.page(run, verdict, environment={"host": hostile}, scenario_text=hostile)
    assert "<script>alert" not in text
    assert nested_well(text)


def test_seconds_without_a_record_are_a_gap_in_every_curve() -> None:
    line = timeline(*example.failed())
    missing = [step.t_s for step in line.steps if step.ok_per_s is None]
    assert missing == [110, 111, 112]
    curve = re.search(r'<path class="ok" d="([^"]+)"/>', page(*example.failed()))
    assert curve is not None
    assert curve[1].count("M") == 2


def test_a_plan_that_ends_within_a_step_does_not_look_like_a_drop_of_the_load() -> None:
    run, verdict = example.passed()
    whole = timeline(run, verdict).steps[50].ok_per_s
    frames = (replace(frame, ok=frame.ok // 2) if frame.second == 50 else frame for frame in run.frames)
    run = replace(run, plan=replace(run.plan, end_s=50.5), frames=tuple(frames))
    assert timeline(run, verdict).steps[50].ok_per_s == whole


def test_ready_pods_are_shown_no_further_than_the_record_goes() -> None:
    run, verdict = example.failed()
    run = replace(run, events=tuple(event for event in run.events if event.t_ns <= 100_000_000_000))
    assert timeline(run, verdict).pods[-1] == (100.0, 6)


def test_a_run_that_never_began_is_shown_without_curves() -> None:
    run, verdict = example.failed()
    run = replace(run, events=(), frames=(), health=(), series=())
    verdict = replace(
        verdict,
        status=Status.CRASHED,
        verdict=Outcome.INCONCLUSIVE,
        phases=(),
        findings=(),
        timings=(),
        impacts=(),
        validity=(),
    )
    text = html.page(run, verdict, environment={}, scenario_text="")
    assert nested_well(text)
    assert '<path class="p95" d="M0' not in text
    assert "? INCONCLUSIVE" in re.sub(r"<[^>]+>", "", text)


def test_a_long_run_is_shown_in_steps_of_several_seconds_with_nothing_lost() -> None:
    run, verdict = example.passed()
    plan = replace(run.plan, end_s=7200.0)
    frames = tuple(replace(frame, second=n * 125 + frame.second) for n in range(57) for frame in run.frames)
    run = replace(run, plan=plan, frames=frames)
    line = timeline(run, verdict)
    assert (line.step_s, len(line.steps)) == (8, 900)
    shown = sum(step.ok_per_s * line.step_s for step in line.steps if step.ok_per_s is not None)
    assert round(shown) == sum(frame.ok for frame in frames)
    assert len(page(run, verdict).encode()) < 600_000
