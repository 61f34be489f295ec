"""The reports of the two examples, word for word. LCH_UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import example
import pytest

from harness.history.run import Run
from harness.report import junit, markdown, terminal
from harness.verdict.model import Verdict

GOLDEN = Path(__file__).parent / "golden"
DIRECTORY = "results/stress-150/20261121-010203-ab12"
Form = Callable[[Run, Verdict], str]


def plain(run: Run, verdict: Verdict) -> str:
    return terminal.text(run, verdict, colour=False, width=110, directory=DIRECTORY) + "\n"


def summary(run: Run, verdict: Verdict) -> str:
    return markdown.summary(run, verdict, DIRECTORY)


def cases(_: Run, verdict: Verdict) -> str:
    return junit.xml(verdict)


@pytest.mark.parametrize("which", ["passed", "failed"])
@pytest.mark.parametrize(("form", "suffix"), [(plain, "txt"), (summary, "md"), (cases, "xml")])
def test_a_report_reads_as_its_golden_file(which: str, form: Form, suffix: str) -> None:
    run, verdict = getattr(example, which)()
    golden = GOLDEN / f"{which}.{suffix}"
    shown = form(run, verdict)
    if os.environ.get("LCH_UPDATE_GOLDEN") == "1":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(shown, encoding="utf-8")
    assert shown == golden.read_text(encoding="utf-8")
    assert form(*getattr(example, which)()) == shown, "the same run gives the same bytes"
