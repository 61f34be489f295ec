"""
What must be so before a fault is played, beside what it may touch.

Pure. A check yields a PreflightChecked (not ok: a warning) or a Problem, which ends the run before it began.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from harness.drivers.faults.permissions import HOLD, IDENTITY, PROOF, SWEEP, Permission, needed
from harness.drivers.kubernetes.objects import (
    HARNESS,
    POWER,
    PROMETHEUS,
    REAPER,
    RUN,
    Obj,
    labels_of,
    lets_through,
    name_of,
    node_of,
    ready,
    selects,
    uid_of,
)
from harness.drivers.preflight.seen import Seen, labelled
from harness.drivers.preflight.targets import nodes_at_once, of_its_node, problem
from harness.errors import Problem
from harness.history.events import PreflightChecked, TargetsFrozen
from harness.plan.model import Cluster, Fault, Observe
from harness.plan.reach import IN_ZONE

Finding = PreflightChecked | Problem
Scope = tuple[str, Permission]
"""A namespace (empty: the whole cluster), and what is asked for there."""

Action = tuple[str, str]
"""Module and function."""

UNREACHABLE = "node.kubernetes.io/unreachable"
GRACE_S, GRACE_BEFORE_1_32_S, GRACE_SANDBOX_S = 50, 40, 4  # node-monitor-grace-period, as it is by default
REAL_OUTAGE: Action = ("harness.drivers.faults.zones", "stop_zone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One fault, what it may touch, and the cluster it is about."""

    fault: Fault
    targets: TargetsFrozen
    seen: Seen

    @property
    def pods(self) -> list[Obj]:
        """The pods it may touch."""
        uids = set(self.targets.uids)
        return [pod for pod in self.seen.pods.get(self.fault.experiment.namespace, ()) if uid_of(pod) in uids]

    @property
    def nodes_taken(self) -> int:
        """How many of the nodes that it may take it takes at once."""
        return nodes_at_once(self.fault.experiment, self.targets.nodes)

    def asks(self, verb: str, resource: str, subresource: str = "") -> bool:
        """Whether one of its actions does that to such an object."""
        wanted = (verb, resource, subresource)
        known = chain.from_iterable(needed(*action) or () for action in actions_of(self.fault))
        return any((one.verb, one.resource, one.subresource) == wanted for one in known)

    def hits(self, pod: Obj) -> bool:
        """Whether a pod, of whichever namespace, is where the fault strikes everything."""
        asked = self.fault.experiment
        if asked.observe is Observe.NODES_OUT:
            return node_of(pod) in self.targets.nodes
        return asked.observe in IN_ZONE and asked.namespace == _namespace_of(pod) and self.seen.zone(pod) == asked.zone


def actions_of(fault: Fault) -> list[Action]:
    """The Python functions that the fault's method and rollbacks call, each once."""
    document = json.loads(fault.experiment.document)
    activities = [*(document.get("method") or ()), *(document.get("rollbacks") or ())]
    providers = [one.get("provider") or {} for one in activities if one.get("type", "action") == "action"]
    found = [(str(one.get("module")), str(one.get("func"))) for one in providers if one.get("type") == "python"]
    return list(dict.fromkeys(found))


# -- permissions ----------------------------------------------------------------------------------------------------


def scopes(faults: Sequence[Fault]) -> list[Scope]:
    """All that the run will ask the API server for, because of its faults."""
    return list(dict.fromkeys(scope for fault in faults for scope in _needed(fault, faults)))


def permissions(faults: Sequence[Fault], denied: frozenset[Scope]) -> Iterator[Finding]:
    """Method, undo and proof of every fault must be allowed; what is not is named at the fault that needs it."""
    for fault in faults:
        scopes_of_fault = _needed(fault, faults)
        missing = [scope for scope in scopes_of_fault if scope in denied]
        for namespace, permission in missing:
            where = f" in namespace '{namespace}'" if namespace else ""
            what = f"the account may not {permission}{where}, which the fault, its undo or its proof needs"
            yield problem(fault, f"{what}; allow it, see deploy/rbac.yaml")
        unknown = [f"{module}.{name}" for module, name in actions_of(fault) if needed(module, name) is None]
        if unknown:
            detail = (
                f"fault '{fault.name}': not checked, for what {', '.join(unknown)} asks of the cluster is not known"
            )
            yield PreflightChecked(check="permissions", ok=False, detail=detail)
        elif not missing:
            detail = f"fault '{fault.name}': all {len(scopes_of_fault)} that it, its undo and its proof need are there"
            yield PreflightChecked(check="permissions", ok=True, detail=detail)


