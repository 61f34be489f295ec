"""
Where a pod may go, by the rules that pods and nodes carry. Pure: nodes and the pods that have a node go in.

Known are cordons, taints, nodeSelector, topologySpreadConstraints with DoNotSchedule, and required podAntiAffinity;
what is only preferred, the scheduler's own spreading does. The words are the real scheduler's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.sandbox.controllers.nodes import UNSCHEDULABLE
from harness.sandbox.controllers.taints import untolerated
from harness.sandbox.objects import labels_of
from harness.sandbox.resources import Obj
from harness.sandbox.selectors import selects


def obstacle(pod: Obj, node: Obj, nodes: Sequence[Obj], others: Sequence[Obj]) -> str:
    """What keeps the pod off the node; empty when it fits. `others`: every pod that has a node."""
    cordon = {"key": UNSCHEDULABLE, "effect": "NoSchedule"}
    if node["spec"].get("unschedulable") and untolerated(pod, [cordon]):
        return "were unschedulable"
    taints = [taint for taint in node["spec"].get("taints") or () if taint["effect"] != "PreferNoSchedule"]
    taint = untolerated(pod, taints)
    if taint is not None:
        return f"had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    if not _selected(pod, node):
        return "didn't match Pod's node affinity/selector"
    if any(_skews(rule, pod, node, nodes, others) for rule in pod["spec"].get("topologySpreadConstraints") or ()):
        return "didn't match pod topology spread constraints"
    places = {one["metadata"]["name"]: labels_of(one) for one in nodes}
    if any(_repel(pod, node, other, places) for other in others):
        return "didn't match pod anti-affinity rules"
    return ""


def _selected(pod: Obj, node: Obj) -> bool:
    wanted = pod["spec"].get("nodeSelector") or {}
    return all(labels_of(node).get(key) == value for key, value in wanted.items())


def _skews(rule: Obj, pod: Obj, node: Obj, nodes: Sequence[Obj], others: Sequence[Obj]) -> bool:
    if rule["whenUnsatisfiable"] != "DoNotSchedule":
        return False
    key, selector = rule["topologyKey"], rule.get("labelSelector")
    places = {one["metadata"]["name"]: labels_of(one)[key] for one in nodes if key in labels_of(one)}
    if key not in labels_of(node):
        return True
    count = Counter(
        {places[one["metadata"]["name"]]: 0 for one in nodes if key in labels_of(one) and _selected(pod, one)}
    )
    for other in others:
        place = places.get(other["spec"]["nodeName"], "")
        counts = _same_namespace(pod, other) and "deletionTimestamp" not in other["metadata"]
        if counts and place in count and selector is not None and selects(selector, labels_of(other)):
            count[place] += 1
    own = int(selector is not None and selects(selector, labels_of(pod)))
    return count[labels_of(node)[key]] + own - min(count.values()) > int(rule["maxSkew"])


def _repel(pod: Obj, node: Obj, other: Obj, places: dict[str, dict[str, str]]) -> bool:
    """Whether one of the two pods does not want the other in the same place."""
    here, there = labels_of(node), places.get(other["spec"]["nodeName"], {})
    return any(
        key in here and here[key] == there.get(key)
        for one, two in ((pod, other), (other, pod))
        for key in _keeps_off(one, two)
    )


def _keeps_off(pod: Obj, other: Obj) -> list[str]:
    """The topology keys by which the pod does not want to share a place with the other."""
    rules = (pod["spec"].get("affinity") or {}).get("podAntiAffinity") or {}
    return [
        str(term.get("topologyKey"))
        for term in rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        if _same_namespace(pod, other) and selects(term.get("labelSelector") or {}, labels_of(other))
    ]


def _same_namespace(pod: Obj, other: Obj) -> bool:
    return bool(pod["metadata"]["namespace"] == other["metadata"]["namespace"])
