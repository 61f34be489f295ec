"""A plan for the sandbox, bound to the addresses that the running sandbox has."""

from __future__ import annotations

from dataclasses import replace

from harness.plan.model import Plan


def bound(plan: Plan, *, url: str, kubeconfig: str | None, prometheus_url: str | None) -> Plan:
    """
    The plan with the service's `url`, kubeconfig and Prometheus URL filled in, where the service has such a part.

    None leaves a part as it is. A plan whose service names no sandbox has its addresses already and stays as it is.
    """
    service = plan.service
    if service.sandbox is None:
        return plan
    cluster, prometheus = service.cluster, service.prometheus
    if cluster and kubeconfig:
        cluster = replace(cluster, kubeconfig=kubeconfig)
    if prometheus and prometheus_url:
        prometheus = replace(prometheus, url=prometheus_url)
    return replace(plan, service=replace(service, url=url, cluster=cluster, prometheus=prometheus))
