"""
The load record: what the generator did with every arrival it planned.

A `LoadFrame` holds additive counts for one second of *intended* time of one request stream and name; several
frames for one second (late completions, several workers) add up. Memory and disk do not grow with the rate.

An arrival is recorded once. A task that makes one request is recorded under that request's name. A task that makes
several is a journey: its arrival is recorded under the task's name, timed from its intended start to the end of its
last request, failed when any of them failed; and each of its requests is recorded besides, under its own name, in
`LoadFrame.steps`. So what is true of a series is its arrivals and its steps together (a series seldom has both), and
what is true of the load, a stream or a run is the arrivals alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.errors import RecordError
from harness.history.histogram import Histogram

BINS_PER_SECOND = 100  # outcome counts are kept per 10 ms of intended time

_COUNTS = ("planned", "sent", "ok", "failed", "timed_out", "dropped", "lost")
_HISTOGRAMS = ("response", "service", "lag", "failed_response")
_BINS = ("good_bins", "bad_bins")
_STEP_COUNTS = ("ok", "failed", "timed_out")

Slower = tuple[tuple[int, int], ...]  # limit in microseconds -> ok ones slower than exactly that, sorted; all limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """
    Additive counts of single requests inside journeys. They are no arrivals: conservation knows nothing of them.

    A journey's first request counts in the second of the arrival's intended start and is timed from there; a later
    one in the second in which it was sent, and from its sending.
    """

    ok: int = 0
    failed: int = 0
    timed_out: int = 0  # the arrival's deadline passed meanwhile
    response: Histogram = field(default_factory=Histogram)  # of ok, in microseconds
    slower: Slower = ()
    errors: tuple[tuple[str, int], ...] = ()  # error class -> count, sorted


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFrame:
    """
    Additive counts of arrivals intended in [second, second + 1) since run start.

    Conservation, once a second is settled: planned = sent + dropped + lost and
    sent = ok + failed + timed_out + in flight. `planned` is what the plan's arithmetic says (reported by the
    master, on the frame with series ""); `lost` are planned arrivals of a worker that died or stood still, or whose
    task broke before it asked anything of the service.
    """

    second: int
    series: str  # name of a request or a journey; "" only on the master's planned/lost accounting
    stream: str = ""
    planned: int = 0
    sent: int = 0
    ok: int = 0
    failed: int = 0
    timed_out: int = 0
    dropped: int = 0  # waited for a free user until the deadline; a failure of the generator's capacity
    lost: int = 0
    response: Histogram = field(default_factory=Histogram)  # of ok, from intended start, in microseconds
    service: Histogram = field(default_factory=Histogram)  # of ok, from send
    lag: Histogram = field(default_factory=Histogram)  # send - intended start, of all sent
    failed_response: Histogram = field(default_factory=Histogram)  # of failed and timed out, from intended start
    slower: Slower = ()
    good_bins: tuple[int, ...] = ()  # 100 counts (or empty: all zero): ok and not slow
    bad_bins: tuple[int, ...] = ()  # 100 counts (or empty): failed, timed out, dropped, or ok but slow
    errors: tuple[
        tuple[str, int], ...
    ] = ()  # error class -> count, sorted: "http_503", "connect_refused", "deadline", ...
    steps: Steps | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHealth:
    """One worker's own health in one second of run time."""

    second: int
    worker: str
    cpu_ratio: float  # of one core
    stall_s_max: float  # longest time its event loop did not turn
    in_flight: int = 0  # arrivals begun and not settled at the second's end
    clock_s: float = 0.0  # uncertainty of its clock against the conductor's; 0 on the same machine


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRequest:
    """One failed request of a bounded sample: at most a few per second and error class."""

    t_ns: int  # intended start of its arrival, since run start
    stream: str
    series: str
    error: str  # error class
    status: int  # HTTP status; 0 without an answer
    peer: str  # address of the other end, "" when there was no connection
    response_s: float
    detail: str  # the error's text, shortened


def frame_to_dict(frame: LoadFrame) -> dict[str, object]:
    """
    The frame as JSON values, as it travels and as it is recorded.

    What is zero or empty is left out; histograms are HdrHistogram V2 texts.
    """
    out: dict[str, object] = {"second": frame.second, "series": frame.series}
    if frame.stream:
        out["stream"] = frame.stream
    out |= {name: count for name in _COUNTS if (count := getattr(frame, name))}
    out |= {name: histogram.encode() for name in _HISTOGRAMS if (histogram := getattr(frame, name)).counts}
    out |= {name: list(bins) for name in _BINS if any(bins := getattr(frame, name))}
    if frame.slower:
        out["slower"] = frame.slower
    if frame.errors:
        out["errors"] = dict(frame.errors)
    if frame.steps is not None:
        out["steps"] = _steps_to_dict(frame.steps)
    return out


def frame_from_dict(values: Mapping[str, Any]) -> LoadFrame:
    """The frame that `frame_to_dict` wrote. Raises RecordError when it is something else."""
    try:
        return LoadFrame(
            second=values["second"],
            series=values["series"],
            stream=values.get("stream", ""),
            good_bins=tuple(values.get("good_bins", ())),
            bad_bins=tuple(values.get("bad_bins", ())),
            slower=_slower(values),
            errors=_errors(values),
            steps=_steps_from_dict(values["steps"]) if "steps" in values else None,
            response=_histogram(values, "response"),
            service=_histogram(values, "service"),
            lag=_histogram(values, "lag"),
            failed_response=_histogram(values, "failed_response"),
            **{name: values[name] for name in _COUNTS if name in values},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"load frame {str(values)[:80]}: not a frame of this format ({error!r})") from error


def failure_to_dict(failure: FailedRequest) -> dict[str, object]:
    """The failure as JSON values."""
    return asdict(failure)


def failure_from_dict(values: Mapping[str, Any]) -> FailedRequest:
    """The failure that `failure_to_dict` wrote. Raises RecordError when it is something else."""
    try:
        return FailedRequest(**values)
    except TypeError as error:
        raise RecordError(f"failed request {str(values)[:80]}: not one of this format ({error})") from error


def _steps_to_dict(steps: Steps) -> dict[str, object]:
    out: dict[str, object] = {name: count for name in _STEP_COUNTS if (count := getattr(steps, name))}
    if steps.response.counts:
        out["response"] = steps.response.encode()
    if steps.slower:
        out["slower"] = steps.slower
    if steps.errors:
        out["errors"] = dict(steps.errors)
    return out


def _steps_from_dict(values: Mapping[str, Any]) -> Steps:
    return Steps(
        response=_histogram(values, "response"),
        slower=_slower(values),
        errors=_errors(values),
        **{name: values[name] for name in _STEP_COUNTS if name in values},
    )


def _histogram(values: Mapping[str, Any], name: str) -> Histogram:
    return Histogram.decode(values[name]) if name in values else Histogram()


def _slower(values: Mapping[str, Any]) -> Slower:
    return tuple((limit_us, count) for limit_us, count in values.get("slower", ()))


def _errors(values: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(values.get("errors", {}).items()))
