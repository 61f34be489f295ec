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
    dict.fromkeys(("containers", "env", "volumes"), ("name",))
    | {"volumeMounts": ("mountPath",), "ports": ("containerPort", "port"), "conditions": ("type",)}
    | {"ownerReferences": ("uid",), "topologySpreadConstraints": ("topologyKey",)}
)


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
    """
    As `merge_patch`, but lists of named items are merged by name.

    Of the directives it knows $patch (delete and replace) and $retainKeys; the order of lists stays.
    """
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") in ("replace", "delete"):
        return {key: value for key, value in patch.items() if key != "$patch" and patch["$patch"] == "replace"}
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
    kept = patch.get("$retainKeys", new)
    return {key: value for key, value in new.items() if key in kept}


def _merge_list(name: str, old: list[Any], patch: list[Any]) -> list[Any]:
    items = [item for item in (*patch, *old) if isinstance(item, dict)]
    key = next((key for key in _MERGE_KEYS.get(name, ()) if any(key in item for item in items)), None)
    if key is None or {"$patch": "replace"} in patch:
        return [item for item in patch if item != {"$patch": "replace"}]
    merged = {item[key]: item for item in old}
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        if item.get("$patch") == "delete":
            merged.pop(item[key], None)
        else:
            merged[item[key]] = strategic_merge(merged.get(item[key]), item)
    return list(merged.values())


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
