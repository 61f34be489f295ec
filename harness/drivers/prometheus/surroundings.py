"""Whether a fault of the plan can reach the Prometheus that is to watch it, as far as Prometheus itself knows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from harness.drivers.prometheus.api import Api
from harness.drivers.prometheus.http import RefusedError
from harness.plan.model import Fault, Plan

_EQUALITY = re.compile(r"([^\s=!]+)\s*==?\s*([^\s=!]+)")  # of a label selector; the other forms are left alone
_ZONES = ("zone", "topology_kubernetes_io_zone", "failure_domain_beta_kubernetes_io_zone")
_NAMESPACES = ("namespace", "kubernetes_namespace")


def at_risk(plan: Plan, api: Api) -> Iterator[str]:
    """
    A sentence for each fault that can hit Prometheus.

    Read from the labels of the series in which Prometheus reports its own build: so it is known only of a Prometheus
    that scrapes itself, alone, and puts pods' labels or zones on its targets. Otherwise nothing is said.
    """
    try:
        builds = api.instant("prometheus_build_info")
    except RefusedError:
        return  # something else speaks its API
    if len(builds) != 1:
        return
    labels = builds[0]["metric"]
    for fault in plan.faults:
        if why := _reached(fault, labels):
            yield f"Prometheus itself {why}, which {fault.name} strikes: what it would have seen then may be missing"


def _reached(fault: Fault, labels: Mapping[str, Any]) -> str | None:
    experiment = fault.experiment
    zone = next((labels[name] for name in _ZONES if name in labels), None)
    if experiment.zone is not None:
        return f"runs in {zone}" if zone == experiment.zone else None
    namespace = next((labels[name] for name in _NAMESPACES if name in labels), None)
    parts = [_EQUALITY.fullmatch(part.strip()) for part in experiment.selector.split(",")]
    if namespace != experiment.namespace or not all(part and _label(labels, part[1]) == part[2] for part in parts):
        return None
    return f"runs as one of the pods {experiment.selector} in {namespace}"


def _label(labels: Mapping[str, Any], key: str) -> Any:
    """A pod's label as service discovery usually writes it: with underscores, or behind the pod label's prefix."""
    name = "".join(letter if letter.isalnum() else "_" for letter in key)
    return labels.get(name, labels.get(f"label_{name}"))
