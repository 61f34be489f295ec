"""
The timings that clients saw of a fault, from its impacts: on all arrivals, and on each stream.

A stream may be hit where all arrivals together hardly show it, and then has the sharper edges: a third of them failing
is all of one zone's stream. Of the views that show the fault, the one that suffered longest tells the timing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.history.load import BINS_PER_SECOND
from harness.history.views import FaultWindow
from harness.plan.model import Timing, Unit
from harness.units import show
from harness.verdict.attribution import already_on, belongs, causes_of
from harness.verdict.clocked import Clocked, Span, between, censored, longest, noted, nothing, since, untold, zero
from harness.verdict.model import Impact, Reason
from harness.verdict.outcomes import Outcomes

_SEEN_BAD = 3  # bad arrivals in a row that are an impact


@dataclass(frozen=True, slots=True, kw_only=True)
class Suffered:
    """What the client timings of one fault are read from."""

    outcomes: tuple[Outcomes, ...]
    impacts: tuple[Impact, ...]
    faults: tuple[FaultWindow, ...]
    window: FaultWindow
    on: Span
    hold_s: float
    end_s: float  # of the record

    @property
    def gone(self) -> Span | None:
        """When the effect was gone, seconds."""
        return None if self.window.gone is None else (self.window.gone[0] / 1e9, self.window.gone[1] / 1e9)

    def own(self, stream: str | None) -> list[Impact]:
        """The fault's impacts on a stream, or on all arrivals."""
        of_stream = (impact for impact in self.impacts if impact.stream == stream)
        return [impact for impact in of_stream if belongs(impact, self.window.fault, self.faults, self.hold_s)]

    def covering(self, stream: str | None) -> Impact | None:
        """The impact that was on already when the fault came into force, and was not over at once."""
        others = [impact for impact in self.impacts if impact.stream == stream]
        own = self.own(stream)
        return already_on([impact for impact in others if impact not in own], self.on)

    @property
    def per_s(self) -> float:
        """Arrivals per second from the fault on."""
        after = [one for one in self.outcomes[0].row.seconds if one.number >= int(self.on[0])]
        return sum(one.good + one.bad for one in after) / len(after) if after else 0.0

    def bad_within(self, lo_s: float, hi_s: float) -> int:
        """Bad arrivals intended between two instants, in whole bins."""
        row = self.outcomes[0].row
        inside = slice(
            bisect_left(row.bins, int(lo_s * BINS_PER_SECOND)), bisect_right(row.bins, hi_s * BINS_PER_SECOND)
        )
        return sum(row.bad[inside])

    def held_since(self, t_s: float) -> bool:
        """Whether arrivals were recorded for as long as the hold after an instant."""
        bins = self.outcomes[0].row.bins
        return bool(bins) and (bins[-1] + 1) / BINS_PER_SECOND - t_s >= self.hold_s


def clocked_by_clients(seen: Suffered, timing: Timing) -> Clocked:
    """One of the timings failover, recovery, rollback and downtime; zero when no arrival suffered."""
    if timing is Timing.ROLLBACK:
        return _rollback(seen)
    views = [_view(seen, each.stream, timing) for each in seen.outcomes]
    shown = [one for one in views if one is not None]
    if not shown:
        return _no_impact(seen)
    if timing is Timing.DOWNTIME and views[0] is not None and views[0].reason is not Reason.UNDECIDED:
        return views[0]  # weighted with all requests, whichever stream they are of
    return longest(shown)


def _view(seen: Suffered, stream: str | None, timing: Timing) -> Clocked | None:
    """What one stream, or all arrivals, tell of a timing; None when they did not suffer."""
    tell: dict[Timing, Callable[[Suffered, Sequence[Impact]], Clocked]] = {
        Timing.FAILOVER: _failover,
        Timing.RECOVERY: _recovery,
        Timing.DOWNTIME: _downtime,
    }
    own, covering = seen.own(stream), seen.covering(stream)
    if timing is Timing.FAILOVER:
        own = [impact for impact in own if seen.gone is None or impact.start_s < seen.gone[1]]
    if covering is not None:
        return _covered(seen, covering, own)
    if not own:
        return None
    return noted(tell[timing](seen, own), *_notes(seen, own), f"stream {stream}" if stream is not None else "")


def _covered(seen: Suffered, covering: Impact, own: Sequence[Impact]) -> Clocked:
    """The service suffered already when the fault came: what the fault added cannot be told apart from that."""
    whose = f"an impact of {covering.fault}" if covering.fault else "an impact without a fault"
    why = f"{whose} was on from {covering.start_s:.3f} s to {covering.end_s:.3f} s of the run when it came into force"
    last = max([covering, *own], key=lambda impact: impact.end_hi_s)
    if last.censored:
        return censored(0.0, f"{why}, and was not seen to end")
    return untold(last.end_hi_s - seen.on[0], f"{why}: what it added cannot be told apart")


