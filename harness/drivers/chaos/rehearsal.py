"""An experiment's method played once with every change only checked by the cluster, before anything depends on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chaoslib.configuration import load_configuration
from chaoslib.exceptions import ActivityFailed
from chaoslib.provider.python import run_python_activity
from chaoslib.secret import load_secrets

OURS = "harness.drivers.faults."
DRY = "LCH_DRY"


class RehearsalError(Exception):
    """An activity would fail, and why."""


def rehearsed(experiment: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """
    Each action of the method, by name, once it is rehearsed, and why it could not be; empty when it was.

    Only the actions that ship with the harness know how to rehearse (LCH_DRY, see drivers.faults.act); probes change
    nothing and are left out. Raises RehearsalError for the first that the cluster would not do.
    """
    configuration = load_configuration(experiment.get("configuration", {}))
    secrets = load_secrets(experiment.get("secrets", {}), configuration)
    for activity in experiment.get("method", ()):
        provider = activity.get("provider", {})
        if provider.get("type") == "python" and provider["module"].startswith(OURS):
            _rehearse(activity, configuration, secrets)
            yield activity["name"], ""
        elif activity.get("type") == "action":
            yield activity["name"], f"only actions of {OURS.rstrip('.')} can be, this one is {_kind(provider)}"


def _rehearse(activity: dict[str, Any], configuration: dict[str, Any], secrets: dict[str, Any]) -> None:
    try:
        with _dry():
            run_python_activity(activity, configuration, secrets)
    except ActivityFailed as problem:
        raise RehearsalError(f"activity '{activity['name']}' would fail: {_text(problem)}") from problem


@contextmanager
def _dry() -> Iterator[None]:
    os.environ[DRY] = "1"
    try:
        yield
    finally:
        del os.environ[DRY]


def _text(problem: BaseException) -> str:
    """What happened, without Chaos Toolkit's wrapping of it."""
    return " ".join(str(problem).split()).replace("chaoslib.exceptions.ActivityFailed: ", "")


def _kind(provider: dict[str, Any]) -> str:
    return str(provider.get("module") or f"of type {provider.get('type')}")
