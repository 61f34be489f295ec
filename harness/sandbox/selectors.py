"""
Label and field selectors: the text form of the API's query parameters, and the object form inside specs.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from harness.sandbox.resources import Obj, Resource, bad_request

Labels = Mapping[str, str]

_REQUIREMENT = re.compile(
    r"""\s*(?:
        (?P<absent>!)\s*(?P<absent_key>[\w./-]+)
      | (?P<set_key>[\w./-]+)\s+(?P<set_op>in|notin)\s*\((?P<values>[^()]*)\)
      | (?P<key>[\w./-]+)\s*(?:(?P<op>==|=|!=)\s*(?P<value>[\w.:/-]*))?
    )\s*(?:,|$)""",
    re.VERBOSE,
)

_FIELDS: Mapping[str, tuple[str, ...]] = {
    "Pod": ("spec.nodeName", "status.phase", "status.podIP"),
    "Event": (*(f"involvedObject.{key}" for key in ("kind", "namespace", "name", "uid")), "reason", "type"),
    "Node": ("spec.unschedulable",),
}


_OPERATORS = {"!": "DoesNotExist", "": "Exists", "in": "In", "=": "In", "==": "In", "notin": "NotIn", "!=": "NotIn"}


def label_selector(text: str) -> Callable[[Labels], bool]:
    """Whether labels satisfy every requirement of a selector like `app=shop,tier in (web, api),!old`. Raises 400."""
    requirements: list[tuple[str, str, tuple[str, ...]]] = []
    position = 0
    while position < len(text.rstrip()):
        found = _REQUIREMENT.match(text, position)
        if found is None:
            raise bad_request(f"unable to parse label selector {text!r} at {text[position:]!r}")
        position = found.end()
        operator = _OPERATORS[found["absent"] or found["set_op"] or found["op"] or ""]
        values = tuple(value.strip() for value in (found["values"] or found["value"] or "").split(","))
        requirements.append((found["absent_key"] or found["set_key"] or found["key"], operator, values))
    return lambda labels: all(_holds(labels, *requirement) for requirement in requirements)


def selects(selector: Obj, labels: Labels) -> bool:
    """Whether a LabelSelector object (matchLabels, matchExpressions) selects `labels`; the empty one selects all."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(
        _holds(labels, item["key"], item["operator"], tuple(item.get("values") or ()))
        for item in selector.get("matchExpressions") or ()
    )


def field_selector(resource: Resource, text: str) -> Callable[[Obj], bool]:
    """Whether an object satisfies a selector like `spec.nodeName=a,status.phase!=Running`. Raises 400."""
    terms: list[tuple[str, bool, str]] = []
    for term in filter(None, text.split(",")):
        path, operator, value = re.split(r"(!=|==|=)", term, maxsplit=1) if "=" in term else (term, "", "")
        if path not in ("metadata.name", "metadata.namespace", *_FIELDS.get(resource.kind, ())) or not operator:
            raise bad_request(f'field label not supported for {resource.kind}: "{path}"')
        terms.append((path, operator != "!=", value))
    return lambda obj: all((_field(obj, path) == value) is wanted for path, wanted, value in terms)


def _holds(labels: Labels, key: str, operator: str, values: tuple[str, ...]) -> bool:
    if operator in ("Exists", "DoesNotExist"):
        return (key in labels) is (operator == "Exists")
    return (labels.get(key) in values) is (operator == "In")


def _field(obj: Obj, path: str) -> str:
    value: object = obj
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
