"""
The verdict as JUnit XML: one test suite per phase, one test case per threshold, timing rule, rule of the audit and
validity check.

`warn` is a passed case with a note, `fail` is a <failure>. `inconclusive` is an <error>, never <skipped>: CI systems
show skipped tests as green. Names are stable from run to run, so that trends work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.dom.minidom import parseString

from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

from harness.report import words
from harness.verdict.model import AuditFinding, Check, Finding, Outcome, TimingFinding, Verdict

NOT_XML = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")


def xml(verdict: Verdict) -> str:
    """The document; the same bytes for the same verdict."""
    document = JUnitXml(verdict.scenario)
    for name, cases in _suites(verdict):
        suite = TestSuite(name)
        suite.add_testcases(cases)
        document.add_testsuite(suite)
    return parseString(document.tostring()).toprettyxml(indent="  ")  # type: ignore[no-untyped-call]


def _suites(verdict: Verdict) -> Iterable[tuple[str, list[TestCase]]]:
    """A suite per phase, then one for what belongs to the whole run."""
    for phase in verdict.phases:
        cases = [_rule_case(verdict, one) for one in verdict.findings if one.phase == phase.name]
        cases += [_check_case(verdict, one) for one in verdict.validity if one.phase == phase.name]
        if cases:
            yield phase.name, cases
    cases = [_timing_case(verdict, one) for one in verdict.timings if one.outcome]
    cases += [_audit_case(verdict, one) for one in (verdict.audit.findings if verdict.audit else ())]
    cases += [_check_case(verdict, one) for one in verdict.validity if one.phase is None]
    cases.append(_whole_case(verdict))
    yield "run", cases


def _rule_case(verdict: Verdict, finding: Finding) -> TestCase:
    name = f"{words.named(finding)} {finding.tier.value} {finding.rule}"
    told = "; ".join(filter(None, (words.value(finding), finding.reason.value, finding.severity)))
    message = " ".join(filter(None, (finding.detail, f"[{told}]", finding.runbook, str(finding.source))))
    return _case(f"{verdict.scenario}.{finding.phase}", name, finding.outcome, message)


def _timing_case(verdict: Verdict, finding: TimingFinding) -> TestCase:
    tier = f"{finding.tier.value} " if finding.tier else ""
    name = f"{finding.fault} {finding.timing.value} {tier}{finding.rule}"
    message = f"{finding.detail} [{words.timing(finding)}; {finding.reason.value}] {finding.source}"
    return _case(f"{verdict.scenario}.timings", name, finding.outcome, message)


def _audit_case(verdict: Verdict, finding: AuditFinding) -> TestCase:
    name = f"{finding.count.value} {finding.tier.value} {finding.rule}"
    message = f"{finding.detail} [{finding.reason.value}] {finding.source}"
    return _case(f"{verdict.scenario}.audit", name, finding.outcome, message)


def _check_case(verdict: Verdict, check: Check) -> TestCase:
    return _case(f"{verdict.scenario}.{check.phase or 'run'}.validity", check.check, check.outcome, check.detail)


def _whole_case(verdict: Verdict) -> TestCase:
    """The run's own verdict, so that what no single rule shows (an interrupted run) is not green either."""
    return _case(f"{verdict.scenario}.run", "verdict", verdict.verdict, f"{verdict.headline} [{verdict.status.value}]")


def _case(classname: str, name: str, outcome: Outcome | None, message: str) -> TestCase:
    case = TestCase(_clean(name), classname=_clean(classname), time=0)
    said = _clean(message)
    match outcome:
        case Outcome.FAIL:
            case.result = [_told(Failure(said, outcome.value), said)]
        case Outcome.INCONCLUSIVE:
            case.result = [_told(Error(said, outcome.value), said)]
        case Outcome.WARN:
            case.system_out = f"warn: {said}"
        case _:
            pass
    return case


def _told(result: Failure | Error, text: str) -> Failure | Error:
    result.text = text
    return result


def _clean(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
