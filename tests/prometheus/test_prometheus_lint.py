"""What is said of the queries before any load."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from fake_prometheus import Answer
from plan_values import IN_SERVICE, fault, phase, rule, server_sli, threshold
from prometheus_plan import plan, prometheus

from harness.drivers.prometheus import PrometheusSource
from harness.errors import DriverError, PlanError
from harness.history.events import QueryProbed
from harness.plan.model import Fault, HealthPart, Observe, Phase, Plan, PrometheusSli

pytestmark = pytest.mark.real

Result = list[dict[str, Any]]


def raw(values: Callable[[int], float], **labels: str) -> Result:
    """A sample a second of the last twenty seconds."""
    now_s = time.time()
    pairs = [[round(now_s - 20 + n, 3), f"{values(n):g}"] for n in range(20)]
    return [{"metric": labels, "values": pairs}]


def value(amount: str, **labels: str) -> Result:
    return [{"metric": labels, "value": [time.time(), amount]}]


def answering(answers: Mapping[str, Callable[[], Result]], names: tuple[str, ...] = ()) -> Callable[[str], Answer]:
    """A Prometheus with one healthy target; `answers` by the beginning of the query, empty otherwise."""

    def answer(query: str) -> Answer:
        if query == "time()":
            return 200, {"data": {"resultType": "scalar", "result": [1.0, str(time.time())]}}
        if query.startswith("/api/v1/label"):
            return 200, {"status": "success", "data": list(names)}
        known = {"up{": lambda: raw(lambda _: 1, instance="a") if "[" in query else value("1", instance="a")}
        for start, result in (known | dict(answers)).items():
            if query.startswith(start):
                return 200, {"data": {"resultType": "matrix", "result": result()}}
        return 200, {"data": {"resultType": "vector", "result": []}}

    return answer


CPU = server_sli("cpu", query="cpu[$window]")
ERRORS = server_sli("errors", bad="errors_total", total="requests_total", absent_means_zero=True)
SLOW = server_sli("slow", histogram="request_seconds", quantile=0.95)


def probed(url: str, of: PrometheusSli, wanted: Phase | None = None, **changed: Any) -> list[QueryProbed]:
    """What the preflight says of one SLI."""
    judged = wanted or phase(thresholds=(threshold(of.name),))
    made: Plan = replace(plan(prometheus(url, timeout_s=5), (of,), judged), **changed)
    with closing(PrometheusSource(made)) as source:
        return [stamped.body for stamped in source.preflight() if isinstance(stamped.body, QueryProbed)]


def wrong(url: str, of: PrometheusSli, wanted: Phase | None = None) -> list[str]:
    with pytest.raises(PlanError) as caught:
        probed(url, of, wanted)
    return [str(problem) for problem in caught.value.problems]


def limited(limit_s: float) -> Phase:
    return phase(thresholds=(threshold("slow", rule(f"> {limit_s:g}s", limit_s)),))


def test_every_query_is_run_and_its_value_told(serve: Any) -> None:
    fake = serve(answering({"cpu": lambda: value("0.25")}))
    assert probed(fake.url, CPU) == [QueryProbed(sli="cpu", value=0.25, detail="25% over the last 20s")]


def test_counters_are_told_as_the_run_will_judge_them(serve: Any) -> None:
    fake = serve(
        answering(
            {
                "requests_total": lambda: raw(lambda n: 100.0 * n, instance="a"),
                "errors_total": lambda: raw(lambda n: 5.0 * n, instance="a"),
            }
        )
    )
    assert probed(fake.url, ERRORS) == [
        QueryProbed(sli="errors", value=0.05, detail="5% of 1900 over the last 20s"),
    ]


def test_a_service_that_served_nothing_yet_is_no_error(serve: Any) -> None:
    fake = serve(answering({"requests_total": lambda: raw(lambda _: 7.0, instance="a")}, ("requests_total",)))
    assert probed(fake.url, ERRORS) == [
        QueryProbed(
            sli="errors",
            value=None,
            detail="no value yet: the servers counted nothing in the window",
        )
    ]


def test_a_counter_of_errors_that_does_not_exist_yet_is_no_error_where_absent_means_zero(serve: Any) -> None:
    answers = {"requests_total": lambda: raw(lambda n: 100.0 * n, instance="a")}
    assert probed(serve(answering(answers, ("requests_total",))).url, ERRORS)[0].value == 0.0
    declared = replace(ERRORS, absent_means_zero=False)
    [told] = probed(serve(answering(answers, ("requests_total",))).url, declared)
    assert told.detail.endswith(
        "Prometheus has no 'errors_total'; fine if it comes with the first request, else correct the name"
    )


def test_a_name_that_is_nearly_anothers_is_an_error(serve: Any) -> None:
    fake = serve(answering({}, ("request_total", "up")))
    assert wrong(fake.url, ERRORS) == [
        (
            "services/shop.yaml:1: 'errors' asks for 'requests_total', which Prometheus does not have; "
            "did you mean 'request_total'?"
        )
    ]


def test_several_series_are_an_error_unless_each_is_judged(serve: Any) -> None:
    both = {"cpu": lambda: [*value("0.25", zone="a"), *value("0.75", zone="b")]}
    fake = serve(answering(both))
    assert wrong(fake.url, CPU) == [
        "scenarios/s.yaml:1: the query of 'cpu' returns 2 series; aggregate them, or judge each of zone"
    ]
    each = phase(thresholds=(threshold("cpu", each="zone"),))
    assert probed(fake.url, CPU, each) == [QueryProbed(sli="cpu", value=None, detail="a 25%, b 75%")]


def test_not_a_number_is_told(serve: Any) -> None:
    [told] = probed(serve(answering({"cpu": lambda: value("NaN")})).url, CPU)
    assert (told.value, told.detail) == (None, "no value yet: the query returned nan")


def classic() -> Result:
    return [
        *raw(lambda n: 90.0 * n, le="0.2", instance="a", __name__="request_seconds_bucket"),
        *raw(lambda n: 100.0 * n, le="0.5", instance="a", __name__="request_seconds_bucket"),
        *raw(lambda n: 100.0 * n, le="+Inf", instance="a", __name__="request_seconds_bucket"),
    ]


def test_a_limit_beyond_the_last_bucket_is_an_error(serve: Any) -> None:
    fake = serve(answering({"request_seconds_bucket": classic}))
    assert wrong(fake.url, SLOW, limited(1.0)) == [
        (
            "scenarios/s.yaml:1: 1s lies beyond the last bucket of 'slow', 500ms, so that it can never be breached; "
            "add a bucket there, or lower the limit"
        )
    ]


def test_a_limit_at_no_edge_is_told_and_one_at_an_edge_is_fine(serve: Any) -> None:
    fake = serve(answering({"request_seconds_bucket": classic}))
    [told] = probed(fake.url, SLOW, limited(0.3))
    assert told.detail.endswith("no bucket has its edge at 300ms, so that rule '> 0.3s' may stay open")
    [fine] = probed(fake.url, SLOW, limited(0.2))
    assert fine.detail == "350ms of 1900 over the last 20s"


def test_targets_that_are_all_down_end_it(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.drivers.prometheus.lint.TARGETS_S", 0.0)
    fake = serve(answering({"up{": lambda: value("0", instance="a")}))
    with pytest.raises(DriverError, match=r"all 1 targets that match up\{job=\"shop\"\} are down$"):
        probed(fake.url, CPU)


def strike(zone: str | None, selector: str = "app=prometheus") -> Fault:
    observe = Observe.ZONE_CUT if zone else Observe.PODS_REPLACED
    return fault("strike", observe=observe, zone=zone, namespace="monitoring", selector=selector)


@pytest.mark.parametrize(
    ("labels", "fault", "said"),
    [
        ({"zone": "zone-a"}, strike("zone-a"), "Prometheus itself runs in zone-a, which strike strikes: "),
        ({"zone": "zone-b"}, strike("zone-a"), None),
        ({}, strike("zone-a"), None),
        (
            {"namespace": "monitoring", "app": "prometheus"},
            strike(None),
            "Prometheus itself runs as one of the pods app=prometheus in monitoring, which strike strikes: ",
        ),
        ({"namespace": "shop", "app": "prometheus"}, strike(None), None),
        ({"namespace": "monitoring", "app": "prometheus"}, strike(None, "app!=prometheus"), None),
        ({"namespace": "monitoring", "app": "prometheus"}, strike(None, "app in (prometheus)"), None),
    ],
)
def test_a_fault_that_reaches_prometheus_itself_is_told_where_that_is_known(
    serve: Any, labels: dict[str, str], fault: Fault, said: str | None
) -> None:
    answers = {"cpu": lambda: value("0.25"), "prometheus_build_info": lambda: value("1", **labels)}
    told = probed(serve(answering(answers)).url, CPU, faults=(fault,))
    found = [one.detail for one in told if one.sli == "prometheus"]
    assert [one.startswith(said or "?") for one in found] == ([True] if said else [])


def test_nothing_is_asked_where_no_rule_wants_prometheus(serve: Any) -> None:
    fake = serve(answering({}))
    assert probed(fake.url, CPU, phase()) == []
    assert [one["query"] for one in fake.asked] == ["time()"]


def test_the_health_score_is_probed_too(serve: Any) -> None:
    made = plan(prometheus(serve(answering({"cpu": lambda: value("0.25")})).url, timeout_s=5), (CPU,), phase())
    part = HealthPart(sli="cpu", weight=1.0, target=0.5, source=IN_SERVICE)
    made = replace(made, service=replace(made.service, health=(part,)))
    with closing(PrometheusSource(made)) as source:
        assert [stamped.body.sli for stamped in source.preflight()] == ["cpu"]  # type: ignore[union-attr]