def _needed(fault: Fault, faults: Sequence[Fault]) -> list[Scope]:
    """What the fault and its proof ask for; for the first fault of a namespace also what any run asks for there."""
    space = fault.experiment.namespace
    first = next(one for one in faults if one.experiment.namespace == space)
    general = (*IDENTITY, *HOLD, *SWEEP) if fault is first else ()
    known = chain.from_iterable(needed(*action) or () for action in actions_of(fault))
    asked = (*known, *PROOF[fault.experiment.observe], *general)
    return list(dict.fromkeys((space if one.namespaced else "", one) for one in asked))


# -- what would defeat the fault, or be defeated by it ----------------------------------------------------------------


def open_paths(case: Case) -> Iterator[Finding]:
    """NetworkPolicies add up: one that allows traffic of a pod to be cut off keeps its path open."""
    if not case.asks("create", "networkpolicies"):
        return
    found = case.seen.policies.get(case.fault.experiment.namespace, ())
    name, wrong = case.fault.name, False
    for policy in found:
        held = [pod for pod in case.pods if selects(policy["spec"].get("podSelector") or {}, labels_of(pod))]
        if RUN in labels_of(policy):
            wrong = True
            run = labels_of(policy)[RUN]
            yield problem(
                case.fault, f"network policy '{name_of(policy)}' is left from run '{run}'; harness heal removes it"
            )
        elif held and lets_through(policy["spec"]):
            wrong = True
            what = f"network policy '{name_of(policy)}' allows traffic of pod '{name_of(held[0])}'"
            yield problem(case.fault, f"{what}, so a cut would not hold; remove the policy for the experiment")
    if not wrong:
        detail = f"fault '{name}': none of {len(found)} network policies keeps a path of its {len(case.pods)} pods open"
        yield PreflightChecked(check="open_paths", ok=True, detail=detail)


def disruption_budgets(case: Case) -> Iterator[Finding]:
    """An eviction that a PodDisruptionBudget forbids is tried again until the fault's end, and may never happen."""
    if not case.asks("create", "pods", "eviction"):
        return
    for budget in case.seen.budgets.get(case.fault.experiment.namespace, ()):
        selector, status = budget["spec"].get("selector"), budget.get("status") or {}
        held = [pod for pod in case.pods if selector is not None and selects(selector, labels_of(pod))]
        allowed, expected = int(status.get("disruptionsAllowed") or 0), int(status.get("expectedPods") or 0)
        what = f"PodDisruptionBudget '{name_of(budget)}'"
        if not held:
            continue
        if 0 < expected <= int(status.get("desiredHealthy") or 0):
            yield problem(
                case.fault,
                f"{what} wants all {expected} pods healthy, so none can ever be evicted; "
                "relax it, or take the nodes out another way",
            )
        else:
            detail = f"fault '{case.fault.name}': {what} allows {allowed or 'no'} evictions of its {expected} pods now"
            yield PreflightChecked(check="disruption_budget", ok=allowed > 0, detail=detail)


def autoscalers(case: Case) -> Iterator[Finding]:
    """A HorizontalPodAutoscaler scales back what a fault scaled."""
    asked = case.fault.experiment
    if asked.observe is not Observe.SCALED_DOWN:
        return
    for scaler in case.seen.autoscalers.get(asked.namespace, ()):
        target = scaler["spec"].get("scaleTargetRef") or {}
        if (target.get("kind"), target.get("name")) == ("Deployment", asked.deployment):
            what = f"HorizontalPodAutoscaler '{name_of(scaler)}' would scale deployment '{asked.deployment}' back"
            yield problem(case.fault, f"{what}; remove it for the experiment")


# -- what the run itself depends on -----------------------------------------------------------------------------------


def reaper(case: Case) -> Iterator[Finding]:
    """What is changed, not created, only a reaper in the cluster can undo when harness and watchdog are gone."""
    if not any(case.asks("patch", resource) for resource in ("nodes", "deployments")):
        return
    name, beside = case.fault.name, case.seen.beside
    if beside is None:
        detail = f"fault '{name}': whether a reaper runs is not known: the account may not list everybody's pods"
        yield PreflightChecked(check="reaper", ok=False, detail=detail)
        return
    running = labelled(beside, REAPER)
    safe = [pod for pod in running if ready(pod) and not case.hits(pod)]
    on = {node_of(pod) for pod in running if ready(pod)}
    enough = bool(safe) or len(on) > case.nodes_taken > 0
    if safe:
        detail = f"fault '{name}': {len(safe)} of {len(running)} reapers ready where the fault does not strike"
    elif enough:
        detail = f"fault '{name}': reapers are ready on {len(on)} nodes, more than the {case.nodes_taken} it takes"
    elif running:
        detail = f"fault '{name}': no reaper is ready where the fault does not strike; run two, in different zones"
    else:
        detail = f"fault '{name}': no reaper runs, so its changes stay if this machine dies; see deploy/README.md"
    yield PreflightChecked(check="reaper", ok=enough, detail=detail)


