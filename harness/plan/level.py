"""A phase's load as written, per cent of the baseline or rates, and what it comes to once the baseline is known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from harness import units
from harness.plan.model import Load
from harness.plan.nodes import At, nearest, quoted


@dataclass(frozen=True, slots=True)
class Amount:
    """A share of the baseline (1.5), or arrivals per second."""

    value: float
    absolute: bool

    def per_s(self, baseline_per_s: float) -> float:
        """Arrivals per second."""
        return self.value if self.absolute else self.value * baseline_per_s


@dataclass(frozen=True, slots=True)
class Level:
    """One amount for all streams together, or one for each in the order of `Load.streams`."""

    amounts: tuple[Amount, ...]
    each: bool

    @property
    def absolute(self) -> bool:
        """Whether it is all rates, so that it says what it is without a baseline."""
        return all(amount.absolute for amount in self.amounts)

    @property
    def zero(self) -> bool:
        """Whether nothing arrives."""
        return all(amount.value == 0 for amount in self.amounts)


def level_of(at: At, streams: tuple[str, ...] | None) -> Level | None:
    """
    `150%`, `300/s`, or one of these for every stream: `{browse: 100%, checkout: 50/s}`.

    `streams` are the service's; None when they are not known.
    """
    if not at.is_mapping():
        amount = _amount(at)
        return Level((amount,), each=False) if amount else None
    entries = at.entries() or {}
    if not entries:
        at.wrong("is empty; write a percentage of the baseline, e.g. 150%, or a rate, e.g. 300/s")
    if not entries or streams is None:
        return None
    wrong = False
    for name, entry in entries.items():
        if name not in streams:
            known = nearest(name, streams, allowed="it has") if streams else "it has no 'load.streams'"
            entry.at.wrong(f"the service has no stream {quoted(name)}; {known}", line=entry.key_line)
            wrong = True
    for name in streams:
        if name not in entries:
            at.wrong(f"the stream '{name}' is missing; give every stream a load, '0%' for none")
            wrong = True
    amounts = [_amount(entry.at) for entry in entries.values()]
    if wrong or None in amounts:
        return None
    read = {name: amount for name, amount in zip(entries, amounts, strict=True) if amount}
    return Level(tuple(read[name] for name in streams), each=True)


def per_s(level: Level, load: Load) -> float:
    """Arrivals per second, all streams together."""
    return math.fsum(stream_per_s(level, load))


def stream_per_s(level: Level, load: Load) -> tuple[float, ...]:
    """Arrivals per second of each stream; of the only one when there are none."""
    if level.each:
        pairs = zip(level.amounts, load.streams, strict=True)
        return tuple(amount.per_s(stream.baseline_per_s) for amount, stream in pairs)
    share = of_baseline(level.amounts[0].per_s(load.baseline_per_s), load.baseline_per_s)
    baselines = [stream.baseline_per_s for stream in load.streams] or [load.baseline_per_s]
    return tuple(share * baseline_per_s for baseline_per_s in baselines)


def of_baseline(rate_per_s: float, baseline_per_s: float) -> float:
    """The rate as a share of the baseline; exactly 1 when it is the baseline but for rounding."""
    share = rate_per_s / baseline_per_s
    return 1.0 if math.isclose(share, 1.0, rel_tol=1e-9) else share


def shares(level: Level, load: Load) -> tuple[float, ...]:
    """`Phase.levels`: the level of each stream; empty when they are the same."""
    if not level.each:
        return ()
    rates = zip(stream_per_s(level, load), load.streams, strict=True)
    return tuple(of_baseline(rate_per_s, stream.baseline_per_s) for rate_per_s, stream in rates)


def with_baseline(load: Load, baseline_per_s: float, run: str | None) -> Load:
    """The load with another baseline; its streams keep their proportions."""
    factor = baseline_per_s / load.baseline_per_s
    streams = tuple(replace(stream, baseline_per_s=stream.baseline_per_s * factor) for stream in load.streams)
    return replace(load, baseline_per_s=baseline_per_s, baseline_from=run, streams=streams)


def _amount(at: At) -> Amount | None:
    text = at.text()
    if text is None:
        return None
    try:
        if text.endswith("%"):
            return Amount(units.ratio(text), absolute=False)
        if "/" in text:
            return Amount(units.rate(text), absolute=True)
    except units.UnitError as error:
        at.wrong(str(error))
        return None
    at.wrong(f"{quoted(text)} is no load; write a percentage of the baseline, e.g. 150%, or a rate, e.g. 300/s")
    return None
