"""
The four ways to change an object by PATCH, as functions from the old object and the patch to a new object.

Sources: RFC 6902 (JSON Patch), RFC 7386 (merge patch), and for strategic merge
https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

import copy
from types import MappingProxyType
from typing import Any

from harness.sandbox.resources import ApiError, Obj, bad_request

# The key that tells the items of a list apart, by the name of the list; lists not named here are replaced whole.
_MERGE_KEYS = MappingProxyType(
    {
        "containers": ("name",),
        "initContainers": ("name",),
        "env": ("name",),
        "volumes": ("name",),
        "imagePullSecrets": ("name",),
        "volumeMounts": ("mountPath",),
        "ports": ("containerPort", "port"),
        "conditions": ("type",),
        "addresses": ("type",),
        "hostAliases": ("ip",),
        "podIPs": ("ip",),
        "ownerReferences": ("uid",),
        "topologySpreadConstraints": ("topologyKey",),
    }
)
_MERGED_SETS = ("finalizers", "podCIDRs")


def json_patch(document: Obj, operations: list[Obj]) -> Obj:
    """The document after the operations, in order. Raises ApiError 422 when one fails, so that none took place."""
    root: Obj = {"": copy.deepcopy(document)}
    for number, operation in enumerate(operations):
        try:
            _operate(root, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            why = f"the server rejected our request due to an error in our request: operation {number} {operation}"
            raise ApiError(422, "Invalid", f"{why}: {error!r}") from error
    result: Obj = root[""]
    return result


def merge_patch(old: Any, patch: Any) -> Any:
    """`old` with every field of the patch replaced, and those that the patch says are null gone."""
    if not isinstance(patch, dict):
        return patch
    new = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        else:
            new[key] = merge_patch(new.get(key), value)
    return new


def strategic_merge(old: Any, patch: Any) -> Any:
    """As `merge_patch`, but lists of named items are merged by name; understands the `$patch` family of directives."""
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    if patch.get("$patch") == "delete":
        return {}
    new = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            new.pop(key, None)
        elif isinstance(value, list):
            new[key] = _merge_list(key, new.get(key) or [], value)
        else:
            new[key] = strategic_merge(new.get(key), value)
    return _directives(new, patch)


def _directives(new: Obj, patch: Obj) -> Obj:
    for directive, value in patch.items():
        kind, _, key = directive.partition("/")
        if kind == "$deleteFromPrimitiveList":
            new[key] = [item for item in new.get(key, ()) if item not in value]
        elif kind == "$setElementOrder" and key in new:
            new[key] = _in_order(key, new[key], value)
        elif kind == "$retainKeys":
            new = {name: item for name, item in new.items() if name in value}
    return new


def _merge_list(name: str, old: list[Any], patch: list[Any]) -> list[Any]:
    if name in _MERGED_SETS:
        return old + [item for item in patch if item not in old]
    key = _merge_key(name, [*patch, *old])
    if key is None or any(item == {"$patch": "replace"} for item in patch):
        return [item for item in patch if item != {"$patch": "replace"}]
    merged = list(old)
    for item in patch:
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        place = next((index for index, present in enumerate(merged) if present.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            merged = [present for present in merged if present.get(key) != item[key]]
        elif place is None:
            merged.append(strategic_merge({}, item))
        else:
            merged[place] = strategic_merge(merged[place], item)
    return merged


def _merge_key(name: str, items: list[Any]) -> str | None:
    if not all(isinstance(item, dict) for item in items):
        return None
    return next((key for key in _MERGE_KEYS.get(name, ()) if any(key in item for item in items)), None)


def _in_order(name: str, items: list[Any], order: list[Any]) -> list[Any]:
    key = _merge_key(name, items)
    wanted = [item.get(key) if isinstance(item, dict) else item for item in order]

    def rank(item: Any) -> int:
        value = item.get(key) if isinstance(item, dict) else item
        return wanted.index(value) if value in wanted else len(wanted)

    return sorted(items, key=rank)


def _operate(root: Obj, operation: Obj) -> None:
    parent, key = _locate(root, operation["path"])
    match operation["op"]:
        case "test":
            if _value(parent, key) != operation["value"]:
                raise ValueError("test failed")
        case "add" if isinstance(parent, list):
            parent.insert(len(parent) if key == "-" else int(key), operation["value"])
        case "add":
            parent[key] = operation["value"]
        case "replace":
            _value(parent, key)
            parent[_index(parent, key)] = operation["value"]
        case "remove":
            del parent[_index(parent, key)]
        case "copy" | "move":
            value = copy.deepcopy(_value(*_locate(root, operation["from"])))
            if operation["op"] == "move":
                _operate(root, {"op": "remove", "path": operation["from"]})
            _operate(root, {"op": "add", "path": operation["path"], "value": value})
        case unknown:
            raise ValueError(f"unknown operation {unknown!r}")


def _locate(root: Obj, pointer: str) -> tuple[Any, str]:
    *path, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]
    parent: Any = root
    for part in path:
        parent = _value(parent, part)
    return parent, last


def _value(parent: Any, key: str) -> Any:
    return parent[_index(parent, key)]


def _index(parent: Any, key: str) -> Any:
    return int(key) if isinstance(parent, list) else key
