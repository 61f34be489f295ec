"""
What NetworkChaos objects of Chaos Mesh do to packets between pods. Pure.

Fields and their meaning: https://chaos-mesh.org/docs/simulate-network-chaos-on-kubernetes/. As there, pods are selected
once, when the object comes: one that starts later is not affected. Known here are the actions partition, delay and
loss, the mode `all`, and selectors by namespace, node label and pod label.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.sandbox.resources import Obj

SOURCE, TARGET = ".", ".Target"
"""Which of its two selectors a pod was selected by, as records in the status say it."""

_ACTIONS = ("partition", "delay", "loss")
_DIRECTIONS = ("to", "from", "both")
_SELECTORS = ("namespaces", "nodeSelectors", "labelSelectors")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What happens to packets from one end of a connection to the other."""

    cut: bool = False
    delay_s: float = 0.0
    jitter_s: float = 0.0  # the delay is off by at most this, either way
    loss: float = 0.0  # share of packets, 0-1

    def after(self, other: Way) -> Way:
        """The way of packets that take the other one first and then this one."""
        return Way(
            cut=self.cut or other.cut,
            delay_s=self.delay_s + other.delay_s,
            jitter_s=self.jitter_s + other.jitter_s,
            loss=1 - (1 - self.loss) * (1 - other.loss),
        )


CLEAR = Way()
CUT = Way(cut=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An object in force: between which addresses it does what."""

    sources: frozenset[str]
    targets: frozenset[str] | None  # None: everybody
    direction: str
    way: Way

    def hits(self, sender: str, receiver: str) -> bool:
        """Whether it concerns packets from one address to another."""
        to = sender in self.sources and (self.targets is None or receiver in self.targets)
        back = receiver in self.sources and self.targets is not None and sender in self.targets
        return (to and self.direction != "from") or (back and self.direction != "to")


def way_between(faults: Iterable[Fault], sender: str, receiver: str) -> Way:
    """What all faults together do to packets from one address to another."""
    way = CLEAR
    for fault in faults:
        if fault.hits(sender, receiver):
            way = fault.way.after(way)
    return way


def records_of(chaos: Obj, pods: Iterable[Obj], nodes: Mapping[str, Obj]) -> list[Obj]:
    """The records of all pods that the object selects now, for its status; `nodes` by name."""
    spec, own = chaos["spec"], chaos["metadata"]["namespace"]
    selectors = [(SOURCE, spec["selector"])] + ([(TARGET, spec["target"]["selector"])] if "target" in spec else [])
    running = [pod for pod in pods if pod["status"].get("podIP") and "deletionTimestamp" not in pod["metadata"]]
    return [
        {"id": id_of(pod), "selectorKey": key, "phase": "Injected"}
        for key, selector in selectors
        for pod in running
        if _selects(selector, own, pod, nodes)
    ]


def id_of(pod: Obj) -> str:
    """How records call the pod: namespace/name."""
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def fault_of(chaos: Obj, addresses: Mapping[str, str]) -> Fault:
    """The fault that an object is by its records; `addresses` by namespace/name of the pod."""
    spec = chaos["spec"]
    selected: dict[str, set[str]] = {SOURCE: set(), TARGET: set()}
    for record in chaos["status"]["experiment"]["containerRecords"]:
        if record["id"] in addresses:
            selected[record["selectorKey"]].add(addresses[record["id"]])
    return Fault(
        sources=frozenset(selected[SOURCE]),
        targets=frozenset(selected[TARGET]) if "target" in spec else None,
        direction=spec.get("direction", "to"),
        way=_way(spec),
    )


def seconds(duration: str) -> float:
    """A duration as Go writes it, `1m30s` or `200ms`, in seconds."""
    if not _DURATION.fullmatch(duration):
        raise ValueError(f"{duration!r}: use a duration like 200ms or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|s|m|h)", duration))


def problem_of(spec: Obj) -> str:
    """What the sandbox cannot do of a NetworkChaos spec; empty when it can do it all."""
    if spec.get("action") not in _ACTIONS or spec.get("direction", "to") not in _DIRECTIONS:
        known = f"the actions {', '.join(_ACTIONS)} and the directions {', '.join(_DIRECTIONS)}"
        return f"spec: Unsupported value: the sandbox knows {known}"
    for part in (spec, *([spec["target"]] if "target" in spec else [])):
        if part.get("mode") != "all" or set(part.get("selector") or {"none": 0}) - set(_SELECTORS):
            return f"spec: Unsupported value: the sandbox knows the mode all, and the selectors {', '.join(_SELECTORS)}"
    try:
        _way(spec)
        seconds(spec.get("duration", "1s"))
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        return f"spec: Invalid value: {type(problem).__name__}: {problem}"
    return ""


def _way(spec: Obj) -> Way:
    match spec["action"]:
        case "delay":
            delay = spec["delay"]
            return Way(delay_s=seconds(delay["latency"]), jitter_s=seconds(delay.get("jitter", "0ms")))
        case "loss":
            return Way(loss=min(1.0, float(spec["loss"]["loss"]) / 100))
        case _:
            return CUT


def _selects(selector: Obj, own: str, pod: Obj, nodes: Mapping[str, Obj]) -> bool:
    node = nodes.get(pod["spec"].get("nodeName", ""))
    return (
        pod["metadata"]["namespace"] in selector.get("namespaces", [own])
        and _has(pod, selector.get("labelSelectors", {}))
        and ("nodeSelectors" not in selector or (node is not None and _has(node, selector["nodeSelectors"])))
    )


def _has(obj: Obj, wanted: Mapping[str, str]) -> bool:
    labels = obj["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in wanted.items())
