"""What a keeper is told to hold. Apart from the keeper, which imports a Kubernetes client that the driver must not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What is to be held, for whom, and for how long after the last renewal."""

    kubeconfig: str
    context: str | None
    run: str
    namespace: str  # of the Lease
    namespaces: Sequence[str]  # of the Jobs; the Lease's is among them
    dead_man_s: float
    uid: str | None = None  # the cluster's; None: whichever the context names
    since_s: float | None = None  # CLOCK_MONOTONIC before an earlier keeper of the run made the Jobs
