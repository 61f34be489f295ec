"""
Undo data on the objects themselves: how a change is marked, and how a marked object is changed back. Pure, and nothing
but the standard library: the reaper in the cluster runs this very file.

A marked object carries the label `lch.dev/run` and the annotation `lch.dev/undo`:

    {"run": "...", "ttl_s": 120, "leased": true, "changes": [{"path": ["spec", "replicas"], "before": 3, "ours": 0}]}

A change is undone only where the object still has our value: what somebody else changed since is theirs. `before` is
null where there was nothing. An element that was added to a list is `{"path": ["spec", "taints"], "element": {...}}`.
A `role` beside them says which of the run's faults made the change, so that one fault's undo leaves another's alone.
Mark, change and undo are one JSON Patch each, so an object is never changed without its mark.

An annotation without its run's label is no mark: a Deployment hands its annotations down to its ReplicaSet, and
`kubectl rollout undo` takes them from there again, long after the run; it never touches the label.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

RUN = "lch.dev/run"
ROLE = "lch.dev/role"  # beside RUN on what a run created
UNDO = "lch.dev/undo"

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field's new value (`ours`), or one element that is added to a list (`element`)."""

    path: tuple[str, ...]  # ("spec", "replicas"); an index into a list is written as a text
    ours: Any = None  # None removes the field
    element: Any = None
    role: str = ""  # of the fault that makes the change


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What an object's annotation says: whose changes they are, and for how long they may stay."""

    run: str  # as a label value
    ttl_s: float  # the reaper undoes the changes so long after it first saw them
    leased: bool  # or earlier: when the run's Lease is no longer renewed
    changes: tuple[Obj, ...]


def mark_of(obj: Obj) -> Mark | None:
    """The mark on the object; None when it has none. Raises ValueError when it cannot be read."""
    text = (obj["metadata"].get("annotations") or {}).get(UNDO)
    if text is None or RUN not in _labels(obj):
        return None
    try:
        said = json.loads(text)
        mark = Mark(
            run=str(said["run"]),
            ttl_s=float(said["ttl_s"]),
            leased=bool(said["leased"]),
            changes=tuple(_checked(change) for change in said["changes"]),
        )
    except (KeyError, TypeError, ValueError) as problem:
        raise ValueError(f"the annotation {UNDO} cannot be read: {problem!r}") from problem
    return mark if mark.run == _labels(obj)[RUN] else None


def _checked(change: Any) -> Obj:
    """The change, if it says all that undoing it takes. Raises KeyError or TypeError."""
    if not all(isinstance(key, str) for key in change["path"]):
        raise TypeError(f"not a path: {change['path']!r}")
    if "element" not in change:
        _ = change["before"], change["ours"]
    return dict(change)


def marking(obj: Obj, changes: Iterable[Change], *, run: str, ttl_s: float, leased: bool) -> list[Obj]:
    """
    The JSON Patch that makes the changes and marks the object with how to undo them.

    `obj` is the object as last read; the patch applies to that version of it only. A change that is one already is
    left out; no change left: an empty patch. Raises ValueError when another run's mark is on the object.
    """
    present = mark_of(obj)
    if present is not None and present.run != run:
        raise ValueError(f"is being changed by run '{present.run}' already")
    wanted = [change for change in changes if not _there(obj, change)]
    if not wanted:
        return []
    said = {"run": run, "ttl_s": max(ttl_s, present.ttl_s if present else 0), "leased": leased}
    entries = [*(present.changes if present else ()), *(_entry(obj, change) for change in wanted)]
    operations = _same_version(obj)
    for change in wanted:
        operations += _made(obj, change)
    return operations + _labelled(obj, run, _written(said | {"changes": entries}))


