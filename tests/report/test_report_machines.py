"""JUnit and Markdown: what machines read."""

from __future__ import annotations

from dataclasses import replace

import example
from junitparser import JUnitXml

from harness.report import junit, markdown
from harness.verdict.model import Outcome, Verdict


def counted(verdict: Verdict) -> dict[str | None, tuple[int, int, int, int]]:
    """(tests, failures, errors, skipped) per suite."""
    document = JUnitXml.fromstring(junit.xml(verdict).encode())
    return {suite.name: (suite.tests, suite.failures, suite.errors, suite.skipped) for suite in document}


def test_there_is_a_suite_per_phase_and_one_for_the_run() -> None:
    assert counted(example.passed()[1]) == {
        "baseline": (8, 0, 0, 0),
        "stress": (8, 0, 0, 0),
        "recovery": (8, 0, 0, 0),
        "run": (7, 0, 0, 0),
    }


def test_fail_is_a_failure_and_inconclusive_an_error_and_nothing_is_skipped() -> None:
    assert counted(example.failed()[1]) == {
        "baseline": (8, 0, 0, 0),
        "stress": (9, 2, 2, 0),
        "recovery": (9, 0, 0, 0),
        "run": (7, 1, 0, 0),
    }


def test_an_inconclusive_run_without_any_finding_is_not_green() -> None:
    empty = replace(example.passed()[1], verdict=Outcome.INCONCLUSIVE, phases=(), findings=(), timings=(), validity=())
    assert counted(empty) == {"run": (1, 0, 1, 0)}


def test_text_that_xml_cannot_hold_is_replaced() -> None:
    verdict = replace(example.passed()[1], verdict=Outcome.FAIL, headline="broke: \x00 <&> \ud83d")
    [suite] = [suite for suite in JUnitXml.fromstring(junit.xml(verdict).encode()) if suite.name == "run"]
    [failure] = [case.result[0] for case in suite if case.name == "verdict"]
    assert failure.message == "broke: \ufffd <&> \ufffd [completed]"


def test_the_summary_stays_below_its_limit_and_keeps_the_verdict() -> None:
    run, verdict = example.failed()
    many = tuple(replace(one, phase=f"phase-{n}") for n in range(200) for one in verdict.findings)
    text = markdown.summary(run, replace(verdict, findings=many), "results/x")
    assert len(text.encode()) <= markdown.BYTES_MAX
    assert text.startswith("## ✗ FAIL: stress-150\n")
    assert "… cut: see the full report" in text
    assert text.endswith("Full report: `results/x/report.html`\n")


def test_markup_in_a_detail_cannot_break_the_table() -> None:
    run, verdict = example.failed()
    hostile = tuple(replace(one, detail="a | b\n<script> & c") for one in verdict.findings)
    text = markdown.summary(run, replace(verdict, findings=hostile), "results/x")
    assert "a \\| b &lt;script> &amp; c" in text
    assert "<script>" not in text
