"""A plan that asks a Prometheus."""

from __future__ import annotations

from dataclasses import replace

from plan_values import PROMETHEUS, SERVICE, plan_of

from harness.plan.model import Phase, Plan, Prometheus, PrometheusSli


def prometheus(url: str, *, timeout_s: float = 0.3) -> Prometheus:
    return replace(PROMETHEUS, url=url, headers=(("X-Scope-OrgID", "shop"),), timeout_s=timeout_s)


def plan(source: Prometheus, slis: tuple[PrometheusSli, ...], *phases: Phase) -> Plan:
    return plan_of(*phases, service=replace(SERVICE, prometheus=source, slis=slis))
