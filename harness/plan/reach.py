"""How far a fault may reach by the service file, and what to say when it asks for more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from harness import units
from harness.plan.model import Cluster, Observe, Reach
from harness.plan.nodes import quoted

IN_ZONE = frozenset({Observe.ZONE_CUT, Observe.PATHS_DEGRADED})
ON_DEPLOYMENT = frozenset({Observe.ROLLED_OUT, Observe.SCALED_DOWN})

# Kubernetes, "Labels and Selectors": syntax and character set.
_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_KEY = rf"(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?/)?{_NAME}"
_VALUE = rf"\s*+(?:{_NAME}\s*+)?"
_SAID = rf"(?:==?|!=){_VALUE}|[<>]\s*+\d+\s*+|(?<=\s)(?:in|notin)\s*+\({_VALUE}(?:,{_VALUE})*\)\s*+"
_TERM = rf"\s*+(?:!\s*+{_KEY}\s*+|{_KEY}\s*+(?:{_SAID})?)"
_SELECTOR = re.compile(rf"{_TERM}(?:,{_TERM})*")

_COMMA = re.compile(r",(?![^()]*\))")  # not one between the parentheses of `in (a, b)`


def refusals(configuration: Mapping[str, Any], observe: Observe, cluster: Cluster) -> Iterator[str]:
    """What the fault asks for that the service file does not allow, or leaves out; nothing when all is well."""
    yield from _beyond(configuration, cluster)
    yield from _too_many(configuration, observe, cluster)
    if observe in IN_ZONE and not _named(configuration, "zone"):
        what = "cut" if observe is Observe.ZONE_CUT else "degrade"
        yield f"no zone to {what}; write 'with: {{zone: ...}}'"
    if observe in ON_DEPLOYMENT and not _named(configuration, "deployment"):
        yield "no deployment; write 'with: {deployment: ...}', or 'deployment' in the service's cluster"


def reaches(cluster: Cluster) -> tuple[Reach, ...]:
    """All that faults may touch: the service's own pods first."""
    return (Reach(namespace=cluster.namespace, selector=cluster.selector), *cluster.also)


def is_selector(text: str) -> bool:
    """Whether the text is a label selector that an API server can read, and not empty."""
    return _SELECTOR.fullmatch(text) is not None


def not_a_selector(text: str) -> str:
    """What to say of one that is not."""
    return f"{quoted(text)} is not a label selector; write e.g. 'app=shop,tier in (web, api)'"


def narrows(selector: str, wider: str) -> bool:
    """Whether what `selector` matches is matched by `wider` for certain: it has all its terms."""
    return _terms(wider) <= _terms(selector)


def share_of(value: object) -> float | None:
    """A share given as a number from 0 to 1 or as a percentage, "50%"; None when it is neither, or nothing."""
    share: object = value
    if isinstance(value, str):
        try:
            share = units.ratio(value)
        except units.UnitError:
            return None
    valid = isinstance(share, int | float) and not isinstance(share, bool) and 0 < share <= 1
    return float(share) if valid else None  # type: ignore[arg-type]


def _beyond(configuration: Mapping[str, Any], cluster: Cluster) -> Iterator[str]:
    namespace, selector = str(configuration["namespace"]), str(configuration["selector"])
    near = [reach for reach in reaches(cluster) if reach.namespace == namespace]
    if not is_selector(selector):
        yield not_a_selector(selector)
        return
    if not near:
        more = ", nor one of 'also'" if cluster.also else ""
        yield f"namespace {quoted(namespace)} is not the service's '{cluster.namespace}'{more}; remove it"
        near = [reaches(cluster)[0]]
    if not any(narrows(selector, reach.selector) for reach in near):
        allowed = " and '".join(f"{reach.selector}'" for reach in near)
        yield (
            f"selector {quoted(selector)} reaches beyond the service's '{allowed}; "
            f"narrow it, e.g. '{near[0].selector},tier=web'"
        )


def _too_many(configuration: Mapping[str, Any], observe: Observe, cluster: Cluster) -> Iterator[str]:
    count, share = configuration.get("count"), configuration.get("share")
    nodes = observe is Observe.NODES_OUT
    cap, name = (cluster.max_nodes, "max_nodes") if nodes else (cluster.max_pods, "max_pods")
    if nodes and cluster.max_nodes < 1:
        yield "takes nodes out, and the service's max_nodes is 0; raise it, everything on those nodes is hit"
    elif "count" in configuration and count is not None and not _whole(count):
        yield f"count {quoted(str(count))} is not a whole number from 1 on"
    elif _whole(count) and count > cap and share in _NOTHING:
        yield f"count {count} is more than the service's {name} {cap}; lower it"
    if share not in _NOTHING:
        asked = share_of(share)
        if asked is None:
            yield f"share {quoted(str(share))} is not a percentage up to 100%, such as 50%"
        elif asked > cluster.max_share:
            yield f"share {asked:.0%} is more than the service's max_share {cluster.max_share:.0%}; lower it"


_NOTHING = (None, "", 0)


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _named(configuration: Mapping[str, Any], key: str) -> bool:
    return isinstance(configuration.get(key), str) and bool(configuration[key])


def _terms(selector: str) -> set[str]:
    """The selector's terms, all of which must hold, written alike where that is easily said."""
    return {term if "(" in term else re.sub(r"\s", "", term).replace("==", "=") for term in _COMMA.split(selector)}
