"""A rehearsal changes nothing: what it calls knows that it is one."""

import os
import sys
from types import ModuleType
from typing import Any

import pytest
from chaoslib.exceptions import ActivityFailed

from harness.drivers.chaos.rehearsal import RehearsalError, rehearsed

MODULE = "harness.drivers.faults.on_paper"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """What an action of ours was called with, and what its environment said of a rehearsal."""
    made: list[tuple[str, str | None]] = []

    def cut(zone: str) -> None:
        made.append((zone, os.environ.get("LCH_DRY")))
        if zone == "nowhere":
            raise ActivityFailed("no such zone")

    module = ModuleType(MODULE)
    monkeypatch.setattr(module, "cut", cut, raising=False)
    monkeypatch.setitem(sys.modules, MODULE, module)
    return made


def experiment(module: str = MODULE, zone: str = "zone-b", kind: str = "action") -> dict[str, Any]:
    provider = {"type": "python", "module": module, "func": "cut", "arguments": {"zone": "${zone}"}}
    return {"configuration": {"zone": zone}, "method": [{"type": kind, "name": "cut", "provider": provider}]}


def test_every_action_of_ours_is_called_dry_with_its_arguments(calls: list[tuple[str, str | None]]) -> None:
    assert list(rehearsed(experiment())) == [("cut", "")]

    assert calls == [("zone-b", "1")]
    assert "LCH_DRY" not in os.environ


def test_what_would_fail_is_refused_in_its_own_words(calls: list[tuple[str, str | None]]) -> None:
    with pytest.raises(RehearsalError, match=r"^activity 'cut' would fail: no such zone$"):
        list(rehearsed(experiment(zone="nowhere")))

    assert "LCH_DRY" not in os.environ


def test_actions_of_others_are_not_called_and_named(calls: list[tuple[str, str | None]]) -> None:
    doubt = "only actions of harness.drivers.faults can be, this one is chaosk8s.pod.actions"

    assert list(rehearsed(experiment("chaosk8s.pod.actions"))) == [("cut", doubt)]
    assert list(rehearsed(experiment("chaosk8s.pod.probes", kind="probe"))) == []
    assert calls == []
