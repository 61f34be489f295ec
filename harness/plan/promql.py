"""What is wrong with a service's PromQL, told before any load: syntax, placeholders, ranges that leave the window."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

# A range no person would write, so that every other range found is a literal one.
_WINDOW_S = 7919
_PLACEHOLDER = re.compile(r"\$([A-Za-z_]\w*)")


def template_problems(template: str, selector: str) -> list[str]:
    """What is wrong with a template; empty when it is fine. `selector` fills `$selector`."""
    unknown = _unknown(template, {"window", "selector"})
    if unknown:
        return unknown
    if "$window" not in template:
        return ["does not use $window, so it sees one instant only; write e.g. max_over_time(up{$selector}[$window])"]
    expression, wrong = _parsed(template.replace("$window", f"{_WINDOW_S}s"), selector)
    return [wrong] if wrong else list(_reaching_out(expression))


def counter_problems(counter: str, selector: str) -> list[str]:
    """What is wrong with a counter's selector (`bad`, `total`); empty when it is fine."""
    unknown = _unknown(counter, {"selector"})
    if unknown:
        return unknown
    expression, wrong = _parsed(counter, selector)
    if wrong:
        return [wrong]
    if type(expression).__name__ != "VectorSelector":
        return [f"'{counter}' is not a plain selector of a counter; write e.g. requests_total{{$selector}}"]
    return list(_reaching_out(expression))


def _unknown(text: str, known: set[str]) -> list[str]:
    allowed = " and ".join(f"${name}" for name in sorted(known, reverse=True))
    names = dict.fromkeys(_PLACEHOLDER.findall(text))
    return [f"unknown placeholder '${name}'; only {allowed} can be filled in" for name in names if name not in known]


def _parsed(text: str, selector: str) -> tuple[Any, str | None]:
    """The syntax tree, or what the parser says."""
    import promql_parser

    try:
        return promql_parser.parse(text.replace("$selector", selector)), None
    except ValueError as error:
        return None, f"not PromQL: {error}"


def _reaching_out(expression: Any) -> Iterator[str]:
    """What in the expression looks at anything but the window."""
    import promql_parser

    nodes: list[Any] = []
    promql_parser.walk(expression, nodes.append)
    for node in nodes:
        span = getattr(node, "range", None)
        if span is not None and span.total_seconds() != _WINDOW_S:
            shown = promql_parser.display_duration(span)
            yield f"range [{shown}] may reach across the phase's boundary; write [$window]"
        if getattr(node, "offset", None) is not None or getattr(node, "at", None) is not None:
            yield "'offset' and '@' look outside the phase; remove them"
