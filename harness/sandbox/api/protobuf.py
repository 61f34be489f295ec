"""
The few bodies that kubectl sends in protobuf whatever the server says, such as that of `kubectl auth can-i`.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding and the generated.proto files of
the API groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from harness.sandbox.resources import ACCESS_REVIEWS, CONFIGMAPS, ApiError, Obj, Resource, bad_request

MAGIC = b"k8s\0"

_TEXTS = "a map of texts"
_META = {1: ("name", None), 2: ("generateName", None), 3: ("namespace", None), 11: ("labels", _TEXTS)}
_ATTRIBUTES = dict(
    enumerate(
        ((name, None) for name in ("namespace", "verb", "group", "version", "resource", "subresource", "name")), 1
    )
)
_REVIEW_SPEC = {1: ("resourceAttributes", _ATTRIBUTES), 2: ("nonResourceAttributes", {1: ("path", None)})}
# By kind: number of a field -> its name, and what is in it: fields again, a map of texts, or (None) a text.
_KNOWN: Mapping[Resource, Mapping[int, Any]] = MappingProxyType(
    {ACCESS_REVIEWS: {2: ("spec", _REVIEW_SPEC)}, CONFIGMAPS: {1: ("metadata", _META), 2: ("data", _TEXTS)}}
)


def decoded(resource: Resource, body: bytes) -> Obj:
    """The object in a body that begins with MAGIC. Raises ApiError 400, or 415 for kinds whose fields aren't known."""
    known = _KNOWN.get(resource)
    if known is None:
        why = f"the sandbox reads {resource.plural} in JSON only; `kubectl apply -f` sends that"
        raise ApiError(415, "UnsupportedMediaType", why)
    try:
        raw = next(value for number, value in _fields(body[len(MAGIC) :]) if number == 2)
        return _message(raw, known)
    except (IndexError, StopIteration, UnicodeDecodeError) as error:
        raise bad_request(f"the body is no protobuf message: {error!r}") from error


def _message(data: bytes, known: Mapping[int, Any]) -> Obj:
    result: Obj = {}
    for number, value in _fields(data):
        name, inside = known.get(number, ("", None))
        if inside == _TEXTS:
            entry = {key: text.decode() for key, text in _fields(value)}
            result.setdefault(name, {})[entry[1]] = entry.get(2, "")
        elif isinstance(inside, dict):
            result[name] = _message(value, inside)
        elif name and value:
            result[name] = value.decode()
    return result


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message: its numbers are skipped, nothing here needs them."""
    position = 0
    while position < len(data):
        tag, position = _number(data, position)
        size, position = _number(data, position)
        if tag & 7 == 2:
            yield tag >> 3, data[position : position + size]
            position += size


def _number(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
