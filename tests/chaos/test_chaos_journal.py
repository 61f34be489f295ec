"""What a journal says of a method and its rollbacks, and the experiment that only undoes."""

from harness.drivers.chaos.journal import held, method_failure, rollback_failure, undo_of

KILL = {"type": "action", "name": "kill", "provider": {"type": "python", "module": "m", "func": "kill"}}
LOOK = {"type": "probe", "name": "look", "provider": {"type": "python", "module": "m", "func": "look"}}
BACK = {"type": "action", "name": "back", "provider": {"type": "python", "module": "m", "func": "back"}}
PLAYED = {"activity": KILL, "output": None, "status": "succeeded"}


def test_a_method_of_which_every_activity_succeeded_has_no_failure() -> None:
    assert method_failure({"method": [KILL]}, [PLAYED]) is None


def test_an_empty_method_has_no_failure() -> None:
    assert method_failure({"method": []}, []) is None


def test_a_failed_activity_is_named_with_its_exception() -> None:
    exception = ["Traceback (most recent call last):\n", "chaoslib.exceptions.ActivityFailed: OSError: no route\n"]
    failed = {"activity": KILL, "status": "failed", "exception": exception}

    assert method_failure({"method": [KILL]}, [failed]) == "activity 'kill' failed: OSError: no route"


def test_an_activity_that_could_not_be_imported_failed_although_it_has_no_status() -> None:
    broken = {"activity": KILL, "exception": ["ModuleNotFoundError: No module named 'm'\n"]}

    assert (
        method_failure({"method": [KILL]}, [broken])
        == "activity 'kill' failed: ModuleNotFoundError: No module named 'm'"
    )


def test_an_interrupted_activity_was_cut_short_and_those_after_it_were_not_played() -> None:
    cut = {"activity": KILL, "exception": ["SystemExit: 20\n"]}

    expected = "activity 'kill' was cut short; 1 of 2 activity entries not played"
    assert method_failure({"method": [KILL, LOOK]}, [cut]) == expected


def test_a_rollback_that_was_not_played_is_a_failure() -> None:
    assert rollback_failure({"rollbacks": [BACK]}, []) == "1 of 1 rollback entries not played"


def test_a_failure_without_any_reason_is_still_a_failure() -> None:
    failed = {"activity": BACK, "status": "failed"}

    assert rollback_failure({"rollbacks": [BACK]}, [failed]) == "rollback 'back' failed: no reason given"


def test_an_undo_is_the_rollbacks_alone_with_values_resolved_and_references_followed() -> None:
    experiment = {
        "title": "t",
        "description": "d",
        "configuration": {"run": {"type": "env", "key": "LCH_RUN"}},
        "secrets": {"cluster": {"token": {"type": "env", "key": "TOKEN"}}},
        "controls": [{"name": "noisy"}],
        "steady-state-hypothesis": {"title": "h", "probes": [LOOK]},
        "method": [KILL, BACK],
        "rollbacks": [{"ref": "back"}, {"ref": "look"}],
    }

    assert undo_of(experiment, {"run": "shop/1"}) == {
        "title": "t",
        "description": "d",
        "configuration": {"run": "shop/1"},
        "secrets": {"cluster": {"token": {"type": "env", "key": "TOKEN"}}},
        "method": [],
        "rollbacks": [BACK, LOOK],
    }


def test_the_harness_holds_instead_of_the_last_pause_and_keeps_the_others() -> None:
    paused = {**KILL, "pauses": {"before": 1, "after": 2}}
    last = {**LOOK, "pauses": {"before": 3, "after": "${hold_s}"}}

    assert held({"title": "t", "method": [paused, last]}, 10) == {
        "title": "t",
        "configuration": {},
        "method": [paused, {**LOOK, "pauses": {"before": 3}}],
    }


def test_the_clusters_own_deadline_does_not_come_before_the_planned_rollback() -> None:
    experiment = {"configuration": {"ttl_s": 120, "zone": "zone-b"}, "method": []}

    assert held(experiment, 10.0)["configuration"] == {"ttl_s": 120, "zone": "zone-b"}
    assert held(experiment, 299.5)["configuration"] == {"ttl_s": 390, "zone": "zone-b"}
