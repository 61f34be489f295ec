"""
A Prometheus between the arrivals and the judge: counters read at scrapes that jitter, fail, and lose their pods.

What a pod served after its last scrape is lost with it, what a new pod served before its first is in its first sample;
both as in the real one. A pod that is scraped again after failed scrapes shows all it counted meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from calibration_traffic import Traffic

from harness.history.series import Series

PODS = 3
MISSED = 0.02  # of all scrapes
LIFE_S = 60  # with churn, a pod is replaced after about this long

_JITTER = 0.02  # of the scrape interval
_START_S = 2  # a new pod serves after this long


@dataclass(frozen=True, slots=True, kw_only=True)
class Scraping:
    """How often counters are read, and whether pods come and go."""

    interval_s: float
    churn: bool

    @property
    def name(self) -> str:
        """For people, and for seeds."""
        return f"{self.interval_s:g}s{' churn' if self.churn else ''}"


class Scraped(Protocol):
    """What is needed of a cell."""

    @property
    def traffic(self) -> Traffic:
        """The arrivals."""

    @property
    def scraping(self) -> Scraping | None:
        """How they are read."""


@dataclass(slots=True)
class _Pod:
    """One pod's life, and its counters at the end of each second of it."""

    name: str
    born_s: int
    dead_s: int
    total: list[int]
    bad: list[int]

    def at(self, t_s: float) -> tuple[float, float] | None:
        """Bad and total at an instant; counters rise evenly within a second, in whole requests."""
        second = int(t_s)
        if not self.born_s <= second < self.dead_s:
            return None
        index, part = second - self.born_s, t_s - second
        bad = self.bad[index] + int((self.bad[index + 1] - self.bad[index]) * part)
        total = self.total[index] + int((self.total[index + 1] - self.total[index]) * part)
        return float(bad), float(total)


def series_of(cell: Scraped, bad: Sequence[int], random: Random) -> list[Series]:
    """What Prometheus would return: raw samples of bad, total and up, from two scrapes before the phase on."""
    scraping = cell.scraping
    assert scraping is not None
    traffic = cell.traffic
    lead_s = round(3 * scraping.interval_s)
    before = [0] * lead_s
    pods = list(_pods(traffic, [*before, *bad], scraping, random))
    found = []
    for pod in pods:
        found += _scraped(pod, traffic, scraping, random, lead_s)
    return found


def _pods(traffic: Traffic, bad: Sequence[int], scraping: Scraping, random: Random) -> Iterator[_Pod]:
    """PODS slots, each with one pod after the other; the arrivals of a second are split over those that live."""
    pods = []
    for slot in range(PODS):
        born, number = 0, 0
        while born < len(bad):
            life = round(random.expovariate(1 / LIFE_S)) + 1 if scraping.churn else len(bad)
            pods.append(_Pod(f"pod-{slot}-{number}", born, min(born + life, len(bad)), [0], [0]))
            born += life + _START_S
            number += 1
    for second, count in enumerate(bad):
        alive = [pod for pod in pods if pod.born_s <= second < pod.dead_s]
        hits = [0] * len(alive)
        for _ in range(count if alive else 0):
            hits[int(random.random() * len(alive))] += 1
        for pod, hit in zip(alive, hits, strict=True):
            share = max(traffic.rate // len(alive), hit)
            pod.total.append(pod.total[-1] + share)
            pod.bad.append(pod.bad[-1] + hit)
    yield from pods


def _scraped(pod: _Pod, traffic: Traffic, scraping: Scraping, random: Random, lead_s: int) -> list[Series]:
    offset = random.random() * scraping.interval_s
    rows: dict[str, list[tuple[float, float]]] = {"bad": [], "total": [], "up": []}
    for number in range(int((traffic.length_s + lead_s) / scraping.interval_s) + 1):
        t_s = number * scraping.interval_s + offset + random.gauss(0, _JITTER * scraping.interval_s)
        seen = pod.at(t_s)
        if seen is None:
            continue
        missed = random.random() < MISSED
        rows["up"].append((t_s - lead_s, 0.0 if missed else 1.0))
        if not missed:
            rows["bad"].append((t_s - lead_s, seen[0]))
            rows["total"].append((t_s - lead_s, seen[1]))
    labels = (("instance", pod.name),)
    return [
        Series(sli="server_errors", phase="phase", role=role, query=role, labels=labels, samples=tuple(samples))  # type: ignore[arg-type]
        for role, samples in rows.items()
        if samples
    ]
