"""The audit in every form of report: its rules, its counts, and what was lost when."""

import re
from pathlib import Path

import pytest
from verdict_case import parse

from harness.report import html, junit, markdown, terminal
from harness.verdict.document import document
from harness.verdict.judge import judge

CASES = Path(__file__).parents[1] / "verdict" / "cases"


def judged(name):
    run = parse((CASES / f"{name}.case").read_text(encoding="utf-8")).run()
    return run, judge(run)


TERMINAL = {
    "audit-lost": """\
data-loss audit
  ✗ fail  lost  2  fail > 0 (2 of 600 acknowledged writes not there at the end) case:1
  600 writes acknowledged, 0 without an answer, 0 refused, 2 lost, 0 duplicated, 0 stale
  lost: a7, acknowledged at 0:09.50, 500ms before pod-delete
""",
    "audit-doubles": """\
data-loss audit
  ! warn  duplicated  2  warn > 0 (2 writes there more than once at the end) case:1
  ! warn  stale       5  target < 1 (5 of 600 acknowledged writes missed by a later read, but there at the end) case:1
  ✓ pass  lost        0  fail > 0
  ✓ pass  stale       5  fail > 10
  600 writes acknowledged, 0 without an answer, 0 refused, 0 lost, 2 duplicated, 5 stale
  duplicated: a1, never acknowledged
  stale: a2, acknowledged at 0:04
""",
    "audit-not-read-back": """\
data-loss audit
  ? inconclusive  lost  -  fail > 0 (what was written could not be read back within 60 s: it did not list them) case:1
  what was written could not be read back within 60 s: it did not list them
""",
}


@pytest.mark.parametrize("name", TERMINAL)
def test_on_the_terminal(name):
    run, verdict = judged(name)
    text = terminal.text(run, verdict, colour=False, width=130, directory="results")
    section = re.search(r"^data-loss audit\n(?:  .*\n)+", text, flags=re.MULTILINE)
    assert section
    assert section[0] == TERMINAL[name]


def test_in_markdown():
    run, verdict = judged("audit-lost")
    text = markdown.summary(run, verdict, "results")
    assert (
        """\
### Data-loss audit

600 writes acknowledged, 0 without an answer, 0 refused, 2 lost, 0 duplicated, 0 stale

|  | count | value | rule | why |
| --- | --- | --- | --- | --- |
| ✗ FAIL | lost | 2 | fail > 0 | 2 of 600 acknowledged writes not there at the end |

| count | id | acknowledged at | fault |
| --- | --- | --- | --- |
| lost | `a7` | 0:09.50 | 500ms before pod-delete |
| lost | `a9` | 0:13 | 3s after pod-delete |
"""
        in text
    )


def test_in_junit_every_rule_is_a_case():
    _, verdict = judged("audit-not-read-back")
    text = junit.xml(verdict)
    assert 'name="lost fail &gt; 0" classname="case.audit"' in text
    assert "not_read_back] case:1" in text


def test_in_html_the_lost_ids_stand_beside_the_faults():
    run, verdict = judged("audit-lost")
    page = html.page(run, verdict, environment={}, scenario_text="")
    section = page.split('<section id="audit">')[1].split("</section>")[0]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", section, flags=re.DOTALL)
    assert cells[-4:] == ["lost", "a9", "0:13", "3s after pod-delete"]


def test_a_run_without_an_audit_has_none_in_any_report():
    run, verdict = judged("hold-lost")
    assert document(verdict)["audit"] is None
    assert "audit" not in terminal.text(run, verdict, colour=False, width=130, directory="results")
    assert "audit" not in markdown.summary(run, verdict, "results")
    assert '<section id="audit">' not in html.page(run, verdict, environment={}, scenario_text="")
