"""The golden cases: each file is a run in a few lines and the verdict it must get."""

from __future__ import annotations

from pathlib import Path

import pytest
from verdict_case import parse

from harness.verdict.judge import judge
from harness.verdict.model import Verdict

CASES = sorted((Path(__file__).parent / "cases").glob("*.case"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    case = parse(path.read_text(encoding="utf-8"))
    assert case.expected, "a case without an expectation proves nothing"
    verdict = judge(case.run())
    assert [observed(verdict, what) for what in case.expected] == [" ".join(what) for what in case.expected]


def observed(verdict: Verdict, what: list[str]) -> str:  # noqa: PLR0911 - one per kind of expectation
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
                one for one in verdict.findings if one.phase == phase_name and one.sli == sli and one.tier.value == tier
            )
            shown = "".join(f" {within(finding.value, one)}" for one in span)
            return f"{phase_name} {sli} {tier} {finding.outcome.value} {finding.reason.value}{shown}"
    raise AssertionError(f"not an expectation: {' '.join(what)}")


def within(value: float | None, span: str) -> str:
    lo, _, hi = span.partition("..")
    return span if value is not None and hi and float(lo) <= value <= float(hi) else str(value)
