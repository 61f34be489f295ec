"""Reads a service's SLIs, and the parts of its health score."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from harness import units
from harness.plan.model import Better, ClientMeasure, ClientSli, HealthPart, PrometheusSli, Sli, Unit
from harness.plan.nodes import At, Fields, nearest, quoted
from harness.plan.promql import counter_problems, histogram_problems, template_problems

CLIENT_SLI_KEYS = (("client",), ("series", "stream"))
PROMETHEUS_SLI_KEYS = (("prometheus",), ("unit", "better"))
COUNTER_KEYS = (("bad", "total"), ("absent",))
HISTOGRAM_KEYS = (("histogram", "quantile"), ())
HEALTH_KEYS = (("sli", "weight", "target"), ())

_LATENCY = re.compile(r"latency p([0-9]+(?:\.[0-9]+)?)")
_PERCENTILE = re.compile(r"p([0-9]+(?:\.[0-9]+)?)")
_MEASURES: dict[ClientMeasure, tuple[Unit, Better]] = {
    ClientMeasure.ERROR_RATIO: (Unit.RATIO, Better.LOWER),
    ClientMeasure.SUCCESS_RATIO: (Unit.RATIO, Better.HIGHER),
    ClientMeasure.LATENCY: (Unit.SECONDS, Better.LOWER),
    ClientMeasure.THROUGHPUT: (Unit.PER_SECOND, Better.HIGHER),
    ClientMeasure.FAILURES: (Unit.COUNT, Better.LOWER),
}
_PLAIN_MEASURES = tuple(measure.value for measure in _MEASURES if measure is not ClientMeasure.LATENCY)
_ANY_SELECTOR = 'job="x"'


def slis_of(at: At | None, *, selector: str | None, streams: tuple[str, ...] | None) -> dict[str, Sli | None]:
    """
    The SLIs by name; None for one that is wrong.

    `selector` is what fills `$selector`, None when the service has no Prometheus; `streams` are the load's, None when
    they are not known.
    """
    entries = at.entries() if at else None
    return {name: _sli(name, entry.at, selector or _ANY_SELECTOR, streams) for name, entry in (entries or {}).items()}


def health_of(at: At | None, slis: Mapping[str, Sli | None], *, prometheus: bool) -> tuple[HealthPart, ...]:
    """The parts of the health score that could be read; whether the service has a Prometheus is checked, too."""
    items = at.items() if at else []
    if at is None or not items:
        return ()
    before = len(at.problems)
    parts: list[HealthPart] = []
    for item in items:
        part = _part(item, slis, prometheus=prometheus)
        if part and part.sli in {other.sli for other in parts}:
            item.wrong(f"'{part.sli}' is listed twice; keep one")
        elif part:
            parts.append(part)
    total = math.fsum(part.weight for part in parts)
    if len(at.problems) == before and not math.isclose(total, 1, abs_tol=1e-9):
        at.wrong(f"the weights make {total:.4g} together, not 1; change one")
    return tuple(parts)


def _part(at: At, slis: Mapping[str, Sli | None], *, prometheus: bool) -> HealthPart | None:
    fields = at.fields(*HEALTH_KEYS)
    name = fields.text("sli") if fields else None
    if fields is None or name is None:
        return None
    weight = fields.positive("weight", Unit.COUNT)
    if weight is not None and weight > 1:
        fields.values["weight"].wrong(f"'{weight:g}' is more than the whole; all weights together make 1")
    if name not in slis:
        fields.values["sli"].wrong(f"there is no SLI {quoted(name)}; {nearest(name, slis, allowed='it has')}")
    sli = slis.get(name)
    if sli is None:
        return None
    if isinstance(sli, PrometheusSli) and not prometheus:
        at.wrong(f"'{name}' comes from Prometheus, which the service lacks; give it 'prometheus' or another SLI")
    target = fields.positive("target", sli.unit)
    if weight is None or target is None:
        return None
    return HealthPart(sli=name, weight=weight, target=target, source=at.source)


def _sli(name: str, at: At, selector: str, streams: tuple[str, ...] | None) -> Sli | None:
    entries = at.entries()
    if entries is None:
        return None
    if "client" in entries:
        return _client_sli(name, at, streams)
    if "prometheus" in entries:
        return _prometheus_sli(name, at, selector)
    at.wrong("wants 'client: MEASURE' or 'prometheus: QUERY'")
    return None


def _client_sli(name: str, at: At, streams: tuple[str, ...] | None) -> ClientSli | None:
    fields = at.fields(*CLIENT_SLI_KEYS)
    text = fields.text("client") if fields else None
    if fields is None or text is None:
        return None
    quantile = None
    if match := _LATENCY.fullmatch(text):
        measure, quantile = ClientMeasure.LATENCY, _quantile(fields.values["client"], match[1])
        if quantile is None:
            return None
    elif text in _PLAIN_MEASURES:
        measure = ClientMeasure(text)
    else:
        fields.values["client"].wrong(
            f"unknown measure {quoted(text)}; {nearest(text, (*_PLAIN_MEASURES, 'latency p95'))}"
        )
        return None
    stream = fields.text("stream")
    if stream is not None and streams is not None and stream not in streams:
        known = nearest(stream, streams, allowed="it has") if streams else "it has no 'load.streams'"
        fields.values["stream"].wrong(f"the service has no stream {quoted(stream)}; {known}")
    unit, better = _MEASURES[measure]
    return ClientSli(
        name=name,
        measure=measure,
        quantile=quantile,
        series=fields.text("series"),
        stream=stream,
        unit=unit,
        better=better,
        source=at.source,
    )


def _quantile(at: At, percent: str) -> float | None:
    quantile = units.ratio(f"{percent}%")
    if not 0 < quantile < 1:
        at.wrong(f"'p{percent}' is no percentile; write p50, p95, p99 or p99.9")
        return None
    return quantile


def _prometheus_sli(name: str, at: At, selector: str) -> PrometheusSli | None:
    fields = at.fields(*PROMETHEUS_SLI_KEYS)
    if fields is None:
        return None
    asked_at = fields.values["prometheus"]
    if not asked_at.is_mapping():
        return _query_sli(name, fields, selector)
    if {"histogram", "quantile"} & set(asked_at.entries() or {}):
        return _histogram_sli(name, fields, selector)
    return _counters_sli(name, fields, selector)


def _query_sli(name: str, fields: Fields, selector: str) -> PrometheusSli | None:
    unit, better = _unit_and_better(fields)
    query = fields.text("prometheus")
    for wrong in template_problems(query, selector) if query else ():
        fields.values["prometheus"].wrong(wrong)
    if unit is None or better is None or query is None:
        return None
    return PrometheusSli(
        name=name,
        query=query,
        bad=None,
        total=None,
        unit=unit,
        better=better,
        absent_means_zero=False,
        source=fields.at.source,
    )


def _counters_sli(name: str, fields: Fields, selector: str) -> PrometheusSli | None:
    unit, better = _unit_and_better(fields)
    if unit not in {None, Unit.RATIO}:
        fields.values["unit"].wrong(f"'bad' over 'total' is a ratio, not '{unit}'; write 'unit: ratio'")
    counters = fields.values["prometheus"].fields(*COUNTER_KEYS)
    if counters is None:
        return None
    for key in ("bad", "total"):
        text = counters.text(key)
        for wrong in counter_problems(text, selector) if text else ():
            counters.values[key].wrong(wrong)
    bad, total, absent = counters.text("bad"), counters.text("total"), counters.choice("absent", ("zero",))
    if unit is None or better is None or bad is None or total is None:
        return None
    return PrometheusSli(
        name=name,
        query=None,
        bad=bad,
        total=total,
        unit=unit,
        better=better,
        absent_means_zero=absent == "zero",
        source=fields.at.source,
    )


def _histogram_sli(name: str, fields: Fields, selector: str) -> PrometheusSli | None:
    unit = fields.choice("unit", tuple(Unit), Unit.SECONDS)
    better = fields.choice("better", tuple(Better), Better.LOWER)
    if better == Better.HIGHER:
        fields.values["better"].wrong("a histogram's percentile is better lower; remove 'better'")
    asked = fields.values["prometheus"].fields(*HISTOGRAM_KEYS)
    if asked is None:
        return None
    histogram, percentile = asked.text("histogram"), asked.text("quantile")
    for wrong in histogram_problems(histogram, selector) if histogram else ():
        asked.values["histogram"].wrong(wrong)
    match = _PERCENTILE.fullmatch(percentile or "")
    if percentile and not match:
        asked.values["quantile"].wrong(f"{quoted(percentile)} is no percentile; write p50, p95, p99 or p99.9")
    quantile = _quantile(asked.values["quantile"], match[1]) if match else None
    if unit is None or histogram is None or quantile is None:
        return None
    return PrometheusSli(
        name=name,
        query=None,
        bad=None,
        total=None,
        histogram=histogram,
        quantile=quantile,
        unit=Unit(unit),
        better=Better.LOWER,
        absent_means_zero=False,
        source=fields.at.source,
    )


def _unit_and_better(fields: Fields) -> tuple[Unit | None, Better | None]:
    for key in ("unit", "better"):
        if key not in fields.values:
            fields.at.wrong(f"'{key}' is missing")
    unit, better = fields.choice("unit", tuple(Unit)), fields.choice("better", tuple(Better))
    return Unit(unit) if unit else None, Better(better) if better else None
