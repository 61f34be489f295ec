"""Where the files are that names stand for. Pure text: nothing here looks at a disk."""

from __future__ import annotations

import posixpath

SCENARIOS = "scenarios"


def scenario_path(name: str) -> str:
    """`stress-150` is `scenarios/stress-150.yaml`; anything with a slash or a YAML suffix is a path already."""
    return name if is_path(name) else f"{SCENARIOS}/{name}.yaml"


def service_paths(name: str, scenario: str) -> tuple[str, ...]:
    """Where a scenario's service may be: `services/NAME.yaml` beside the scenario; or the path, relative to it."""
    return (beside(scenario, name if is_path(name) else f"services/{name}.yaml"),)


def experiment_paths(name: str, scenario: str) -> tuple[str, ...]:
    """Where an experiment may be: `experiments/NAME.yaml` beside the scenario, then beside its folder; or the path."""
    if is_path(name):
        return (beside(scenario, name),)
    return tuple(beside(scenario, f"{folder}/{name}.yaml") for folder in ("experiments", "../experiments"))


def beside(file: str, path: str) -> str:
    """`path`, written inside `file`, from where `file` is seen: paths in a file are relative to that file."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(file), path))


def name_of(path: str) -> str:
    """The name a file gives to what it holds: `scenarios/stress-150.yaml` is `stress-150`."""
    return posixpath.splitext(posixpath.basename(path))[0]


def is_path(name: str) -> bool:
    """Whether a person wrote a path, not a name."""
    return "/" in name or name.endswith((".yaml", ".yml", ".json"))
