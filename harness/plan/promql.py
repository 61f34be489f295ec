"""
What is wrong with a service's PromQL, told before any load: syntax, placeholders, ranges that leave the window, and
expressions that give a number which does not mean what it seems to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

# A range no person would write, so that every other range found is a literal one.
_WINDOW_S = 7919
_PLACEHOLDER = re.compile(r"\$([A-Za-z_]\w*)")
_LAST_TWO = {"irate": "rate", "idelta": "delta"}
_SLOPES = {"rate", "increase", "delta", "deriv"}
_AVERAGES = {"avg", "sum", "avg_over_time", "sum_over_time"}


def template_problems(template: str, selector: str) -> list[str]:
    """What is wrong with a template; empty when it is fine. `selector` fills `$selector`."""
    unknown = _unknown(template, {"window", "selector"})
    if unknown:
        return unknown
    if "$window" not in template:
        return ["does not use $window, so it sees one instant only; write e.g. max_over_time(up{$selector}[$window])"]
    expression, wrong = _parsed(template.replace("$window", f"{_WINDOW_S}s"), selector)
    return [wrong] if wrong else _all_problems(expression)


def counter_problems(counter: str, selector: str) -> list[str]:
    """What is wrong with a counter's selector (`bad`, `total`); empty when it is fine."""
    expression, wrong = _plain_selector(counter, selector)
    if wrong:
        return wrong
    if expression is None:
        return [f"'{counter}' is not a plain selector of a counter; write e.g. requests_total{{$selector}}"]
    return _all_problems(expression)


def histogram_problems(histogram: str, selector: str) -> list[str]:
    """What is wrong with a histogram's selector; empty when it is fine."""
    expression, wrong = _plain_selector(histogram, selector)
    if wrong:
        return wrong
    name = _name(expression) if expression is not None else None
    if not name:
        return [f"'{histogram}' is not a plain selector of a histogram; write e.g. request_seconds{{$selector}}"]
    problems = _all_problems(expression)
    for suffix in ("_bucket", "_count", "_sum"):
        if name.endswith(suffix):
            problems.append(f"'{name}' is one part of a histogram; write its name without '{suffix}'")
    if any(matcher.name == "le" for matcher in _matchers(expression)):
        problems.append("picks buckets by 'le', but all of them are needed; remove it")
    return problems


def loses(template: str, selector: str, label: str) -> bool:
    """Whether the template's result cannot have the label, because an aggregation drops it."""
    expression, wrong = _parsed(template.replace("$window", f"{_WINDOW_S}s"), selector)
    return wrong is None and not _keeps(expression, label)


def _keeps(node: Any, label: str) -> bool:
    kind = type(node).__name__
    if kind == "AggregateExpr":
        labels = node.modifier.labels if node.modifier else []
        by = node.modifier is None or str(node.modifier.type).endswith("By")
        own = str(node.op) in {"topk", "bottomk", "limitk", "limit_ratio"}  # these keep what they pick whole
        return (own or (label in labels) == by) and _keeps(node.expr, label)
    if kind == "BinaryExpr":
        return _keeps(node.lhs, label) or _keeps(node.rhs, label)
    if kind == "Call":
        return node.func.name.startswith("label_") or any(_keeps(argument, label) for argument in node.args)
    return kind in {"VectorSelector", "MatrixSelector"} or (hasattr(node, "expr") and _keeps(node.expr, label))


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


def _plain_selector(text: str, selector: str) -> tuple[Any, list[str]]:
    """The selector; or what is wrong; or neither when it is PromQL of another kind."""
    unknown = _unknown(text, {"selector"})
    if unknown:
        return None, unknown
    expression, wrong = _parsed(text, selector)
    if wrong:
        return None, [wrong]
    return expression if type(expression).__name__ == "VectorSelector" else None, []


def _all_problems(expression: Any) -> list[str]:
    found: dict[str, None] = {}
    for node in _nodes(expression):
        found |= dict.fromkeys((*_reaching_out(node), *_misleading(node), *_misnamed(node)))
    return list(found)


def _nodes(expression: Any) -> list[Any]:
    import promql_parser

    nodes: list[Any] = []
    promql_parser.walk(expression, nodes.append)
    return nodes


def _reaching_out(node: Any) -> Iterator[str]:
    """How the node looks at anything but the window."""
    import promql_parser

    span = getattr(node, "range", None)
    if span is not None and span.total_seconds() != _WINDOW_S:
        shown = promql_parser.display_duration(span)
        yield f"range [{shown}] may reach across the phase's boundary; write [$window]"
    if getattr(node, "offset", None) is not None or getattr(node, "at", None) is not None:
        yield "'offset' and '@' look outside the phase; remove them"
    if type(node).__name__ == "SubqueryExpr" and any(hasattr(inner, "range") for inner in _nodes(node.expr)):
        yield "a range inside a subquery's range reaches back twice as far, out of the phase; use one range only"


def _misleading(node: Any) -> Iterator[str]:
    """What the node computes that it should not."""
    kind = type(node).__name__
    operation = node.func.name if kind == "Call" else str(getattr(node, "op", ""))
    inside = _nodes(node)[1:]
    if operation in _LAST_TWO:
        yield f"'{operation}' sees the last two samples only; use {_LAST_TWO[operation]}(...[$window])"
    if operation in _SLOPES and any(type(inner).__name__ == "AggregateExpr" for inner in inside):
        yield f"'{operation}' of an aggregation cannot tell a restarted counter from a falling one; aggregate after it"
    if operation == "or" and any(_constant(side) for side in (node.lhs, node.rhs)):
        yield "'or vector(...)' makes missing data a good value; remove it, or use bad and total with 'absent: zero'"
    if operation in _AVERAGES and any(_quantile(inner) for inner in inside):
        yield f"'{operation}' of quantiles is no quantile; use max, or a histogram"


def _misnamed(node: Any) -> Iterator[str]:
    """What the node selects that says something else than it seems to."""
    if type(node).__name__ != "VectorSelector":
        return
    name = _name(node) or ""
    if ":" in name:
        yield f"'{name}' is a recording rule, whose own range may reach out of the phase; query what it records"
    states = [matcher for matcher in _matchers(node) if matcher.name == "alertstate"]
    if name == "ALERTS" and not any(str(state.op) == "MatchOp.Equal" and state.value == "firing" for state in states):
        yield 'ALERTS counts pending alerts too; add alertstate="firing"'


def _constant(node: Any) -> bool:
    while type(node).__name__ == "ParenExpr":
        node = node.expr
    return type(node).__name__ == "Call" and node.func.name == "vector"


def _quantile(node: Any) -> bool:
    if type(node).__name__ == "Call":
        return bool(node.func.name == "histogram_quantile")
    return type(node).__name__ == "VectorSelector" and any(matcher.name == "quantile" for matcher in _matchers(node))


def _name(selector: Any) -> str | None:
    named = [matcher.value for matcher in _matchers(selector) if matcher.name == "__name__"]
    return selector.name or (named[0] if named else None)


def _matchers(selector: Any) -> list[Any]:
    return [*selector.matchers.matchers, *(one for many in selector.matchers.or_matchers for one in many)]
