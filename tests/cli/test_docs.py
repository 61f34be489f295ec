"""The documents say what the code says."""

import re
from pathlib import Path
from typing import get_args

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from harness.cli.main import app
from harness.errors import ExitCode
from harness.history.events import Body

ROOT = Path(__file__).parent.parent.parent


def test_every_exit_code_is_documented() -> None:
    """The table in docs/exit-codes.md holds each code once, under its name."""
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", (ROOT / "docs/exit-codes.md").read_text(), re.MULTILINE)

    assert {int(code): name for code, name in rows} == {code.value: code.name.lower() for code in ExitCode}


def test_the_readme_lists_every_command_and_no_other() -> None:
    """A command that is not in the README does not exist for its readers."""
    listed = set(re.findall(r"^\| `harness (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    command = get_command(app)

    assert listed == set(command.commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", [[], ["run"], ["judge"]])
def test_help_names_the_exit_codes(command: list[str]) -> None:
    """So does that of the commands that a gate calls."""
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"}).output

    assert all(re.search(rf"\b{code.value}\b", shown) for code in ExitCode)


def test_links_between_documents_lead_somewhere() -> None:
    """Every relative link in README and docs is a file."""
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_every_event_says_what_it_is() -> None:
    """The history is read by people: each kind of event is documented where it is defined."""
    assert [body.__name__ for body in get_args(Body) if not (body.__doc__ or "").strip()] == []
