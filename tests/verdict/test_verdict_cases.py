"""The golden cases: each file is a run in a few lines and the verdict it must get."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from verdict_case import parse

from harness.verdict import judge as judge_module
from harness.verdict.judge import judge
from harness.verdict.model import Finding, Reason, Verdict

CASES = sorted((Path(__file__).parent / "cases").glob("*.case"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    case = parse(path.read_text(encoding="utf-8"))
    assert case.expected, "a case without an expectation proves nothing"
    verdict = judge(case.run())
    assert [observed(verdict, what) for what in case.expected] == [" ".join(what) for what in case.expected]


def expectations() -> Iterator[list[str]]:
    for path in CASES:
        yield from parse(path.read_text(encoding="utf-8")).expected


def test_every_reason_has_a_case() -> None:
    """A reason that no case shows could be given for anything."""
    seen = {word for what in expectations() for word in what}
    assert set(Reason) - seen == set()


def test_every_check_has_a_case_in_which_it_is_not_kept() -> None:
    """A check that always passes checks nothing."""
    outcomes = {(what[2], what[3]) for what in expectations() if what[0] == "check"}
    broken = {name for name, outcome in outcomes if outcome in {"inconclusive", "warn"}}
    assert check_names() - broken == set()


def check_names() -> set[str]:
    """Every name that the verdict's code gives a check."""
    found = set()
    for path in Path(judge_module.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                named = node.args[:1] if ast.unparse(node.func).endswith("_check") else []
                named += [keyword.value for keyword in node.keywords if keyword.arg == "check"]
                found |= {one.value for one in named if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return found


def test_the_names_of_checks_are_found() -> None:
    assert {"run_completed", "start_lag", "fault_gone"} <= check_names()


def test_every_case_says_in_a_line_what_it_is_about() -> None:
    assert [path.stem for path in CASES if not parse(path.read_text(encoding="utf-8")).title.endswith((".", ")"))] == []


def observed(verdict: Verdict, what: list[str]) -> str:  # noqa: C901, PLR0911, PLR0912 - one per kind of expectation
    """The expectation as it would have to be written to hold; an interval that holds is repeated as given."""
    match what:
        case ["run", _]:
            return f"run {verdict.verdict.value}"
        case ["restored", _]:
            return f"restored {'yes' if verdict.restored else 'no'}"
        case ["phase", name, _]:
            (phase,) = (one for one in verdict.phases if one.name == name)
            return f"phase {name} {phase.verdict.value if phase.verdict else 'unjudged'}"
        case ["impacts", _]:
            return f"impacts {len(verdict.impacts)}"
        case ["audit", count, tier, _, _]:
            assert verdict.audit
            (ruled,) = (one for one in verdict.audit.findings if (one.count.value, one.tier.value) == (count, tier))
            return f"audit {count} {tier} {ruled.outcome.value} {ruled.reason.value}"
        case ["example", number, *_]:
            assert verdict.audit
            example = verdict.audit.examples[int(number)]
            return f"example {number} {example.count.value} {example.id} {example.near}".rstrip()
        case ["impact", number, *spans]:
            impact = verdict.impacts[int(number)]
            values = (impact.start_s, impact.end_s)
            shown = " ".join(within(value, span) for value, span in zip(values, spans, strict=False))
            rest = spans[2:]
            return f"impact {number} {shown}" + (f" {impact.fault or 'no-fault'}" if rest else "")
        case ["check", phase, name, _]:
            found = [
                one for one in verdict.validity if one.check == name and one.phase == (None if phase == "-" else phase)
            ]
            return f"check {phase} {name} {found[0].outcome.value if found else 'missing'}"
        case ["told", name, *_]:
            (found_check,) = (one for one in verdict.validity if one.check == name)
            return f"told {name} {found_check.detail}"
        case ["headline", *_]:
            return f"headline {verdict.headline}"
        case ["timing", fault, timing, _, _, *span]:
            (found_timing,) = (one for one in verdict.timings if one.fault == fault and one.timing.value == timing)
            outcome = found_timing.outcome.value if found_timing.outcome else "unasked"
            shown = "".join(f" {within(found_timing.value_s, one)}" for one in span)
            return f"timing {fault} {timing} {outcome} {found_timing.reason.value}{shown}"
        case ["why", fault, timing, *_]:
            (found_timing,) = (one for one in verdict.timings if one.fault == fault and one.timing.value == timing)
            return f"why {fault} {timing} {found_timing.detail}"
        case [phase_name, sli, tier, _, _, *span]:
            (finding,) = (
                one for one in verdict.findings if (one.phase, name_of(one), one.tier.value) == (phase_name, sli, tier)
            )
            shown = "".join(f" {within(finding.value, one)}" for one in span)
            return f"{phase_name} {sli} {tier} {finding.outcome.value} {finding.reason.value}{shown}"
    raise AssertionError(f"not an expectation: {' '.join(what)}")


def name_of(finding: Finding) -> str:
    """The SLI, and with `each` which group of it."""
    return finding.sli + (f"@{finding.group}" if finding.group else "")


def within(value: float | None, span: str) -> str:
    lo, _, hi = span.partition("..")
    return span if value is not None and hi and float(lo) <= value <= float(hi) else str(value)
