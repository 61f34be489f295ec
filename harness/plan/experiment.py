"""Reads a Chaos Toolkit file for one fault: fills in its configuration and finds out what it may touch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from harness.plan import activities, catalogue
from harness.plan.files import Files
from harness.plan.model import Cluster, Experiment, Observe
from harness.plan.nodes import At, Fields, nearest, quoted
from harness.plan.reach import ON_DEPLOYMENT, refusals

EXTENSION = "load-chaos-harness"
SLOW_S = 0.150  # without a delay to go by: less than Linux waits to send a lost segment again (TCP_RTO_MIN, 200 ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extension:
    """What the experiment says to the harness."""

    observe: Observe
    slow_s: float | None
    misses: str


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
    document = root.plain()
    said = _shape(root, document)
    if len(files.problems) > before or said is None:
        return None
    configuration = _configured(at, document, overrides=overrides, cluster=cluster)
    for what in refusals(configuration, said.observe, cluster):
        (overrides or at).wrong(what)
    if len(files.problems) > before:
        return None
    document["configuration"] = configuration
    return Experiment(
        name=catalogue.name_of(found[0]),
        path=found[0],
        document=json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":")),
        observe=said.observe,
        selector=configuration["selector"],
        namespace=configuration["namespace"],
        zone=_text(configuration.get("zone")),
        max_targets=configuration.get("count"),
        deployment=_text(configuration.get("deployment")) if said.observe in ON_DEPLOYMENT else None,
        slow_s=_slow_s(said, configuration) if said.observe is Observe.PATHS_DEGRADED else None,
        misses=said.misses,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _slow_s(said: _Extension, configuration: Mapping[str, Any]) -> float:
    """When a probe across was delayed: as the experiment says, else half the delay it asks for, else SLOW_S."""
    delay_ms = configuration.get("delay_ms")
    if said.slow_s is not None:
        return said.slow_s
    return delay_ms / 2000 if _number(delay_ms) else SLOW_S


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _shape(root: At, document: Any) -> _Extension | None:
    """What it says to the harness, when the document has the shape of a Chaos Toolkit experiment."""
    fields = root.fields(*activities.ROOT_KEYS)
    if fields is None or not isinstance(document, dict):
        return None
    for key in ("title", "description"):
        fields.text(key)
    activities.check(fields, document)
    if document.get("method") == []:
        fields.values["method"].wrong("does nothing; give at least one action")
    configuration = fields.get("configuration")
    if configuration is not None:
        for key in {"namespace", "selector"} - set(configuration.entries() or {}):
            configuration.wrong(f"'{key}' is missing; it says what the experiment may touch")
    return _extension(fields)


def _extension(root: Fields) -> _Extension | None:
    ours = (item for item in root.items("extensions") if item.is_mapping() and _is_ours(item))
    at = next(ours, None)
    if at is None:
        what = f"{{name: {EXTENSION}, observe: {' or '.join(Observe)}}}, which says how its effect is proven"
        (root.get("extensions") or root.at).wrong(f"no extension {what}")
        return None
    fields = at.fields(("name", "observe"), ("slow_ms", "misses"))
    word = fields.choice("observe", tuple(Observe)) if fields else None
    if fields is None or word is None:
        return None
    slow_ms = fields.values["slow_ms"].plain() if "slow_ms" in fields.values else None
    if slow_ms is not None and not _number(slow_ms):
        fields.values["slow_ms"].wrong(f"{quoted(str(slow_ms))} is not a number above 0, in milliseconds")
    return _Extension(
        observe=Observe(word),
        slow_s=slow_ms / 1000 if _number(slow_ms) else None,
        misses=" ".join((fields.text("misses") or "").split()),
    )


def _is_ours(extension: At) -> bool:
    name = (extension.entries() or {}).get("name")
    return name is not None and name.at.says(EXTENSION)


def _configured(at: At, document: dict[str, Any], *, overrides: At | None, cluster: Cluster) -> dict[str, Any]:
    """The experiment's configuration with the cluster's and the fault's values filled in."""
    configuration = dict(document["configuration"]) | {"namespace": cluster.namespace, "selector": cluster.selector}
    given = (overrides.entries() if overrides else None) or {}
    if "deployment" in configuration and cluster.deployment and not {"namespace", "selector"} & set(given):
        configuration["deployment"] = cluster.deployment
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
        if isinstance(usual, bool | int | float | str | list) and _sort(value) != _sort(usual):
            entry.at.wrong(f"{quoted(str(value))} is not a {_sort(usual)}, as the experiment's own '{usual}' is")
            continue
        configuration[key] = value
    return configuration


def _sort(value: object) -> str:
    if isinstance(value, bool):
        return "yes-or-no value"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "list"
