"""Reads a service's `load`: the rate that is 100 %, its streams, how arrivals are made, the limits of the generator."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal, cast

from harness.plan.files import Files
from harness.plan.model import Limits, Load, Remote, Stream
from harness.plan.nodes import At, Fields, quoted
from harness.units import show

LOAD_KEYS = (
    ("locustfile",),
    (
        "baseline",
        "streams",
        "arrivals",
        "seed",
        "deadline",
        "slow",
        "workers",
        "remote",
        "connection_age",
        "limits",
        "metrics",
    ),
)
STREAM_KEYS = (("rate",), ("users", "tags"))
REMOTE_KEYS = (("listen", "workers"), ())
MEASURED = "measured"

_LIMITS = {  # key: field of Limits, unit, whether it must be more than 0
    "start_lag": ("start_lag_s", "s", True),
    "stall": ("stall_s", "s", True),
    "cpu": ("cpu_ratio", "ratio", True),
    "rate_error": ("rate_error", "ratio", False),
    "lost": ("lost_ratio", "ratio", False),
    "dropped": ("dropped_ratio", "ratio", False),
    "clock": ("clock_s", "s", True),
}
LIMIT_KEYS = ((), tuple(_LIMITS))

_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_STAND_IN_PER_S = 1.0  # a baseline that is yet to be found out


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFile:
    """
    A service's load as far as it could be read; None when something is wrong.

    While `measured_at` (where `baseline: measured` was written) is not None, the load's rates only give its streams'
    proportions.
    """

    load: Load | None
    measured_at: At | None
    streams: tuple[str, ...] | None  # None: wrong


def load_of(at: At, files: Files) -> LoadFile | None:
    """The load that the mapping describes."""
    fields = at.fields(*LOAD_KEYS)
    if fields is None:
        return None
    streams = _streams(fields.get("streams"))
    baseline_at = fields.get("baseline")
    measured = baseline_at is not None and baseline_at.says(MEASURED)
    baseline_per_s = _baseline(fields, streams, measured=measured)
    load = _load(fields, files, baseline_per_s, streams)
    return LoadFile(
        load=load,
        measured_at=baseline_at if measured else None,
        streams=None if streams is None else tuple(stream.name for stream in streams),
    )


def _load(
    fields: Fields, files: Files, baseline_per_s: float | None, streams: tuple[Stream, ...] | None
) -> Load | None:
    locustfile_at = fields.get("locustfile")
    locustfile = files.referred(locustfile_at) if locustfile_at else None
    arrivals = fields.choice("arrivals", ("uniform", "poisson"), "uniform")
    seed = fields.whole("seed", 1)
    deadline_s, slow_s = fields.positive("deadline", "s", 5.0), fields.positive("slow", "s", 1.0)
    connection_age_s = fields.positive("connection_age", "s", 30.0)
    workers, limits = fields.whole("workers", least=1), _limits(fields.get("limits"))
    metrics, remote = _metrics(fields)
    if deadline_s is not None and slow_s is not None and slow_s > deadline_s:
        fields.at.wrong("'slow' is longer than 'deadline', so no response could ever be slow; shorten it")
    if baseline_per_s is None or streams is None or locustfile is None or arrivals is None or seed is None:
        return None
    if not deadline_s or not slow_s or not connection_age_s or limits is None:
        return None
    return Load(
        baseline_per_s=baseline_per_s,
        streams=streams,
        locustfile=locustfile,
        arrivals=cast("Literal['uniform', 'poisson']", arrivals),
        seed=seed,
        deadline_s=deadline_s,
        slow_s=slow_s,
        workers=workers,
        remote=remote,
        connection_age_s=connection_age_s,
        limits=limits,
        metrics=metrics,
    )


def _baseline(fields: Fields, streams: tuple[Stream, ...] | None, *, measured: bool) -> float | None:
    """The rate of all streams together, a stand-in when it is still to be measured."""
    total = math.fsum(stream.baseline_per_s for stream in streams or ())
    if measured:
        return total or _STAND_IN_PER_S
    if "baseline" not in fields.values:
        if "streams" not in fields.values:
            fields.at.wrong("'baseline' is missing; give the rate that is 100 %, or 'streams' with rates of their own")
        return total or None
    baseline_per_s = fields.positive("baseline", "/s")
    if baseline_per_s and total and not math.isclose(baseline_per_s, total, rel_tol=1e-9):
        fields.values["baseline"].wrong(
            f"{show(baseline_per_s, '/s')} is not what the streams make together, {show(total, '/s')}; "
            "remove 'baseline' or change the rates"
        )
    return total or baseline_per_s


def _streams(at: At | None) -> tuple[Stream, ...] | None:
    if at is None:
        return ()
    entries, before = at.entries(), len(at.problems)
    if entries is None:
        return None
    if not entries:
        at.wrong("is empty; name at least one stream, or remove it")
    streams: list[Stream] = []
    for name, entry in entries.items():
        if not _NAME.fullmatch(name):
            what = f"{quoted(name)} cannot be a stream's name; use letters, digits, '.', '-' and '_'"
            entry.at.wrong(what, line=entry.key_line)
        stream = _stream(name, entry.at)
        if stream is None:
            continue
        for other in streams:
            if (set(other.users), set(other.tags)) == (set(stream.users), set(stream.tags)):
                entry.at.wrong(f"runs the same users and tags as '{other.name}'; merge them or tell them apart")
        streams.append(stream)
    return tuple(streams) if len(at.problems) == before else None


def _stream(name: str, at: At) -> Stream | None:
    fields = at.fields(*STREAM_KEYS)
    if fields is None:
        return None
    rate_per_s, users, tags = fields.positive("rate", "/s"), _words(fields, "users"), _words(fields, "tags")
    return Stream(name=name, baseline_per_s=rate_per_s, users=users, tags=tags) if rate_per_s else None


def _words(fields: Fields, key: str) -> tuple[str, ...]:
    """The texts of a list, each once."""
    before = len(fields.at.problems)
    items = fields.items(key)
    if key in fields.values and not items and len(fields.at.problems) == before:
        fields.values[key].wrong("is empty; name one, or remove the key for all")
    words: list[str] = []
    for item in items:
        text = item.text()
        if text in words:
            item.wrong(f"{quoted(text)} is listed twice; keep one")
        elif text is not None:
            words.append(text)
    return tuple(words)


def _limits(at: At | None) -> Limits | None:
    if at is None:
        return Limits()
    fields, before = at.fields(*LIMIT_KEYS), len(at.problems)
    if fields is None:
        return None
    given: dict[str, float] = {}
    for key, (name, unit, positive) in _LIMITS.items():
        value = fields.positive(key, unit) if positive else fields.quantity(key, unit)
        if key not in fields.values or value is None:
            continue
        if unit == "ratio" and value > 1:
            text = show(value, "ratio")
            fields.values[key].wrong(f"'{text}' is more than all there is, so it would limit nothing; lower it")
        given[name] = value
    return replace(Limits(), **given) if len(at.problems) == before else None


def _metrics(fields: Fields) -> tuple[str | None, Remote | None]:
    """The address of the metrics endpoint, and the remote workers'."""
    metrics = _host_port(fields, "metrics", "127.0.0.1:9646")
    remote_at = fields.get("remote")
    remote_fields = remote_at.fields(*REMOTE_KEYS) if remote_at else None
    if remote_fields is None:
        return metrics, None
    listen = _host_port(remote_fields, "listen", "0.0.0.0:5557")
    workers = remote_fields.whole("workers", least=1)
    if listen is not None and listen == metrics:
        fields.values["metrics"].wrong(f"{quoted(listen)} is where 'remote' listens; give another port")
    return metrics, Remote(listen=listen, workers=workers) if listen and workers else None


def _host_port(fields: Fields, key: str, example: str) -> str | None:
    text = fields.text(key)
    if text is None:
        return None
    match = _ADDRESS.fullmatch(text)
    if not match or not 0 < int(match[1]) < 65_536:
        fields.values[key].wrong(f"{quoted(text)} is not HOST:PORT; write e.g. {example}")
        return None
    return text
