"""
What a Chaos Toolkit journal and an experiment really say. Pure functions over their JSON shapes.

The journal's own `status` is never looked at: it reads `completed` after a failed action, a failed rollback, and a
rollback that was not played.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from harness.history.events import TargetsFrozen
from harness.plan.model import Cluster

Document = Mapping[str, Any]

TTL_MARGIN_S = 90.0  # for rollbacks that take long, before the cluster steps in


def method_failure(experiment: Document, runs: Sequence[Document]) -> str | None:
    """Why the method does not count as played, from the journal's `run` list; None when every activity succeeded."""
    return _failure("activity", experiment.get("method", ()), runs)


def rollback_failure(experiment: Document, runs: Sequence[Document]) -> str | None:
    """Why the fault does not count as rolled back, from the journal's `rollbacks`; None when every one succeeded."""
    return _failure("rollback", experiment.get("rollbacks", ()), runs)


def _failure(word: str, declared: Sequence[Document], runs: Sequence[Document]) -> str | None:
    problems = [
        f"{word} '{_name(run['activity'])}' {_problem(run)}" for run in runs if run.get("status") != "succeeded"
    ]
    missing = len(declared) - len(runs)
    if missing > 0:
        problems.append(f"{missing} of {len(declared)} {word} entries not played")
    return "; ".join(problems) or None


def _name(activity: Document) -> str:
    return str(activity.get("name") or activity.get("ref"))


def _problem(run: Document) -> str:
    """The last line of the traceback, without Chaos Toolkit's wrapping; an activity without a status never returned."""
    lines = [line.strip() for line in run.get("exception", ()) if line.strip()]
    cause = lines[-1].splitlines()[-1] if lines else "no reason given"
    if "status" not in run and cause.startswith("SystemExit"):
        return "was cut short"
    return f"failed: {cause.replace('chaoslib.exceptions.ActivityFailed: ', '')}"  # it may be wrapped twice


def held(experiment: Document, hold_s: float) -> dict[str, Any]:
    """
    `experiment` as the harness plays it, when it means to keep the fault on for `hold_s` seconds.

    The pause after the last activity of the method is taken away: it is how long plain `chaos run` keeps the fault on,
    while here the fault is held until its rollback is asked for. A configured `ttl_s`, after which the cluster undoes
    the fault by itself, is made long enough not to come first.
    """
    configuration = dict(experiment.get("configuration", {}))
    if isinstance(configuration.get("ttl_s"), int | float):
        configuration["ttl_s"] = max(configuration["ttl_s"], math.ceil(hold_s + TTL_MARGIN_S))
    method = [dict(activity) for activity in experiment.get("method", ())]
    if method and "after" in method[-1].get("pauses", {}):
        method[-1]["pauses"] = {when: pause for when, pause in method[-1]["pauses"].items() if when != "after"}
    return {**experiment, "configuration": configuration, "method": method}


def undo_of(experiment: Document, configuration: Document) -> dict[str, Any]:
    """
    The experiment that only undoes `experiment`: its rollbacks, with `configuration` as resolved, references followed.

    Controls and the hypothesis stay behind, they are for watching. Secrets stay as declared: none is written to disk.
    """
    probes = experiment.get("steady-state-hypothesis", {}).get("probes", ())
    named = {activity.get("name"): activity for activity in (*experiment.get("method", ()), *probes)}
    return {
        "title": experiment["title"],
        "description": experiment["description"],
        "configuration": dict(configuration),
        "secrets": experiment.get("secrets", {}),
        "method": [],
        "rollbacks": [named.get(activity.get("ref"), activity) for activity in experiment.get("rollbacks", ())],
    }


def modules_of(experiment: Document) -> set[str]:
    """The Python modules that the experiment's rollbacks are in."""
    providers = [activity.get("provider", {}) for activity in undo_of(experiment, {})["rollbacks"]]
    return {provider["module"] for provider in providers if provider.get("type") == "python"}


def targets(frozen: TargetsFrozen, nodes: Mapping[str, str], cluster: Cluster) -> dict[str, Any]:
    """What a fault's actions find in LCH_TARGETS: the objects they may touch, by UID, and how many of them at most."""
    return {
        "pods": dict(zip(frozen.uids, frozen.names, strict=True)),
        "owners": list(frozen.owners),
        "nodes": {uid: name for uid, name in nodes.items() if name in frozen.nodes},
        "max_pods": cluster.max_pods,
        "max_share": cluster.max_share,
        "max_nodes": cluster.max_nodes,
    }
