"""A plan for the sandbox, bound to the addresses that the running sandbox has."""

from __future__ import annotations

from dataclasses import replace

from harness.plan.model import Plan
from harness.plan.service import SANDBOX_URL


def bound(
    plan: Plan, *, url: str, kubeconfig: str | None, prometheus_url: str | None, store_url: str | None = None
) -> Plan:
    """
    The plan with the service's `url`, kubeconfig, Prometheus URL and the store's URL filled in, where they are wanted.

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
    service = replace(service, url=url, cluster=cluster, prometheus=prometheus)
    if store_url and service.audit_url == SANDBOX_URL:
        service = replace(service, audit_url=store_url)
    audit = plan.audit
    if store_url and audit and audit.url == SANDBOX_URL:
        audit = replace(audit, url=store_url)
    return replace(plan, service=service, audit=audit)