def undoing(obj: Obj, role: str | None = None) -> list[Obj]:
    """
    The JSON Patch that undoes a marked object's changes where they are still ours, and takes the mark away.

    With a `role`, only that fault's changes; the mark stays for the others. Empty where there is nothing to undo. The
    patch applies to this version of the object only. Raises ValueError when the mark cannot be read.
    """
    mark = mark_of(obj)
    if mark is None:
        return _unlabelled(obj) if role is None else []
    undone = [change for change in mark.changes if role in (None, change.get("role", ""))]
    left = [change for change in mark.changes if change not in undone]
    if role is not None and not undone:
        return []
    operations = _same_version(obj)
    for change in reversed(undone):
        operations += _unmade(obj, change)
    if left:
        said = {"run": mark.run, "ttl_s": mark.ttl_s, "leased": mark.leased, "changes": left}
        return [*operations, *_set(obj, ("metadata", "annotations", UNDO), _written(said))]
    operations.append({"op": "remove", "path": _pointer(("metadata", "annotations", UNDO))})
    return operations + [{"op": "remove", "path": _pointer(("metadata", "labels", RUN))}] * (RUN in _labels(obj))


def _unlabelled(obj: Obj) -> list[Obj]:
    """For an object that lost its annotation (to `kubectl rollout undo`): take the label off as well."""
    if RUN not in _labels(obj) or ROLE in _labels(obj):
        return []
    return [*_same_version(obj), {"op": "remove", "path": _pointer(("metadata", "labels", RUN))}]


def _labels(obj: Obj) -> Obj:
    return obj["metadata"].get("labels") or {}


def _written(said: Obj) -> str:
    return json.dumps(said, separators=(",", ":"))


def _there(obj: Obj, change: Change) -> bool:
    found = _at(obj, change.path)
    return change.element in (found or []) if change.element is not None else bool(found == change.ours)


def _entry(obj: Obj, change: Change) -> Obj:
    entry: Obj = {"path": list(change.path)}
    if change.element is not None:
        entry |= {"element": change.element}
    else:
        entry |= {"before": _at(obj, change.path), "ours": change.ours}
    return entry | ({"role": change.role} if change.role else {})


def _made(obj: Obj, change: Change) -> list[Obj]:
    if change.element is None:
        return _set(obj, change.path, change.ours)
    if _at(obj, change.path) is None:
        return _set(obj, change.path, [change.element])
    return [{"op": "add", "path": _pointer((*change.path, "-")), "value": change.element}]


def _unmade(obj: Obj, change: Obj) -> list[Obj]:
    path = tuple(change["path"])
    found = _at(obj, path)
    if "element" not in change:
        return _set(obj, path, change["before"]) if found == change["ours"] else []
    left = [one for one in found or [] if not _same_element(one, change["element"])]
    return _set(obj, path, left or None) if left != (found or []) else []


def _same_element(found: Any, ours: Any) -> bool:
    """A server may fill in more of an element (a taint's timeAdded), but changes nothing of what we wrote."""
    if isinstance(found, dict) and isinstance(ours, dict):
        return all(found.get(key) == value for key, value in ours.items())
    return bool(found == ours)


def _set(obj: Obj, path: tuple[str, ...], value: Any) -> list[Obj]:
    """Give the field the value; None removes it. Objects on the way to it are made."""
    if value is None:
        return [{"op": "remove", "path": _pointer(path)}] if _at(obj, path) is not None else []
    operations = [
        {"op": "add", "path": _pointer(path[:length]), "value": {}}
        for length in range(1, len(path))
        if _at(obj, path[:length]) is None
    ]
    return [*operations, {"op": "add" if _at(obj, path) is None else "replace", "path": _pointer(path), "value": value}]


def _labelled(obj: Obj, run: str, undo: str) -> list[Obj]:
    operations = _set(obj, ("metadata", "annotations", UNDO), undo)
    return operations + _set(obj, ("metadata", "labels", RUN), run)


def _same_version(obj: Obj) -> list[Obj]:
    return [{"op": "test", "path": "/metadata/resourceVersion", "value": obj["metadata"]["resourceVersion"]}]


def _at(obj: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if isinstance(obj, list):
            obj = obj[int(key)] if key.isdecimal() and int(key) < len(obj) else None
        else:
            obj = obj.get(key) if isinstance(obj, dict) else None
    return obj


def _pointer(path: tuple[str, ...]) -> str:
    """The path as a JSON Pointer (RFC 6901)."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path)
