"""The disruption controller: writes into each PodDisruptionBudget what it comes to just now."""

from __future__ import annotations

from harness.sandbox.disruptions import budget_of
from harness.sandbox.objects import set_condition
from harness.sandbox.resources import PDBS, Obj
from harness.sandbox.store import Store


def reconcile_budget(store: Store, namespace: str, name: str) -> None:
    """Bring the status of the budget up to date."""
    pdb = store.find(PDBS, name, namespace)
    if pdb is None:
        return
    budget = budget_of(store, pdb)

    def change(obj: Obj) -> None:
        obj["status"] |= {
            "observedGeneration": pdb["metadata"]["generation"],
            "expectedPods": budget.expected,
            "currentHealthy": budget.healthy,
            "desiredHealthy": budget.desired,
            "disruptionsAllowed": budget.allowed,
        }
        reason = "SufficientPods" if budget.allowed else "InsufficientPods"
        set_condition(obj, "DisruptionAllowed", str(budget.allowed > 0), reason)

    store.update(PDBS, name, namespace, change)
