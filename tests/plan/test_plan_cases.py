"""
Golden cases: a wrong scenario and the exact text of what is said about it.

A case is `cases/NAME.yaml` and `cases/NAME.txt`. The YAML is the scenario, read as `scenarios/case.yaml`; after a line
`# file: PATH` comes the text of another file, laid over those in `tree/`.
"""

import re
from pathlib import Path

import pytest

from harness.errors import PlanError
from harness.plan.parse import parse

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_wrong_scenario_is_refused_with_every_problem(case, reader_of):
    scenario, *others = re.split(r"^# file: (\S+)\n", case.read_text(encoding="utf-8"), flags=re.MULTILINE)
    texts = {"scenarios/case.yaml": scenario, **dict(zip(others[::2], others[1::2], strict=True))}
    with pytest.raises(PlanError) as caught:
        parse("scenarios/case.yaml", reader_of(texts))
    assert str(caught.value) + "\n" == case.with_suffix(".txt").read_text(encoding="utf-8")


def test_every_case_has_both_files():
    texts = {case.stem for case in (Path(__file__).parent / "cases").glob("*.txt")}
    assert texts == {case.stem for case in CASES}