def blast_zone(case: Case) -> Iterator[Finding]:
    """Who measures and undoes should not be where the fault strikes."""
    struck = [pod for pod in case.seen.beside or () if case.hits(pod)]
    inside = [pod for name in (HARNESS, PROMETHEUS) for pod in labelled(struck, name)]
    for pod in inside:
        detail = (
            f"fault '{case.fault.name}': pod '{name_of(pod)}' of the measurement is where it strikes; move it elsewhere"
        )
        yield PreflightChecked(check="blast_zone", ok=False, detail=detail)


def crowd(case: Case) -> Iterator[Finding]:
    """A node's loss takes everything on it, whoever owns it."""
    if case.fault.experiment.observe is not Observe.NODES_OUT:
        return
    name, nodes = case.fault.name, ", ".join(case.targets.nodes)
    if case.seen.crowd is None:
        detail = f"fault '{name}': what else runs on {nodes} is not known: the account may not list everybody's pods"
        yield PreflightChecked(check="nodes", ok=False, detail=detail)
        return
    own = case.fault.experiment.namespace
    there = [pod for node in case.targets.nodes for pod in case.seen.crowd.get(node, ())]
    others = [pod for pod in there if _namespace_of(pod) != own and not (of_its_node(pod) or labelled([pod], REAPER))]
    spaces = ", ".join(sorted(set(map(_namespace_of, others))))
    more = f", and {len(others)} of other namespaces ({spaces})" if others else ""
    of_which = f", of which it takes {case.nodes_taken}," if case.nodes_taken < len(case.targets.nodes) else ""
    detail = f"fault '{name}': on {nodes}{of_which} are {len(case.pods)} pods of namespace '{own}'{more}"
    yield PreflightChecked(check="nodes", ok=not others, detail=detail)


def failover_floor(case: Case) -> Iterator[Finding]:
    """
    The least time from a node's loss until Kubernetes replaces its pods.

    Until the node controller gives the node up (node-monitor-grace-period), and then as long as the pods tolerate that
    (Kubernetes, "Taints and Tolerations", taint-based evictions).
    """
    if REAL_OUTAGE not in actions_of(case.fault):
        return
    grace_s, tolerated_s = _grace_s(case), min(map(_tolerated_s, case.pods), default=math.inf)
    floor_s, hold_s = grace_s + tolerated_s, case.fault.until_s - case.fault.at_s
    detail = f"fault '{case.fault.name}': Kubernetes replaces no pod of a lost node " + (
        "at all, for its pods tolerate that for ever"
        if math.isinf(floor_s)
        else f"before {floor_s:g} s ({grace_s} s until it gives the node up, {tolerated_s:g} s that its pods tolerate)"
    )
    late = "" if floor_s < hold_s else f"; the fault lasts {hold_s:g} s, so none will be seen"
    yield PreflightChecked(check="failover_floor", ok=not late, detail=detail + late)


def _grace_s(case: Case) -> int:
    own = [node for node in case.seen.nodes if name_of(node) in case.targets.nodes]
    if any(POWER in (node["metadata"].get("annotations") or {}) for node in own):
        return GRACE_SANDBOX_S
    return GRACE_S if case.seen.version >= (1, 32) else GRACE_BEFORE_1_32_S


def _tolerated_s(pod: Obj) -> float:
    """How long the pod stays bound to a node that cannot be reached (TaintManager): for ever where no time is given."""
    for one in pod["spec"].get("tolerations") or ():
        if one.get("key") in (UNREACHABLE, None, "") and one.get("effect") in ("NoExecute", None, ""):
            return float(max(0, one.get("tolerationSeconds", math.inf)))
    return 0


def identity(cluster: Cluster, uid: str, url: str) -> PreflightChecked:
    """Which cluster it is, and whether the service file pins it."""
    detail = f"{url} is cluster {uid}"
    pinned = "" if cluster.uid else "; any cluster would do: pin it with cluster.uid in the service file"
    return PreflightChecked(check="cluster", ok=True, detail=detail + (pinned or ", as pinned"))


def _namespace_of(pod: Obj) -> str:
    return str(pod["metadata"].get("namespace", ""))


CHECKS: Sequence[Callable[[Case], Iterator[Finding]]] = (
    open_paths,
    disruption_budgets,
    autoscalers,
    crowd,
    failover_floor,
    reaper,
    blast_zone,
)


def findings(cases: Sequence[Case]) -> Iterator[Finding]:
    """What the checks of each fault find, in the faults' order."""
    for case in cases:
        for check in CHECKS:
            yield from check(case)