def _recovery(_: Suffered, own: Sequence[Impact]) -> Clocked:
    """From the impact's beginning to the instant from which the service was kept; of several impacts the longest."""
    return longest([_length(impact, (impact.start_s, impact.end_s), _starts(impact)) for impact in own])


def _failover(seen: Suffered, own: Sequence[Impact]) -> Clocked:
    """From the fault to the end of its first impact, while the fault was still on."""
    first, on = own[0], seen.on
    if seen.gone is not None and first.end_s >= seen.gone[0]:
        waited = since(seen.gone, on)
        return censored(waited.lo_s or 0.0, "the service was not restored while the fault was on")
    return _length(first, ((on[0] + on[1]) / 2, first.end_s), on)


def _downtime(_: Suffered, own: Sequence[Impact]) -> Clocked:
    value = sum(impact.downtime_s for impact in own)
    early = ((impact.start_s - impact.start_lo_s, impact.end_hi_s - impact.end_s, impact.severity) for impact in own)
    late = ((impact.start_hi_s - impact.start_s, impact.end_s - impact.end_lo_s, impact.severity) for impact in own)
    more, less = (sum(share * (start + end) for start, end, share in side) for side in (early, late))
    lo = max(value - less, 0.0)
    if any(impact.censored for impact in own):
        return censored(lo, "the service was still degraded when the record ended")
    bad = sum(impact.bad for impact in own)
    return Clocked(value_s=value, lo_s=lo, hi_s=value + more, reason=Reason.WITHIN, detail=f"{bad} bad arrivals")


def _rollback(seen: Suffered) -> Clocked:
    """From the rollback's request until the fault's effect was gone and none of its impacts was on any more."""
    window = seen.window
    if window.rollback_requested_ns is None:
        return nothing(Reason.NOT_RUN, f"the rollback of {window.fault} was never asked for")
    asked_s = window.rollback_requested_ns / 1e9
    if seen.gone is None or window.rollback_failed is not None:
        return censored(seen.end_s - asked_s, f"not seen gone: {window.rollback_failed or window.evidence}")
    own = [impact for each in seen.outcomes for impact in seen.own(each.stream)]
    own += [one for each in seen.outcomes if (one := seen.covering(each.stream)) is not None]
    over_s = max([seen.gone[1], *(impact.end_hi_s for impact in own)])
    back = (max(seen.gone[0], asked_s), max(seen.gone[1], asked_s))
    over = (max([back[0], *(impact.end_lo_s for impact in own)]), max(over_s, asked_s))
    if any(impact.censored for impact in own) or not seen.held_since(over_s):
        return censored(over[0] - asked_s, "the service was not seen kept for long enough after it")
    if over_s <= asked_s:
        before = show(asked_s - over_s, Unit.SECONDS)
        return zero(Reason.ALREADY_GONE, f"all was over {before} before the rollback was asked for")
    value_s = max([sum(back) / 2, *(impact.end_s for impact in own)])
    return between((asked_s, value_s), (asked_s, asked_s), over)


def _no_impact(seen: Suffered) -> Clocked:
    """Zero; with the bad arrivals there were, which are too few for an impact, and what is too short to be one."""
    over_s = seen.end_s if seen.gone is None else seen.gone[1] + seen.hold_s
    bad = seen.bad_within(seen.on[0], over_s)
    few = f": only {bad} bad arrival{'s' if bad > 1 else ''}" if bad else ""
    shown = f"; a black-out of {show(_SEEN_BAD / seen.per_s, Unit.SECONDS)} would have shown" if seen.per_s else ""
    return zero(Reason.NO_IMPACT, f"no impact on clients{few}{shown}")


def _notes(seen: Suffered, own: Sequence[Impact]) -> list[str]:
    """What a person should know of the impacts: how many, how often the service came and went, whose else they are."""
    others = {
        name
        for impact in own
        for name in causes_of((impact.start_s, impact.start_hi_s), seen.faults, seen.hold_s)
        if name != seen.window.fault
    }
    episodes = sum(impact.episodes for impact in own)
    gap_s = max(impact.gap_s for impact in own)
    return [
        f"{len(own)} impacts" if len(own) > 1 else "",
        f"{episodes} episodes, the longest gap between successes {show(gap_s, Unit.SECONDS)}" if episodes > 1 else "",
        f"together with {', '.join(sorted(others))}" if others else "",
    ]


def _length(impact: Impact, value: Span, start: Span) -> Clocked:
    """From an instant within `start` to the impact's end."""
    if impact.censored:
        why = "the service was not seen kept for long enough before the record ended"
        return censored(impact.end_lo_s - start[1], why)
    return between(value, start, (impact.end_lo_s, impact.end_hi_s))


def _starts(impact: Impact) -> Span:
    return impact.start_lo_s, impact.start_hi_s
