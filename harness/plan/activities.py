"""
What Chaos Toolkit is to do, read more strictly than it does: a typo is a problem where it was written.

Chaos Toolkit ignores keys that it does not know and hands on a `${name}` that nothing declares as it stands. A
`rollback` for `rollbacks` would leave a fault in place without a word, and so would an undo of the zone '${zome}'.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.plan.actions import ACTIONS, ROOM
from harness.plan.nodes import At, Fields, nearest, quoted

ROOT_KEYS = (
    ("title", "description", "configuration", "method"),
    (
        "extensions",
        "tags",
        "contributions",
        "version",
        "secrets",
        "controls",
        "steady-state-hypothesis",
        "runtime",
        "rollbacks",
    ),
)
ACTIVITY_KEYS = (("type", "name", "provider"), ("pauses", "background", "controls", "timeout", "tolerance"))
PROVIDER_KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "python": (("type", "module", "func"), ("arguments", "secrets")),
    "process": (("type", "path"), ("arguments", "timeout", "secrets")),
    "http": (
        ("type", "url"),
        ("method", "headers", "timeout", "arguments", "verify_tls", "max_retries", "secrets"),
    ),
}
DECIDING = ("namespace", "selector", "zone", "deployment", "lease", "node", "count", "share", "replicas")
"""The configuration by which is decided, before the run, what a fault may touch."""

STRATEGIES = ("always", "default", "deviated", "never")

_PACKAGE = "harness."
_NAME = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    """What the experiment's activities may refer to."""

    configuration: frozenset[str]
    values: frozenset[str]  # as `${name}`: of the configuration, and of every scope of secrets
    scopes: frozenset[str]  # of secrets
    activities: frozenset[str]


def check(fields: Fields, document: Mapping[str, Any]) -> None:
    """Record what is wrong with what the experiment does; `fields` are those of its root, `document` the same plain."""
    declared = _declared(document)
    if "configuration" in fields.values:
        _configuration(fields.values["configuration"], declared)
    for key in ("method", "rollbacks"):
        for item in fields.items(key):
            _activity(item, declared)
    hypothesis = _below(fields, "steady-state-hypothesis", ("title", "probes"), ("controls",))
    for item in hypothesis.items("probes") if hypothesis else ():
        _activity(item, declared)
    runtime = _below(fields, "runtime", (), ("rollbacks", "hypothesis"))
    rollbacks = _below(runtime, "rollbacks", ("strategy",)) if runtime else None
    if rollbacks:
        rollbacks.choice("strategy", STRATEGIES)


def _declared(document: Mapping[str, Any]) -> _Declared:
    secrets, hypothesis = (_mapping(document.get(key)) for key in ("secrets", "steady-state-hypothesis"))
    configuration = frozenset(_mapping(document.get("configuration")))
    lists = (document.get("method"), document.get("rollbacks"), hypothesis.get("probes"))
    activities = (one for found in lists if isinstance(found, list) for one in map(_mapping, found))
    return _Declared(
        configuration=configuration,
        values=configuration.union(*map(_mapping, secrets.values())),
        scopes=frozenset(secrets),
        activities=frozenset(str(one["name"]) for one in activities if "name" in one),
    )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _below(fields: Fields, key: str, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> Fields | None:
    at = fields.get(key)
    return at.fields(required, optional) if at else None


def _configuration(at: At, declared: _Declared) -> None:
    """A value that says its `type` is taken from the environment or from a probe."""
    for entry in (at.entries() or {}).values():
        inner = (entry.at.entries() or {}) if entry.at.is_mapping() else {}
        kind = inner["type"].at.choice(("env", "probe")) if "type" in inner else None
        if kind == "env":
            entry.at.fields(("type", "key"), ("default", "env_var_type"))
        elif kind == "probe":
            _activity(entry.at, declared)


def _activity(at: At, declared: _Declared) -> None:
    entries = (at.entries() or {}) if at.is_mapping() else {}
    if "ref" in entries:
        _one_of(entries["ref"].at, declared.activities, "activity")
        return
    fields = at.fields(*ACTIVITY_KEYS)
    if fields is None:
        return
    fields.choice("type", ("action", "probe"))
    fields.text("name")
    if "pauses" in fields.values and fields.values["pauses"].fields((), ("before", "after")):
        _resolvable(fields.values["pauses"], declared)
    if "provider" in fields.values:
        _provider(fields.values["provider"], declared)


def _provider(at: At, declared: _Declared) -> None:
    entries = at.entries()
    if entries is None:
        return
    if "type" not in entries:
        at.wrong(f"'type' is missing; give one of {', '.join(sorted(PROVIDER_KEYS))}")
        return
    kind = entries["type"].at.choice(PROVIDER_KEYS)
    fields = at.fields(*PROVIDER_KEYS[kind]) if kind else None
    if fields is None:
        return
    if kind == "python":
        _function(fields, declared)
    if kind != "process":  # which may be for a shell, with names of its own
        _resolvable(at, declared)
    for item in fields.items("secrets"):
        _one_of(item, declared.scopes, "scope of secrets")


def _one_of(at: At, known: frozenset[str], what: str) -> None:
    name = at.text()
    if name is not None and name not in known:
        at.wrong(f"the experiment has no {what} {quoted(name)}; {nearest(name, known, allowed='it has')}")


def _function(fields: Fields, declared: _Declared) -> None:
    """The harness's own functions are known, and their arguments; of others nothing is."""
    module, func = fields.text("module"), fields.text("func")
    if module is None or func is None or not module.startswith(_PACKAGE):
        return
    own = [(ROOM + name.split(".")[0], name.split(".")[1]) for name in ACTIONS]
    modules, funcs = {one for one, _ in own}, {name for one, name in own if one == module}
    action = f"{module.removeprefix(ROOM)}.{func}"
    if module not in modules:
        fields.values["module"].wrong(f"no module {quoted(module)} has actions; {nearest(module, modules)}")
    elif func not in funcs:
        said = nearest(func, funcs, allowed="it has")
        fields.values["func"].wrong(f"the module has no action {quoted(func)}; {said}")
    elif "arguments" in fields.values:
        _arguments(fields.values["arguments"], *ACTIONS[action], declared)
    else:
        fields.at.wrong(f"'arguments' is missing; {func} wants at least {', '.join(ACTIONS[action][0])}")


def _arguments(at: At, required: tuple[str, ...], optional: tuple[str, ...], declared: _Declared) -> None:
    """No others than the action takes; and those by which is decided what it may touch are the configuration's."""
    fields = at.fields(required, optional)
    if fields is None:
        return
    for key in DECIDING:
        given = fields.get(key)
        left_out = given is None and key in optional
        if key in declared.configuration and (left_out or (given and not given.says(f"${{{key}}}"))):
            what = f"'{key}' must be '${{{key}}}', for the configuration's is what is checked before the run"
            (given or at).wrong(what)


def _resolvable(at: At, declared: _Declared) -> None:
    """Every `${name}` in the values, and in those of `arguments`, is declared; not looked at where nothing is."""
    entries = dict(at.entries() or {}) if declared.values else {}
    if "arguments" in entries and entries["arguments"].at.is_mapping():
        entries |= entries.pop("arguments").at.entries() or {}
    for entry in entries.values():
        for name in _NAME.findall(json.dumps(entry.at.plain(), ensure_ascii=False)):
            if name not in declared.values:
                said = nearest(name, declared.values, allowed="it has")
                entry.at.wrong(f"the experiment's configuration has no {quoted(name)}; {said}")
