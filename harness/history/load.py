"""
The load record: what the generator did with every arrival it planned.

A `LoadFrame` holds additive counts for one second of *intended* time of one request name; several
frames for one second (late completions, several workers) add up. Memory and disk do not grow with the rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.errors import RecordError
from harness.history.histogram import Histogram

BINS_PER_SECOND = 100  # outcome counts are kept per 10 ms of intended time

_COUNTS = ("planned", "sent", "ok", "failed", "timed_out", "dropped", "lost")
_HISTOGRAMS = ("response", "service", "lag")
_BINS = ("good_bins", "bad_bins")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFrame:
    """
    Additive counts of arrivals intended in [second, second + 1) since run start.

    Conservation, once a second is settled: planned = sent + dropped + lost and
    sent = ok + failed + timed_out + in flight. `planned` is what the plan's arithmetic says (reported by the
    master, on the frame with series ""); `lost` are planned arrivals of a worker that died, or whose task broke
    before it asked anything of the service.
    """

    second: int
    series: str  # request name; "" only on the master's planned/lost accounting
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
    good_bins: tuple[int, ...] = ()  # 100 counts (or empty: all zero): ok and not slow
    bad_bins: tuple[int, ...] = ()  # 100 counts (or empty): failed, timed out, dropped, or ok but slow
    errors: tuple[
        tuple[str, int], ...
    ] = ()  # error class -> count, sorted: "http_503", "connect_refused", "timeout", ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHealth:
    """One worker's own health in one second of run time."""

    second: int
    worker: str
    cpu_ratio: float  # of one core
    stall_s_max: float  # longest time its event loop did not turn


def frame_to_dict(frame: LoadFrame) -> dict[str, object]:
    """
    The frame as JSON values, as it travels and as it is recorded.

    What is zero or empty is left out; histograms are HdrHistogram V2 texts.
    """
    out: dict[str, object] = {"second": frame.second, "series": frame.series}
    out |= {name: count for name in _COUNTS if (count := getattr(frame, name))}
    out |= {name: histogram.encode() for name in _HISTOGRAMS if (histogram := getattr(frame, name)).counts}
    out |= {name: list(bins) for name in _BINS if any(bins := getattr(frame, name))}
    if frame.errors:
        out["errors"] = dict(frame.errors)
    return out


def frame_from_dict(values: Mapping[str, Any]) -> LoadFrame:
    """The frame that `frame_to_dict` wrote. Raises RecordError when it is something else."""
    try:
        return LoadFrame(
            second=values["second"],
            series=values["series"],
            response=_histogram(values, "response"),
            service=_histogram(values, "service"),
            lag=_histogram(values, "lag"),
            good_bins=tuple(values.get("good_bins", ())),
            bad_bins=tuple(values.get("bad_bins", ())),
            errors=tuple(sorted(values.get("errors", {}).items())),
            **{name: values[name] for name in _COUNTS if name in values},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"load frame {str(values)[:80]}: not a frame of this format ({error!r})") from error


def _histogram(values: Mapping[str, Any], name: str) -> Histogram:
    return Histogram.decode(values[name]) if name in values else Histogram()
