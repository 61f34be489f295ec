"""Reads a Chaos Toolkit file for one fault: fills in its configuration and finds out what it may touch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.plan import catalogue
from harness.plan.files import Files
from harness.plan.model import Cluster, Experiment, Observe
from harness.plan.nodes import At, Entry, nearest, quoted

EXTENSION = "load-chaos-harness"


def experiment_of(at: At, files: Files, *, scenario: str, overrides: At | None, cluster: Cluster) -> Experiment | None:
    """
    The experiment that a fault names, with the cluster's namespace and selector and the fault's `with` filled in.

    None when something is wrong with the file or with what the fault asks of it; that is recorded.
    """
    name = at.text()
    if name is None:
        return None
    paths = catalogue.experiment_paths(name, scenario)
    found = files.first(paths)
    if found is None:
        at.wrong(f"no experiment {quoted(name)}; looked for {' and '.join(paths)}")
        return None
    root = files.document(*found)
    if root is None:
        return None
    before = len(files.problems)
    document, entries = root.plain(), root.entries() or {}
    observe = _shape(root, entries, document)
    if len(files.problems) > before or observe is None:
        return None
    configuration = _configured(at, document, overrides=overrides, cluster=cluster)
    if not _allowed(overrides or at, configuration, observe, cluster) or len(files.problems) > before:
        return None
    document["configuration"] = configuration
    return Experiment(
        name=catalogue.name_of(found[0]),
        path=found[0],
        document=json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":")),
        observe=observe,
        selector=configuration["selector"],
        namespace=configuration["namespace"],
        zone=configuration["zone"] if observe is Observe.ZONE_CUT else None,
        max_targets=configuration.get("count"),
    )


def _shape(root: At, entries: Mapping[str, Entry], document: Any) -> Observe | None:
    """How the effect is observed, when the document has the shape of a Chaos Toolkit experiment."""
    if not isinstance(document, dict):
        return None
    for key in ("title", "description", "method", "configuration", "extensions"):
        if key not in document:
            root.wrong(f"'{key}' is missing from the experiment")
    for key in ("title", "description"):
        if key in entries:
            entries[key].at.text()
    for key in ("method", "rollbacks"):
        if key in entries:
            _activities(entries[key].at, document[key])
    if document.get("method") == []:
        entries["method"].at.wrong("does nothing; give at least one action")
    if "configuration" in entries:
        found = entries["configuration"].at.entries() or {}
        for key in {"namespace", "selector"} - set(found):
            entries["configuration"].at.wrong(f"'{key}' is missing; it says what the experiment may touch")
    return _observe(entries["extensions"].at, document["extensions"]) if "extensions" in entries else None


def _activities(at: At, activities: Any) -> None:
    for item, activity in zip(at.items(), activities if isinstance(activities, list) else (), strict=False):
        if not isinstance(activity, dict):
            item.wrong("wants an action or a probe: type, name, provider")
        elif "ref" not in activity:
            missing = [key for key in ("type", "name", "provider") if key not in activity]
            if missing:
                item.wrong(f"{' and '.join(repr(key) for key in missing)} missing from the activity")
            elif str(activity["type"]) not in {"action", "probe"}:
                item.wrong(f"type {quoted(str(activity['type']))} is neither action nor probe")


def _observe(at: At, extensions: Any) -> Observe | None:
    known = [word.value for word in Observe]
    for extension in extensions if isinstance(extensions, list) else ():
        if isinstance(extension, dict) and extension.get("name") == EXTENSION:
            word = extension.get("observe")
            if word in known:
                return Observe(word)
            at.wrong(f"unknown 'observe' {quoted(str(word))}; {nearest(str(word), known, allowed='allowed')}")
            return None
    at.wrong(f"lacks {{name: {EXTENSION}, observe: {' or '.join(known)}}}, which says how its effect is proven")
    return None


def _configured(at: At, document: dict[str, Any], *, overrides: At | None, cluster: Cluster) -> dict[str, Any]:
    """The experiment's configuration with the cluster's and the fault's values filled in."""
    configuration = dict(document["configuration"]) | {"namespace": cluster.namespace, "selector": cluster.selector}
    given = (overrides.entries() if overrides else None) or {}
    for key, entry in given.items():
        if key not in document["configuration"]:
            name = catalogue.name_of(at.text() or "")
            entry.at.wrong(
                f"the experiment '{name}' has no configuration {quoted(key)}; "
                f"{nearest(key, document['configuration'], allowed='it has')}",
                line=entry.key_line,
            )
            continue
        before, value, usual = len(at.problems), entry.at.plain(), document["configuration"][key]
        if len(at.problems) > before:
            continue
        if isinstance(usual, bool | int | float | str) and _sort(value) != _sort(usual):
            entry.at.wrong(f"{quoted(str(value))} is not a {_sort(usual)}, as the experiment's own '{usual}' is")
            continue
        configuration[key] = value
    return configuration


def _allowed(at: At, configuration: Mapping[str, Any], observe: Observe, cluster: Cluster) -> bool:
    """Whether the fault stays inside the service's blast radius; recorded when not."""
    wrong: list[str] = []
    count, zone = configuration.get("count"), configuration.get("zone")
    if configuration["namespace"] != cluster.namespace:
        wrong.append(
            f"namespace {quoted(str(configuration['namespace']))} is not the service's '{cluster.namespace}'; remove it"
        )
    terms = str(configuration["selector"]).replace(" ", "").split(",")
    if not set(cluster.selector.replace(" ", "").split(",")) <= set(terms):
        wrong.append(
            f"selector {quoted(str(configuration['selector']))} reaches beyond the service's '{cluster.selector}'; "
            f"narrow it, e.g. '{cluster.selector},tier=web'"
        )
    if "count" in configuration and not (isinstance(count, int) and not isinstance(count, bool) and count >= 1):
        wrong.append(f"count {quoted(str(count))} is not a whole number from 1 on")
    elif isinstance(count, int) and count > cluster.max_pods:
        wrong.append(f"count {count} is more than the service's max_pods {cluster.max_pods}; lower it")
    if observe is Observe.ZONE_CUT and not (isinstance(zone, str) and zone):
        wrong.append("no zone to cut; write 'with: {zone: ...}'")
    for what in wrong:
        at.wrong(what)
    return not wrong


def _sort(value: object) -> str:
    if isinstance(value, bool):
        return "yes-or-no value"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "list"
