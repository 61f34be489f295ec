"""Whether a threshold can be decided at all in its phase, told before any load: long enough, and enough arrivals."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping

from harness.plan.draft import PhaseDraft, ThresholdDraft
from harness.plan.level import stream_per_s
from harness.plan.model import ClientMeasure, ClientSli, Load, PrometheusSli, Sli, Tier
from harness.plan.replay import SECOND_NS
from harness.plan.service import ServiceFile
from harness.units import show

SCRAPES_PER_PHASE = 4
"""A phase shorter than this many scrape intervals holds too few samples to say anything of a server-side SLI."""

SLICES_PER_STRETCH = 2
"""A `for` or `in any` shorter than this many slices cannot tell a stretch from a moment."""

CLIENT_SLICE_S = 1.0
SLICE_SCRAPES = 2

ALPHA = 0.05
"""Chance allowed of calling a limit kept that is not; the rule of three is this at no bad arrival at all."""

_ROUNDING = 1e-6  # arrivals


def arrivals_needed(limit: float) -> int:
    """
    How many arrivals prove a share of bad ones kept below `limit` (0 < limit < 1) when none of them is bad.

    Exact form of the rule of three (Hanley and Lippman-Hand 1983), which is Clopper and Pearson's upper bound at no
    bad arrival: with none in n the share is proven below p at level alpha when (1 - p)^n <= alpha.
    """
    return math.ceil(math.log(ALPHA) / math.log1p(-limit))


def decidable(draft: ThresholdDraft, phase: PhaseDraft, service: ServiceFile, load: Load | None) -> None:
    """Record why the threshold could not be decided whatever the service did. `load` has its baseline settled."""
    if phase.duration_s is None:
        return
    _long_enough(draft, phase.duration_s, service)
    _stretch_fits(draft, phase.duration_s, service)
    if load is not None and (phase.replay or (phase.level and not phase.level.zero)):
        _enough(draft, phase, load)


def _long_enough(draft: ThresholdDraft, duration_s: float, service: ServiceFile) -> None:
    if not isinstance(draft.sli, PrometheusSli) or service.prometheus is None:
        return
    scrape_s = service.prometheus.scrape_interval_s
    least_s = SCRAPES_PER_PHASE * scrape_s
    if duration_s < least_s:
        draft.at.wrong(
            f"a phase of {show(duration_s, 's')} is too short for '{draft.sli.name}', scraped every "
            f"{show(scrape_s, 's')}; make it at least {show(least_s, 's')}"
        )


def _stretch_fits(draft: ThresholdDraft, duration_s: float, service: ServiceFile) -> None:
    """A `for` or `in any` is shorter than the phase and at least two slices long."""
    rule = draft.threshold.rule
    stretch_s = rule.any_s if rule.for_s is None else rule.for_s
    if stretch_s is None:
        return
    length = show(duration_s, "s")
    if rule.for_s is not None and rule.for_s >= duration_s:
        draft.at.wrong(f"'{rule.text}' can never be breached in a phase of {length}; shorten the 'for'")
    if rule.any_s is not None and rule.any_s > duration_s:
        draft.at.wrong(f"'{rule.text}' is about stretches longer than the phase of {length}; shorten the 'in any'")
    slice_s = _slice_s(draft.sli, service)
    if slice_s is not None and stretch_s < SLICES_PER_STRETCH * slice_s:
        draft.at.wrong(
            f"'{rule.text}' is about less than two slices of {show(slice_s, 's')}, in which '{draft.sli.name}' is "
            f"looked at; make it at least {show(SLICES_PER_STRETCH * slice_s, 's')}"
        )


def _slice_s(sli: Sli, service: ServiceFile) -> float | None:
    if isinstance(sli, ClientSli):
        return CLIENT_SLICE_S
    return SLICE_SCRAPES * service.prometheus.scrape_interval_s if service.prometheus else None


def _enough(draft: ThresholdDraft, phase: PhaseDraft, load: Load) -> None:
    """Whether enough arrivals are planned to prove the rule kept even if none of them is bad."""
    if not isinstance(draft.sli, ClientSli):
        return
    threshold, rule = draft.threshold, draft.threshold.rule
    offered, of_what = _fewest(draft.sli, threshold.each, _offered(phase, load))
    whose, longer = "the phase offers", "lengthen the phase"
    if rule.any_s is not None and phase.duration_s:
        offered *= min(rule.any_s / phase.duration_s, 1.0)
        whose, longer = f"{show(rule.any_s, 's')} of the phase offer", "lengthen the stretch"
    if threshold.min_samples is not None and threshold.min_samples > offered + _ROUNDING:
        draft.at.wrong(
            f"'{rule.text}' wants {threshold.min_samples} samples, {whose} {offered:.0f}{of_what}; "
            f"{longer}, raise the load or lower 'min_samples'"
        )
    limit = _bad_limit(draft)
    if limit is None or limit >= 1:
        return
    if limit <= 0:
        draft.at.wrong(f"'{rule.text}' can never be proven kept, whatever the load; allow some errors, e.g. 0.1%")
    elif offered + _ROUNDING < (needed := arrivals_needed(limit)):
        draft.at.wrong(
            f"'{rule.text}' needs {needed} arrivals to be decided, {whose} {offered:.0f}{of_what}; "
            f"{longer}, raise the load or loosen the limit"
        )


def _offered(phase: PhaseDraft, load: Load) -> Mapping[str, float]:
    """How many arrivals the phase plans, by stream."""
    assert phase.duration_s is not None
    names = [stream.name for stream in load.streams] or [""]
    if phase.replay:
        end_ns = phase.duration_s * phase.replay.speed * SECOND_NS
        return {name: bisect_left(times, end_ns) for name, times in phase.replay.recording.times_ns.items()}
    assert phase.level is not None
    rates = zip(names, stream_per_s(phase.level, load), strict=True)
    return {name: per_s * phase.duration_s for name, per_s in rates}


def _fewest(sli: ClientSli, each: str | None, offered: Mapping[str, float]) -> tuple[float, str]:
    """The arrivals that the SLI sees at most, in the group that has fewest; and what to say they are of."""
    if sli.stream is not None:
        return offered.get(sli.stream, 0.0), f" of stream '{sli.stream}'"
    if each == "stream":
        name = min(offered, key=lambda name: offered[name])
        return offered[name], f" of stream '{name}'"
    return math.fsum(offered.values()), ""


def _bad_limit(draft: ThresholdDraft) -> float | None:
    """The share of bad arrivals at which a `warn` or `fail` rule of the client side is breached; None: not a share."""
    sli, rule = draft.sli, draft.threshold.rule
    if draft.threshold.tier not in {Tier.WARN, Tier.FAIL} or rule.for_s is not None or rule.relative_to is not None:
        return None
    match sli:
        case ClientSli(measure=ClientMeasure.ERROR_RATIO):
            return rule.quantity
        case ClientSli(measure=ClientMeasure.SUCCESS_RATIO):
            return 1 - rule.quantity
        case ClientSli(measure=ClientMeasure.LATENCY, quantile=float(quantile)):
            return 1 - quantile
        case _:
            return None
