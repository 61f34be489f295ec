"""
Whole, plain plans, so that a test writes down only what matters to it.

Unless told otherwise there is one service, "shop", at 200 evenly spaced arrivals a second, without cluster, Prometheus
or SLIs. The constants are varied with `dataclasses.replace`. What the functions take as `more` are fields of the value
they return.
"""

from __future__ import annotations

from typing import Any

from harness.plan.model import (
    Better,
    ClientMeasure,
    ClientSli,
    Cluster,
    Experiment,
    Fault,
    Load,
    Observe,
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


def at(line: int) -> Source:
    """A line of the scenario."""
    return Source(path="scenarios/s.yaml", line=line)


HERE = at(1)
OF_FAULTS = at(9)
IN_SERVICE = Source(path="services/shop.yaml", line=1)

LOAD = Load(
    baseline_per_s=200.0,
    locustfile="/shop.py",
    arrivals="uniform",
    seed=1,
    deadline_s=5.0,
    slow_s=1.0,
    workers=1,
)
CLUSTER = Cluster(kubeconfig="/k", context=None, namespace="shop", selector="app=shop", deployment="shop", max_pods=2)
PROMETHEUS = Prometheus(
    url="http://127.0.0.1:9090",
    headers=(),
    ca_file=None,
    verify=True,
    scrape_interval_s=1.0,
    selector='job="shop"',
    timeout_s=5.0,
)
SERVICE = Service(
    name="shop",
    title="shop",
    url="http://127.0.0.1:1",
    load=LOAD,
    cluster=None,
    prometheus=None,
    slis=(),
    sandbox=None,
    source=IN_SERVICE,
)


def client_sli(
    name: str, measure: ClientMeasure = ClientMeasure.ERROR_RATIO, quantile: float | None = None, **more: Any
) -> ClientSli:
    """A ratio, or seconds where there is a quantile; the lower the better."""
    unit = Unit.SECONDS if quantile else Unit.RATIO
    plain: dict[str, Any] = {"series": None, "unit": unit, "better": Better.LOWER, "source": IN_SERVICE}
    return ClientSli(name=name, measure=measure, quantile=quantile, **(plain | more))


def server_sli(name: str, **more: Any) -> PrometheusSli:
    """A ratio, or seconds where there is a quantile; the lower the better. `more` says what is asked of Prometheus."""
    unit = Unit.SECONDS if "quantile" in more else Unit.RATIO
    plain: dict[str, Any] = {"unit": unit, "better": Better.LOWER, "absent_means_zero": False, "source": IN_SERVICE}
    return PrometheusSli(name=name, **({"query": None, "bad": None, "total": None} | plain | more))


def rule(text: str = "> 1%", quantity: float = 0.01, **more: Any) -> Rule:
    """The rule of this text; `quantity` is the amount in it, in the SLI's unit."""
    op: Any = text.split(maxsplit=1)[0]
    return Rule(text=text, op=op, quantity=quantity, **({"relative_to": None, "for_s": None} | more))


def threshold(sli: str, asked: Rule | None = None, tier: Tier = Tier.FAIL, **more: Any) -> Threshold:
    """More than 1 % fails, unless another rule or tier is given."""
    return Threshold(sli=sli, tier=tier, rule=asked or rule(), **({"source": HERE} | more))


def phase(name: str = "stress", begin_s: float = 0.0, end_s: float = 60.0, level: float = 1.0, **more: Any) -> Phase:
    """A judged phase without thresholds; what is judged begins with it, unless it has `ramp_s` or `settle_s`."""
    plain: dict[str, Any] = {"ramp_s": 0.0, "settle_s": 0.0, "judge": True, "thresholds": (), "timings": ()}
    given = plain | {"source": HERE} | more
    start_s = begin_s + given["ramp_s"] + given["settle_s"]
    return Phase(name=name, load_level=level, begin_s=begin_s, start_s=start_s, end_s=end_s, **given)


def fault(
    name: str = "pod-delete",
    at_s: float = 10.0,
    until_s: float = 20.0,
    *,
    phase: str = "stress",
    source: Source = OF_FAULTS,
    **of_experiment: Any,
) -> Fault:
    """A fault that takes any of the shop's pods; `of_experiment` are fields of its experiment."""
    plain: dict[str, Any] = {
        "document": "{}",
        "observe": Observe.PODS_REPLACED,
        "selector": "app=shop",
        "namespace": "shop",
        "zone": None,
        "max_targets": None,
    }
    experiment = Experiment(name=name, path=f"experiments/{name}.yaml", **(plain | of_experiment))
    return Fault(name=name, experiment=experiment, at_s=at_s, until_s=until_s, phase=phase, source=source)


def plan_of(*phases: Phase, service: Service = SERVICE, faults: tuple[Fault, ...] = (), **more: Any) -> Plan:
    """A plan of these phases, of one if none is given."""
    phases = phases or (phase(),)
    plain: dict[str, Any] = {
        "scenario": "s",
        "title": "S",
        "end_s": phases[-1].end_s,
        "time_scale": 1.0,
        "source": HERE,
    }
    return Plan(service=service, phases=phases, faults=faults, **(plain | more))
