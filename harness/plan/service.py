"""Reads a service file: what all scenarios of one service share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from harness.plan import catalogue
from harness.plan.files import Files
from harness.plan.model import (
    Better,
    ClientMeasure,
    ClientSli,
    Cluster,
    Load,
    Prometheus,
    PrometheusSli,
    Service,
    Sli,
    Unit,
)
from harness.plan.nodes import At, Fields, nearest, quoted
from harness.plan.promql import counter_problems, template_problems
from harness.units import ratio

SANDBOX_URL = "sandbox:"
"""Stands for an address that only the running sandbox knows, until the plan is bound to it."""

KEYS = (("title", "load", "slis"), ("sandbox", "url", "cluster", "prometheus"))
LOAD_KEYS = (("baseline", "locustfile"), ("arrivals", "seed", "deadline", "slow", "workers"))
CLUSTER_KEYS = (("namespace", "selector"), ("deployment", "max_pods", "kubeconfig", "context"))
PROMETHEUS_KEYS = (("scrape_interval", "selector"), ("timeout", "url", "headers", "ca_file", "verify"))
CLIENT_SLI_KEYS = (("client",), ("series",))
PROMETHEUS_SLI_KEYS = (("prometheus", "unit", "better"), ())
COUNTER_KEYS = (("bad", "total"), ("absent",))

_URL = re.compile(r"https?://[^\s/]+\S*")
_QUANTILE = re.compile(r"latency p([0-9]+(?:\.[0-9]+)?)")
_MEASURES: dict[ClientMeasure, tuple[Unit, Better]] = {
    ClientMeasure.ERROR_RATIO: (Unit.RATIO, Better.LOWER),
    ClientMeasure.SUCCESS_RATIO: (Unit.RATIO, Better.HIGHER),
    ClientMeasure.LATENCY: (Unit.SECONDS, Better.LOWER),
    ClientMeasure.THROUGHPUT: (Unit.PER_SECOND, Better.HIGHER),
}
_CLIENT_WORDS = ("error_ratio", "success_ratio", "latency p95", "throughput")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFile:
    """A service file as far as it could be read: what is None or missing here is wrong and recorded, or not given."""

    name: str
    given: frozenset[str]  # the file's top-level keys
    load: Load | None
    cluster: Cluster | None
    prometheus: Prometheus | None
    slis: Mapping[str, Sli | None]  # None: defined, but wrongly
    service: Service | None  # the whole, when nothing is wrong


def service_of(at: At, files: Files) -> ServiceFile | None:
    """The service that the document describes."""
    fields = at.fields(*KEYS)
    if fields is None:
        return None
    sandbox = cast("Literal['good', 'bad'] | None", fields.choice("sandbox", ("good", "bad")))
    local = "sandbox" in fields.values
    url = _address(fields, local=local)
    load = _load(fields.get("load"), files)
    cluster = _cluster(fields.get("cluster"), files, local=local)
    prometheus = _prometheus(fields.get("prometheus"), files, local=local)
    slis = _slis(fields.get("slis"), prometheus.selector if prometheus else 'job="x"')
    name, title = catalogue.name_of(at.path), fields.text("title")
    service = None
    if load and title and url:
        service = Service(
            name=name,
            title=title,
            url=url,
            load=load,
            cluster=cluster,
            prometheus=prometheus,
            slis=tuple(sli for sli in slis.values() if sli),
            sandbox=sandbox,
            source=at.source,
        )
    return ServiceFile(
        name=name,
        given=frozenset(fields.values),
        load=load,
        cluster=cluster,
        prometheus=prometheus,
        slis=slis,
        service=service,
    )


def _address(fields: Fields, *, local: bool) -> str | None:
    """The `url` of a service or a Prometheus: given, unless the sandbox knows it."""
    at = fields.get("url")
    if local:
        if at is not None:
            at.wrong("comes from the sandbox at run time; remove it, or remove 'sandbox'")
        return SANDBOX_URL
    if at is None:
        fields.at.wrong("'url' is missing; give it, or write 'sandbox: good' in the service to use the local sandbox")
        return None
    text = at.text()
    if text is not None and not _URL.fullmatch(text):
        at.wrong(f"{quoted(text)} is not an address; write e.g. http://127.0.0.1:8080")
        return None
    return text.rstrip("/") if text else None


def _load(at: At | None, files: Files) -> Load | None:
    fields = at.fields(*LOAD_KEYS) if at else None
    if fields is None:
        return None
    baseline = fields.positive("baseline", "/s")
    file_at = fields.get("locustfile")
    locustfile = files.referred(file_at) if file_at else None
    arrivals = fields.choice("arrivals", ("uniform", "poisson"), "uniform")
    seed = fields.whole("seed", 1)
    deadline_s, slow_s = fields.positive("deadline", "s", 5.0), fields.positive("slow", "s", 1.0)
    workers = fields.whole("workers", least=1)
    if deadline_s is not None and slow_s is not None and slow_s > deadline_s:
        fields.at.wrong("'slow' is longer than 'deadline', so no response could ever be slow; shorten it")
    if baseline is None or locustfile is None or arrivals is None or seed is None or not deadline_s or not slow_s:
        return None
    return Load(
        baseline_per_s=baseline,
        locustfile=locustfile,
        arrivals=cast("Literal['uniform', 'poisson']", arrivals),
        seed=seed,
        deadline_s=deadline_s,
        slow_s=slow_s,
        workers=workers,
    )


def _cluster(at: At | None, files: Files, *, local: bool) -> Cluster | None:
    fields = at.fields(*CLUSTER_KEYS) if at else None
    if fields is None:
        return None
    for key in ("kubeconfig", "context"):
        value = fields.get(key)
        if local and value is not None:
            value.wrong("comes from the sandbox at run time; remove it, or remove 'sandbox'")
        if not local and value is None:
            fields.at.wrong(f"'{key}' is missing; a fault must never reach a cluster that was not named")
    namespace, selector = fields.text("namespace"), fields.text("selector")
    kubeconfig = fields.text("kubeconfig")
    max_pods = fields.whole("max_pods", 1, least=1)
    if kubeconfig and not kubeconfig.startswith("~"):  # the Kubernetes client knows the home folder
        kubeconfig = files.absolute(catalogue.beside(fields.at.path, kubeconfig))
    if namespace is None or selector is None or max_pods is None:
        return None
    return Cluster(
        kubeconfig=kubeconfig,
        context=fields.text("context"),
        namespace=namespace,
        selector=selector,
        deployment=fields.text("deployment"),
        max_pods=max_pods,
    )


def _prometheus(at: At | None, files: Files, *, local: bool) -> Prometheus | None:
    fields = at.fields(*PROMETHEUS_KEYS) if at else None
    if fields is None:
        return None
    url = _address(fields, local=local)
    scrape_interval_s, timeout_s = fields.positive("scrape_interval", "s"), fields.positive("timeout", "s", 5.0)
    selector = fields.text("selector")
    headers_at, ca_at = fields.get("headers"), fields.get("ca_file")
    headers = {name: entry.at.text() for name, entry in ((headers_at.entries() if headers_at else None) or {}).items()}
    ca_file = files.referred(ca_at) if ca_at else None
    verify = fields.flag("verify", default=True)
    if url is None or scrape_interval_s is None or timeout_s is None or selector is None or verify is None:
        return None
    return Prometheus(
        url=url,
        headers=tuple((name, value) for name, value in headers.items() if value is not None),
        ca_file=ca_file,
        verify=verify,
        scrape_interval_s=scrape_interval_s,
        selector=selector,
        timeout_s=timeout_s,
    )


def _slis(at: At | None, selector: str) -> dict[str, Sli | None]:
    entries = at.entries() if at else None
    return {name: _sli(name, entry.at, selector) for name, entry in (entries or {}).items()}


def _sli(name: str, at: At, selector: str) -> Sli | None:
    entries = at.entries()
    if entries is None:
        return None
    if "client" in entries:
        return _client_sli(name, at)
    if "prometheus" in entries:
        return _prometheus_sli(name, at, selector)
    at.wrong("wants 'client: MEASURE' or 'prometheus: QUERY'")
    return None


def _client_sli(name: str, at: At) -> ClientSli | None:
    fields = at.fields(*CLIENT_SLI_KEYS)
    text = fields.text("client") if fields else None
    if fields is None or text is None:
        return None
    quantile = None
    if match := _QUANTILE.fullmatch(text):
        measure, quantile = ClientMeasure.LATENCY, ratio(f"{match[1]}%")
        if not 0 < quantile < 1:
            fields.values["client"].wrong(f"'p{match[1]}' is no percentile; write p50, p95, p99 or p99.9")
            return None
    elif text in ("error_ratio", "success_ratio", "throughput"):
        measure = ClientMeasure(text)
    else:
        fields.values["client"].wrong(f"unknown measure {quoted(text)}; {nearest(text, _CLIENT_WORDS)}")
        return None
    unit, better = _MEASURES[measure]
    series = fields.text("series")
    return ClientSli(
        name=name, measure=measure, quantile=quantile, series=series, unit=unit, better=better, source=at.source
    )


def _prometheus_sli(name: str, at: At, selector: str) -> PrometheusSli | None:
    fields = at.fields(*PROMETHEUS_SLI_KEYS)
    if fields is None:
        return None
    unit, better = fields.choice("unit", tuple(Unit)), fields.choice("better", tuple(Better))
    query_at = fields.values["prometheus"]
    if query_at.is_mapping():
        query, counters = None, _counters(query_at, selector)
        if unit not in {None, Unit.RATIO}:
            fields.values["unit"].wrong(f"'bad' over 'total' is a ratio, not {quoted(str(unit))}; write 'unit: ratio'")
    else:
        query, counters = query_at.text(), (None, None, False)
        for wrong in template_problems(query, selector) if query else ():
            query_at.wrong(wrong)
    if unit is None or better is None or (query is None and counters[0] is None):
        return None
    return PrometheusSli(
        name=name,
        query=query,
        bad=counters[0],
        total=counters[1],
        unit=Unit(unit),
        better=Better(better),
        absent_means_zero=counters[2],
        source=at.source,
    )


def _counters(at: At, selector: str) -> tuple[str | None, str | None, bool]:
    """The selectors `bad` and `total`, and whether an absent `bad` counts as zero."""
    fields = at.fields(*COUNTER_KEYS)
    if fields is None:
        return None, None, False
    for key in ("bad", "total"):
        text = fields.text(key)
        for wrong in counter_problems(text, selector) if text else ():
            fields.values[key].wrong(wrong)
    return fields.text("bad"), fields.text("total"), fields.choice("absent", ("zero",)) == "zero"
