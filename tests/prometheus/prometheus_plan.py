"""A literal plan with Prometheus SLIs, shared by the tests of this folder."""

from __future__ import annotations

from dataclasses import replace

from harness.plan.model import (
    Better,
    Load,
    Phase,
    Plan,
    Prometheus,
    PrometheusSli,
    Rule,
    Service,
    Source,
    Threshold,
    Tier,
    Unit,
)

HERE = Source(path="services/shop.yaml", line=1)


def sli(name: str, *, query: str | None = None, bad: str | None = None, total: str | None = None) -> PrometheusSli:
    return PrometheusSli(
        name=name,
        query=query,
        bad=bad,
        total=total,
        unit=Unit.RATIO,
        better=Better.LOWER,
        absent_means_zero=True,
        source=HERE,
    )


def histogram(name: str, selector: str, quantile: float = 0.95) -> PrometheusSli:
    return replace(sli(name), histogram=selector, quantile=quantile, unit=Unit.SECONDS, absent_means_zero=False)


def prometheus(url: str, *, timeout_s: float = 0.3, scrape_interval_s: float = 1.0) -> Prometheus:
    return Prometheus(
        url=url,
        headers=(("X-Scope-OrgID", "shop"),),
        ca_file=None,
        verify=True,
        scrape_interval_s=scrape_interval_s,
        selector='job="shop"',
        timeout_s=timeout_s,
    )


def phase(*rules: tuple[str, float | None], name: str = "stress") -> Phase:
    return Phase(
        name=name,
        load_level=1.0,
        begin_s=0.0,
        ramp_s=0.0,
        settle_s=0.0,
        start_s=0.0,
        end_s=60.0,
        judge=True,
        thresholds=tuple(
            Threshold(
                sli=sli_name,
                tier=Tier.FAIL,
                rule=Rule(text="> 1%", op=">", quantity=0.01, relative_to=None, for_s=for_s),
                source=HERE,
            )
            for sli_name, for_s in rules
        ),
        timings=(),
        source=HERE,
    )


def plan(source: Prometheus, slis: tuple[PrometheusSli, ...], *phases: Phase) -> Plan:
    load = Load(
        baseline_per_s=200.0,
        locustfile="/tmp/shop.py",
        arrivals="uniform",
        seed=1,
        deadline_s=5.0,
        slow_s=1.0,
        workers=None,
    )
    service = Service(
        name="shop",
        title="shop",
        url="http://127.0.0.1:8080",
        load=load,
        cluster=None,
        prometheus=source,
        slis=slis,
        sandbox=None,
        source=HERE,
    )
    return Plan(
        scenario="stress-150",
        title="stress",
        service=service,
        phases=phases,
        faults=(),
        end_s=60.0,
        time_scale=1.0,
        source=HERE,
    )
