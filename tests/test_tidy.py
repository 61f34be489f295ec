"""Style as a test: what the linters do not know about this repository's rooms."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PURE_ROOMS = ("plan", "schedule", "history", "verdict", "report")
PURE_MODULES = ("units.py", "errors.py")
EFFECTFUL = {
    "os",
    "time",
    "random",
    "socket",
    "subprocess",
    "threading",
    "logging",
    "asyncio",
    "io",
    "select",
    "signal",
}
EFFECTFUL_CALLS = {"open", "print", "input"}


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def pure_files() -> list[Path]:
    rooms = [path for room in PURE_ROOMS for path in python_files(f"harness/{room}")]
    return rooms + [ROOT / "harness" / name for name in PURE_MODULES]


def imported(tree: ast.AST) -> set[str]:
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", pure_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_pure_rooms_touch_neither_clock_nor_world(path: Path) -> None:
    """Plan, schedule, history, verdict and report are functions of their arguments."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}

    assert imported(tree) & EFFECTFUL == set()
    assert calls & EFFECTFUL_CALLS == set()


def test_the_check_on_pure_rooms_can_fail() -> None:
    """A module that reads the clock is noticed."""
    assert imported(ast.parse("import os.path\nfrom time import sleep")) & EFFECTFUL == {"os", "time"}


@pytest.mark.parametrize("path", python_files("harness"), ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_readable(path: Path) -> None:
    """A module has at most 450 lines and a function at most 60."""
    text = path.read_text(encoding="utf-8")
    long = [
        f"{node.name}: {(node.end_lineno or 0) - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 60
    ]

    assert long == []
    assert text.count("\n") <= 450


def test_no_module_is_a_drawer() -> None:
    """No room is called after nothing in particular."""
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}

    assert [path for path in python_files("harness") if path.stem in drawers] == []


def test_the_sandbox_stays_small() -> None:
    """The sandbox is a means: about 2,500 lines."""
    lines = sum(path.read_text(encoding="utf-8").count("\n") for path in python_files("harness/sandbox"))

    assert lines <= 2_700
